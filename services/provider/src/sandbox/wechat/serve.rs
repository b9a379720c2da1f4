//! The calls of WeChat Pay API v3.

use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use hongbao_core::limits::{PROVIDER_REQUEST_AGE_MS_MAX, WECHAT_UNNAMED_FEN_MAX};
use hongbao_core::order::OrderKind;
use hongbao_core::{Fen, Timestamp, UserId};
use hongbao_http::read_body;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Emulation;
use super::answers::{Call, body_of};
use crate::sandbox::asked::Sandbox;
use crate::sandbox::cut::cut;
use crate::sandbox::faults::{FAULT_HEADER, Fault};
use crate::sandbox::verbs::{Ask, Reply};
use crate::wechat::keys::SIGNED_HEADERS;
use crate::wechat::wire::{
    NATIVE, NewRefund, NewTransaction, NewTransfer, REFUNDS, TRANSACTIONS, TRANSFERS, TRANSFERS_BY_NUMBER,
};
use crate::wire::{CURRENCY, NewOrder, Standing, State as Stands};

#[derive(Clone)]
struct Served {
    sandbox: Sandbox,
    emulation: Emulation,
}

/// The calls of a sandbox that is WeChat Pay.
pub fn router(sandbox: Sandbox, emulation: Emulation) -> Router {
    Router::new()
        .route(NATIVE, post(new_charge))
        .route(&format!("{TRANSACTIONS}/{{number}}"), query_of(OrderKind::Charge))
        .route(&format!("{TRANSACTIONS}/{{number}}/close"), close_of(OrderKind::Charge))
        .route(REFUNDS, post(new_refund))
        .route(&format!("{REFUNDS}/{{number}}"), query_of(OrderKind::Refund))
        .route(TRANSFERS, post(new_transfer))
        .route(&format!("{TRANSFERS_BY_NUMBER}/{{number}}"), query_of(OrderKind::Payout))
        .route(&format!("{TRANSFERS_BY_NUMBER}/{{number}}/cancel"), close_of(OrderKind::Payout))
        .with_state(Served { sandbox, emulation })
}

fn query_of(kind: OrderKind) -> MethodRouter<Served> {
    get(async move |Path(number): Path<String>, request: Genuine| request.query(kind, number).await)
}

fn close_of(kind: OrderKind) -> MethodRouter<Served> {
    post(async move |Path(number): Path<String>, request: Genuine| request.close(kind, number).await)
}

/// A request whose signature is good.
struct Genuine {
    served: Served,
    at: Timestamp,
    headers: HeaderMap,
    body: Bytes,
}

impl FromRequest<Served> for Genuine {
    type Rejection = Response;

    async fn from_request(request: Request, served: &Served) -> Result<Genuine, Response> {
        let (Parts { method, uri, headers, .. }, body) = request.into_parts();
        let body = read_body(body).await.map_err(|problem| problem.into_response())?;
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        let signed = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let keys = &served.emulation.0;
        let request = (method.as_str(), path);
        let now = served.sandbox.verbs().clock.now();
        let at = keys.merchant.check_authorization(&keys.mchid, signed, request, &body, now).map_err(|bad| {
            let body = json!({"code": "SIGN_ERROR", "message": bad.to_string()}).to_string();
            (StatusCode::UNAUTHORIZED, [(CONTENT_TYPE, "application/json")], body).into_response()
        })?;
        Ok(Genuine { served: served.clone(), at, headers, body })
    }
}

