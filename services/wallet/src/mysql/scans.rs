//! What the audit reads. Each statement sees one moment of a shard; but what goes over
//! all rows of a shard goes page by page, back to one moment, so that no statement takes
//! the longer the more has ever happened.

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::limits::SQL_LIST_MAX;
use hongbao_core::{EnvelopeId, SystemBalances, TransferId, UserId};
use hongbao_database::mysql::row::put_bytes;
use hongbao_database::row::StoredRow;

use super::before::user_is_one_of;
use super::shard::{Shard, TRANSFER_COLUMNS, shard_number};
use super::wallet::MysqlWallet;
use crate::row::{LINE_COLUMNS, line, posted};
use crate::system::{self, ACCOUNTS, SYSTEM_FEN, USER_FEN};
use crate::{AccountRow, Boundaries, Boundary, Line, Posted, SealedBalance, WalletError, WalletScans};

/// Transfers that one statement adds up.
const SUM_ROWS_PAGE: i64 = 10_000;
/// Users whose balances one statement adds up.
const SUM_USERS_PAGE: i64 = 1_000;

#[async_trait]
impl WalletScans for MysqlWallet {
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Posted>, WalletError> {
        self.found(envelopes, |shard, envelopes| async move { shard.of_envelopes(&envelopes).await }).await
    }

    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Line>, WalletError> {
        let mut page: Vec<Line> = Vec::new();
        for shard in self.from(shard_number(after)) {
            let room = limit - page.len() as u32;
            if room == 0 {
                break;
            }
            let rows = shard.scan(shard.inner(after).max(0), room).await?;
            page.extend(rows.into_iter().map(|line| Line { position: shard.outer(line.position), ..line }));
        }
        Ok(page)
    }

    async fn accounts(
        &self,
        after: Option<&str>,
        limit: u32,
        sealed: &Boundaries,
    ) -> Result<Vec<AccountRow>, WalletError> {
        // An account of the system names its shard, a user's name leads to it.
        let first = match (after, after.and_then(UserId::parse)) {
            (None, _) => 0,
            (Some(_), Some(user)) => self.shard_of(&user).number,
            (Some(system), None) => {
                let number = system.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
                number.ok_or_else(|| WalletError::Unavailable(format!("no account is called {system:?}")))?
            }
        };
        let mut page: Vec<AccountRow> = Vec::new();
        for shard in self.from(first) {
            let after = after.filter(|_| shard.number == first).unwrap_or_default();
            let (is_user, boundary) = (UserId::parse(after).is_some(), sealed.0.get(&shard.number));
            if !is_user {
                let system = shard.system_accounts(boundary).await?;
                page.extend(system.into_iter().filter(|row| row.account.as_str() > after));
            }
            page.truncate(limit as usize);
            let room = limit - page.len() as u32;
            if room == 0 {
                break;
            }
            page.extend(shard.user_accounts(if is_user { after } else { "" }, room, boundary).await?);
        }
        Ok(page)
    }

    async fn books(&self) -> Result<Books, WalletError> {
        let of_shards = self.ask_all(|shard| async move { shard.books().await }).await?;
        Ok(of_shards.into_iter().fold(Books::default(), Books::plus))
    }
}

/// A moment of a shard, which can be gone back to: what was written until then
/// is what stands at its positions and never changes, and the ledger's row was
/// written with the last of it.
struct Moment {
    /// The balances of the system's accounts; `None` where their row is missing.
    system: Option<SystemBalances>,
    /// The last position; a row behind the one that the ledger names is damage
    /// that has to be seen.
    until: i64,
}

impl Shard {
    /// The keys of an envelope lie together, from `seq` 0 to the last that there could be.
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Posted>, WalletError> {
        let mut sql =
            format!("SELECT /* of_envelopes */ {TRANSFER_COLUMNS}, position FROM {}.transfer WHERE ", self.db);
        for (number, id) in envelopes.iter().enumerate() {
            sql.push_str(if number == 0 { "id BETWEEN " } else { " OR id BETWEEN " });
            put_bytes(&mut sql, &TransferId::Envelope(*id, 0).to_key());
            sql.push_str(" AND ");
            put_bytes(&mut sql, &TransferId::Envelope(*id, u32::MAX).to_key());
        }
        let found = self.fetch_patiently(&sql).await?.parse(posted, |posted| posted.transfer.user.as_str())?;
        Ok(found.into_iter().map(|posted| self.outer_posted(posted)).collect())
    }

