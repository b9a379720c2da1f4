//! Calls that only a development service has: tokens and money for nothing.

use std::ops::RangeInclusive;

use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use hongbao_core::calls::Call;
use hongbao_core::limits::{GROUPS_MAX, TOP_UP_FEN_MAX};
use hongbao_core::wire::{DevToken, DevTokenRequest, TopUpRequest, WalletView};
use hongbao_core::{Fen, Transfer, TransferOutcome};
use hongbao_http::{Caller, Code, Issuer, Json, NoQuery, Problem, json_response, local};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::traffic::{App, SelectedServer, ShadowOnly};
use crate::refusal::Refusal;
use crate::server::Server;

/// Fen that one top-up may bring.
pub(super) const TOP_UP_FEN: RangeInclusive<i64> = 1..=TOP_UP_FEN_MAX;

/// Seconds that a dev token is good for: a day.
const TOKEN_LIFE_S: u32 = 86_400;

/// The calls of a development service.
pub struct DevCalls {
    /// Makes tokens; without one, another party issues them, and that call does not exist.
    pub issuer: Option<Issuer>,
}

/// For programs on this machine, and for no web page: an edge in front checks the
/// same, where there is one.
pub(super) fn routes(app: App, calls: DevCalls) -> Router {
    let routes = Router::from(money()).with_state(app);
    let routes = match calls.issuer {
        Some(issuer) => routes.merge(Router::from(tokens()).layer(Extension(issuer))),
        None => routes,
    };
    routes.route_layer(from_fn(local::guard))
}

/// What makes money, with its part of the document.
pub(super) fn money() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(top_up))
}

/// What makes tokens, with its part of the document.
pub(super) fn tokens() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(token))
}

/// What a rehearsal may do where there are no calls for development.
pub(super) fn routes_of_rehearsal(app: App) -> Router {
    Router::new().route(Call::DevTopUp.path(), post(top_up_in_rehearsal)).with_state(app)
}

/// A token for anybody.
///
/// Development services only.
#[utoipa::path(post, path = Call::DevToken.path(), operation_id = "createToken", tag = "development",
    request_body = DevTokenRequest, responses((status = 200, description = "The token.", body = DevToken)))]
pub async fn token(
    Extension(issuer): Extension<Issuer>,
    _: NoQuery,
    Json(request): Json<DevTokenRequest>,
) -> Result<Response, Problem> {
    if request.groups.len() > GROUPS_MAX {
        return Err(Problem::invalid_field("groups", &format!("must be a list of at most {GROUPS_MAX} groups")));
    }
    let token = issuer.issue(&request.user_id, &request.groups, request.role, TOKEN_LIFE_S);
    Ok(json_response(StatusCode::OK, &DevToken { token }))
}

/// Money from nowhere, into the caller's balance.
///
/// A repeat with the same id is the same top-up. Development services, and requests
/// that are marked as a rehearsal, whose money is of no use elsewhere.
#[utoipa::path(post, path = Call::DevTopUp.path(), operation_id = "topUp", tag = "development",
    request_body = TopUpRequest, responses((status = 200, description = "The balance.", body = WalletView)))]
pub async fn top_up(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<TopUpRequest>,
) -> Result<Response, Problem> {
    make_money(&server, caller, request).await
}

/// The same where money is real, for requests that are marked as a rehearsal: it
/// exists there alone.
async fn top_up_in_rehearsal(
    ShadowOnly(server): ShadowOnly,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<TopUpRequest>,
) -> Result<Response, Problem> {
    make_money(&server, caller, request).await
}

async fn make_money(server: &Server, caller: Caller, request: TopUpRequest) -> Result<Response, Problem> {
    let amount = request.amount_fen.check("amount_fen", TOP_UP_FEN)?;
    let amount = Fen::new(amount).expect("it is above zero");
    let wallet = server.wallet();
    let transfer = Transfer::top_up(request.id, caller.user.clone(), amount, server.clock().now());
    match wallet.transfer(vec![transfer]).await.map_err(Refusal::from)?.pop() {
        Some(TransferOutcome::Done | TransferOutcome::AlreadyDone) => {}
        Some(TransferOutcome::Overflow) => {
            return Err(Problem::invalid_field("amount_fen", "is more than the balance can hold"));
        }
        _ => return Err(Problem::new(Code::IdConflict, "this id was used for another top-up")),
    }
    let balance_fen = wallet.balance(&caller.user).await.map_err(|error| Refusal::from(error).after_a_transfer())?;
    Ok(json_response(StatusCode::OK, &WalletView { user_id: caller.user, balance_fen }))
}
