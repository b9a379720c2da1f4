//! What the audit reads: each verb is one statement, so each sees one moment.

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::{EnvelopeId, Transfer, UserId};
use hongbao_database::row::StoredRow as _;
use sqlx::sqlite::SqliteRow;

use super::SqliteWallet;
use super::transaction::{json_list, unavailable};
use crate::row::{self, balance_line, hex, posted, transfer};
use crate::{AccountRow, BalanceLine, CLEARING, Posted, TOP_UPS, WalletError, WalletScans};

/// The keys of an envelope lie together, from `seq` 0 to the last that there could be.
const OF_ENVELOPES: &str = "SELECT transfer.id, user_id, kind, amount_fen, at_ms \
     FROM json_each(?1) AS envelope CROSS JOIN transfer \
     ON transfer.id BETWEEN unhex('02' || envelope.value || '00000000') AND unhex('02' || envelope.value || 'ffffffff') \
     ORDER BY transfer.id";

const SCAN: &str = "SELECT id, user_id, kind, amount_fen, at_ms, position FROM transfer \
     WHERE position > ?1 ORDER BY position LIMIT ?2";

/// A page of names, then what stands for each of them. A user's balance is that
/// of the newest row: beside `max`, SQLite takes a bare column from the row of
/// the maximum. The sums come in two halves of 32 bits, since a sum that does
/// not fit into 64 is what an audit must be able to see. The system's accounts
/// have a part in every transfer, so all of them are read, for the first page only;
/// the balance of one whose row is missing is null.
const ACCOUNTS: &str = "WITH system (account, balance_fen) AS ( \
       SELECT account, balance_fen FROM system_account \
       UNION ALL SELECT column1, NULL FROM (VALUES ('#clearing'), ('#top_ups')) \
         WHERE column1 NOT IN (SELECT account FROM system_account) \
     ), page (account) AS ( \
       SELECT account FROM system WHERE account > ?1 \
       UNION ALL SELECT * FROM (SELECT DISTINCT user_id FROM transfer WHERE user_id > ?1 ORDER BY user_id LIMIT ?2) \
       ORDER BY 1 LIMIT ?2 \
     ), contras (clearing_high, clearing_low, top_ups_high, top_ups_low) AS ( \
       SELECT sum(-user_fen >> 32) FILTER (WHERE contra = '#clearing'), \
         sum(-user_fen & 4294967295) FILTER (WHERE contra = '#clearing'), \
         sum(-user_fen >> 32) FILTER (WHERE contra = '#top_ups'), \
         sum(-user_fen & 4294967295) FILTER (WHERE contra = '#top_ups') \
       FROM transfer WHERE ?1 < '#top_ups' \
     ) \
     SELECT user_id, balance_fen, sum(user_fen >> 32), sum(user_fen & 4294967295), max(position) FROM transfer \
       WHERE user_id IN (SELECT account FROM page) GROUP BY user_id \
     UNION ALL \
     SELECT account, balance_fen, coalesce(iif(account = '#clearing', clearing_high, top_ups_high), 0), \
         coalesce(iif(account = '#clearing', clearing_low, top_ups_low), 0), NULL \
       FROM system CROSS JOIN contras WHERE account IN (SELECT account FROM page) \
     ORDER BY 1";

/// The rest of one history, then the histories behind it: as one condition, SQLite
/// would read that history from its start for each of its pages.
const BALANCES: &str = "SELECT * FROM (SELECT user_id, position, user_fen, balance_fen FROM transfer \
       WHERE user_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3) \
     UNION ALL SELECT * FROM (SELECT user_id, position, user_fen, balance_fen FROM transfer \
       WHERE user_id > ?1 ORDER BY user_id, position LIMIT ?3) LIMIT ?3";

/// The users' balances in two halves, as above, and the system's.
const BOOKS: &str = "SELECT coalesce(sum(balance_fen >> 32), 0), coalesce(sum(balance_fen & 4294967295), 0), \
       (SELECT balance_fen FROM system_account WHERE account = '#clearing'), \
       (SELECT balance_fen FROM system_account WHERE account = '#top_ups') \
     FROM (SELECT balance_fen, max(position) FROM transfer GROUP BY user_id)";

#[async_trait]
impl WalletScans for SqliteWallet {
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        let ids: Vec<_> = envelopes.iter().map(|id| hex(id.as_bytes())).collect();
        let list = json_list(ids.iter().map(String::as_str));
        let rows = sqlx::query(OF_ENVELOPES).bind(list).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(transfer).collect()
    }

    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        let rows = sqlx::query(SCAN).bind(after).bind(limit).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(posted).collect()
    }

    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        // No account has an empty name.
        let rows = sqlx::query(ACCOUNTS).bind(after.unwrap_or_default()).bind(limit).fetch_all(self.readers()?);
        let account = |row: &SqliteRow| {
            let transfers_sum_fen = whole(row.int(2)?, row.int(3)?);
            Ok(AccountRow { account: row.text(0)?.to_owned(), balance_fen: row.int_or_null(1)?, transfers_sum_fen })
        };
        rows.await.map_err(unavailable)?.iter().map(account).collect()
    }

    async fn balances(&self, after: Option<(&UserId, i64)>, limit: u32) -> Result<Vec<BalanceLine>, WalletError> {
        // No user has an empty name.
        let (user, position) = after.map_or(("", 0), |(user, position)| (user.as_str(), position));
        let rows = sqlx::query(BALANCES).bind(user).bind(position).bind(limit).fetch_all(self.readers()?);
        rows.await.map_err(unavailable)?.iter().map(balance_line).collect()
    }

    async fn books(&self) -> Result<Books, WalletError> {
        let row = sqlx::query(BOOKS).fetch_one(self.readers()?).await.map_err(unavailable)?;
        Ok(Books {
            balances_fen: whole(row.int(0)?, row.int(1)?),
            outstanding_fen: row::system_balance(&row, 2, CLEARING)?.into(),
            top_ups_fen: -i128::from(row::system_balance(&row, 3, TOP_UPS)?),
        })
    }
}

/// A sum from its halves.
fn whole(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}
