//! One transaction: read what the batch touches, decide in memory, write once.
//!
//! Nearly no id is taken already, and the unique key on it refuses one that is: ids are
//! looked up only after the key has refused one, or where a transfer is not to be written,
//! for what becomes of that one may depend on its id.
//!
//! All of it is text with literals, for batches of any size: numbers, bytes as
//! hexadecimal, and users' names, whose type admits only letters, digits, `_`
//! and `-`, so that nothing in them ends a literal.

use std::collections::BTreeSet;
use std::sync::Arc;

use hongbao_core::limits::DEADLOCK_TRIES_MAX;
use hongbao_core::{Transfer, TransferOutcome, UserId};
use hongbao_database::DatabaseError;
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::{QueryError, committing, reading};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::fence::{FENCE_COLUMNS, Fence};
use super::noting;
use super::shard::{Shard, is_lost, put_id_is_one_of, put_name};
use super::transact::{Write, transact};
use crate::events::{EventPlan, looked_up};
use crate::ledger::{PostingPlan, asked_if_frozen};
use crate::orders::tables::{ORDER_ROW, Statement, Writes};
use crate::quotas::{self, Guard};
use crate::row::{self, code_of, content};
use crate::writer::{Asked, Transact, TransactError};
use crate::{WalletError, system};

/// The first column of each row that is read says what the row is.
const LEDGER_ROW: i64 = 0;
const HELD_ROW: i64 = 1;
const BALANCE_ROW: i64 = 2;
const EVENT_END_ROW: i64 = 4;
const WRITTEN_ROW: i64 = 5;
const FROZEN_ROW: i64 = 6;
const _: () = assert!(ORDER_ROW > BALANCE_ROW && ORDER_ROW < EVENT_END_ROW);

/// What the queue of a shard writes to.
pub(super) struct ShardWriter(pub Arc<Shard>);

impl Transact for ShardWriter {
    async fn transact(&self, asked: Asked<'_>) -> Result<Vec<TransferOutcome>, TransactError> {
        run(&self.0, asked).await
    }
}

/// One transaction over orders and the transfers that may be due for them: reads under the lock, decides, writes.
pub(super) async fn change<T>(
    shard: &Shard,
    possible: &[Transfer],
    reads: &[String],
    decide: impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&MySqlRow]) -> Result<Writes<T>, WalletError>,
) -> Result<T, WalletError> {
    let transfers: Vec<&Transfer> = possible.iter().collect();
    let asked = Asked { transfers: &transfers, notes: &[], quotas: &[] };
    let mut text = text_that_reads(shard, asked, TakenIds::AreLookedUp);
    // What is written of an order is new, as its change is: nothing is looked up for it but where it goes.
    let mut end = String::new();
    noting::put_reads(&mut end, &shard.db, &[], EVENT_END_ROW, WRITTEN_ROW);
    for read in reads.iter().map(String::as_str).chain([&*end]) {
        if !text.ends_with("; ") {
            text.push_str("; ");
        }
        text.push_str(read);
    }
    transact(
        &shard.db,
        || shard.connections.lease(),
        &text,
        |rows| {
            let Loaded { mut plan, mut events, end, fence } = load(shard, rows, asked)?;
            fence.check_open(&shard.db)?;
            let mut orders = Vec::new();
            for row in rows {
                if row.int(0)? == ORDER_ROW && !fence.has_left(row.text(2)?) {
                    orders.push(row);
                }
            }
            let Writes { statements, notes, value } = decide(&mut plan, possible, &orders)?;
            events.decide(&[], &[], &notes.iter().collect::<Vec<_>>());
            let (sql, rows) = text_that_writes(shard, &plan, &events, end, statements);
            Ok(Write { sql, rows, value })
        },
    )
    .await
}

