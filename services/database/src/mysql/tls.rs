//! TLS to a database: what is asked of it, and what an operator reads where it fails.
//!
//! sqlx reads the files at every connection, so a connection that is made after they
//! were changed goes by the new ones; those of before reach their greatest age.

use std::io::ErrorKind;
use std::path::PathBuf;

use rustls::CertificateError::{
    BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
};
use rustls::Error::InvalidCertificate;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::failure::number;

/// How connections over TCP are protected. Those over a unix socket never leave the host, and are not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// How far.
    pub level: TlsLevel,
    /// The authorities that may have signed the server's certificate, PEM; beside those that this host trusts.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, PEM, where the server demands one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// See [`TlsOptions::level`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsLevel {
    /// Nothing is encrypted.
    #[default]
    Off,
    /// All is encrypted; whether it is the right server that answers is not checked.
    Required,
    /// The server's certificate must be for the name or address in the topology, and signed by an authority that is
    /// trusted.
    Verified,
}

impl TlsOptions {
    /// The same in sqlx's words, for a node that is reached over TCP.
    pub(super) fn apply(&self, options: MySqlConnectOptions) -> MySqlConnectOptions {
        let options = options.ssl_mode(match self.level {
            TlsLevel::Off => MySqlSslMode::Disabled,
            TlsLevel::Required => MySqlSslMode::Required,
            TlsLevel::Verified => MySqlSslMode::VerifyIdentity,
        });
        let options = match &self.ca_file {
            Some(file) => options.ssl_ca(file),
            None => options,
        };
        match &self.client {
            Some((certificate, key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
            None => options,
        }
    }

    /// Why a connection could not be made, for the operator: with the setting that has to do with it.
    pub(super) fn explain(&self, error: &sqlx::Error) -> String {
        match (self.reason(error), error) {
            (Some(reason), sqlx::Error::Io(_)) => format!("{reason} ({})", cause(error)),
            (Some(reason), _) => format!("{error}: {reason}"),
            (None, _) => error.to_string(),
        }
    }

    fn reason(&self, error: &sqlx::Error) -> Option<&'static str> {
        match error {
            sqlx::Error::Tls(_) if cause(error).contains("does not support TLS") => {
                Some("database.tls asks for it; the server has no certificate, or its TLS is switched off")
            }
            // Of a connection only where a filter of this host forbids it.
            sqlx::Error::Io(io) if matches!(io.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                (self.level != TlsLevel::Off)
                    .then_some("a file that database.ca_file, certificate_file or key_file names cannot be read, or a packet filter of this host")
            }
            sqlx::Error::Io(io) => match io.get_ref()?.downcast_ref::<rustls::Error>()? {
                InvalidCertificate(Expired | ExpiredContext { .. }) => Some("the server's certificate has expired"),
                InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                    Some("the server's certificate is for another name than the topology has")
                }
                // Its authority is not known, or has the name of one that is and another key.
                InvalidCertificate(UnknownIssuer | BadSignature) => {
                    Some("the server's certificate is signed by no authority that database.ca_file or this host trusts")
                }
                InvalidCertificate(_) => Some("the server's certificate is not good"),
                _ => Some("TLS failed"),
            },
            _ => match number(error)? {
                INSECURE => Some("set database.tls"),
                DENIED if self.level == TlsLevel::Off => {
                    Some("if the server, or this user, takes connections over TLS alone, set database.tls")
                }
                _ => None,
            },
        }
    }
}

/// MySQL takes no connection without TLS.
const INSECURE: u16 = 3159;
/// Access denied; MariaDB also says so where it takes no connection without TLS.
const DENIED: u16 = 1045;

/// What sqlx puts its own words before.
fn cause(error: &sqlx::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
