//! Whether a server says in time that it should get no requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hongbao_core::id::Fold;
use hongbao_core::{Clock as _, Date, Slot, SystemClock, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_envelope::ready;
use hongbao_http::Health;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_testbed::Part;
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

/// As it is promised to operators, and a moment for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_millis(6_000);

/// The routes of a server whose database is this one.
async fn server_of(mariadb: &Part) -> Router {
    let options = MysqlOptions {
        nodes: vec![mariadb.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        statement_timeout: Duration::from_secs(600),
        ..MysqlOptions::default()
    };
    let layout = || Layout::always(Slot::all(), Fold::new(1, 1).unwrap(), 0, Traffic::Live);
    migrate(options.clone(), &layout(), Date::of(SystemClock.now(), 0)).await.unwrap();
    let store = MysqlStore::open(options, layout()).await.unwrap();
    // The task ends with the test's runtime.
    let (checks, _) = ready::watch(Arc::new(store), Arc::new(SystemClock), &mut Registry::default());
    Health::new(checks).router()
}

async fn until_ready_is(ready: bool, routes: &Router) {
    let began = Instant::now();
    loop {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let status = routes.clone().oneshot(request).await.unwrap().status();
        if (status == StatusCode::OK) == ready {
            return;
        }
        assert!(began.elapsed() < NOTICED_WITHIN, "it is not noticed that ready is {ready}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_noticed_long_before_a_statement_is_given_up() {
    let mariadb = Part::mariadb(&[]);
    let routes = server_of(&mariadb).await;
    until_ready_is(true, &routes).await;
    mariadb.pause();
    until_ready_is(false, &routes).await;
    mariadb.resume();
    until_ready_is(true, &routes).await;
}

/// What `/readyz` says of a field.
async fn said(field: &str, routes: &Router) -> serde_json::Value {
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let body = routes.clone().oneshot(request).await.unwrap().into_body();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()[field].clone()
}

#[tokio::test]
async fn without_its_database_a_server_takes_no_new_envelopes_before_it_is_not_ready() {
    let mut mariadb = Part::mariadb(&[]);
    let routes = server_of(&mariadb).await;
    until_ready_is(true, &routes).await;
    assert_eq!(said("takes_new", &routes).await, true);
    mariadb.kill();
    let began = Instant::now();
    while said("takes_new", &routes).await == true {
        assert!(began.elapsed() < NOTICED_WITHIN, "it is not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // By its own check: the other one, which makes it unready, gives it more time.
    let checks = said("checks", &routes).await;
    let of = |name: &str| checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()["ok"].clone();
    assert_eq!(of("new_envelopes"), false, "{checks}");
    until_ready_is(false, &routes).await;
    mariadb.restart();
    until_ready_is(true, &routes).await;
    let began = Instant::now();
    while said("takes_new", &routes).await == false {
        assert!(began.elapsed() < NOTICED_WITHIN, "it is not noticed that it is back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_answers_and_whose_log_stalls_is_noticed_as_soon() {
    let mariadb = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
    let routes = server_of(&mariadb).await;
    until_ready_is(true, &routes).await;
    let stall = mariadb.stall_log();
    until_ready_is(false, &routes).await;
    assert_eq!(mariadb.sql("SELECT 1").trim(), "1", "it answers");
    drop(stall);
    until_ready_is(true, &routes).await;
}
