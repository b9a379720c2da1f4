//! Calls of operators about the money of users, answered by any server for all.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use hongbao_core::calls::Call;
use hongbao_core::limits::{FREEZE_LOG_SHOWN_MAX, FREEZE_REASON_CHARS_MAX};
use hongbao_core::user::must_be_a_name;
use hongbao_core::{Timestamp, UserId};
use hongbao_http::{Caller, Json, NoQuery, Problem, Query, json_response};
use hongbao_wallet::{FreezeChange, WalletError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::envelopes::page_limit;
use super::traffic::SelectedServer;
use crate::refusal::Refusal;

/// That an operator froze a user, or set one free.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FreezeView {
    /// Whose money it is about.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Whether it is frozen from then on.
    pub frozen: bool,
    /// Why.
    pub reason: String,
    /// Who did it.
    #[schema(value_type = String)]
    pub operator: UserId,
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
}

impl From<FreezeChange> for FreezeView {
    fn from(change: FreezeChange) -> FreezeView {
        let FreezeChange { user, is_frozen, reason, operator, at } = change;
        FreezeView { user_id: user, frozen: is_frozen, reason, operator, at }
    }
}

/// Users who are frozen, by id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FrozenUsersPage {
    /// The users, each with what froze it.
    pub users: Vec<FreezeView>,
    /// Pass it as `after_user` for the next page; null on the last one.
    #[schema(value_type = Option<String>)]
    pub next_user: Option<UserId>,
}

/// What was done about a user, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FreezeLogView {
    /// The newest changes.
    pub changes: Vec<FreezeView>,
}

/// The body of `PUT /v1/operator/frozen-users`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Whose money it is about.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Whether it is frozen from now on.
    pub frozen: bool,
    /// Why, for the log.
    pub reason: String,
}

/// A page of frozen users.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FrozenUsersQuery {
    /// Users after this one.
    after_user: Option<String>,
    /// Users on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// Whose log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FreezeLogQuery {
    /// The user.
    user_id: String,
}

/// The users whose money is frozen.
///
/// For operators, from any server.
#[utoipa::path(get, path = Call::FrozenUsers.path(), operation_id = "listFrozenUsers", tag = "operator",
    params(FrozenUsersQuery), responses((status = 200, description = "One page.", body = FrozenUsersPage)))]
pub async fn frozen_users(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<FrozenUsersQuery>,
) -> Result<Response, Problem> {
    caller.require_operator()?;
    let after = query.after_user.map(|name| user_of("after_user", &name)).transpose()?;
    let limit = page_limit(query.limit.as_deref())? as usize;
    let mut all = BTreeMap::new();
    for place in server.wallet().shards() {
        for change in server.wallet().frozen_users(place.shard).await.map_err(of_reading)? {
            all.insert(change.user.clone(), change);
        }
    }
    // One more than asked for tells whether there is another page.
    let behind = all.into_values().filter(|change| after.as_ref().is_none_or(|after| change.user > *after));
    let mut users: Vec<FreezeView> = behind.take(limit + 1).map(FreezeView::from).collect();
    let more = users.len() > limit;
    users.truncate(limit);
    let next_user = users.last().filter(|_| more).map(|last| last.user_id.clone());
    Ok(json_response(StatusCode::OK, &FrozenUsersPage { users, next_user }))
}

/// Freeze a user, or set one free.
///
/// A frozen user keeps the money, and gets what is due; nothing goes out of the balance from now on, and nothing is
/// opened two seconds later. For operators, through any server.
#[utoipa::path(put, path = Call::SetFrozenUser.path(), operation_id = "setFrozenUser", tag = "operator",
    request_body = FreezeRequest, responses((status = 200, description = "What is in force now.", body = FreezeView)))]
pub async fn set_frozen_user(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<FreezeRequest>,
) -> Result<Response, Problem> {
    caller.require_operator()?;
    let FreezeRequest { user_id, frozen, reason } = request;
    if !(1..=FREEZE_REASON_CHARS_MAX).contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        let wanted = format!("must have 1 to {FREEZE_REASON_CHARS_MAX} characters, and no control characters");
        return Err(Problem::invalid_field("reason", &wanted));
    }
    let at = server.clock().now();
    let change = FreezeChange { user: user_id.clone(), is_frozen: frozen, reason, operator: caller.user.clone(), at };
    let made = server.set_frozen(change.clone()).await?;
    match (made, frozen) {
        (true, true) => tracing::info!(user_id = %user_id, "an operator has frozen a user"),
        (true, false) => tracing::info!(user_id = %user_id, "an operator has set a user free"),
        (false, _) => {}
    }
    let found = server.wallet().freeze_log(&user_id, 1).await.map_err(of_reading)?.pop();
    Ok(json_response(StatusCode::OK, &FreezeView::from(found.unwrap_or(change))))
}

/// What operators have frozen and set free of a user.
///
/// The newest 100 changes. For operators, from any server.
#[utoipa::path(get, path = Call::FreezeLog.path(), operation_id = "getFreezeLog", tag = "operator",
    params(FreezeLogQuery), responses((status = 200, description = "The log.", body = FreezeLogView)))]
pub async fn freeze_log(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<FreezeLogQuery>,
) -> Result<Response, Problem> {
    caller.require_operator()?;
    let user = user_of("user_id", &query.user_id)?;
    let log = server.wallet().freeze_log(&user, FREEZE_LOG_SHOWN_MAX).await.map_err(of_reading)?;
    let changes = log.into_iter().map(FreezeView::from).collect();
    Ok(json_response(StatusCode::OK, &FreezeLogView { changes }))
}

fn user_of(field: &str, name: &str) -> Result<UserId, Problem> {
    UserId::parse(name).ok_or_else(|| Problem::invalid_field(field, &must_be_a_name()))
}

fn of_reading(error: WalletError) -> Problem {
    Refusal::from(error).of_reading().into()
}
