//! The bare route: what this machine gives when a request costs nothing but HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use hongbao_load::{Child, Fallible};

/// An answer of the size of a real one, and alike enough to pass for it.
const ANSWER: &str =
    r#"{"outcome":"opened","amount_fen":11,"seq":123456,"opened_at":"2026-01-31T20:00:00.000Z","replayed":false}"#;

/// Starts one in a process of its own, with its log in `dir`.
pub fn start(dir: &Path, number: usize) -> Fallible<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["baseline", "--listen", "127.0.0.1:0"]);
    Child::start("a bare server", command, &dir.join(format!("bare-{number}.log")))
}

/// Says where this process listens: the process that started it waits for that line.
pub fn announce(addr: SocketAddr) {
    // Standard output is flushed at the end of a line.
    println!("listening on http://{addr}");
}

/// Serves a static answer to every call until the process is killed.
pub fn serve(listen: SocketAddr) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        announce(listener.local_addr()?);
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
