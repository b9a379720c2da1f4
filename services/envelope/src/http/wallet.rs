//! A user's own money.

use axum::http::StatusCode;
use axum::response::Response;
use hongbao_core::TransferKind;
use hongbao_core::calls::Call;
use hongbao_core::limits::CURSOR_DIGITS_MAX;
use hongbao_core::wire::{EnvelopeItem, EnvelopesPage, TransferView, TransfersPage, WalletView};
use hongbao_http::{Caller, NoQuery, Problem, Query, json_response};
use hongbao_wallet::Posted;
use serde::Deserialize;

use super::envelopes::page_limit;
use super::traffic::SelectedServer;
use crate::refusal::Refusal;
use crate::server::Server;

/// The caller's balance.
#[utoipa::path(get, path = Call::Balance.path(), operation_id = "getWallet", tag = "wallet",
    responses((status = 200, description = "The balance.", body = WalletView)))]
pub async fn balance(SelectedServer(server): SelectedServer, caller: Caller, _: NoQuery) -> Result<Response, Problem> {
    let balance_fen = server.wallet().balance(&caller.user).await.map_err(|error| Refusal::from(error).of_reading())?;
    Ok(json_response(StatusCode::OK, &WalletView { user_id: caller.user, balance_fen }))
}

/// A page of transfers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TransfersQuery {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Transfers on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// Kinds of transfers that a user sees.
pub(super) const LISTED: [TransferKind; 8] = [
    TransferKind::TopUp,
    TransferKind::Send,
    TransferKind::Open,
    TransferKind::Refund,
    TransferKind::Charge,
    TransferKind::Payout,
    TransferKind::PayoutFailed,
    TransferKind::PayoutReturned,
];

/// The caller's transfers, newest first.
#[utoipa::path(get, path = Call::Transfers.path(), operation_id = "listTransfers", tag = "wallet",
    params(TransfersQuery), responses((status = 200, description = "One page.", body = TransfersPage)))]
pub async fn transfers(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<TransfersQuery>,
) -> Result<Response, Problem> {
    let (posted, next_cursor) =
        page(&server, &caller, &LISTED, query.cursor.as_deref(), query.limit.as_deref()).await?;
    let transfers = posted.into_iter().map(|Posted { transfer, .. }| TransferView {
        id: transfer.id.to_string(),
        kind: transfer.kind,
        amount_fen: transfer.signed_amount(),
        envelope_id: transfer.id.envelope_id(),
        at: transfer.at,
    });
    Ok(json_response(StatusCode::OK, &TransfersPage { transfers: transfers.collect(), next_cursor }))
}

/// Which of the caller's envelopes.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvelopeRole {
    /// Those that the caller paid for.
    Sent,
    /// Those that the caller opened.
    Received,
}

/// A page of the caller's envelopes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EnvelopesQuery {
    /// Which ones.
    #[param(inline)]
    role: EnvelopeRole,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Envelopes on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// The envelopes that the caller sent, or opened, newest first.
#[utoipa::path(get, path = Call::Envelopes.path(), operation_id = "listEnvelopes", tag = "wallet",
    params(EnvelopesQuery), responses((status = 200, description = "One page.", body = EnvelopesPage)))]
pub async fn envelopes(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<EnvelopesQuery>,
) -> Result<Response, Problem> {
    let kinds = match query.role {
        EnvelopeRole::Sent => [TransferKind::Send],
        EnvelopeRole::Received => [TransferKind::Open],
    };
    let (posted, next_cursor) = page(&server, &caller, &kinds, query.cursor.as_deref(), query.limit.as_deref()).await?;
    let envelopes = posted.into_iter().filter_map(|Posted { transfer, .. }| {
        let id = transfer.id.envelope_id()?;
        Some(EnvelopeItem { id, amount_fen: transfer.amount, at: transfer.at })
    });
    Ok(json_response(StatusCode::OK, &EnvelopesPage { envelopes: envelopes.collect(), next_cursor }))
}

/// Where a page begins, as the one before has said.
fn position_of(cursor: &str) -> Result<i64, Problem> {
    let is_ours = (1..=CURSOR_DIGITS_MAX).contains(&cursor.len()) && cursor.bytes().all(|byte| byte.is_ascii_digit());
    let position = cursor.parse().ok().filter(|_| is_ours);
    position.ok_or_else(|| Problem::invalid_field("cursor", "must be the next_cursor of another page"))
}

/// One page of the caller's transfers, and the cursor of the next.
async fn page(
    server: &Server,
    caller: &Caller,
    kinds: &[TransferKind],
    cursor: Option<&str>,
    limit: Option<&str>,
) -> Result<(Vec<Posted>, Option<String>), Problem> {
    let before = cursor.map(position_of).transpose()?;
    let limit = page_limit(limit)?;
    // One more than asked for tells whether there is another page.
    let found = server.wallet().history(&caller.user, kinds, before, limit + 1).await;
    let mut posted = found.map_err(|error| Refusal::from(error).of_reading())?;
    let more = posted.len() > limit as usize;
    posted.truncate(limit as usize);
    let next_cursor = posted.last().filter(|_| more).map(|last| last.position.to_string());
    Ok((posted, next_cursor))
}
