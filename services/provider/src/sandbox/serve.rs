//! The sandbox over HTTP: the server's side of the protocol.

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hongbao_core::Timestamp;
use hongbao_core::date::Date;
use hongbao_core::limits::PROVIDER_REQUEST_AGE_MS_MAX;
use hongbao_core::order::OrderKind;
use hongbao_http::read_body;

use super::asked::Sandbox;
use super::cut::cut;
use super::faults::FAULT_HEADER;
use super::verbs::{Ask, Reply};
use super::{page, wechat};
use crate::signature::{SIGNATURE, Signed};
use crate::wire::{NewOrder, Refusal};

/// All that the sandbox serves.
pub fn router(sandbox: Sandbox) -> Router {
    let emulation = sandbox.verbs().options.wechat.clone();
    let wechat = emulation.map(|emulation| wechat::router(sandbox.clone(), emulation)).unwrap_or_default();
    Router::new()
        .route("/v1/{kind}", post(send))
        .route("/v1/{kind}/{number}/close", post(close))
        .route("/v1/{kind}/{number}", get(query))
        .route("/v1/bills/{date}", get(print_bill))
        .with_state(sandbox.clone())
        .merge(page::router(sandbox))
        .merge(wechat)
}

fn kind_of(path: &str) -> Option<OrderKind> {
    match path {
        "charges" => Some(OrderKind::Charge),
        "payouts" => Some(OrderKind::Payout),
        "refunds" => Some(OrderKind::Refund),
        _ => None,
    }
}

fn nothing_there() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

/// A request whose signature is good.
struct Genuine {
    sandbox: Sandbox,
    signature: String,
    at: Timestamp,
    body: Bytes,
    headers: HeaderMap,
}

impl FromRequest<Sandbox> for Genuine {
    type Rejection = Response;

    async fn from_request(request: Request, sandbox: &Sandbox) -> Result<Genuine, Response> {
        let (Parts { method, uri, headers, .. }, body) = request.into_parts();
        let body = read_body(body).await.map_err(|problem| problem.into_response())?;
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        let what = Signed::Request { method: method.as_str(), path };
        let checked = sandbox.verbs().key.check(&headers, what, &body, sandbox.verbs().clock.now());
        let (signature, at) = checked.map_err(|bad| {
            // Not signed: there is no signature of a request to name.
            let refusal = Refusal { code: "signature".to_owned(), detail: bad.to_string() };
            json(StatusCode::UNAUTHORIZED, &refusal)
        })?;
        Ok(Genuine { sandbox: sandbox.clone(), signature, at, body, headers })
    }
}

impl Genuine {
    /// Answers about an order.
    async fn answer(&self, ask: Ask) -> Response {
        let named = self.headers.get(FAULT_HEADER).map(|value| value.to_str().unwrap_or_default().parse());
        let fault = match named.transpose() {
            Ok(fault) => fault,
            Err(detail) => return self.signed(422, &Refusal { code: "invalid_request".to_owned(), detail }),
        };
        let fresh_until = self.at.plus_millis(PROVIDER_REQUEST_AGE_MS_MAX);
        match self.sandbox.ask(ask, fault, fresh_until).await {
            Reply::Standing(standing) => self.signed(200, &standing),
            Reply::Cut(standing) => cut(&serde_json::to_vec(&standing).expect("an answer can be written as JSON")),
            Reply::NotFound => {
                let detail = "there is no order under this number".to_owned();
                self.signed(404, &Refusal { code: "not_found".to_owned(), detail })
            }
            Reply::Refused(status, refusal) => self.signed(status, &refusal),
            Reply::Silent => {
                let millis = self.sandbox.verbs().options.pace.silent_ms();
                tokio::time::sleep(Duration::from_millis(millis.unsigned_abs())).await;
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Reply::Error500 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Reply::RateLimited(seconds) => {
                let refusal = Refusal { code: "rate_limited".to_owned(), detail: "come again later".to_owned() };
                let mut response = self.signed(429, &refusal);
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                response
            }
            Reply::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    fn signed<T: serde::Serialize>(&self, status: u16, body: &T) -> Response {
        let body = serde_json::to_vec(body).expect("an answer can be written as JSON");
        self.signed_bytes(status, "application/json", body)
    }

    fn signed_bytes(&self, status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
        let what = Signed::Answer { of: &self.signature, status };
        let (value, _) = self.sandbox.verbs().key.sign(what, self.sandbox.verbs().clock.now(), &body);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(SIGNATURE, value);
        }
        response
    }
}

async fn send(Path(kind): Path<String>, request: Genuine) -> Result<Response, Response> {
    let kind = kind_of(&kind).ok_or_else(nothing_there)?;
    let mut json = serde_json::Deserializer::from_slice(&request.body);
    let order: NewOrder = match serde_path_to_error::deserialize(&mut json) {
        Ok(order) => order,
        Err(error) => {
            let refusal = Refusal { code: "invalid_request".to_owned(), detail: error.to_string() };
            return Ok(request.signed(422, &refusal));
        }
    };
    Ok(request.answer(Ask::Send(kind, order)).await)
}

async fn close(Path((kind, number)): Path<(String, String)>, request: Genuine) -> Result<Response, Response> {
    let kind = kind_of(&kind).ok_or_else(nothing_there)?;
    Ok(request.answer(Ask::Close(kind, number)).await)
}

async fn query(Path((kind, number)): Path<(String, String)>, request: Genuine) -> Result<Response, Response> {
    let kind = kind_of(&kind).ok_or_else(nothing_there)?;
    Ok(request.answer(Ask::Query(kind, number)).await)
}

async fn print_bill(Path(date): Path<String>, request: Genuine) -> Result<Response, Response> {
    let Some(date) = Date::parse(&date) else {
        let refusal = Refusal { code: "invalid_request".to_owned(), detail: "a day is like 20261128".to_owned() };
        return Ok(request.signed(422, &refusal));
    };
    let bill = request.sandbox.print_bill(date).await;
    Ok(request.signed_bytes(200, "text/csv", bill.into_bytes()))
}

fn json(status: StatusCode, refusal: &Refusal) -> Response {
    let body = serde_json::to_vec(refusal).expect("a refusal can be written as JSON");
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
