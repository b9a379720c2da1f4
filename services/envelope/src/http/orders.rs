//! Charges and payouts: where money comes in and goes out.

use std::sync::{Arc, LazyLock};

use axum::RequestPartsExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hongbao_core::calls::Call;
use hongbao_core::limits::NOTIFICATIONS_REMEMBERED_MAX;
use hongbao_core::wire::{OrderRequest, OrderView, OrdersPage};
use hongbao_core::{Fen, KeyedCall, KeyedRequest, OrderId, OrderKind};
use hongbao_http::{Caller, Code, Json, NoQuery, Problem, Query, json_response, read_body};
use quick_cache::sync::Cache;
use serde::Deserialize;

use super::envelopes::{caller_of, page_limit};
use super::request_key::KeyInHeader;
use super::traffic::SelectedServer;
use crate::refusal::Refusal;
use crate::server::Server;

/// The `{order}` of a path. Whatever is not an order's id names no order.
pub struct OrderInPath(OrderId);

impl<S: Send + Sync> FromRequestParts<S> for OrderInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<OrderInPath, Problem> {
        let id = parts.extract::<Path<String>>().await.ok();
        let id = id.and_then(|Path(text)| OrderId::parse(&text));
        id.map(OrderInPath).ok_or_else(|| Problem::new(Code::NotFound, NO_SUCH_ORDER))
    }
}

const NO_SUCH_ORDER: &str = "you have no such charge or payout";

/// A page of charges or payouts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OrdersQuery {
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", example = "019c6a3e-5c00-7c3a-9d15-7e3b1f0a2b4c")]
    cursor: Option<String>,
    /// Items on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// Pay into the balance.
///
/// The payer goes on at `action.url`; the money is in the balance once the state is `succeeded`. Under an
/// `Idempotency-Key` it is made once, however often it is asked for.
#[utoipa::path(post, path = Call::Charge.path(), operation_id = "createCharge", tag = "money",
    request_body = OrderRequest,
    responses((status = 201, description = "The charge.", body = OrderView)))]
pub async fn charge(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    _: NoQuery,
    KeyInHeader(key): KeyInHeader,
    Json(request): Json<OrderRequest>,
) -> Result<Response, Problem> {
    server.payments()?;
    let amount = amount(&request, server.limits().charge_fen())?;
    let keyed = key.map(|key| KeyedRequest::new(KeyedCall::Charge, key, &request));
    let view = server.charge(&caller_of(&caller), amount, keyed).await?;
    Ok(json_response(StatusCode::CREATED, &view))
}

/// The caller's charges, newest first.
#[utoipa::path(get, path = Call::Charges.path(), operation_id = "listCharges", tag = "money",
    params(OrdersQuery), responses((status = 200, description = "One page.", body = OrdersPage)))]
pub async fn charges(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<OrdersQuery>,
) -> Result<Response, Problem> {
    page(&server, &caller, OrderKind::Charge, &query).await
}

/// A charge of the caller.
#[utoipa::path(get, path = Call::ShowCharge.path(), operation_id = "getCharge", tag = "money",
    params(("order" = String, Path, format = "uuid", description = "The charge.")),
    responses((status = 200, description = "The charge.", body = OrderView)))]
pub async fn show_charge(
    SelectedServer(server): SelectedServer,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    show(&server, &caller, OrderKind::Charge, id).await
}

/// Pay out of the balance.
///
/// The amount leaves the balance at once, and comes back if the payout fails. Under an `Idempotency-Key` it is made once,
/// however often it is asked for.
#[utoipa::path(post, path = Call::Payout.path(), operation_id = "createPayout", tag = "money",
    request_body = OrderRequest,
    responses((status = 201, description = "The payout.", body = OrderView)))]