impl Genuine {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| error.to_string())
    }

    fn refuse(&self, status: u16, code: &str, message: &str) -> Response {
        self.signed(status, json!({"code": code, "message": message}).to_string())
    }

    fn signed(&self, status: u16, body: String) -> Response {
        let now = self.served.sandbox.verbs().clock.now();
        let values = self.served.emulation.0.platform.sign_headers(now, body.as_bytes());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in SIGNED_HEADERS.into_iter().zip(values.into_iter().flatten()) {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Sends an order to the books.
    async fn order(&self, kind: OrderKind, terms: Result<NewOrder, &'static str>) -> Response {
        match terms {
            Ok(order) => self.answer(kind, Call::New, Ask::Send(kind, order)).await,
            Err(message) => self.refuse(400, "PARAM_ERROR", message),
        }
    }

    async fn query(&self, kind: OrderKind, number: String) -> Response {
        self.answer(kind, Call::Query, Ask::Query(kind, number)).await
    }

    /// A number that has not arrived is not barred.
    async fn close(&self, kind: OrderKind, number: String) -> Response {
        match self.served.sandbox.look(number.clone()).await {
            Some(_) => self.answer(kind, Call::Close, Ask::Close(kind, number)).await,
            None if kind == OrderKind::Charge => self.signed(204, String::new()),
            None => self.not_found(kind),
        }
    }

    fn not_found(&self, kind: OrderKind) -> Response {
        let code = match kind {
            OrderKind::Charge => "ORDER_NOT_EXIST",
            OrderKind::Refund => "RESOURCE_NOT_EXISTS",
            OrderKind::Payout => "NOT_FOUND",
        };
        self.refuse(404, code, "there is no order under this number")
    }

    async fn answer(&self, kind: OrderKind, call: Call, ask: Ask) -> Response {
        let named = self.headers.get(FAULT_HEADER).map(|value| value.to_str().unwrap_or_default().parse::<Fault>());
        let fault = match named.transpose() {
            Ok(fault) => fault,
            Err(detail) => return self.refuse(400, "PARAM_ERROR", &detail),
        };
        let fresh_until = self.at.plus_millis(PROVIDER_REQUEST_AGE_MS_MAX);
        match self.served.sandbox.ask(ask, fault, fresh_until).await {
            Reply::Standing(standing) => self.say(kind, call, &standing),
            Reply::Cut(standing) => cut(body_of(kind, call, &standing).to_string().as_bytes()),
            Reply::NotFound => self.not_found(kind),
            Reply::Refused(409, refusal) => self.refuse(403, "OUT_TRADE_NO_USED", &refusal.detail),
            Reply::Refused(_, refusal) => self.refuse(400, "PARAM_ERROR", &refusal.detail),
            Reply::Silent => {
                let millis = self.served.sandbox.verbs().options.pace.silent_ms();
                tokio::time::sleep(Duration::from_millis(millis.unsigned_abs())).await;
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Reply::Error500 => self.refuse(500, "SYSTEM_ERROR", "ask again"),
            Reply::RateLimited(seconds) => {
                let mut response = self.refuse(429, "FREQUENCY_LIMITED", "come again later");
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                response
            }
            Reply::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    /// A charge that has an outcome is not begun again, and one that is paid is not closed.
    fn say(&self, kind: OrderKind, call: Call, standing: &Standing) -> Response {
        match (kind, call, standing.state) {
            (OrderKind::Charge, Call::New | Call::Close, Stands::Succeeded) => {
                self.refuse(400, "ORDERPAID", "it is paid")
            }
            (OrderKind::Charge, Call::New, Stands::Failed) => self.refuse(400, "ORDER_CLOSED", "it is closed"),
            (OrderKind::Charge, Call::Close, _) => self.signed(204, String::new()),
            (OrderKind::Payout, Call::Close, Stands::Succeeded | Stands::Returned) => {
                self.refuse(400, "INVALID_REQUEST", "it is paid")
            }
            _ => self.signed(200, body_of(kind, call, standing).to_string()),
        }
    }
}

/// The books have a payer for each order, and WeChat none in what it is sent.
fn payer() -> UserId {
    UserId::parse("payer").expect("it is a name")
}

fn fen_of(fen: i64, currency: &str) -> Result<Fen, &'static str> {
    if currency == CURRENCY { Fen::new(fen).ok_or("an amount is negative") } else { Err("currency must be CNY") }
}

fn terms(number: String, amount_fen: Fen, user: UserId, of: Option<String>, expires_at: Timestamp) -> NewOrder {
    NewOrder { number, amount_fen, currency: CURRENCY.to_owned(), user, of, expires_at }
}

async fn new_charge(request: Genuine) -> Result<Response, Response> {
    let charge: NewTransaction = request.read().map_err(|reason| request.refuse(400, "PARAM_ERROR", &reason))?;
    let keys = &request.served.emulation.0;
    let wanted = || {
        if charge.mchid != keys.mchid || charge.appid != keys.appid {
            return Err("mchid and appid are not the merchant's");
        }
        let expires_at = Timestamp::parse_rfc3339(&charge.time_expire).ok_or("time_expire cannot be read")?;
        let amount = fen_of(charge.amount.total, &charge.amount.currency)?;
        Ok(terms(charge.out_trade_no.clone(), amount, payer(), None, expires_at))
    };
    Ok(request.order(OrderKind::Charge, wanted()).await)
}

async fn new_refund(request: Genuine) -> Result<Response, Response> {
    let refund: NewRefund = request.read().map_err(|reason| request.refuse(400, "PARAM_ERROR", &reason))?;
    let amount = fen_of(refund.amount.refund, &refund.amount.currency);
    let wanted =
        amount.map(|amount| terms(refund.out_refund_no, amount, payer(), Some(refund.out_trade_no), request.at));
    Ok(request.order(OrderKind::Refund, wanted).await)
}

async fn new_transfer(request: Genuine) -> Result<Response, Response> {
    let transfer: NewTransfer = request.read().map_err(|reason| request.refuse(400, "PARAM_ERROR", &reason))?;
    let wanted = || {
        if transfer.appid != request.served.emulation.0.appid {
            return Err("appid is not the merchant's");
        }
        if transfer.transfer_amount > WECHAT_UNNAMED_FEN_MAX {
            return Err("user_name is needed for so much");
        }
        let user = UserId::parse(&transfer.openid).ok_or("openid cannot be read")?;
        let amount = fen_of(transfer.transfer_amount, CURRENCY)?;
        // WeChat gives a user a day to confirm.
        Ok(terms(transfer.out_bill_no.clone(), amount, user, None, request.at.plus_millis(86_400_000)))
    };
    Ok(request.order(OrderKind::Payout, wanted()).await)
}
