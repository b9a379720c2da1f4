//! Whether a server lives: asked again and again.
//!
//! A server that is *slow* must not be taken for one that is *dead*: its
//! envelopes would move to another, twice, for nothing. So a refused connection
//! counts more than a missing answer, several of either are needed, and a
//! server that says itself that it goes is believed at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use hongbao_core::limits::PROBE_BYTES_MAX;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::options::GatewayOptions;
use crate::upstream::{Standing, Upstream};

/// Between two probes at least, however much a server is doubted.
const PROBE_GAP: Duration = Duration::from_millis(10);

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// It wants requests.
    Good,
    /// It is going away.
    Draining,
    /// It says that it cannot serve, and why.
    NotReady(String),
    /// It could not be talked to: refused, broken, nonsense.
    Failed(String),
    /// It did not answer in time, or had no time for an answer.
    Slow,
}

/// What `/readyz` says, as far as it matters here.
#[derive(Deserialize)]
struct Readiness {
    draining: bool,
    #[serde(default)]
    checks: Vec<CheckView>,
}

#[derive(Deserialize)]
struct CheckView {
    name: String,
    ok: bool,
    detail: Option<String>,
}

/// What the last probes found, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    good: u32,
    failed: u32,
    not_ready: u32,
    slow: u32,
}

impl Row {
    /// Takes a finding in; the standing that follows from it.
    fn learn(&mut self, finding: &Finding, standing: Standing, options: &GatewayOptions) -> Standing {
        let (failed, not_ready, slow) = (self.failed + 1, self.not_ready + 1, self.slow + 1);
        *self = match finding {
            Finding::Good => Row { good: self.good + 1, ..Row::default() },
            Finding::Draining => Row::default(),
            Finding::NotReady(_) => Row { not_ready, ..Row::default() },
            // A slow answer between two refusals is no sign of life, and the other way round.
            Finding::Failed(_) => Row { good: 0, not_ready: 0, failed, slow: self.slow },
            Finding::Slow => Row { good: 0, not_ready: 0, failed: self.failed, slow },
        };
        match finding {
            Finding::Good if self.good >= options.back_after => Standing::Up,
            Finding::Draining => Standing::Draining,
            Finding::NotReady(_) if not_ready >= options.dead_after_failures => Standing::NotReady,
            Finding::Failed(_) if failed >= options.dead_after_failures => Standing::Dead,
            Finding::Slow if slow >= options.dead_after_timeouts => Standing::Dead,
            _ => standing,
        }
    }

    /// Whether the next finding may change something, so that it is wanted soon.
    fn is_undecided(&self, standing: Standing) -> bool {
        match standing {
            Standing::Up => self.good == 0,
            Standing::Draining | Standing::NotReady | Standing::Dead => self.good > 0,
        }
    }
}

type ProbeClient = Client<HttpConnector, Empty<Bytes>>;

/// Probes a server until it is aborted.
pub(crate) async fn probe_forever(upstream: Arc<Upstream>, options: GatewayOptions) {
    // One connection is kept: the system says at once when the process behind it is gone.
    let client: ProbeClient = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(1)
        .build(crate::links::connector(options.connect_timeout_ms));
    let uri = Uri::builder().scheme("http").authority(upstream.authority.clone()).path_and_query("/readyz").build();
    let uri = uri.expect("an authority and a path are a URI");
    let limit = Duration::from_millis(options.probe_timeout_ms);
    let mut row = Row::default();
    loop {
        let finding = timeout(limit, probe(&client, &uri)).await.unwrap_or(Finding::Slow);
        let was = upstream.standing();
        let is = row.learn(&finding, was, &options);
        if is != was {
            upstream.set_standing(is);
            let (set, server, address) = (&upstream.set, &upstream.name, upstream.address);
            tracing::warn!(set, server, %address, ?was, ?is, ?finding, "a server's standing has changed");
        }
        let soon = row.is_undecided(is) && finding != Finding::Slow;
        let pause = Duration::from_millis(if soon { options.probe_again_ms } else { options.probe_every_ms });
        sleep(pause.min(PROBE_GAP)).await;
        tokio::select! {
            () = sleep(pause.saturating_sub(PROBE_GAP)) => {}
            () = upstream.doubt.notified() => {}
        }
    }
}

async fn probe(client: &ProbeClient, uri: &Uri) -> Finding {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => return Finding::Failed(crate::links::words(&error)),
    };
    let status = response.status();
    let body = match Limited::new(response.into_body(), PROBE_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Finding::Failed(error.to_string()),
    };
    if status == StatusCode::OK {
        return Finding::Good;
    }
    if status != StatusCode::SERVICE_UNAVAILABLE {
        return Finding::Failed(format!("it answers {status}"));
    }
    match serde_json::from_slice::<Readiness>(&body) {
        Ok(readiness) if readiness.draining => Finding::Draining,
        Ok(readiness) => Finding::NotReady(reason(&readiness)),
        // Too busy to say more, as when it has too many connections.
        Err(_) => Finding::Slow,
    }
}

/// Which checks fail, and why.
fn reason(readiness: &Readiness) -> String {
    let failing = readiness.checks.iter().filter(|check| !check.ok);
    let words = failing.map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("fails")));
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Standing, findings: &[Finding]) -> Vec<Standing> {
        let options = GatewayOptions::default();
        let mut row = Row::default();
        let mut standing = start;
        let mut learn = |finding| {
            standing = row.learn(finding, standing, &options);
            standing
        };
        findings.iter().map(&mut learn).collect()
    }

    fn failed() -> Finding {
        Finding::Failed("refused".to_owned())
    }

    fn not_ready() -> Finding {
        Finding::NotReady("database: gone".to_owned())
    }

    #[test]
    fn a_server_is_dead_after_three_failures_in_a_row_and_back_after_two_good_probes() {
        use Standing::{Dead, Up};
        assert_eq!(after(Up, &[failed(), failed(), failed()]), [Up, Up, Dead]);
        assert_eq!(after(Up, &[failed(), failed(), Finding::Good, failed(), failed()]), [Up; 5]);
        assert_eq!(after(Dead, &[Finding::Good, failed(), Finding::Good, Finding::Good]), [Dead, Dead, Dead, Up]);
    }

    #[test]
    fn one_slow_answer_kills_nobody_and_three_do() {
        use Standing::{Dead, Up};
        assert_eq!(after(Up, &[Finding::Slow, Finding::Slow, Finding::Good, Finding::Slow, Finding::Slow]), [Up; 5]);
        assert_eq!(after(Up, &[Finding::Slow, Finding::Slow, Finding::Slow]), [Up, Up, Dead]);
    }

    #[test]
    fn a_server_that_goes_is_believed_at_once() {
        use Standing::{Draining, Up};
        assert_eq!(after(Up, &[Finding::Draining]), [Draining]);
        assert_eq!(after(Draining, &[Finding::Good, Finding::Good]), [Draining, Up], "it is another process now");
        assert_eq!(after(Draining, &[failed(), failed(), failed()])[2], Standing::Dead);
    }

    #[test]
    fn a_server_that_says_no_is_out_when_it_says_it_repeatedly() {
        use Standing::{NotReady, Up};
        assert_eq!(after(Up, &[not_ready(), not_ready(), Finding::Good, not_ready()]), [Up; 4]);
        assert_eq!(after(Up, &[not_ready(), not_ready(), not_ready()]), [Up, Up, NotReady]);
    }
}
