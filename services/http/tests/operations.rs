//! What an operator sees: health, metrics, the log.

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use common::{Wire, patient, start};
use hongbao_core::calls::Call;
use hongbao_core::limits::SLOW_REQUEST_MS;
use hongbao_http::health::Check;
use hongbao_http::request_log::REQUESTS;
use hongbao_http::{Code, Health, HttpMetrics, Outer, Problem, ServeOptions, metrics_router};
use http::Request;
use prometheus_client::registry::Registry;
use serde_json::json;

#[tokio::test]
async fn readiness_names_what_is_wrong_and_says_no_while_draining() {
    let up = Arc::new(AtomicBool::new(false));
    let store = Check::new("store", {
        let up = up.clone();
        move || if up.load(Ordering::Relaxed) { Ok(()) } else { Err("no such file".to_owned()) }
    });
    let health = Health::new(vec![Check::new("wallet", || Ok(())), store]);
    let server = start(health.router(), patient()).await;
    let mut wire = Wire::open(&server).await;

    let reply = wire.get("/readyz").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let store = json!({"name": "store", "ok": false, "detail": "no such file"});
    let checks = json!([{"name": "wallet", "ok": true}, store]);
    let expected = json!({"ready": false, "draining": false, "takes_new": false, "checks": checks});
    assert_eq!(body, expected);

    up.store(true, Ordering::Relaxed);
    assert_eq!(wire.get("/readyz").await.status, 200);
    assert_eq!(wire.get("/healthz").await.status, 200);

    health.drain();
    let reply = wire.get("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("\"draining\":true"));
    assert_eq!(wire.get("/healthz").await.status, 200, "it lives all the same");
}

#[test]
fn a_process_that_takes_no_new_envelopes_is_ready_for_all_else() {
    let up = Arc::new(AtomicBool::new(false));
    let database = up.clone();
    let new = Check::of_new_envelopes("new_envelopes", move || match database.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("gone".to_owned()),
    });
    let health = Health::new(vec![Check::new("wallet", || Ok(())), new]);
    let readiness = || serde_json::to_value(health.readiness()).unwrap();
    let (ready, takes_new) = (readiness()["ready"].clone(), readiness()["takes_new"].clone());
    assert_eq!((ready, takes_new), (json!(true), json!(false)), "{}", readiness());
    assert_eq!(readiness()["checks"][1]["detail"], "gone");
    up.store(true, Ordering::Relaxed);
    assert_eq!(readiness()["takes_new"], true);
    health.drain();
    assert_eq!(readiness()["takes_new"], false);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class_of_status() {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&[Call::Balance, Call::Open, Call::Detail], &mut registry);
    let router = Router::new()
        .route(Call::Balance.path(), get(|| async { "balance" }))
        .route(Call::Detail.path(), get(|| async { "detail" }))
        .route(Call::Open.path(), post(|| async { Problem::new(Code::Busy, "full") }))
        .merge(metrics_router(registry));
    let options = ServeOptions { metrics, connections_max: 1, ..patient() };
    let server = start(router, options).await;
    let mut wire = Wire::open(&server).await;
    for _ in 0..3 {
        wire.get("/v1/wallet").await;
    }
    wire.get("/v1/envelopes/1").await;
    wire.get("/v1/envelopes/1/2").await;
    wire.post("/v1/envelopes/1/open", "").await;
    wire.post("/v1/wallet", "").await;
    Wire::open(&server).await.get("/v1/wallet").await.problem(503, "busy");

    let text = wire.get("/metrics").await.body;
    for line in [
        r#"hongbao_http_requests_total{route="GET /v1/wallet",status="2xx"} 3"#,
        r#"hongbao_http_requests_total{route="GET /v1/envelopes/{id}",status="2xx"} 1"#,
        r#"hongbao_http_requests_total{route="POST /v1/envelopes/{id}/open",status="5xx"} 1"#,
        r#"hongbao_http_requests_total{route="other",status="4xx"} 2"#,
        r#"hongbao_http_request_seconds_count{route="GET /v1/wallet"} 3"#,
        r#"hongbao_http_request_seconds_bucket{route="GET /v1/wallet",le="+Inf"} 3"#,
        "hongbao_http_connections 1",
        "hongbao_http_connections_refused_total 1",
        "hongbao_http_links 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text_unless_openmetrics_is_asked_for() {
    let server = start(metrics_router(Registry::default()), patient()).await;
    let mut wire = Wire::open(&server).await;
    let plain = wire.get("/metrics").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    wire.send("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n").await;
    let open = wire.reply().await;
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
}

/// Lines of the log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_we_are_to_blame_for_is_logged_once_and_a_refusal_is_not() {
    let log = Log::default();
    let writer = log.clone();
    // As it is unless `log.requests` asks for a line of each request.
    let subscriber = tracing_subscriber::fmt().with_env_filter(format!("info,{REQUESTS}=off")).with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let router = Router::new()
        .route("/fine", get(|| async { "fine" }))
        .route("/busy", get(|| async { Problem::new(Code::Busy, "full") }))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("as asked")
                }
            }),
        )
        .route("/lost", get(|| async { Problem::new(Code::OutcomeUnknown, "the commit was not confirmed") }));
    let outer = Outer::new(router, HttpMetrics::default());
    for path in ["/fine", "/busy", "/nowhere", "/lost", "/panic"] {
        let request = Request::get(path).header("host", "x").header("x-request-id", "r-7").body(Body::empty()).unwrap();
        outer.answer(request).await;
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in
        ["WARN", "request_id=\"r-7\"", "method=GET", "path=\"/lost\"", "code=\"outcome_unknown\"", "not confirmed"]
    {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    for part in ["ERROR", "request_id=\"r-7\"", "method=GET", "path=\"/panic\"", "as asked"] {
        assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
    }
}

/// What this thread logs, a JSON object a line, until the guard is dropped.
fn json_log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_slow_request_is_logged_with_its_latency_as_a_number() {
    let (log, _guard) = json_log();
    let slow = || tokio::time::sleep(Duration::from_millis(SLOW_REQUEST_MS));
    let outer = Outer::new(Router::new().route("/slow", get(slow)), HttpMetrics::default());
    outer.answer(Request::get("/slow").header("host", "x").body(Body::empty()).unwrap()).await;
    let lines = log.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let fields = &serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"];
    assert_eq!((&fields["message"], &fields["status"]), (&json!("a request was slow"), &json!(200)));
    assert!(fields["elapsed_ms"].as_f64().unwrap() >= SLOW_REQUEST_MS as f64, "{line}");
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_logged() {
    let (log, _guard) = json_log();
    let never = || std::future::pending::<()>();
    let outer = Outer::new(Router::new().route("/never", get(never)), HttpMetrics::default());
    let request = Request::get("/never").header("host", "x").header("x-request-id", "r-1").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(20), outer.answer(request)).await;
    assert!(answer.is_err());
    let lines = log.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let fields = &serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"];
    assert_eq!((&fields["message"], &fields["request_id"]), (&json!("a request was abandoned"), &json!("r-1")));
    assert!(fields["elapsed_ms"].as_f64().unwrap() >= 20.0, "{line}");
}
