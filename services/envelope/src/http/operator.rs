//! Calls of operators, answered by each server for itself.

use std::ops::RangeInclusive;

use axum::http::StatusCode;
use axum::response::Response;
use hongbao_core::calls::Call;
use hongbao_core::field::Number;
use hongbao_core::limits::PERMIT_CAP_MAX;
use hongbao_http::{Caller, Json, NoQuery, Problem, json_response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::traffic::SelectedServer;
use crate::permits::Counter;
use crate::server::Server;

/// Caps that an operator may set.
pub(super) const PERMIT_CAP: RangeInclusive<i64> = 1..=PERMIT_CAP_MAX as i64;

/// The entry permits of this server.
#[derive(Debug, Serialize, ToSchema)]
pub struct PermitsView {
    /// Transactions of one envelope that may be in the database at once.
    pub cap: u32,
    /// Who counts them just now.
    pub counted_by: Counter,
}

/// The body of `PUT /v1/operator/permits`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermitsRequest {
    /// The new cap, from 1.
    #[schema(value_type = i64)]
    pub cap: Number,
}

/// The entry permits of this server.
///
/// For operators.
#[utoipa::path(get, path = Call::Permits.path(), operation_id = "getPermits", tag = "operator",
    responses((status = 200, description = "The permits.", body = PermitsView)))]
pub async fn permits(SelectedServer(server): SelectedServer, caller: Caller, _: NoQuery) -> Result<Response, Problem> {
    caller.require_operator()?;
    Ok(json_response(StatusCode::OK, &view(&server)))
}

/// Change the cap of this server, until it starts again.
///
/// Who is inside stays inside. For operators.
#[utoipa::path(put, path = Call::SetPermits.path(), operation_id = "setPermits", tag = "operator",
    request_body = PermitsRequest,
    responses((status = 200, description = "The permits, as they are now.", body = PermitsView)))]
pub async fn set_permits(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<PermitsRequest>,
) -> Result<Response, Problem> {
    caller.require_operator()?;
    let cap = request.cap.check("cap", PERMIT_CAP)?;
    let cap = u32::try_from(cap).expect("the bound that it was checked against is a u32");
    let before = server.permits().cap();
    server.permits().set_cap(cap);
    tracing::info!(user_id = %caller.user, cap_before = before, cap, "the cap of entry permits was changed");
    Ok(json_response(StatusCode::OK, &view(&server)))
}

fn view(server: &Server) -> PermitsView {
    PermitsView { cap: server.permits().cap(), counted_by: server.permits().counter() }
}
