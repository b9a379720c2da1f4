//! Every column of every table that holds an envelope or money, damaged one at a
//! time: the audit names it, or it stands here why it cannot.
//!
//! Left out are `meta`, whose values are compared whenever a database is opened,
//! and `worker_lease`, which decides nothing.

use std::collections::BTreeSet;

use hongbao_core::audit::Breach;
use hongbao_core::{EnvelopeId, TransferId};
use hongbao_workers::audit;
use hongbao_workers::credit::Credit;

use super::damage::with_names;
use super::{World, ZONE_S, run_until_idle};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Store,
    Wallet,
}

/// A database to damage behind everybody's back.
pub trait Database {
    /// What stands before the names of its tables.
    fn prefix(&self, side: Side) -> &'static str;

    /// Runs statements, with constraints off; gives how many rows the last one touched.
    fn execute(&self, side: Side, sql: &str) -> impl Future<Output = u64>;

    /// The columns of a table that can be written.
    fn columns(&self, side: Side, table: &str) -> impl Future<Output = Vec<String>>;

    /// The table of the system's balances, and what damages it.
    fn system(&self) -> (&'static str, &'static [Damage]);
}

/// Which envelope, of those in [`Made`].
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Some shares are open and credited.
    Running,
    /// Emptied and settled.
    Finished,
    /// Just opened, and not credited.
    Fresh,
    /// Never paid.
    Cancelled,
}

