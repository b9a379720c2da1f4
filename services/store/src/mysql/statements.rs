//! The SQL of one day table, built once: the text is the key of the
//! connections' statement caches.

use std::collections::HashMap;
use std::sync::Arc;

use hongbao_core::id::{Span, TableRef};

use sqlx::mysql::{MySql, MySqlArguments};
use sqlx::query::Query;

use super::layout::{Layout, TableNames};
use crate::rows::{ENTRY_COLUMNS, ENVELOPE_COLUMNS, columns};
use crate::statements::{Plain, day_tables};

/// A statement with its values.
pub type Statement<'q> = Query<'q, MySql, MySqlArguments>;

/// The statements of one table. Those that write rows are only begun here;
/// see [`transaction`](super::transaction).
pub struct Statements {
    /// Those that are as everywhere.
    pub plain: Plain,
    pub envelope_table: String,
    pub create: String,
    pub append: String,
    pub activate: String,
    pub load: String,
    /// Up to the list of ids.
    pub load_many: String,
    /// Up to the list of ids; then comes through which seq.
    pub load_journals: String,
    pub load_for: String,
    /// The position of the last entry, null where there is none: an expression.
    pub tail_end: String,
    pub expired: String,
    pub scan: String,
}

impl Statements {
    fn new(names: TableNames) -> Statements {
        let TableNames { envelope, entry } = names;
        let (e, j) = (columns("e", &ENVELOPE_COLUMNS), columns("j", &ENTRY_COLUMNS));
        // The last entry carries the whole fold of the journal. TiDB knows no subqueries in a join's
        // condition, and without the index's name some databases read journals to their end.
        let last_of_one = format!(
            "LEFT JOIN (SELECT envelope_id, seq, user_id, remaining_fen FROM {entry} FORCE INDEX (PRIMARY) \
             WHERE envelope_id = ? ORDER BY seq DESC LIMIT 1) j ON j.envelope_id = e.id"
        );
        let last = |column| {
            format!(
                "(SELECT j.{column} FROM {entry} j FORCE INDEX (PRIMARY) \
                 WHERE j.envelope_id = e.id ORDER BY j.seq DESC LIMIT 1)"
            )
        };
        let [last_seq, last_user, last_remaining] = ["seq", "user_id", "remaining_fen"].map(last);
        Statements {
            plain: Plain::new(&envelope, &entry),
            create: format!("INSERT /* create */ INTO {envelope} ({}) VALUES ", ENVELOPE_COLUMNS.join(",")),
            append: format!("INSERT /* append */ INTO {entry} ({}) VALUES ", ENTRY_COLUMNS.join(",")),
            activate: format!(
                "UPDATE /* activate */ {envelope} SET stage = 1, expires_at_ms = ? WHERE id = ? AND stage = 0"
            ),
            load: format!(
                "SELECT /* load */ {e}, j.seq, j.user_id, j.remaining_fen FROM {envelope} e {last_of_one} WHERE e.id = ?"
            ),
            load_many: format!(
                "SELECT /* load_many */ {e}, {last_seq}, {last_user}, {last_remaining} FROM {envelope} e WHERE e.id IN ("
            ),
            load_journals: format!("SELECT /* load_journals */ {j} FROM {entry} j WHERE j.envelope_id IN ("),
            load_for: format!(
                "SELECT /* load_for */ {e}, j.seq, j.user_id, j.remaining_fen, o.seq, o.amount_fen, o.at_ms \
                 FROM {envelope} e {last_of_one} \
                 LEFT JOIN {entry} o ON o.envelope_id = e.id AND o.user_id = ? WHERE e.id = ?"
            ),
            tail_end: format!("(SELECT max(position) FROM {entry})"),
            expired: format!(
                "SELECT /* expired */ {e}, {last_seq}, {last_user}, {last_remaining} FROM {envelope} e \
                 WHERE e.stage = 1 AND e.expires_at_ms <= ? AND e.expires_at_ms >= ? \
                 AND (e.expires_at_ms > ? OR e.id > ?) AND coalesce({last_remaining}, 1) > 0 \
                 ORDER BY e.expires_at_ms, e.id LIMIT ?"
            ),
            scan: format!("SELECT /* scan */ {e}, {last_seq} FROM {envelope} e WHERE e.id > ? ORDER BY e.id LIMIT ?"),
            envelope_table: envelope,
        }
    }
}

/// The statements of all tables of a SET.
pub struct AllStatements {
    layout: Layout,
    of_day_tables: HashMap<TableRef, Arc<Statements>>,
}

impl AllStatements {
    /// Those of the tables of this layout.
    pub fn new(layout: &Layout) -> AllStatements {
        let databases = layout.databases().into_iter().map(|(database, _)| database);
        let tables = day_tables(databases, layout.tables()).into_iter();
        let of_day_tables = tables.map(|table| (table, Arc::new(Statements::new(layout.names(table))))).collect();
        AllStatements { layout: layout.clone(), of_day_tables }
    }

    /// Those of a table; `None` if the SET does not have it. Those of dated tables are seldom
    /// needed, and made each time.
    pub fn of(&self, table: TableRef) -> Option<Arc<Statements>> {
        match table.span {
            Span::Day(_) => self.of_day_tables.get(&table).cloned(),
            Span::Date(_) => Some(Arc::new(Statements::new(self.layout.names(table)))),
        }
    }
}
