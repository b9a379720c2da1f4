//! What is read. Each is one statement, and so sees one moment of a shard; but
//! what goes over all rows of a shard goes page by page, back to one moment, so
//! that no statement takes the longer the more has ever happened.

use hongbao_core::audit::Books;
use hongbao_core::{EnvelopeId, Fen, Transfer, TransferId, TransferKind, UserId};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow;

use super::shard::{Shard, put_id_is_one_of};
use crate::row::{self, balance_line, code_of, posted, transfer};
use crate::{AccountRow, BalanceLine, CLEARING, Posted, TOP_UPS, WalletError};

const TRANSFER_COLUMNS: &str = "id, user_id, kind, amount_fen, at_ms";
/// What the user's account sees of a transfer.
const USER_FEN: &str = "CASE kind WHEN 2 THEN -amount_fen ELSE amount_fen END";

/// Transfers that one statement adds up.
const SUM_ROWS_PAGE: i64 = 10_000;
/// Users whose balances one statement adds up.
const SUM_USERS_PAGE: i64 = 1_000;

pub(super) async fn balance(shard: &Shard, user: &UserId) -> Result<Fen, WalletError> {
    let sql = format!(
        "SELECT /* balance */ balance_fen, position FROM {}.transfer WHERE user_id = '{user}' \
         ORDER BY position DESC LIMIT 1",
        shard.db
    );
    match shard.fetch_durably(&sql, 1).await?.first() {
        Some(row) => row::balance(row, 0, user),
        None => Ok(Fen::ZERO),
    }
}

/// `before` and what comes back are positions in the shard.
pub(super) async fn history(
    shard: &Shard,
    user: &UserId,
    kinds: &[TransferKind],
    before: i64,
    limit: u32,
) -> Result<Vec<Posted>, WalletError> {
    let mut sql = format!(
        "SELECT /* history */ {TRANSFER_COLUMNS}, position FROM {}.transfer \
         WHERE user_id = '{user}' AND position < {before}",
        shard.db
    );
    for (number, kind) in kinds.iter().enumerate() {
        put(&mut sql, format_args!("{}{}", if number == 0 { " AND kind IN (" } else { "," }, code_of(*kind)));
    }
    if !kinds.is_empty() {
        sql.push(')');
    }
    put(&mut sql, format_args!(" ORDER BY position DESC LIMIT {limit}"));
    shard.fetch_durably(&sql, 5).await?.iter().map(posted).collect()
}

/// The keys of an envelope lie together, from `seq` 0 to the last that there could be.
pub(super) async fn of_envelopes(shard: &Shard, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
    let mut sql = format!("SELECT /* of_envelopes */ {TRANSFER_COLUMNS} FROM {}.transfer WHERE ", shard.db);
    for (number, id) in envelopes.iter().enumerate() {
        sql.push_str(if number == 0 { "id BETWEEN " } else { " OR id BETWEEN " });
        put_bytes(&mut sql, &TransferId::Envelope(*id, 0).to_key());
        sql.push_str(" AND ");
        put_bytes(&mut sql, &TransferId::Envelope(*id, u32::MAX).to_key());
    }
    shard.fetch_patiently(&sql).await?.iter().map(transfer).collect()
}

pub(super) async fn find(shard: &Shard, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
    let mut sql = format!("SELECT /* find */ {TRANSFER_COLUMNS} FROM {}.transfer WHERE ", shard.db);
    put_id_is_one_of(&mut sql, ids.iter().copied());
    shard.fetch(&sql).await?.iter().map(transfer).collect()
}

/// `after` and what comes back are positions in the shard.
pub(super) async fn scan(shard: &Shard, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
    let sql = format!(
        "SELECT /* scan */ {TRANSFER_COLUMNS}, position FROM {}.transfer WHERE position > {after} \
         ORDER BY position LIMIT {limit}",
        shard.db
    );
    shard.fetch_patiently(&sql).await?.iter().map(posted).collect()
}

/// A moment of a shard, which can be gone back to: what was written until then
/// is what stands at its positions and never changes, and the ledger's row was
/// written with the last of it.
struct Moment {
    /// The balances of [`CLEARING`] and [`TOP_UPS`]; `None` where their row is missing.
    system: Option<(i64, i64)>,
    /// The last position; a row behind the one that the ledger names is damage
    /// that has to be seen.
    until: i64,
}

async fn moment(shard: &Shard) -> Result<Moment, WalletError> {
    let sql = format!(
        "SELECT /* moment */ l.clearing_fen, l.top_ups_fen, GREATEST(COALESCE(l.last_position, 0), t.last) \
         FROM (SELECT COALESCE(MAX(position), 0) AS last FROM {db}.transfer) t \
         LEFT JOIN {db}.ledger l ON l.one = 1",
        db = shard.db
    );
    let rows = shard.fetch_patiently(&sql).await?;
    let row = rows.first().expect("a maximum is one row");
    let system = row.int_or_null(0)?.zip(row.int_or_null(1)?);
    Ok(Moment { system, until: row.int(2)? })
}

