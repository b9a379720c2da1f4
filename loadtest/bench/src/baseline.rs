//! The bare route: what this machine gives when a request costs nothing but HTTP.

use std::io::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use hongbao_load::Fallible;

/// An answer of the size of a real one, and alike enough to pass for it.
const ANSWER: &str =
    r#"{"outcome":"opened","amount_fen":11,"seq":123456,"opened_at":"2026-01-31T20:00:00.000Z","replayed":false}"#;

/// Serves a static answer to every call until the process is killed.
pub fn serve(listen: SocketAddr) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on http://{}", listener.local_addr()?)?;
        out.flush()?;
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("TCP_NODELAY: {error}");
            }
        });
        axum::serve(listener, router()).await?;
        Ok(())
    })
}

fn router() -> Router {
    // `verb` is open or grab: all calls are measured against the same answer. A
    // gateway in front of it asks whether it is ready.
    Router::new()
        .route("/v1/envelopes/{id}", get(async || ([(CONTENT_TYPE, "application/json")], ANSWER)))
        .route("/v1/envelopes/{id}/{verb}", post(async || ([(CONTENT_TYPE, "application/json")], ANSWER)))
        .route("/readyz", get(async || r#"{"ready":true}"#))
}
