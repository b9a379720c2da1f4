//! TLS of a client, over a socket that never waits.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::error::Fallible;

/// Whose certificates are trusted: those of the authorities that the system trusts, and of these.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Files with further certificates of authorities, PEM.
    pub authorities: Vec<PathBuf>,
}

/// What begins sessions with one name.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// What begins sessions with `host`, which certificates are checked for.
    ///
    /// # Errors
    /// When a file holds no certificate, or there is no authority at all.
    pub fn client(&self, host: &str) -> Fallible<TlsClient> {
        let mut roots = RootCertStore::empty();
        // What of the system cannot be read is missing when it is needed, and then named by the refusal.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in &self.authorities {
            let refused = |error: &dyn Display| format!("--ca {}: {error}", path.display());
            let certificates = certificates(path).map_err(|error| refused(&error))?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| refused(&error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each connection is another user's: none goes on with the session of another.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for a certificate"))?;
        Ok(TlsClient { config: Arc::new(config), name })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates = file.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(certificates) }
}

impl TlsClient {
    fn begin(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(self.config.clone(), self.name.clone())
    }

    /// A session over a socket that never waits.
    pub(crate) fn session(&self) -> io::Result<Session> {
        self.begin().map(Session).map_err(io::Error::other)
    }

    /// A stream over a socket that waits.
    ///
    /// # Errors
    /// When no session can begin.
    pub fn stream(&self, stream: TcpStream) -> io::Result<impl Read + Write> {
        Ok(rustls::StreamOwned::new(self.begin().map_err(io::Error::other)?, stream))
    }
}

/// A session, whose bytes go out and come in when the socket takes and has them.
pub(crate) struct Session(ClientConnection);

impl Session {
    /// Takes as much of `bytes` as there is room for, and gives how much. Sends what the socket takes.
    pub(crate) fn write(&mut self, socket: &mut (impl Read + Write), bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            // Its buffer takes every write up to its size.
            let now = self.0.writer().write(&bytes[taken..]).unwrap_or(0);
            taken += now;
            self.send(socket);
            if now == 0 || taken == bytes.len() {
                return taken;
            }
        }
    }

    /// Whether everything that was written is with the socket.
    pub(crate) fn has_sent_all(&self) -> bool {
        !self.0.is_handshaking() && !self.0.wants_write()
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// `WouldBlock` when there is no more, `InvalidData` when TLS itself failed, and what the socket says.
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                read => return read,
            }
            self.0.read_tls(socket)?;
            let seen = self.0.process_new_packets();
            // What answers it, also the reason of a refusal.
            self.send(socket);
            seen.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    fn send(&mut self, socket: &mut (impl Read + Write)) {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Ok(1..) => (),
                // The socket is full, or has failed, which reading shows.
                Ok(0) | Err(_) => return,
            }
        }
    }
}
