//! Where a Redis is, and the pool of connections to it, by TLS where its URL says so.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates,
};
use deadpool_redis::{Manager, Pool, Runtime};
use hongbao_core::limits::CACHE_CONNECTIONS_MAX;
use parking_lot::Mutex;

/// The files that TLS to a Redis goes by, PEM all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// Who may have signed its certificate; not given, the authorities that this host trusts.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, where it demands one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A Redis, and how it is connected to.
pub struct Place {
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
    tls: RedisTls,
    /// Of the files that the last pool was made of, or could not be.
    files: Mutex<Vec<Option<FileState>>>,
}

/// When a file was written last, and its length.
type FileState = (SystemTime, u64);

impl Place {
    pub fn new(info: ConnectionInfo, config: AsyncConnectionConfig, tls: RedisTls) -> Place {
        let place = Place { info, config, tls, files: Mutex::default() };
        *place.files.lock() = place.look();
        place
    }

    /// A pool of no connection yet.
    ///
    /// # Errors
    /// Which file of TLS cannot be used, or what is wrong with the URL, which is not repeated.
    pub fn pool(&self) -> Result<Pool, String> {
        let info = match self.info.addr() {
            ConnectionAddr::TcpTls { .. } => {
                let client = Client::build_with_tls(self.info.clone(), self.certificates()?);
                client.map_err(|error| error.to_string())?.get_connection_info().clone()
            }
            _ => self.info.clone(),
        };
        let manager = Manager::new_with_config(info, self.config.clone());
        let manager = manager.map_err(|error| error.category().to_owned())?;
        let pool = Pool::builder(manager).max_size(CACHE_CONNECTIONS_MAX).runtime(Runtime::Tokio1).build();
        pool.map_err(|error| error.to_string())
    }

    /// The same if the files are others than those of the last pool; each change is looked at once.
    pub fn pool_if_files_changed(&self) -> Result<Option<Pool>, String> {
        if !matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Ok(None);
        }
        let found = self.look();
        let mut known = self.files.lock();
        if *known == found {
            return Ok(None);
        }
        *known = found;
        self.pool().map(Some)
    }

    fn look(&self) -> Vec<Option<FileState>> {
        let state = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let client = self.tls.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.tls.ca_file.iter().chain(client).map(state).collect()
    }

    fn certificates(&self) -> Result<TlsCertificates, String> {
        let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
        let client_tls = match &self.tls.client {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert: self.tls.ca_file.as_deref().map(read).transpose()? })
    }
}
