//! A service small enough to test the harness against: the contract's answers
//! from a map in memory, without money, tokens or time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// Of each envelope: its shares, and who opened.
type Envelopes = Arc<Mutex<Vec<(u64, HashMap<String, usize>)>>>;

/// Starts the fake on a free port. It lives as long as the test process.
pub fn start() -> SocketAddr {
    serve(router())
}

/// Serves these routes on a free port, as long as the test process lives.
pub fn serve(router: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    addr
}

fn router() -> Router {
    Router::new()
        .route("/readyz", get(async || "ready"))
        .route("/metrics", get(async || "hongbao_store_durability_info{durability=\"none\"} 1\n"))
        .route("/v1/dev/top-up", post(async || Json(json!({}))))
        .route("/v1/envelopes", post(create))
        .route("/v1/envelopes/{id}/{verb}", post(act))
        .with_state(Envelopes::default())
}

async fn create(State(envelopes): State<Envelopes>, Json(body): Json<Value>) -> Response {
    let mut envelopes = envelopes.lock().unwrap();
    envelopes.push((body["shares"].as_u64().unwrap(), HashMap::new()));
    let id = (envelopes.len() - 1).to_string();
    (StatusCode::CREATED, Json(json!({ "id": id, "state": "created" }))).into_response()
}

async fn act(
    State(envelopes): State<Envelopes>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut envelopes = envelopes.lock().unwrap();
    let Some((shares, opens)) = id.parse().ok().and_then(|id: usize| envelopes.get_mut(id)) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "code": "not_found" }))).into_response();
    };
    // The token of a user is always the same, so it will do for a name.
    let user = headers["authorization"].to_str().unwrap().to_owned();
    let known = opens.get(&user).copied();
    let left = (opens.len() as u64) < *shares;
    let answer = match (verb.as_str(), known) {
        ("pay", _) => json!({ "state": "active" }),
        (_, Some(seq)) => json!({ "outcome": "opened", "seq": seq, "replayed": true }),
        _ if !left => json!({ "outcome": "empty" }),
        ("grab", None) => json!({ "outcome": "ready", "ticket": "a-ticket" }),
        (_, None) => {
            let seq = opens.len() + 1;
            opens.insert(user, seq);
            json!({ "outcome": "opened", "seq": seq, "replayed": false })
        }
    };
    Json(answer).into_response()
}