    /// `after` and what comes back are positions in the shard.
    async fn scan(&self, mut after: i64, limit: u32) -> Result<Vec<Line>, WalletError> {
        let mut page: Vec<Line> = Vec::new();
        let mut rows_max = limit;
        loop {
            let sql = format!(
                "SELECT /* scan */ {LINE_COLUMNS}, 0 FROM {}.transfer t WHERE t.position > {after} \
                 ORDER BY t.position LIMIT {rows_max}",
                self.db
            );
            let found = self.fetch_patiently(&sql).await?;
            let room = limit as usize - page.len();
            let mut lines = found.parse_first(room, line, |line| line.transfer.user.as_str())?;
            self.put_balances_before(after, &mut lines).await?;
            page.append(&mut lines);
            match found.rows.last() {
                Some(last) if found.rows.len() == rows_max as usize && page.len() < limit as usize => {
                    after = last.int(5)?;
                    // Many in a row may be of users who have left.
                    rows_max = (rows_max.saturating_mul(2)).min(SUM_ROWS_PAGE as u32).max(limit);
                }
                _ => return Ok(page),
            }
        }
    }

    async fn moment(&self) -> Result<Moment, WalletError> {
        let sql = format!(
            "SELECT /* moment */ {}, GREATEST(COALESCE(l.last_position, 0), t.last) \
             FROM (SELECT COALESCE(MAX(position), 0) AS last FROM {db}.transfer) t \
             LEFT JOIN {db}.ledger l ON l.one = 1",
            system::columns_of("l"),
            db = self.db
        );
        let rows = self.fetch_patiently(&sql).await?.rows;
        let row = rows.first().expect("a maximum is one row");
        Ok(Moment { system: system::balances_or_null(row, 0)?, until: row.int(4)? })
    }

    /// The accounts of the system on a shard, in the order of their names. They have
    /// a part in every transfer, so all behind the boundary are added up, page by page.
    async fn system_accounts(&self, boundary: Option<&Boundary>) -> Result<Vec<AccountRow>, WalletError> {
        let Moment { system, until } = self.moment().await?;
        let mut sums = [0_i128; 4];
        let of_kinds = SYSTEM_FEN.each_ref().map(|fen| format!("CAST(SUM({fen}) AS CHAR)")).join(", ");
        let mut after = boundary.map_or(-i64::MAX, |boundary| boundary.position);
        let end = boundary.map(|boundary| boundary.end).unwrap_or_default();
        loop {
            let sql = format!(
                "SELECT /* system_accounts */ user_id, COUNT(*), MAX(position), {of_kinds} \
                 FROM (SELECT position, user_id, kind, amount_fen FROM {}.transfer \
                   WHERE position > {after} AND position <= {until} ORDER BY position LIMIT {SUM_ROWS_PAGE}) p \
                 GROUP BY user_id",
                self.db
            );
            let found = self.fetch_patiently(&sql).await?;
            let mut count = 0;
            for row in &found.rows {
                count += row.int(1)?;
                after = after.max(row.int(2)?);
                if !found.fence.has_left(row.text(0)?) {
                    for (place, total) in sums.iter_mut().enumerate() {
                        *total += sum(row, 3 + place)?;
                    }
                }
            }
            if count < SUM_ROWS_PAGE {
                break;
            }
        }
        let before = end.system.to_array();
        let mut accounts: Vec<AccountRow> = (ACCOUNTS.iter().enumerate())
            .map(|(place, name)| AccountRow {
                account: format!("{name}/{:02}", self.number),
                balance_fen: system.map(|system| system.to_array()[place]),
                transfers_sum_fen: i128::from(before[place]) + sums[place],
                sealed: SealedBalance::default(),
            })
            .collect();
        accounts.sort_by(|one, other| one.account.cmp(&other.account));
        Ok(accounts)
    }

    /// Users by name after `after`, a name or empty. A page of names is cut out first; then all of them are read in
    /// one statement, and so as of one moment.
    async fn user_accounts(
        &self,
        after: &str,
        limit: u32,
        boundary: Option<&Boundary>,
    ) -> Result<Vec<AccountRow>, WalletError> {
        let (mut page, mut after): (Vec<AccountRow>, _) = (Vec::new(), after.to_owned());
        let (position, number) = boundary.map_or((-i64::MAX, 0), |boundary| (boundary.position, boundary.number));
        loop {
            let room = (limit as usize - page.len()).min(SQL_LIST_MAX);
            let found = self.fetch_patiently(&self.names(&after, room as u32)).await?;
            // What could be no user's is named where the transfers are read.
            let users = found.parse(|row| Ok(row.text(0)?.to_owned()), |name| name)?;
            let users: Vec<UserId> = users.iter().filter_map(|name| UserId::parse(name)).collect();
            if !users.is_empty() {
                page.extend(self.accounts_of(&users, position, number).await?);
            }
            match found.rows.last() {
                Some(last) if found.rows.len() == room && page.len() < limit as usize => after = name_in(last)?,
                _ => return Ok(page),
            }
        }
    }