/// Executes transfers in order and writes what of the notes is new, in one transaction; durable when it returns.
async fn run(shard: &Shard, asked: Asked<'_>) -> Result<Vec<TransferOutcome>, TransactError> {
    let mut taken = TakenIds::AreRefused;
    let mut text = text_that_begins(shard, asked, taken);
    let mut lease = lease(shard).await?;
    let (mut tries, mut is_fresh) = (1, false);
    let error = loop {
        match attempt(&mut lease, shard, &text, asked, taken).await {
            Ok(outcomes) => {
                lease.give_back();
                return Ok(outcomes);
            }
            // Nothing was written: after an insert that is refused the rest of its text is not run.
            Err(error) if taken == TakenIds::AreRefused && error.wants_taken_ids() => {
                taken = TakenIds::AreLookedUp;
                text = text_that_begins(shard, asked, taken);
                if let Err(broken) = within(lease.limit(), lease.connection().execute("ROLLBACK")).await {
                    break AttemptError::Reading(broken);
                }
            }
            // It was rolled back as a whole.
            Err(AttemptError::Reading(broken) | AttemptError::Writing(broken))
                if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX =>
            {
                tries += 1;
            }
            // The ledger was not written, and what belongs to it went before; if
            // not, what is read again shows it.
            Err(AttemptError::Overtaken) if tries < DEADLOCK_TRIES_MAX => tries += 1,
            // Nothing is written by then.
            Err(AttemptError::Reading(broken)) if is_lost(&broken) && !is_fresh => {
                is_fresh = true;
                lease.close();
                lease = self::lease(shard).await?;
            }
            Err(error) => break error,
        }
    };
    if error.leaves_it_open() && within(lease.limit(), lease.connection().execute("ROLLBACK")).await.is_ok() {
        lease.give_back();
    } else {
        lease.close();
    }
    Err(error.into_failure())
}

async fn lease(shard: &Shard) -> Result<Lease, TransactError> {
    shard.connections.lease().await.map_err(TransactError::Begin)
}

/// What becomes of the ids that are taken already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakenIds {
    /// The unique key refuses the whole transaction.
    AreRefused,
    /// They are read first, so that each transfer has its own outcome.
    AreLookedUp,
}

/// Why an attempt ended.
enum AttemptError {
    /// Before anything was written.
    Reading(QueryError),
    /// In the text that writes, or the commit.
    Writing(QueryError),
    /// A node of a cluster ended the transaction between two statements of the
    /// text, because another node's was first; what came after was a new one.
    Overtaken,
    /// Nothing was written: what becomes of a transfer may depend on its id, which was not looked up.
    MayBeTaken,
    /// What was read cannot be gone on with: it is damaged, or says that a user's money is not here.
    Refused(WalletError),
}

impl AttemptError {
    /// An id may be taken already.
    fn wants_taken_ids(&self) -> bool {
        match self {
            AttemptError::Writing(broken) => broken.is_duplicate(),
            AttemptError::MayBeTaken => true,
            AttemptError::Reading(_) | AttemptError::Overtaken | AttemptError::Refused(_) => false,
        }
    }

    /// The connection is of further use once it is out of the transaction.
    fn leaves_it_open(&self) -> bool {
        match self {
            AttemptError::Reading(broken) | AttemptError::Writing(broken) => !broken.is_of_connection(),
            AttemptError::Refused(_) | AttemptError::Overtaken | AttemptError::MayBeTaken => true,
        }
    }

    fn into_failure(self) -> TransactError {
        match self {
            AttemptError::Reading(broken) => TransactError::Begin(reading(broken).into()),
            AttemptError::Refused(error) => TransactError::Inside(error),
            AttemptError::Overtaken => {
                TransactError::Commit(WalletError::Unknown("another node wrote first".to_owned()))
            }
            AttemptError::MayBeTaken => {
                TransactError::Inside(WalletError::Damaged("ids that were looked up were to be looked up".to_owned()))
            }
            // A broken connection says nothing about how far it came.
            AttemptError::Writing(broken) => match committing(broken) {
                DatabaseError::Unknown(reason) => TransactError::Commit(WalletError::Unknown(reason)),
                other => TransactError::Inside(other.into()),
            },
        }
    }
}

async fn attempt(
    lease: &mut Lease,
    shard: &Shard,
    text: &str,
    asked: Asked<'_>,
    taken: TakenIds,
) -> Result<Vec<TransferOutcome>, AttemptError> {
    let limit = lease.limit();
    let read = within(limit, lease.connection().fetch_all(sqlx::raw_sql(text))).await;
    let rows = read.map_err(AttemptError::Reading)?;
    let Loaded { mut plan, mut events, end, .. } = load(shard, &rows, asked).map_err(AttemptError::Refused)?;
    let outcomes: Vec<_> = asked.transfers.iter().map(|transfer| plan.execute(transfer)).collect();
    events.decide(asked.transfers, &outcomes, asked.notes);
    if taken == TakenIds::AreRefused && outcomes.iter().any(|outcome| *outcome != TransferOutcome::Done) {
        return Err(AttemptError::MayBeTaken);
    }
    let (text, rows) = text_that_writes(shard, &plan, &events, end, Vec::new());
    let done = within(limit, lease.connection().execute(sqlx::raw_sql(&text))).await.map_err(AttemptError::Writing)?;
    if done.rows_affected() != rows {
        return Err(AttemptError::Overtaken);
    }
    // A command of its own: where a node of a cluster has ended the transaction before it, this fails. As a further
    // statement of one text it would succeed, and commit nothing.
    within(limit, lease.connection().execute("COMMIT")).await.map_err(AttemptError::Writing)?;
    Ok(outcomes)
}

