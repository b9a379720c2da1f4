//! What operators may change while a server runs.

mod common;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use hongbao_core::id::Fold;
use hongbao_core::wire::Role;
use hongbao_core::{SystemClock, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::http::{App, routes};
use hongbao_envelope::server::Server;
use hongbao_http::{Issuer, Verifier};
use hongbao_store::sqlite::SqliteStore;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

const SECRET: &[u8] = b"a secret that only this test knows";

struct Bench {
    _dir: tempfile::TempDir,
    routes: Router,
    issuer: Issuer,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
        let parts = common::parts(
            Arc::new(store),
            Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap()),
            Arc::new(SystemClock),
        );
        let (server, _) = Server::start(parts, &mut Registry::default());
        let verifier = Verifier::hs256(SECRET, Arc::new(SystemClock)).unwrap();
        let issuer = Issuer::hs256(SECRET, Arc::new(SystemClock)).unwrap();
        Bench { _dir: dir, routes: routes(App::new(server, None, verifier), None), issuer }
    }

    async fn ask(&self, method: &str, role: Option<Role>, body: &str) -> (StatusCode, serde_json::Value) {
        let token = self.issuer.issue(&UserId::parse("li").unwrap(), &[], role, 60);
        let request = Request::builder().method(method).uri("/v1/operator/permits");
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn an_operator_sees_and_changes_the_cap_and_nobody_else_does() {
    let bench = Bench::new().await;
    let operator = Some(Role::Operator);
    let shown = serde_json::json!({ "cap": 64, "counted_by": "local" });
    assert_eq!(bench.ask("GET", operator, "").await, (StatusCode::OK, shown.clone()));
    let changed = serde_json::json!({ "cap": 2, "counted_by": "local" });
    assert_eq!(bench.ask("PUT", None, r#"{"cap":2}"#).await.0, StatusCode::FORBIDDEN);
    assert_eq!(bench.ask("GET", None, "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(bench.ask("GET", operator, "").await.1, shown);
    assert_eq!(bench.ask("PUT", operator, r#"{"cap":2}"#).await, (StatusCode::OK, changed.clone()));
    assert_eq!(bench.ask("GET", operator, "").await.1, changed);
}

#[tokio::test]
async fn a_cap_that_makes_no_sense_changes_nothing() {
    let bench = Bench::new().await;
    for body in [r#"{"cap":0}"#, r#"{"cap":-1}"#, r#"{"cap":10001}"#, r#"{"cap":"2"}"#, r#"{"cap":2,"x":1}"#, "{}", ""]
    {
        let (status, _) = bench.ask("PUT", Some(Role::Operator), body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert_eq!(bench.ask("GET", Some(Role::Operator), "").await.1["cap"], 64);
}
