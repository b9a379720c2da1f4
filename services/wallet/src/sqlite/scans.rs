//! What the audit reads: each verb is one statement, so each sees one moment.

use std::sync::LazyLock;

use async_trait::async_trait;
use hongbao_core::EnvelopeId;
use hongbao_core::audit::Books;
use hongbao_database::row::StoredRow as _;
use sqlx::sqlite::SqliteRow;

use super::SqliteWallet;
use super::transaction::{json_list, system_balances, unavailable};
use crate::row::{LINE_COLUMNS, hex, line, posted};
use crate::{AccountRow, Boundaries, Line, Posted, SealedBalance, WalletError, WalletScans, system};

/// The keys of an envelope lie together, from `seq` 0 to the last that there could be.
const OF_ENVELOPES: &str = "SELECT transfer.id, user_id, kind, amount_fen, at_ms, position \
     FROM json_each(?1) AS envelope CROSS JOIN transfer \
     ON transfer.id BETWEEN unhex('02' || envelope.value || '00000000') AND unhex('02' || envelope.value || 'ffffffff') \
     ORDER BY transfer.id";

/// Names of users behind one, each found by a look behind the one before it: SQLite would
/// read all transfers of a user to pass over them.
pub(super) const USERS: &str = "WITH RECURSIVE named (user_id) AS ( \
       SELECT min(user_id) FROM transfer WHERE user_id > {after} \
       UNION ALL SELECT (SELECT min(user_id) FROM transfer WHERE transfer.user_id > named.user_id) FROM named \
         WHERE named.user_id IS NOT NULL LIMIT {limit} \
     ) SELECT user_id FROM named WHERE user_id IS NOT NULL";

/// A page of names, then what stands for each of them. The sums come in two halves of 32 bits,
/// since a sum that does not fit into 64 is what an audit must be able to see. The system's accounts
/// have a part in every transfer, so all behind the boundary are read, for the first page only;
/// the balance of one whose row is missing is null.
const ACCOUNTS: &str = "WITH system (account, balance_fen) AS ( \
       SELECT account, balance_fen FROM system_account \
       UNION ALL SELECT column1, NULL FROM (VALUES {accounts}) \
         WHERE column1 NOT IN (SELECT account FROM system_account) \
     ), page (account, is_system) AS ( \
       SELECT account, 1 FROM system WHERE account > ?1 UNION ALL SELECT user_id, 0 FROM ({users}) ORDER BY 1 LIMIT ?2 \
     ), sums AS ( \
       SELECT {sums} FROM transfer WHERE ?1 < '#top_ups' AND position > ?3 \
     ) \
     SELECT account, \
         (SELECT balance_fen FROM transfer WHERE user_id = account ORDER BY position DESC LIMIT 1), \
         coalesce(sum(user_fen >> 32), 0), coalesce(sum(user_fen & 4294967295), 0), \
         (SELECT balance_fen FROM transfer WHERE user_id = account AND position <= ?3 ORDER BY position DESC LIMIT 1), \
         {sealed} \
       FROM page LEFT JOIN transfer ON user_id = account AND position > ?3 WHERE NOT is_system GROUP BY account \
     UNION ALL \
     SELECT account, balance_fen, coalesce(CASE account {high} END, 0), coalesce(CASE account {low} END, 0), NULL, NULL \
       FROM system CROSS JOIN sums WHERE account IN (SELECT account FROM page WHERE is_system) \
     ORDER BY 1";

/// What a user has at the end of the sealed months.
const SEALED: &str = "(SELECT balance_fen FROM month_balance WHERE user_id = account AND number <= ?4 \
     ORDER BY number DESC LIMIT 1)";

/// The statement with sealed months, and without them: a file of an earlier version knows nothing of those, nor of all accounts.
static TEXTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    let users = USERS.replace("{after}", "?1").replace("{limit}", "?2");
    let text = ACCOUNTS.replace("{users}", &users);
    [(ACCOUNTS_BEFORE_ORDERS, "NULL"), (system::ACCOUNTS.len(), "NULL"), (system::ACCOUNTS.len(), SEALED)].map(
        |(count, sealed)| {
            let accounts: Vec<String> = system::ACCOUNTS[..count].iter().map(|name| format!("('{name}')")).collect();
            let sums: Vec<String> = (system::SYSTEM_FEN.iter().enumerate())
                .map(|(place, fen)| {
                    format!("sum(({fen}) >> 32) AS high_{place}, sum(({fen}) & 4294967295) AS low_{place}")
                })
                .collect();
            let cases = |half: &str| {
                let cases = system::ACCOUNTS.iter().enumerate();
                cases.map(|(place, name)| format!("WHEN '{name}' THEN {half}_{place}")).collect::<Vec<_>>().join(" ")
            };
            let text = text.replace("{accounts}", &accounts.join(", ")).replace("{sums}", &sums.join(", "));
            text.replace("{high}", &cases("high")).replace("{low}", &cases("low")).replace("{sealed}", sealed)
        },
    )
});

