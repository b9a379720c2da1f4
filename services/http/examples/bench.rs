//! temporary
use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use hongbao_core::{SystemClock, UserId};
use hongbao_http::*;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Empty {
    outcome: &'static str,
}

async fn bare() -> axum::Json<Empty> {
    axum::Json(Empty { outcome: "empty" })
}
async fn withid(Path(_id): Path<String>) -> axum::response::Response {
    json_response(StatusCode::OK, &Empty { outcome: "empty" })
}
async fn full(State(_v): State<Verifier>, caller: Caller, Path(_id): Path<String>) -> axum::response::Response {
    std::hint::black_box(&caller);
    json_response(StatusCode::OK, &Empty { outcome: "empty" })
}
async fn open(
    State(_v): State<Verifier>,
    _caller: Caller,
    Path(_id): Path<String>,
    Json(b): Json<hongbao_core::wire::OpenRequest>,
) -> axum::response::Response {
    std::hint::black_box(&b);
    json_response(StatusCode::OK, &Empty { outcome: "empty" })
}

#[tokio::main]
async fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let clock: Arc<dyn hongbao_core::Clock> = Arc::new(SystemClock);
    let verifier = Verifier::hs256(&[7; 32], clock.clone()).unwrap();
    let issuer = Issuer::hs256(&[7; 32], clock).unwrap();
    let token = issuer.issue(&UserId::parse("user_12345").unwrap(), &[], None, 3600);
    if mode == "token" {
        println!("{token}");
        return;
    }
    if mode == "verify" {
        for round in 0..3 {
            let t = std::time::Instant::now();
            for _ in 0..200_000 {
                std::hint::black_box(verifier.verify(std::hint::black_box(&token)).unwrap());
            }
            println!("round {round}: cached {:?}", t.elapsed() / 200_000);
        }
        let tokens: Vec<String> = (0..100_000)
            .map(|i| issuer.issue(&UserId::parse(&format!("user_{i}")).unwrap(), &[], None, 3600))
            .collect();
        let t = std::time::Instant::now();
        for token in &tokens {
            std::hint::black_box(verifier.verify(token).unwrap());
        }
        println!("uncached (decode + insert) {:?}", t.elapsed() / 100_000);
        let t = std::time::Instant::now();
        let mut n = 0u64;
        for i in 0..5_000_000u64 {
            n = n.wrapping_add(std::time::Instant::now().elapsed().as_nanos() as u64 ^ i);
        }
        println!("2 x Instant::now {:?} {n}", t.elapsed() / 5_000_000);
        return;
    }
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", std::env::args().nth(2).unwrap().parse::<u16>().unwrap()))
            .await
            .unwrap();
    let metrics = HttpMetrics::new(&[
        "POST /v1/envelopes",
        "POST /v1/envelopes/{id}/pay",
        "POST /v1/envelopes/{id}/grab",
        "POST /v1/envelopes/{id}/open",
        "GET /v1/envelopes/{id}",
        "GET /v1/wallet",
        "GET /v1/wallet/transfers",
    ]);
    let options = || ServeOptions { metrics: metrics.clone(), ..ServeOptions::default() };
    match mode.as_str() {
        "bare" => axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |s| {
                let _ = s.set_nodelay(true);
            }),
            Router::new().route("/", post(bare)),
        )
        .await
        .unwrap(),
        "bareid" => axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |s| {
                let _ = s.set_nodelay(true);
            }),
            Router::new().route("/v1/envelopes/{id}/grab", post(withid)),
        )
        .await
        .unwrap(),
        "ours" => serve(listener, Router::new().route("/", post(bare)), options(), std::future::pending()).await,
        "oursid" => {
            serve(
                listener,
                Router::new().route("/v1/envelopes/{id}/grab", post(withid)),
                options(),
                std::future::pending(),
            )
            .await
        }
        "full" => {
            serve(
                listener,
                Router::new().route("/v1/envelopes/{id}/grab", post(full)).with_state(verifier),
                options(),
                std::future::pending(),
            )
            .await
        }
        "open" => {
            serve(
                listener,
                Router::new().route("/v1/envelopes/{id}/open", post(open)).with_state(verifier),
                options(),
                std::future::pending(),
            )
            .await
        }
        _ => panic!(),
    }
}
