//! How S3 is spoken to: by hyper, as everything else here is over HTTP, with TLS by rustls.

use std::error::Error as _;

use async_trait::async_trait;
use hongbao_core::limits::{
    EXPORT_FILE_BYTES_MAX, EXPORT_THREADS_MAX, S3_CONNECT_WITHIN, S3_ERROR_BYTES_MAX, S3_IDLE_WITHIN,
};
use http::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

/// Makes clients of S3.
#[derive(Debug)]
pub struct Connect;

impl object_store::client::HttpConnector for Connect {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(S3_CONNECT_WITHIN));
        let no_roots = |error: std::io::Error| object_store::Error::Generic { store: "S3", source: error.into() };
        let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(no_roots)?;
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| is_on(&value));
        let schemes = if allows_http { tls.https_or_http() } else { tls.https_only() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(S3_IDLE_WITHIN)
            .pool_max_idle_per_host(EXPORT_THREADS_MAX)
            .build(schemes.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(S3Client(client)))
    }
}

/// What the library takes for yes in a variable.
pub fn is_on(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

#[derive(Debug)]
struct S3Client(Client<HttpsConnector<HttpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for S3Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.request(request).await.map_err(|error| HttpError::new(kind_of(&error), error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_client_error() || head.status.is_server_error() {
            let said = Limited::new(body, S3_ERROR_BYTES_MAX).collect().await;
            let said = said.map(|said| said.to_bytes()).unwrap_or_default();
            return Ok(Response::from_parts(head, code_of(&said).into()));
        }
        let body = Limited::new(body, EXPORT_FILE_BYTES_MAX);
        let cut_off = |error| HttpError::new_boxed(HttpErrorKind::Interrupted, error);
        Ok(Response::from_parts(head, HttpResponseBody::new(body.map_err(cut_off))))
    }
}

/// The code of an error, as `AccessDenied`. The rest of it goes into no log: S3 repeats tokens and what was signed.
fn code_of(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// Whether a request may be made again. All of them may, for what they do twice they do once.
fn kind_of(error: &Error) -> HttpErrorKind {
    match error.source() {
        _ if error.is_connect() => HttpErrorKind::Connect,
        Some(_) => HttpErrorKind::Request,
        None => HttpErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_the_code_alone_is_repeated() {
        let said = b"<?xml version=\"1.0\"?><Error><Code>InvalidToken</Code><Token-0>sEcReT</Token-0></Error>";
        assert_eq!(code_of(said), "InvalidToken");
        for nothing in [&b""[..], b"<html>sEcReT", b"<Code>sEcReT", b"\xff<Code></Code>"] {
            assert_eq!(code_of(nothing), "");
        }
    }
}
