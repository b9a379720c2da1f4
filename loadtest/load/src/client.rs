//! Calls on the service that are not measured: every answer must be a success.

use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};

use crate::error::Fallible;
use crate::generator::{BUSY, Generator};
use crate::http::{Answer, Request};
use crate::request_buffer::RequestBuffer;
use crate::site::Site;
use crate::source::{LoadStats, RequestSource};
use crate::{interrupt, machine};

/// Connections that are enough to prepare and to audit.
pub const CONNECTIONS: usize = 64;
/// How long the service may take to become ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long tokens are valid: a run is over long before.
const TOKEN_LIFE_S: u64 = 7 * 86_400;

/// Makes bearer tokens with the secret of an installation (HS256).
pub struct Signer {
    key: EncodingKey,
    expires_at_s: u64,
    /// Their `aud` and `iss`.
    audience: Option<String>,
    issuer: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
}

impl Signer {
    /// Signs with `secret`, for an audience and from an issuer where the installation demands them.
    pub fn new(secret: &str, audience: Option<String>, issuer: Option<String>) -> Signer {
        let now = machine::wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let expires_at_s = now.as_secs() + TOKEN_LIFE_S;
        Signer { key: EncodingKey::from_secret(secret.as_bytes()), expires_at_s, audience, issuer }
    }

    /// A bearer token for `user`, a member of these groups.
    pub fn token(&self, user: &str, groups: &[String]) -> String {
        let (aud, iss) = (self.audience.as_deref(), self.issuer.as_deref());
        let claims = Claims { sub: user, exp: self.expires_at_s, aud, iss, groups };
        encode(&Header::default(), &claims, &self.key).expect("plain claims can be signed by a secret")
    }
}

/// One service, and the secret that it checks tokens with.
pub struct Client {
    site: Site,
    signer: Signer,
}

impl Client {
    /// A client of the service at `site`, which takes HS256 tokens made with `secret`.
    pub fn new(site: impl Into<Site>, secret: &str) -> Client {
        Client { site: site.into(), signer: Signer::new(secret, None, None) }
    }

    /// A bearer token for `user`.
    pub fn token(&self, user: &str) -> String {
        self.signer.token(user, &[])
    }

    /// Sends all requests, each until it is not answered `busy`, and hands on each body with its request's index.
    pub fn all(
        &self,
        requests: &RequestBuffer,
        on_body: impl FnMut(usize, &[u8]) -> Result<(), String>,
    ) -> Fallible<()> {
        self.all_over(CONNECTIONS, requests, on_body)
    }

    /// The same over so many connections at most.
    pub fn all_over(
        &self,
        connections: usize,
        requests: &RequestBuffer,
        on_body: impl FnMut(usize, &[u8]) -> Result<(), String>,
    ) -> Fallible<()> {
        let mut source = RequestSource::until_taken(requests);
        let stats = send_all(&self.site, connections, &mut source, on_body)?;
        match stats.errors.iter().find(|(label, _)| *label != BUSY) {
            Some((label, count)) => Err(format!("preparation: {count} of {} answers: {label}", stats.sent).into()),
            None => Ok(()),
        }
    }

    /// Sends one request of a user and answers its body.
    pub fn one(&self, method: &str, path: &str, user: &str, body: &str) -> Fallible<String> {
        self.one_with(&self.token(user), method, path, body)
    }

    /// The same with a bearer token; an empty one sends no token.
    pub fn one_with(&self, token: &str, method: &str, path: &str, body: &str) -> Fallible<String> {
        let mut requests = RequestBuffer::default();
        requests.push(|bytes| self.request(method, path, token, body).write(bytes));
        let mut text = String::new();
        self.all(&requests, |_, body| {
            text = String::from_utf8_lossy(body).into_owned();
            Ok(())
        })
        .map_err(|error| format!("{method} {path}: {error}"))?;
        Ok(text)
    }

    fn request<'a>(&'a self, method: &'a str, path: &'a str, token: &'a str, body: &'a str) -> Request<'a, &'a str> {
        Request { host: self.site.authority(), method, path, token, header: "", body }
    }

    /// The service's metrics, as text.
    pub fn metrics(&self) -> Fallible<String> {
        self.one("GET", "/metrics", "operator", "")
    }

    /// Waits until a service that is there already says that it is ready: only as long as that is what it, or
    /// a proxy before it, denies. Anything else does not change by itself.
    pub fn wait_while_not_ready(&self) -> Fallible<()> {
        let started = Instant::now();
        let mut requests = RequestBuffer::default();
        requests.push(|bytes| self.request("GET", "/readyz", "", "").write(bytes));
        loop {
            interrupt::check()?;
            let stats = send_all(&self.site, 1, &mut RequestSource::once(&requests), |_, _| Ok(()))?;
            let Some(refusal) = stats.errors.into_keys().next() else { return Ok(()) };
            let is_temporary = ["502", "503", "504"].iter().any(|status| refusal.starts_with(status));
            if !is_temporary || started.elapsed() > READY_MAX {
                return Err(format!("{} is not ready: GET /readyz: {refusal}", self.site).into());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// Waits until a service that was just started says that it is ready.
    pub fn wait_until_ready(&self) -> Fallible<()> {
        let started = Instant::now();
        loop {
            interrupt::check()?;
            match self.one("GET", "/readyz", "operator", "") {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > READY_MAX => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Sends all requests of a source over so many connections at most, and hands on the body of
/// each success with its request's index. All other answers are counted by their label.
pub fn send_all(
    site: impl Into<Site>,
    connections: usize,
    source: &mut RequestSource<'_>,
    mut on_body: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Fallible<LoadStats> {
    let check = |index: usize, answer: &Answer<'_>| match answer.status {
        200..300 => on_body(index, answer.body),
        _ => Err(describe(answer)),
    };
    let connections = connections.min(source.requests().count());
    Generator::connect(site, connections)?.drive(source, None, check)
}

/// An answer's status with what its body says: `503 busy`, `200 empty`.
pub fn describe(answer: &Answer<'_>) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body<'a> {
        code: Option<&'a str>,
        outcome: Option<&'a str>,
        replayed: bool,
    }
    let body: Body<'_> = serde_json::from_slice(answer.body).unwrap_or_default();
    let replayed = body.replayed.then_some("replayed");
    let parts = [body.code, body.outcome, replayed];
    parts.into_iter().flatten().fold(answer.status.to_string(), |label, part| label + " " + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_described_by_its_status_and_its_code_or_outcome() {
        let describe = |status, body: &str| describe(&Answer::of(status, body.as_bytes()));
        assert_eq!(describe(503, r#"{"type":"x","code":"busy","retryable":true}"#), "503 busy");
        assert_eq!(describe(200, r#"{"outcome":"empty"}"#), "200 empty");
        assert_eq!(describe(200, r#"{"outcome":"opened","seq":1,"replayed":true}"#), "200 opened replayed");
        assert_eq!(describe(500, "oops"), "500");
    }

    #[test]
    fn a_preparation_stops_at_the_first_kind_of_refusal() {
        let fake = hongbao_load_testkit::start();
        let client = Client::new(fake, "secret");
        client.wait_until_ready().unwrap();
        let error = client.one("POST", "/v1/envelopes/none/pay", "sender", "").unwrap_err().to_string();
        assert!(error.contains("404 not_found"), "{error}");
    }
}
