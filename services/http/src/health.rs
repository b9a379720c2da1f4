//! Whether the process lives, and whether it should get requests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use crate::json::json_response;

/// One thing that must work before this process should get requests.
pub struct Check {
    name: &'static str,
    /// Without it requests are taken all the same, but no new envelopes.
    is_of_new_envelopes: bool,
    probe: Box<dyn Fn() -> Result<Option<String>, String> + Send + Sync>,
}

impl Check {
    /// A check by name. The probe must not block; its error says what is wrong.
    pub fn new(name: &'static str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Check {
        Check::remarking(name, move || probe().map(|()| None))
    }

    /// The same, where what passes may still need a remark.
    pub fn remarking(
        name: &'static str,
        probe: impl Fn() -> Result<Option<String>, String> + Send + Sync + 'static,
    ) -> Check {
        Check { name, is_of_new_envelopes: false, probe: Box::new(probe) }
    }

    /// One without which the process should get no new envelopes. It is ready without it, since only a server of
    /// its SET can serve what exists, and any SET what is new.
    pub fn of_new_envelopes(
        name: &'static str,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Check {
        Check { is_of_new_envelopes: true, ..Check::new(name, probe) }
    }
}

/// The checks of a role, and whether it is going away. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    checks: Vec<Check>,
    draining: AtomicBool,
}

/// The body of `/readyz`.
#[derive(Serialize)]
pub struct Readiness {
    ready: bool,
    draining: bool,
    /// Whether new envelopes should be placed here.
    takes_new: bool,
    checks: Vec<CheckView>,
}

#[derive(Serialize)]
struct CheckView {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Health {
    /// Ready while every check passes, until [`Health::drain`].
    pub fn new(checks: Vec<Check>) -> Health {
        Health(Arc::new(Inner { checks, draining: AtomicBool::new(false) }))
    }

    /// From now on `/readyz` says no, so that gateways route elsewhere.
    /// To be called before the server stops accepting.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Health::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// `GET /healthz`: 200 while the process lives. `GET /readyz`: 200 or 503, with every check.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let health = self.clone();
        Router::new()
            .route("/healthz", get(|| std::future::ready(json_response(StatusCode::OK, &Alive { status: "ok" }))))
            .route("/readyz", get(move || std::future::ready(health.readyz())))
    }

    /// What `/readyz` tells.
    pub fn readiness(&self) -> Readiness {
        let draining = self.is_draining();
        let checks: Vec<CheckView> = self.0.checks.iter().map(view).collect();
        let of_requests = self.0.checks.iter().zip(&checks).filter(|(check, _)| !check.is_of_new_envelopes);
        let ready = !draining && of_requests.into_iter().all(|(_, view)| view.ok);
        let takes_new = !draining && checks.iter().all(|check| check.ok);
        Readiness { ready, draining, takes_new, checks }
    }

    fn readyz(&self) -> Response {
        let readiness = self.readiness();
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = json_response(status, &readiness);
        if !readiness.ready {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("is_draining", &self.is_draining()).finish_non_exhaustive()
    }
}

/// What `/readyz` says, as `hongbao_ready` and `hongbao_ready_check`.
impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Readiness { ready, checks, .. } = self.readiness();
        let help = "1 while the process should get requests, as its /readyz says.";
        let is_ready = ConstGauge::new(u64::from(ready));
        is_ready.encode(encoder.encode_descriptor("hongbao_ready", help, None, MetricType::Gauge)?)?;
        let help = "1 while this check of /readyz passes.";
        let mut family = encoder.encode_descriptor("hongbao_ready_check", help, None, MetricType::Gauge)?;
        for check in checks {
            let passes = ConstGauge::new(u64::from(check.ok));
            passes.encode(family.encode_family(&[("check", check.name)])?)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

fn view(check: &Check) -> CheckView {
    match (check.probe)() {
        Ok(detail) => CheckView { name: check.name, ok: true, detail },
        Err(reason) => CheckView { name: check.name, ok: false, detail: Some(reason) },
    }
}