/// The accounts of the system on a shard, in the order of their names. They have
/// a part in every transfer, so all are added up, page by page.
pub(super) async fn system_accounts(shard: &Shard) -> Result<[AccountRow; 2], WalletError> {
    let Moment { system, until } = moment(shard).await?;
    let (mut through_clearing, mut from_top_ups) = (0, 0);
    let mut after = -i64::MAX;
    loop {
        let sql = format!(
            "SELECT /* system_accounts */ COUNT(*), COALESCE(MAX(position), 0), \
               CAST(SUM(CASE kind WHEN 1 THEN 0 ELSE {USER_FEN} END) AS CHAR), \
               CAST(SUM(CASE kind WHEN 1 THEN amount_fen ELSE 0 END) AS CHAR) \
             FROM (SELECT position, kind, amount_fen FROM {}.transfer \
               WHERE position > {after} AND position <= {until} ORDER BY position LIMIT {SUM_ROWS_PAGE}) p",
            shard.db
        );
        let rows = shard.fetch_patiently(&sql).await?;
        let row = rows.first().expect("a sum over all rows is one row");
        through_clearing += sum(row, 2)?;
        from_top_ups += sum(row, 3)?;
        if row.int(0)? < SUM_ROWS_PAGE {
            break;
        }
        after = row.int(1)?;
    }
    let account = |name: &str, balance_fen, users_fen: i128| AccountRow {
        account: format!("{name}/{:02}", shard.number),
        balance_fen,
        transfers_sum_fen: -users_fen,
    };
    let (clearing_fen, top_ups_fen) = system.unzip();
    Ok([account(CLEARING, clearing_fen, through_clearing), account(TOP_UPS, top_ups_fen, from_top_ups)])
}

/// Users by name after `after`, a name or empty. A page of names is cut out first.
pub(super) async fn user_accounts(shard: &Shard, after: &str, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
    let sql = format!(
        "SELECT /* user_accounts */ p.user_id, (SELECT t.balance_fen FROM {db}.transfer t \
             WHERE t.user_id = p.user_id ORDER BY t.position DESC LIMIT 1), \
           (SELECT CAST(SUM({USER_FEN}) AS CHAR) FROM {db}.transfer t WHERE t.user_id = p.user_id) \
         FROM (SELECT DISTINCT user_id FROM {db}.transfer WHERE user_id > '{after}' ORDER BY user_id LIMIT {limit}) p \
         ORDER BY p.user_id",
        db = shard.db
    );
    let parse = |row: &_| {
        let account = StoredRow::text(row, 0)?.to_owned();
        Ok(AccountRow { account, balance_fen: Some(StoredRow::int(row, 1)?), transfers_sum_fen: sum(row, 2)? })
    };
    shard.fetch_patiently(&sql).await?.iter().map(parse).collect()
}

/// What each transfer did to its user's balance. `after` and what comes back are
/// positions in the shard. The rest of one history and the histories behind it are
/// two statements: as one condition, databases would read that history from its
/// start for each of its pages.
pub(super) async fn balances(
    shard: &Shard,
    after: Option<(&UserId, i64)>,
    limit: u32,
) -> Result<Vec<BalanceLine>, WalletError> {
    let read = async |condition: String, limit: usize| -> Result<Vec<BalanceLine>, WalletError> {
        let sql = format!(
            "SELECT /* balances */ user_id, position, {USER_FEN}, balance_fen FROM {}.transfer FORCE INDEX (history) \
             WHERE {condition} ORDER BY user_id, position LIMIT {limit}",
            shard.db
        );
        shard.fetch_patiently(&sql).await?.iter().map(balance_line).collect()
    };
    let limit = limit as usize;
    let Some((user, position)) = after else { return read("user_id > ''".to_owned(), limit).await };
    let mut page = read(format!("user_id = '{user}' AND position > {position}"), limit).await?;
    if page.len() < limit {
        page.extend(read(format!("user_id > '{user}'"), limit - page.len()).await?);
    }
    Ok(page)
}

/// The balances that users had at one moment are added up page by page.
pub(super) async fn books(shard: &Shard) -> Result<Books, WalletError> {
    let Moment { system, until } = moment(shard).await?;
    let missing = || WalletError::Damaged(format!("{}.ledger has no row: the system's balances are missing", shard.db));
    let (clearing_fen, top_ups_fen) = system.ok_or_else(missing)?;
    let mut balances_fen = 0;
    let mut after = String::new();
    loop {
        let sql = format!(
            "SELECT /* books */ COUNT(*), COALESCE(MAX(user_id), ''), CAST(SUM(balance_fen) AS CHAR) FROM \
               (SELECT p.user_id, (SELECT t.balance_fen FROM {db}.transfer t WHERE t.user_id = p.user_id \
                  AND t.position <= {until} ORDER BY t.position DESC LIMIT 1) AS balance_fen FROM \
                 (SELECT DISTINCT user_id FROM {db}.transfer WHERE user_id > '{after}' \
                  ORDER BY user_id LIMIT {SUM_USERS_PAGE}) p) b",
            db = shard.db
        );
        let rows = shard.fetch_patiently(&sql).await?;
        let row = rows.first().expect("a sum over all rows is one row");
        balances_fen += sum(row, 2)?;
        if row.int(0)? < SUM_USERS_PAGE {
            break;
        }
        // A literal can hold it: see `transaction`. One that could not be a user's name is damage.
        let last = row.text(1)?;
        let last = UserId::parse(last).ok_or_else(|| WalletError::Damaged(format!("a user is called {last:?}")))?;
        after = last.to_string();
    }
    Ok(Books { outstanding_fen: clearing_fen.into(), top_ups_fen: -i128::from(top_ups_fen), balances_fen })
}

/// A sum, which comes as text since it may not fit into 64 bits; null is that of nothing.
fn sum(row: &impl StoredRow, column: usize) -> Result<i128, WalletError> {
    let Some(text) = row.text_or_null(column)? else { return Ok(0) };
    text.parse().map_err(|_| WalletError::Damaged(format!("a sum of fen is {text:?}")))
}