pub async fn payout(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    _: NoQuery,
    KeyInHeader(key): KeyInHeader,
    Json(request): Json<OrderRequest>,
) -> Result<Response, Problem> {
    server.payments()?;
    let amount = amount(&request, server.limits().payout_fen())?;
    let keyed = key.map(|key| KeyedRequest::new(KeyedCall::Payout, key, &request));
    let view = server.payout(&caller_of(&caller), amount, keyed).await?;
    Ok(json_response(StatusCode::CREATED, &view))
}

/// The caller's payouts, newest first.
#[utoipa::path(get, path = Call::Payouts.path(), operation_id = "listPayouts", tag = "money",
    params(OrdersQuery), responses((status = 200, description = "One page.", body = OrdersPage)))]
pub async fn payouts(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<OrdersQuery>,
) -> Result<Response, Problem> {
    page(&server, &caller, OrderKind::Payout, &query).await
}

/// A payout of the caller.
#[utoipa::path(get, path = Call::ShowPayout.path(), operation_id = "getPayout", tag = "money",
    params(("order" = String, Path, format = "uuid", description = "The payout.")),
    responses((status = 200, description = "The payout.", body = OrderView)))]
pub async fn show_payout(
    SelectedServer(server): SelectedServer,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    show(&server, &caller, OrderKind::Payout, id).await
}

/// For the provider: something has become of an order.
///
/// Signed by the provider. What it says is not believed but asked for.
#[utoipa::path(post, path = Call::ProviderNotification.path(), operation_id = "notifyOfOrder", tag = "money",
    responses((status = 204, description = "Taken, also where it came before.")))]
pub async fn notification(
    SelectedServer(server): SelectedServer,
    _: NoQuery,
    Signed(headers, body): Signed,
) -> Result<Response, Problem> {
    let notified = server.payments()?.provider.notification(&headers, &body, server.clock().now());
    let notification = notified.map_err(|bad| {
        tracing::warn!(reason = %bad, "a notification is not the provider's");
        Problem::new(Code::Unauthorized, bad.to_string())
    })?;
    if SEEN.get(&notification.id).is_none() {
        server.hint(notification.order).await?;
        SEEN.insert(notification.id, ());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Notifications that came before. One that is forgotten has its order asked for once more, which changes nothing.
static SEEN: LazyLock<Cache<String, ()>> = LazyLock::new(|| Cache::new(NOTIFICATIONS_REMEMBERED_MAX as usize));

/// The head and the body of a request whose signature is over its bytes.
pub struct Signed(HeaderMap, Bytes);

impl<S: Send + Sync> FromRequest<S> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Signed, Problem> {
        let (parts, body) = request.into_parts();
        Ok(Signed(parts.headers, read_body(body).await?))
    }
}

fn amount(request: &OrderRequest, bounds: std::ops::RangeInclusive<i64>) -> Result<Fen, Problem> {
    let fen = request.amount_fen.check("amount_fen", bounds)?;
    Ok(Fen::new(fen).expect("the bound that it was checked against is above zero"))
}

async fn show(server: &Arc<Server>, caller: &Caller, kind: OrderKind, id: OrderId) -> Result<Response, Problem> {
    let view = server.order(kind, &caller_of(caller), id).await.map_err(|refusal| match refusal {
        Refusal::NotFound => Problem::new(Code::NotFound, NO_SUCH_ORDER),
        other => other.into(),
    })?;
    Ok(json_response(StatusCode::OK, &view))
}

async fn page(
    server: &Arc<Server>,
    caller: &Caller,
    kind: OrderKind,
    query: &OrdersQuery,
) -> Result<Response, Problem> {
    let must = || Problem::invalid_field("cursor", "must be the next_cursor of another page");
    let before = query.cursor.as_deref().map(|cursor| OrderId::parse(cursor).ok_or_else(must)).transpose()?;
    let limit = page_limit(query.limit.as_deref())?;
    // One more than asked for tells whether there is another page.
    let mut orders = server.orders(kind, &caller_of(caller), before, limit + 1).await?;
    let more = orders.len() > limit as usize;
    orders.truncate(limit as usize);
    let next_cursor = orders.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(json_response(StatusCode::OK, &OrdersPage { orders, next_cursor }))
}