/// Begins a transaction: see [`text_that_reads`].
fn text_that_begins(shard: &Shard, asked: Asked<'_>, taken: TakenIds) -> String {
    format!("START TRANSACTION; {}", text_that_reads(shard, asked, taken))
}

/// Locks the ledger's row and that of the fence, which no other transaction then gets past; what is
/// read after it is therefore the last word.
fn text_that_reads(shard: &Shard, asked: Asked<'_>, taken: TakenIds) -> String {
    let (db, transfers) = (&shard.db, asked.transfers);
    let mut sql = String::with_capacity(256 + transfers.len() * 96);
    put(
        &mut sql,
        format_args!(
            "SELECT /* wallet transfer */ {LEDGER_ROW}, {}, l.last_position, l.transactions, \
             {FENCE_COLUMNS} FROM {db}.ledger l JOIN {db}.fence f ON f.one = l.one WHERE l.one = 1 FOR UPDATE; ",
            system::columns_of("l")
        ),
    );
    if !asked.notes.is_empty() {
        let notes = looked_up(asked.notes, taken == TakenIds::AreLookedUp);
        noting::put_reads(&mut sql, db, &notes, EVENT_END_ROW, WRITTEN_ROW);
    }
    for read in asked.reads_of_quotas(|name| format!("{db}.{name}")) {
        sql.push_str(&read);
        sql.push_str("; ");
    }
    if taken == TakenIds::AreLookedUp && !transfers.is_empty() {
        put(
            &mut sql,
            format_args!("SELECT /* held */ {HELD_ROW}, id, user_id, kind, amount_fen FROM {db}.transfer WHERE "),
        );
        put_id_is_one_of(&mut sql, transfers.iter().map(|transfer| transfer.id));
        sql.push_str("; ");
    }
    if transfers.is_empty() {
        return sql;
    }
    // Credits, which are nearly all, do not ask.
    let payers = asked_if_frozen(transfers);
    if !payers.is_empty() {
        sql.push_str(&text_that_reads_frozen(db, payers.into_iter()));
        sql.push_str("; ");
    }
    // One look at the end of each user's history, however long it is. A grouped
    // maximum would leave it to the database whether to read all of it, and without
    // the index's name MySQL reads all transfers backward for a user who has none.
    sql.push_str("WITH u (name) AS (VALUES ");
    let users: BTreeSet<&UserId> = transfers.iter().map(|transfer| &transfer.user).collect();
    for (number, user) in users.into_iter().enumerate() {
        // MySQL wants the word, and MariaDB takes such a comment for one.
        sql.push_str(if number == 0 { "/*!80019 ROW*/(" } else { ",/*!80019 ROW*/(" });
        put_name(&mut sql, user.as_str());
        sql.push(')');
    }
    put(
        &mut sql,
        format_args!(
            ") SELECT /* balances */ {BALANCE_ROW}, u.name, (SELECT t.balance_fen FROM {db}.transfer t \
             FORCE INDEX (history) WHERE t.user_id = u.name ORDER BY t.position DESC LIMIT 1) FROM u"
        ),
    );
    sql
}

/// The statement that reads who of these users is frozen.
fn text_that_reads_frozen<'a>(db: &str, users: impl Iterator<Item = &'a UserId>) -> String {
    let users: Vec<&str> = users.map(UserId::as_str).collect();
    format!(
        "SELECT /* frozen */ {FROZEN_ROW}, l.user_id FROM {db}.freeze_log l WHERE l.user_id IN ('{}') AND l.is_frozen = 1 \
         AND NOT EXISTS (SELECT 1 FROM {db}.freeze_log n WHERE n.user_id = l.user_id AND n.number > l.number)",
        users.join("','")
    )
}

/// What a transaction has read.
struct Loaded<'a> {
    /// The part of the books that the transfers touch.
    plan: PostingPlan<'a>,
    /// The part of the feeds that the notes touch.
    events: EventPlan<'a>,
    end: End,
    /// Who has left.
    fence: Fence,
}

/// How far a shard has come.
#[derive(Clone, Copy)]
struct End {
    last_position: i64,
    /// Written by every transaction, so it is the version of the ledger's row.
    transactions: i64,
}

