//! TLS by rustls, on listeners and towards servers, with certificates that are read again when their files change.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hongbao_core::limits::TLS_FILES_READ_EVERY;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::Stream;

/// What a client may choose of by ALPN where both are spoken.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and behind it those that lead to a CA.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// What a listener needs.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// What it shows.
    pub own: CertificateFiles,
    /// The CAs of whom clients must have a certificate, in PEM; `None`: they need none.
    pub client_ca_file: Option<PathBuf>,
    /// Whether HTTP/2 is spoken beside HTTP/1.1.
    pub http2: bool,
}

/// What a client of a server needs.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// The CAs of whom the server must have a certificate, in PEM.
    pub ca_file: PathBuf,
    /// What it shows, if the server asks for a certificate.
    pub own: Option<CertificateFiles>,
}

/// Files that a configuration of rustls is made of.
trait Files: Send + Sync + 'static {
    /// What is made of them.
    type Made: Send + Sync;

    fn paths(&self) -> Vec<&Path>;

    /// Makes it.
    fn make(&self) -> Result<Self::Made, String>;
}

/// What is made of files, made again when they change.
struct Current<F: Files> {
    files: F,
    made: RwLock<Arc<F::Made>>,
    judged: Mutex<Judged>,
}

/// What was found when the files were judged last.
struct Judged {
    contents: Vec<Option<Vec<u8>>>,
    /// Why they were refused: a reason is logged once.
    refused: Option<String>,
}

impl<F: Files> Current<F> {
    fn load(files: F) -> Result<Current<F>, String> {
        let judged = Mutex::new(Judged { contents: contents(&files), refused: None });
        let made = files.make()?;
        Ok(Current { files, made: RwLock::new(Arc::new(made)), judged })
    }

    fn get(&self) -> Arc<F::Made> {
        self.made.read().clone()
    }

    /// Takes changed files over; bad ones are refused, and what is in force stays. They are judged again even if they
    /// have not changed since: they may have been read while they were written. It blocks.
    fn follow(&self) {
        let mut judged = self.judged.lock();
        let now = contents(&self.files);
        if judged.contents == now && judged.refused.is_none() {
            return;
        }
        judged.contents = now;
        let files: Vec<_> = self.files.paths().into_iter().map(Path::display).map(|path| path.to_string()).collect();
        let files = files.join(", ");
        match self.files.make() {
            Ok(made) => {
                judged.refused = None;
                *self.made.write() = Arc::new(made);
                tracing::info!(files, "new TLS certificates are in force");
            }
            Err(reason) if judged.refused.as_ref() == Some(&reason) => {}
            Err(reason) => {
                tracing::error!(files, error = reason, "new TLS certificates were refused; those in force stay");
                judged.refused = Some(reason);
            }
        }
    }

    async fn follow_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TLS_FILES_READ_EVERY).await;
            let current = self.clone();
            // Reading does not panic; without it what is in force stays.
            let _ = tokio::task::spawn_blocking(move || current.follow()).await;
        }
    }
}

fn contents(files: &impl Files) -> Vec<Option<Vec<u8>>> {
    files.paths().into_iter().map(|path| std::fs::read(path).ok()).collect()
}

/// The TLS of a listener. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Current<ListenerTls>>);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which of them, for the operator.
    pub fn load(files: ListenerTls) -> Result<ServerTls, String> {
        Current::load(files).map(|current| ServerTls(Arc::new(current)))
    }

    /// Reads the files again and again, until it is aborted.
    pub async fn follow_forever(self) {
        self.0.follow_forever().await;
    }

    /// Shakes hands; whether HTTP/2 was agreed on.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<(Stream, bool)> {
        let tls = TlsAcceptor::from(self.0.get()).accept(tcp).await?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Stream::Tls(Box::new(tls.into())), is_http2))
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerTls").field(&self.0.files).finish()
    }
}

impl Files for ListenerTls {
    type Made = ServerConfig;

    fn paths(&self) -> Vec<&Path> {
        let own = [&*self.own.certificate_file, &*self.own.key_file];
        own.into_iter().chain(self.client_ca_file.as_deref()).collect()
    }

    fn make(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| of_file(path, &error))?)
            }
        };
        let (chain, key) = self.own.read()?;
        let made = builder.with_single_cert(chain, key);
        let mut config = made.map_err(|error| of_file(&self.own.certificate_file, &error))?;
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.alpn_protocols = match self.http2 {
            true => vec![H2.to_vec(), HTTP_1_1.to_vec()],
            false => vec![HTTP_1_1.to_vec()],
        };
        Ok(config)
    }
}

/// The TLS of connections to servers. Cheap to clone.
#[derive(Clone)]
pub struct TlsTowardsServers(Arc<Current<ClientTls>>);

impl TlsTowardsServers {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which of them, for the operator.
    pub fn load(files: ClientTls) -> Result<TlsTowardsServers, String> {
        Current::load(files).map(|current| TlsTowardsServers(Arc::new(current)))
    }

    /// Reads the files again and again, until it is aborted.
    pub async fn follow_forever(self) {
        self.0.follow_forever().await;
    }

    /// Shakes hands with the server of that name or IP address.
    ///
    /// # Errors
    /// Those of the connection, and why its certificate is not good.
    pub async fn connect(&self, tcp: TcpStream, host: &str) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(self.0.get()).connect(name, tcp).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

impl std::fmt::Debug for TlsTowardsServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsTowardsServers").field(&self.0.files).finish()
    }
}

impl Files for ClientTls {
    type Made = ClientConfig;

    fn paths(&self) -> Vec<&Path> {
        let own = self.own.iter().flat_map(|own| [&*own.certificate_file, &*own.key_file]);
        std::iter::once(&*self.ca_file).chain(own).collect()
    }

    fn make(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = builder.with_root_certificates(roots(&self.ca_file)?);
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some(own) => {
                let (chain, key) = own.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| of_file(&own.certificate_file, &error))
            }
        }
    }
}

impl CertificateFiles {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let key = PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| of_file(&self.key_file, &error))?;
        Ok((certificates(&self.certificate_file)?, key))
    }
}

/// The certificates in a file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: &dyn Display| of_file(path, error);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| named(&error))?.collect();
    let found = found.map_err(|error| named(&error))?;
    if found.is_empty() { Err(named(&"there is no certificate in it")) } else { Ok(found) }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| of_file(path, &error))?;
    }
    Ok(roots)
}

fn of_file(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}
