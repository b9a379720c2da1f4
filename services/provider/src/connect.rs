//! HTTP to others: by hyper, with TLS by rustls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Request, StatusCode, Uri};
use hongbao_core::limits::{PROVIDER_CONNECT_WITHIN, PROVIDER_ERROR_CHARS_MAX, PROVIDER_IDLE_WITHIN};
use hongbao_http::error_chain;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Sends requests, over connections that it keeps.
#[derive(Clone)]
pub struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer that has arrived whole.
#[derive(Debug)]
pub struct Exchange {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There was no connection: nothing was sent.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
}

/// What is asked for, and what of the answer is taken.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long all of it may take.
    pub within: Duration,
    /// Bytes of the body.
    pub bytes_max: usize,
}

impl HttpClient {
    /// With the certificates of the system, or with those of a PEM file instead.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub fn new(ca_file: Option<&Path>, connections_max: usize) -> Result<HttpClient, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(PROVIDER_CONNECT_WITHIN));
        let builder = HttpsConnectorBuilder::new();
        let tls = match ca_file {
            None => builder.with_native_roots().map_err(|error| format!("the certificates of the system: {error}"))?,
            Some(file) => builder.with_tls_config(trusting(file)?),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(PROVIDER_IDLE_WITHIN)
            .pool_max_idle_per_host(connections_max)
            .build(tls.https_or_http().enable_http1().wrap_connector(tcp));
        Ok(HttpClient(client))
    }

    /// Sends a request and takes the whole answer.
    ///
    /// # Errors
    /// Whether it may have arrived.
    pub async fn exchange(&self, request: Request<Full<Bytes>>, patience: Patience) -> Result<Exchange, NoAnswer> {
        let Patience { within, bytes_max } = patience;
        let talk = async {
            let answer = self.0.request(request).await.map_err(|error| {
                let reason = shortened(&error_chain(&error));
                if error.is_connect() { NoAnswer::NotSent(reason) } else { NoAnswer::Lost(reason) }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, bytes_max).collect().await;
            let body = body.map_err(|error| NoAnswer::Lost(shortened(&format!("its answer was cut off: {error}"))))?;
            Ok(Exchange { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let late = || NoAnswer::Lost(format!("no answer within {} ms", within.as_millis()));
        tokio::time::timeout(within, talk).await.map_err(|_| late())?
    }
}

fn trusting(file: &Path) -> Result<rustls::ClientConfig, String> {
    let named = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| named(&error))? {
        roots.add(certificate.map_err(|error| named(&error))?).map_err(|error| named(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| named(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads the address of a provider: `https://` anywhere, `http://` on this machine alone, since what is sent names
/// users and amounts. Without query, user and a slash at its end.
///
/// # Errors
/// What it must be; it is not repeated, since it may hold a password.
pub fn base_of(url: &str) -> Result<Uri, String> {
    let wanted = "must be like https://pay.example.com, or http:// on the loopback address, without user, query and a \
                  slash at its end";
    let uri: Uri = url.parse().map_err(|_| wanted.to_owned())?;
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let is_near = uri.host().is_some_and(is_loopback);
    let is_scheme = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_near);
    let ends_well = uri.query().is_none() && !url.ends_with('/');
    if is_plain && is_scheme && ends_well { Ok(uri) } else { Err(wanted.to_owned()) }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(hongbao_http::local::is_loopback)
}

/// As much of an error as is repeated.
pub fn shortened(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(PROVIDER_ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_elsewhere_is_reached_over_tls_alone() {
        for good in ["https://pay.example.com", "https://pay.example.com/api", "http://127.0.0.1:1", "http://[::1]:2"] {
            assert!(base_of(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "pay.example.com",
            "http://pay.example.com",
            "http://10.0.0.1",
            "https://user:secret@pay.example.com",
            "https://pay.example.com/",
            "https://pay.example.com?a=b",
            "ftp://127.0.0.1",
        ] {
            let error = base_of(bad).unwrap_err();
            assert!(error.starts_with("must be like https://") && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
