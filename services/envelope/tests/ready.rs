//! Whether a server says in time that it should get no requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hongbao_core::id::Fold;
use hongbao_core::{Slot, SystemClock};
use hongbao_envelope::ready;
use hongbao_http::Health;
use hongbao_parts::Part;
use hongbao_store::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

/// As it is promised to operators, and a moment for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_millis(6_000);

#[tokio::test]
async fn a_database_that_hangs_is_noticed_long_before_a_statement_is_given_up() {
    let mariadb = Part::mariadb(&[]);
    let options = MysqlOptions {
        nodes: vec![mariadb.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        statement_timeout: Duration::from_secs(600),
        ..MysqlOptions::default()
    };
    let layout = || Layout {
        fold: Fold::new(1, 1).unwrap(),
        slots: Slot::all().collect(),
        zone_offset_s: 0,
        world: hongbao_core::World::Real,
    };
    migrate(options.clone(), &layout()).await.unwrap();
    let store = MysqlStore::open(options, layout()).await.unwrap();
    let (checks, asking) = ready::watch(Arc::new(store), Arc::new(SystemClock), &mut Registry::default());
    let routes: axum::Router = Health::new(checks).router();
    let is_ready = async || {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        routes.clone().oneshot(request).await.unwrap().status() == StatusCode::OK
    };
    let until = async |ready: bool| {
        let began = Instant::now();
        while is_ready().await != ready {
            assert!(began.elapsed() < NOTICED_WITHIN, "it is not noticed that ready is {ready}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(true).await;
    mariadb.pause();
    until(false).await;
    mariadb.resume();
    until(true).await;
    asking.abort();
}