/// A file from before there were orders has the first so many of the system's accounts.
const ACCOUNTS_BEFORE_ORDERS: usize = 2;

static SCAN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {LINE_COLUMNS}, (SELECT before.balance_fen FROM transfer AS before WHERE before.user_id = t.user_id \
           AND before.position < t.position ORDER BY before.position DESC LIMIT 1) \
         FROM transfer AS t WHERE t.position > ?1 ORDER BY t.position LIMIT ?2"
    )
});

/// The users' balances in two halves, as above.
static BALANCES: LazyLock<String> = LazyLock::new(|| {
    let users = USERS.replace("{after}", "''").replace("{limit}", "-1");
    format!(
        "coalesce(sum(balance_fen >> 32), 0), coalesce(sum(balance_fen & 4294967295), 0) \
         FROM (SELECT (SELECT balance_fen FROM transfer WHERE transfer.user_id = users.user_id \
           ORDER BY position DESC LIMIT 1) AS balance_fen FROM ({users}) AS users)"
    )
});

/// All balances as of one moment: of a file from before there were orders, and of one of today.
static BOOKS: LazyLock<[String; 2]> = LazyLock::new(|| {
    [ACCOUNTS_BEFORE_ORDERS, system::ACCOUNTS.len()]
        .map(|count| format!("SELECT {}, {}", system_balances(count), *BALANCES))
});

#[async_trait]
impl WalletScans for SqliteWallet {
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Posted>, WalletError> {
        let ids: Vec<_> = envelopes.iter().map(|id| hex(id.as_bytes())).collect();
        let list = json_list(ids.iter().map(String::as_str));
        let rows = sqlx::query(OF_ENVELOPES).bind(list).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(posted).collect()
    }

    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Line>, WalletError> {
        let rows = sqlx::query(&SCAN).bind(after).bind(limit).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(line).collect()
    }

    async fn accounts(
        &self,
        after: Option<&str>,
        limit: u32,
        sealed: &Boundaries,
    ) -> Result<Vec<AccountRow>, WalletError> {
        let boundary = sealed.0.values().next();
        let (position, number) = boundary.map_or((i64::MIN, 0), |boundary| (boundary.position, boundary.number));
        let end = boundary.map(|boundary| boundary.end).unwrap_or_default();
        // No account has an empty name.
        let text = if self.is_whole { 1 + usize::from(boundary.is_some()) } else { 0 };
        let query = sqlx::query(&TEXTS[text]).bind(after.unwrap_or_default()).bind(limit);
        let query = query.bind(position);
        let query = if boundary.is_some() { query.bind(number as i64) } else { query };
        let rows = query.fetch_all(self.readers()?);
        let account = |row: &SqliteRow| {
            let account = row.text(0)?.to_owned();
            let sealed = SealedBalance { row_fen: row.int_or_null(4)?, sealed_fen: row.int_or_null(5)? };
            let before_fen = match system::ACCOUNTS.iter().position(|name| *name == account) {
                Some(place) => end.system.to_array()[place],
                None => sealed.sealed_fen.unwrap_or(0),
            };
            let transfers_sum_fen = whole(row.int(2)?, row.int(3)?) + i128::from(before_fen);
            Ok(AccountRow { account, balance_fen: row.int_or_null(1)?, transfers_sum_fen, sealed })
        };
        rows.await.map_err(unavailable)?.iter().map(account).collect()
    }

    async fn books(&self) -> Result<Books, WalletError> {
        let row = sqlx::query(&BOOKS[usize::from(self.is_whole)]).fetch_one(self.readers()?);
        let row = row.await.map_err(unavailable)?;
        Ok(Books::new(whole(row.int(4)?, row.int(5)?), system::balances(&row, 0)?))
    }
}

/// A sum from its halves.
fn whole(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}