/// Damage to the columns of one table.
#[derive(Debug)]
pub struct Damage {
    /// `{e}`, `{j}` or `{t}`: envelopes, entries, transfers; or a name.
    pub table: &'static str,
    pub columns: &'static str,
    /// What is set; without it a row is removed.
    pub set: &'static str,
    /// Which row, of which envelope: `{id}` is its id, `{0}` and so on are its transfers'.
    pub row: &'static str,
    pub of: Of,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// Under this code.
    Named(&'static str),
    /// Not at all, because.
    Unseen(&'static str),
}
use Expected::{Named, Unseen};

const fn damage(
    table: &'static str,
    columns: &'static str,
    set: &'static str,
    row: &'static str,
    of: Of,
    expected: Expected,
) -> Damage {
    Damage { table, columns, set, row, of, expected }
}

const ROW: &str = "id = {id}";
const SECOND: &str = "envelope_id = {id} AND seq = 2";
const LAST: &str = "envelope_id = {id} AND seq = 4";
const FIRST: &str = "envelope_id = {id} AND seq = 1";
const TOP_UP: &str = "kind = 1";
/// A charge that has succeeded, and one whose outcome is not known.
const ARRIVED: &str = "state = 4";
const PENDING: &str = "state = 1";
const ONE_COPY: &str = "there is one copy of it, and nothing depends on it";

#[rustfmt::skip]
const DAMAGES: &[Damage] = &[
    damage("{e}", "id", "id = {nobody}", ROW, Of::Running, Named("envelope_missing")),
    damage("{e}", "id", "", ROW, Of::Running, Named("entry_without_envelope")),
    damage("{e}", "sender", "sender = 'thief'", ROW, Of::Running, Named("payment_wrong")),
    damage("{e}", "sender", "sender = 'thief'", ROW, Of::Cancelled, Named("payment_wrong")),
    damage("{e}", "kind", "kind = 'equal'", ROW, Of::Running, Named("amount_wrong")),
    damage("{e}", "total_fen", "total_fen = total_fen + 1", ROW, Of::Running, Named("payment_wrong")),
    damage("{e}", "shares", "shares = 11", ROW, Of::Running, Named("amount_wrong")),
    damage("{e}", "share_cap_fen", "share_cap_fen = 101", ROW, Of::Running, Named("amount_wrong")),
    damage("{e}", "greeting", "greeting = 'x'", ROW, Of::Running, Unseen(ONE_COPY)),
    damage("{e}", "audience_type audience_id", "audience_type = 'user', audience_id = 'x'", ROW, Of::Running, Unseen("who was let in stood in the tickets alone")),
    damage("{e}", "seed", "seed = {seed}", ROW, Of::Running, Named("amount_wrong")),
    damage("{e}", "created_at_ms", "created_at_ms = created_at_ms - 400 * 86400000", ROW, Of::Running, Named("created_at_wrong")),
    damage("{e}", "created_at_ms", "created_at_ms = created_at_ms + 400 * 86400000", ROW, Of::Running, Named("created_at_wrong")),
    damage("{e}", "created_at_ms", "created_at_ms = created_at_ms + 3600000", ROW, Of::Running, Named("payment_time_wrong")),
    damage("{e}", "lifetime_ms", "lifetime_ms = lifetime_ms + 1", ROW, Of::Running, Named("expiry_wrong")),
    damage("{e}", "lifetime_ms", "lifetime_ms = 31 * 86400000", ROW, Of::Cancelled, Named("lifetime_wrong")),
    damage("{e}", "stage", "stage = 0", ROW, Of::Running, Named("opened_unpaid")),
    damage("{e}", "stage", "stage = 2", ROW, Of::Running, Named("payment_lost")),
    damage("{e}", "stage", "stage = 3", ROW, Of::Running, Named("closed_with_money")),
    damage("{e}", "stage", "stage = 1", ROW, Of::Cancelled, Named("payment_missing")),
    damage("{e}", "stage", "stage = 0", ROW, Of::Cancelled, Unseen("a worker cancels it again")),
    damage("{e}", "stage", "stage = 1", ROW, Of::Finished, Unseen("the credit worker settles it again")),
    damage("{e}", "expires_at_ms", "expires_at_ms = expires_at_ms - 3600000", ROW, Of::Running, Named("expiry_wrong")),
    damage("{e}", "expires_at_ms", "expires_at_ms = expires_at_ms + 1", ROW, Of::Finished, Named("expiry_wrong")),
    damage("{e}", "expires_at_ms", "expires_at_ms = NULL", ROW, Of::Running, Named("expiry_wrong")),
    damage("{e}", "expires_at_ms", "expires_at_ms = 1", ROW, Of::Cancelled, Unseen("before the payment nobody reads it, and the payment writes it anew")),
    damage("{e}", "settled_seq", "settled_seq = settled_seq + 1", ROW, Of::Running, Named("entry_missing")),
    damage("{e}", "settled_seq", "settled_seq = settled_seq - 1", ROW, Of::Finished, Unseen("what is settled owes nothing, whatever its counter says")),
    damage("{e}", "settled_seq", "settled_seq = settled_seq - 1", ROW, Of::Running, Unseen("the credit worker moves it on again")),

    damage("{j}", "envelope_id", "envelope_id = {nobody}", LAST, Of::Running, Named("entry_without_envelope")),
    damage("{j}", "envelope_id", "", SECOND, Of::Running, Named("entry_missing")),
    damage("{j}", "seq", "seq = 9", LAST, Of::Running, Named("entry_missing")),
    damage("{j}", "user_id", "user_id = 'thief'", SECOND, Of::Running, Named("credit_wrong")),
    damage("{j}", "user_id", "user_id = '#refund'", LAST, Of::Running, Named("refund_wrong")),
    damage("{j}", "user_id", "user_id = 'thief'", FIRST, Of::Fresh, Unseen("before the credit there is one copy of it")),
    damage("{j}", "amount_fen", "amount_fen = amount_fen + 1", SECOND, Of::Running, Named("amount_wrong")),
    damage("{j}", "remaining_fen", "remaining_fen = remaining_fen + 1", SECOND, Of::Running, Named("remaining_wrong")),
    damage("{j}", "at_ms", "at_ms = at_ms - 400 * 86400000", SECOND, Of::Running, Named("entry_time_wrong")),
    damage("{j}", "at_ms", "at_ms = at_ms + 1", SECOND, Of::Running, Named("entry_time_wrong")),
    damage("{j}", "at_ms", "at_ms = at_ms - 400 * 86400000", FIRST, Of::Fresh, Named("entry_time_wrong")),
    damage("{j}", "at_ms", "at_ms = at_ms + 3600000", FIRST, Of::Fresh, Named("entry_time_wrong")),
    damage("{j}", "position", "position = position + 1000000", LAST, Of::Running, Unseen("a hint: the credit worker's sweep needs none")),

    damage("{t}", "position", "position = position + 1000000", TOP_UP, Of::Running, Named("running_balance_off")),
    damage("{t}", "id", "id = {9}", "id = {1}", Of::Running, Named("credit_missing")),
    damage("{t}", "id", "", "id = {1}", Of::Running, Named("credit_missing")),
    damage("{t}", "id", "", "id = {0}", Of::Running, Named("payment_missing")),
    damage("{t}", "id", "", "id = {0}", Of::Cancelled, Named("cancel_missing")),
    damage("{t}", "id", "", TOP_UP, Of::Running, Named("running_balance_off")),
    damage("{t}", "user_id", "user_id = 'thief'", "id = {2}", Of::Running, Named("credit_wrong")),
    damage("{t}", "user_id", "user_id = 'thief'", TOP_UP, Of::Running, Named("running_balance_off")),
    damage("{t}", "kind", "kind = 4", "id = {2}", Of::Running, Named("credit_wrong")),
    damage("{t}", "kind", "kind = 3", TOP_UP, Of::Running, Named("transfer_impossible")),
    damage("{t}", "amount_fen", "amount_fen = amount_fen + 1", "id = {2}", Of::Running, Named("credit_wrong")),
    damage("{t}", "amount_fen", "amount_fen = amount_fen + 1", TOP_UP, Of::Running, Named("running_balance_off")),
    damage("{t}", "balance_fen", "balance_fen = balance_fen + 1", TOP_UP, Of::Running, Named("running_balance_off")),
    damage("{t}", "balance_fen", "balance_fen = balance_fen + 1", "id = {0}", Of::Finished, Named("running_balance_off")),
    damage("{t}", "balance_fen", "balance_fen = balance_fen + 1", "id = {1}", Of::Finished, Named("running_balance_off")),
    damage("{t}", "at_ms", "at_ms = at_ms + 1", "id = {2}", Of::Running, Named("entry_time_wrong")),
    damage("{t}", "at_ms", "at_ms = at_ms + 1", "id = {0}", Of::Running, Named("expiry_wrong")),
    damage("{t}", "at_ms", "at_ms = at_ms - 400 * 86400000", "id = {0}", Of::Cancelled, Named("payment_time_wrong")),
    damage("{t}", "at_ms", "at_ms = at_ms + 1", TOP_UP, Of::Running, Unseen("it came from outside, and there is one copy of it")),

    damage("provider_order", "id", "id = {nobody}", ARRIVED, Of::Running, Named("order_missing")),
    damage("provider_order", "id", "", ARRIVED, Of::Running, Named("order_missing")),
    damage("provider_order", "user_id", "user_id = 'thief'", ARRIVED, Of::Running, Named("order_transfer_wrong")),
    damage("provider_order", "kind", "kind = 2", ARRIVED, Of::Running, Named("order_transfer_wrong")),
    damage("provider_order", "kind", "kind = 9", ARRIVED, Of::Running, Named("unreadable")),
    damage("provider_order", "state", "state = 5", ARRIVED, Of::Running, Named("order_transfer_undue")),
    damage("provider_order", "state", "state = 4, happened_ms = created_ms", PENDING, Of::Running, Named("order_transfer_missing")),
    damage("provider_order", "amount_fen", "amount_fen = amount_fen + 1", ARRIVED, Of::Running, Named("order_transfer_wrong")),
    damage("provider_order", "envelope_id", "envelope_id = {id}", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "of_id", "of_id = {nobody}", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "created_ms", "created_ms = created_ms - 86400000", ARRIVED, Of::Running, Named("order_time_wrong")),
    damage("provider_order", "close_ms", "close_ms = close_ms + 1", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "sent_ms", "sent_ms = 1", ARRIVED, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "due_ms", "due_ms = NULL", PENDING, Of::Running, Named("order_forgotten")),
    damage("provider_order", "attempts", "attempts = 9", PENDING, Of::Running, Unseen("it makes the intervals, and nothing else")),
    damage("provider_order", "reference", "reference = 'x'", ARRIVED, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "action_url", "action_url = 'x'", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "failure", "failure = 'x'", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "happened_ms", "happened_ms = NULL", ARRIVED, Of::Running, Named("order_time_wrong")),
    damage("provider_order", "attention", "attention = 3", PENDING, Of::Running, Unseen(ONE_COPY)),
    damage("provider_order", "version", "version = version + 1", PENDING, Of::Running, Unseen("a version, compared by writers alone")),
];

pub const SQLITE_SYSTEM: &[Damage] = &[
    damage(
        "system_account",
        "account",
        "account = '#other'",
        "account = '#clearing'",
        Of::Running,
        Named("account_missing"),
    ),
    damage("system_account", "account", "", "account = '#clearing'", Of::Running, Named("account_missing")),
    damage("system_account", "account", "", "account = '#top_ups'", Of::Running, Named("account_missing")),
    damage(
        "system_account",
        "balance_fen",
        "balance_fen = balance_fen + 1",
        "account = '#top_ups'",
        Of::Running,
        Named("balance_off"),
    ),
];

pub const MYSQL_SYSTEM: &[Damage] = &[
    damage("ledger", "one", "one = 2", "one = 1", Of::Running, Named("account_missing")),
    damage("ledger", "one", "", "one = 1", Of::Running, Named("account_missing")),
    damage("ledger", "clearing_fen", "clearing_fen = clearing_fen + 1", "one = 1", Of::Running, Named("balance_off")),
    damage("ledger", "top_ups_fen", "top_ups_fen = top_ups_fen + 1", "one = 1", Of::Running, Named("balance_off")),
    damage("ledger", "provider_fen", "provider_fen = provider_fen + 1", "one = 1", Of::Running, Named("balance_off")),
    damage("ledger", "payouts_fen", "payouts_fen = payouts_fen + 1", "one = 1", Of::Running, Named("balance_off")),
    damage(
        "ledger",
        "last_position",
        "last_position = last_position + 1",
        "one = 1",
        Of::Running,
        Unseen("positions may have gaps; where it is too low, the next writer meets a key that is taken"),
    ),
    damage(
        "ledger",
        "transactions",
        "transactions = transactions + 1",
        "one = 1",
        Of::Running,
        Unseen("a version, compared by writers alone"),
    ),
];

/// Envelopes of all fates.
struct Made {
    running: EnvelopeId,
    finished: EnvelopeId,
    fresh: EnvelopeId,
    cancelled: EnvelopeId,
    /// Of the same table, and of no envelope.
    nobody: EnvelopeId,
}

impl Made {
    async fn of(world: &World) -> Made {
        let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
        let nobody = world.created_at(world.now(), 100, 10).await.id;
        world.store.cancel(nobody).await.unwrap();
        assert_eq!(world.store.purge(world.table(nobody), &[nobody]).await.unwrap(), 1);
        let (finished, _) = world.finished_and_refunded().await;
        let (running, cancelled) = world.running_and_cancelled().await;
        run_until_idle(&mut credit, 100).await;
        world.order_that_arrived(500).await;
        world.order(700).await;
        let fresh = world.active(1_000, 10).await;
        world.open(fresh, "c").await;
        Made { running, finished, fresh, cancelled, nobody }
    }

    fn id(&self, of: Of) -> EnvelopeId {
        match of {
            Of::Running => self.running,
            Of::Finished => self.finished,
            Of::Fresh => self.fresh,
            Of::Cancelled => self.cancelled,
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn side_of(table: &str) -> Side {
    if ["{e}", "{j}"].contains(&table) { Side::Store } else { Side::Wallet }
}

async fn codes(world: &World) -> Vec<&'static str> {
    let mut codes = Vec::new();
    let mut tell = |breach: &Breach| codes.push(breach.code);
    audit(&world.sets(), &*world.wallet, &mut tell).await.expect("damage does not end the audit");
    codes
}

/// Damages one after the other, each of them on its own.
pub async fn each_damaged_column_is_named_or_the_reason_why_not_is_stated(world: &World, database: &impl Database) {
    let made = Made::of(world).await;
    assert_eq!(codes(world).await, [""; 0], "sound before the damage");
    let (system, of_system) = database.system();
    let full = |table: &str| -> String {
        let side = side_of(table);
        let named = with_names(world, made.running, table, database.prefix(side));
        let transfer = format!("{}transfer", database.prefix(Side::Wallet));
        match named.replace("{t}", &transfer) {
            plain if plain == system || plain == "provider_order" => {
                format!("{}{plain}", database.prefix(Side::Wallet))
            }
            named => named,
        }
    };
    let tables = ["{e}", "{j}", "{t}", "provider_order", system];
    for table in tables {
        let (side, table) = (side_of(table), full(table));
        database.execute(side, &format!("CREATE TABLE {table}_kept AS SELECT * FROM {table}")).await;
    }
    for table in tables {
        let damages = || DAMAGES.iter().chain(of_system).filter(|damage| damage.table == table);
        let (side, name) = (side_of(table), full(table));
        let columns = database.columns(side, &name).await;
        let damaged: BTreeSet<&str> = damages().flat_map(|damage| damage.columns.split(' ')).collect();
        assert_eq!(damaged, columns.iter().map(String::as_str).collect(), "every column of {name}");
        for damage in damages() {
            let id = made.id(damage.of);
            let mut sql = match damage.set {
                "" => format!("DELETE FROM {name} WHERE {}", damage.row),
                set => format!("UPDATE {name} SET {set} WHERE {}", damage.row),
            };
            for seq in 0..=9 {
                sql = sql.replace(&format!("{{{seq}}}"), &hex(&TransferId::Envelope(id, seq).to_key()));
            }
            let sql = sql.replace("{id}", &hex(id.as_bytes())).replace("{nobody}", &hex(made.nobody.as_bytes()));
            let sql = sql.replace("{seed}", &hex(&[0; 32]));
            assert_eq!(database.execute(side, &sql).await, 1, "{sql}");
            let found = codes(world).await;
            match damage.expected {
                Named(code) => assert!(found.contains(&code), "{sql}: {code} is not in {found:?}"),
                Unseen(why) => assert_eq!(found, [""; 0], "{sql} is noticed, though {why}"),
            }
            let columns = columns.join(", ");
            let restore =
                format!("DELETE FROM {name}; INSERT INTO {name} ({columns}) SELECT {columns} FROM {name}_kept");
            database.execute(side, &restore).await;
        }
    }
    assert_eq!(codes(world).await, [""; 0], "everything was undone again");
}
