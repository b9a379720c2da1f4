//! One probe: what a server answers to `/readyz`, and what is found in it.

use axum::body::Bytes;
use hongbao_core::limits::PROBE_BYTES_MAX;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use serde::Deserialize;

use crate::connect::ServerConnector;

/// What probes are sent with.
pub(crate) type ProbeClient = Client<ServerConnector, Empty<Bytes>>;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It wants requests.
    Good,
    /// It is going away.
    Draining,
    /// It says that it cannot serve, and why.
    NotReady(String),
    /// It could not be talked to: refused, broken, nonsense.
    Failed(String),
    /// It did not answer in time.
    Slow,
    /// It lives, and no more is known: the answer came late, or it had no time for one.
    Alive,
}

/// What a probe brought.
pub(crate) struct ProbeAnswer {
    pub(crate) finding: Finding,
    /// Whether new envelopes may be placed there; `None` where it did not say.
    pub(crate) takes_new: Option<bool>,
}

impl From<Finding> for ProbeAnswer {
    fn from(finding: Finding) -> ProbeAnswer {
        ProbeAnswer { finding, takes_new: None }
    }
}

/// What `/readyz` says, as far as it matters here.
#[derive(Deserialize)]
struct Readiness {
    draining: bool,
    /// A server of an earlier version says nothing of it.
    #[serde(default = "yes")]
    takes_new: bool,
    #[serde(default)]
    checks: Vec<CheckView>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct CheckView {
    name: String,
    ok: bool,
    detail: Option<String>,
}

/// Sends one probe and waits for its answer.
pub(crate) async fn ask(client: &ProbeClient, uri: &Uri) -> ProbeAnswer {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => return Finding::Failed(hongbao_http::error_chain(&error)).into(),
    };
    let status = response.status();
    let body = match Limited::new(response.into_body(), PROBE_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Finding::Failed(error.to_string()).into(),
    };
    let readiness = serde_json::from_slice::<Readiness>(&body);
    let takes_new = readiness.as_ref().ok().map(|readiness| readiness.takes_new);
    let finding = match readiness {
        _ if status == StatusCode::OK => Finding::Good,
        _ if status != StatusCode::SERVICE_UNAVAILABLE => Finding::Failed(format!("it answers {status}")),
        Ok(readiness) if readiness.draining => Finding::Draining,
        Ok(readiness) => Finding::NotReady(reason(&readiness)),
        // Too busy to say more, as when it has too many connections.
        Err(_) => Finding::Alive,
    };
    ProbeAnswer { finding, takes_new }
}

/// Which checks fail, and why.
fn reason(readiness: &Readiness) -> String {
    let failing = readiness.checks.iter().filter(|check| !check.ok);
    let reasons = failing.map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("fails")));
    reasons.collect::<Vec<_>>().join("; ")
}