/// Takes apart what was read for these transfers.
fn load<'a>(shard: &Shard, rows: &[MySqlRow], asked: Asked<'_>) -> Result<Loaded<'a>, WalletError> {
    let (mut plan, mut events) = (PostingPlan::default(), EventPlan::default());
    plan.quotas.set_quotas(asked.quotas);
    let mut found = None;
    for row in rows {
        match row.int(0)? {
            LEDGER_ROW => {
                let fence = Fence::read(row, 7)?.expect("its columns are not null");
                shard.note_left(fence);
                asked.transfers.iter().try_for_each(|transfer| fence.check_user(&shard.db, &transfer.user))?;
                asked.notes.iter().try_for_each(|note| fence.check_name(&shard.db, note.feed.name()))?;
                plan.set_system(system::balances(row, 1)?);
                found = Some((End { last_position: row.int(5)?, transactions: row.int(6)? }, fence));
            }
            HELD_ROW => {
                let (id, content) = content(row, 1)?;
                plan.hold(id, content);
            }
            EVENT_END_ROW => events.set_last_position(row.int(1)?),
            WRITTEN_ROW => noting::hold(&mut events, row)?,
            FROZEN_ROW => plan.freeze(UserId::parse(row.text(1)?).expect("it was asked for by this name")),
            BALANCE_ROW if row.int_or_null(2)?.is_some() => {
                let user = UserId::parse(row.text(1)?).expect("it was asked for by this name");
                let balance = row::balance(row, 2, &user)?;
                plan.set_user(user, balance);
            }
            number if quotas::is_quota_row(number) => quotas::take_in(&mut plan.quotas, row)?,
            _ => {}
        }
    }
    let missing = || WalletError::Damaged(format!("{0}.ledger or {0}.fence has no row", shard.db));
    let (end, fence) = found.ok_or_else(missing)?;
    Ok(Loaded { plan, events, end, fence })
}

/// The statements `beside`, each of which changes one row, come with the transfers; gives the number of rows that are
/// written. Also without a transfer to add the ledger's row is written: see its SQL.
///
/// A node of a cluster may roll the transaction back between two statements of
/// this text without saying so, and the rest then runs in a transaction of its
/// own. The ledger is therefore only written over what was read: the one that was
/// first has moved its version.
fn text_that_writes(
    shard: &Shard,
    plan: &PostingPlan<'_>,
    events: &EventPlan<'_>,
    end: End,
    beside: Vec<Statement>,
) -> (String, u64) {
    let End { last_position, transactions } = end;
    let db = &shard.db;
    let mut sql = String::with_capacity(256 + plan.posts().len() * 160);
    let mut position = last_position;
    for post in plan.posts() {
        if position == last_position {
            put(
                &mut sql,
                format_args!(
                    "INSERT /* wallet transfer */ INTO {db}.transfer \
                     (position, id, user_id, kind, amount_fen, balance_fen, at_ms) VALUES "
                ),
            );
        } else {
            sql.push(',');
        }
        position += 1;
        let transfer = post.transfer;
        put(&mut sql, format_args!("({position},"));
        put_bytes(&mut sql, &transfer.id.to_key());
        let (kind, amount) = (code_of(transfer.kind), transfer.amount.get());
        let (user, balance, at) = (&transfer.user, post.balance.get(), transfer.at.millis());
        put(&mut sql, format_args!(",'{user}',{kind},{amount},{balance},{at})"));
    }
    if position > last_position {
        sql.push_str("; ");
    }
    // Behind the transfers: where a node ends the transaction between the two, the ids that are taken then show what
    // is to be written.
    noting::put_writes(&mut sql, db, events);
    let guard = Guard::of_ledger(db, transactions);
    let of_quotas = quotas::statements(&plan.quotas, |name| format!("{db}.{name}"), &guard);
    let statements: Vec<String> = beside.iter().map(|statement| statement.guarded(&guard)).chain(of_quotas).collect();
    for statement in &statements {
        sql.push_str(statement);
        sql.push_str("; ");
    }
    put(
        &mut sql,
        format_args!(
            "UPDATE /* wallet transfer */ {db}.ledger SET {}, last_position = {position}, \
             transactions = transactions + 1 WHERE one = 1 AND transactions = {transactions}",
            system::assignments("", plan.system())
        ),
    );
    let rows = plan.posts().len() + statements.len() + noting::rows_written(events) as usize + 1;
    (sql, rows as u64)
}
