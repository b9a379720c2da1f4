//! The page of a charge, where a person pays or refuses. Its address has a key in it: who has it may do both.

use ::http::StatusCode;
use ::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hongbao_core::Fen;
use maud::{DOCTYPE, html};
use serde::Deserialize;

use super::asked::Sandbox;
use crate::wire::{Standing, State as Stands};

/// Nothing is loaded, and no script runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// The pages alone: what `hongbao dev` serves of the sandbox.
pub fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/sandbox/pay/{number}", get(show))
        .route("/sandbox/pay/{number}/{decision}", post(decide))
        .with_state(sandbox)
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    key: String,
}

async fn show(State(sandbox): State<Sandbox>, Path(number): Path<String>, Query(key): Query<Key>) -> Response {
    if sandbox.verbs().page_key(&number) != key.key {
        return StatusCode::NOT_FOUND.into_response();
    }
    match sandbox.look(number).await {
        Some(standing) => page(&standing, &key.key),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn decide(
    State(sandbox): State<Sandbox>,
    Path((number, decision)): Path<(String, String)>,
    Query(key): Query<Key>,
) -> Response {
    let pays = match decision.as_str() {
        "pay" => true,
        "refuse" => false,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if sandbox.verbs().page_key(&number) != key.key {
        return StatusCode::NOT_FOUND.into_response();
    }
    let back = format!("/sandbox/pay/{number}?key={}", key.key);
    sandbox.decide(number, pays).await;
    (StatusCode::SEE_OTHER, [(LOCATION, back)], Body::empty()).into_response()
}

fn page(standing: &Standing, key: &str) -> Response {
    let yuan = Fen::new(standing.amount_fen).unwrap_or_default();
    let state = match standing.state {
        Stands::Pending => "not paid yet",
        Stands::Succeeded => "paid",
        Stands::Failed => "refused",
        Stands::Returned => "returned",
    };
    let action = |decision: &str| format!("/sandbox/pay/{}/{decision}?key={key}", standing.number);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Sandbox: pay ¥" (yuan) }
                style { "body{font:1rem sans-serif;max-width:30rem;margin:2rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem}" }
            }
            body {
                h1 { "¥" (yuan) }
                p { "Order " code { (standing.number) } ": " (state) "." }
                p { "This is the sandbox: no money is moved." }
                @if standing.state == Stands::Pending {
                    form method="post" action=(action("pay")) { button { "Pay" } }
                    form method="post" action=(action("refuse")) { button { "Refuse" } }
                }
            }
        }
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, markup.into_string()).into_response()
}