    async fn accounts_of(&self, users: &[UserId], position: i64, number: u64) -> Result<Vec<AccountRow>, WalletError> {
        let sql = format!(
            "SELECT /* user_accounts */ p.user_id, (SELECT t.balance_fen FROM {db}.transfer t FORCE INDEX (history) \
                 WHERE t.user_id = p.user_id ORDER BY t.position DESC LIMIT 1), s.sum_fen, \
               (SELECT t.balance_fen FROM {db}.transfer t FORCE INDEX (history) \
                 WHERE t.user_id = p.user_id AND t.position <= {position} ORDER BY t.position DESC LIMIT 1), \
               (SELECT m.balance_fen FROM {db}.month_balance m FORCE INDEX (PRIMARY) \
                 WHERE m.user_id = p.user_id AND m.number <= {number} ORDER BY m.number DESC LIMIT 1) \
             FROM (SELECT DISTINCT user_id FROM {db}.transfer FORCE INDEX (history) WHERE {is_one}) p \
             LEFT JOIN (SELECT user_id, CAST(SUM({user_fen}) AS CHAR) AS sum_fen FROM {db}.transfer \
               FORCE INDEX (history) WHERE {is_one} AND position > {position} GROUP BY user_id) s \
               ON s.user_id = p.user_id ORDER BY p.user_id",
            db = self.db,
            is_one = user_is_one_of(users.iter().map(UserId::as_str)),
            user_fen = *USER_FEN
        );
        let parse = |row: &_| {
            let [row_fen, sealed_fen] = [StoredRow::int_or_null(row, 3)?, StoredRow::int_or_null(row, 4)?];
            Ok(AccountRow {
                account: StoredRow::text(row, 0)?.to_owned(),
                balance_fen: Some(StoredRow::int(row, 1)?),
                transfers_sum_fen: sum(row, 2)? + i128::from(sealed_fen.unwrap_or(0)),
                sealed: SealedBalance { row_fen, sealed_fen },
            })
        };
        self.fetch_patiently(&sql).await?.parse(parse, |row| &row.account)
    }

    /// The statement that lists so many names of users behind one, each found by a look behind the one before it.
    pub(super) fn names(&self, after: &str, limit: u32) -> String {
        format!(
            "SELECT DISTINCT user_id FROM {}.transfer FORCE INDEX (history) WHERE user_id > '{after}' \
             ORDER BY user_id LIMIT {limit}",
            self.db
        )
    }

    /// The balances that users had at one moment are added up page by page.
    async fn books(&self) -> Result<Books, WalletError> {
        let Moment { system, until } = self.moment().await?;
        let missing =
            || WalletError::Damaged(format!("{}.ledger has no row: the system's balances are missing", self.db));
        let system = system.ok_or_else(missing)?;
        let mut balances_fen = 0;
        let mut after = String::new();
        loop {
            let sql = format!(
                "SELECT /* books */ p.user_id, (SELECT t.balance_fen FROM {db}.transfer t FORCE INDEX (history) \
                   WHERE t.user_id = p.user_id AND t.position <= {until} ORDER BY t.position DESC LIMIT 1) FROM ({names}) p ORDER BY p.user_id",
                db = self.db,
                names = self.names(&after, SUM_USERS_PAGE as u32)
            );
            let found = self.fetch_patiently(&sql).await?;
            for row in &found.rows {
                if !found.fence.has_left(row.text(0)?) {
                    balances_fen += i128::from(row.int_or_null(1)?.unwrap_or(0));
                }
            }
            match found.rows.last() {
                Some(last) if found.rows.len() == SUM_USERS_PAGE as usize => after = name_in(last)?,
                _ => break,
            }
        }
        Ok(Books::new(balances_fen, system))
    }
}

/// A user's name, which a literal can hold: see `transaction`. One that could not be a user's is damage.
fn name_in(row: &impl StoredRow) -> Result<String, WalletError> {
    let name = row.text(0)?;
    let user = UserId::parse(name).ok_or_else(|| WalletError::Damaged(format!("a user is called {name:?}")))?;
    Ok(user.to_string())
}

/// A sum, which comes as text since it may not fit into 64 bits; null is that of nothing.
fn sum(row: &impl StoredRow, column: usize) -> Result<i128, WalletError> {
    let Some(text) = row.text_or_null(column)? else { return Ok(0) };
    text.parse().map_err(|_| WalletError::Damaged(format!("a sum of fen is {text:?}")))
}
