//! Statements that every database here understands as they stand. Those that
//! differ lie with their database.

use hongbao_core::id::{Span, TableRef};
use hongbao_core::{Day, Stage};

use crate::rows::{ENTRY_COLUMNS, ENVELOPE_COLUMNS, columns, stage_number};

/// The statements of one day table that need nothing of a database's own.
pub struct Plain {
    /// Ends an envelope that was never paid: id.
    pub cancel: String,
    /// The stage and expiry: id.
    pub stage: String,
    /// A page of a journal: id, after which seq, how many.
    pub entries: String,
    /// Journals one after the other: after which id, up to which id, how many entries.
    pub scan_entries: String,
    /// A page in the order of writing: after which position, how many.
    pub tail: String,
    /// Active envelopes with entries that were not credited: after which id, through which position, how many.
    pub unsettled: String,
    /// Counts active envelopes, and those of them with entries that were not credited: after which id, how many.
    pub count_active: String,
    /// Counts envelopes that wait for a payment, none of which has entries: after which id, how many.
    pub count_unpaid: String,
    /// Envelopes that wait for a payment: after which id, made before when, how many.
    pub unpaid: String,
    /// Envelopes that were cancelled: after which id, made before when, how many.
    pub cancelled: String,
    /// What [`Waiting`](crate::Waiting) has, in its order: expressions.
    pub waiting: String,
    /// Whether any envelope is in a stage after which something follows, as a number above zero.
    pub pending: String,
    /// The same, then the least and the greatest id, then whether there are entries.
    pub outline: String,
    /// Removes cancelled envelopes without entries; a list of ids as a condition is to be put between the two parts.
    pub purge: [String; 2],
}

impl Plain {
    /// Those of these two tables.
    pub fn new(envelope: &str, entry: &str) -> Plain {
        let e = columns("e", &ENVELOPE_COLUMNS);
        let j = columns("j", &ENTRY_COLUMNS);
        // The stage as a literal, for SQLite's partial indexes.
        let count = |stage| {
            let stage = stage_number(stage);
            format!(
                "SELECT /* count_pending */ count(*), count(CASE WHEN page.is_behind THEN 1 END), min(page.id), \
                 max(page.id) FROM (SELECT e.id, EXISTS (SELECT 1 FROM {entry} j WHERE j.envelope_id = e.id \
                 AND j.seq = e.settled_seq + 1) AS is_behind FROM {envelope} e WHERE e.stage = {stage} AND e.id > ? \
                 ORDER BY e.id LIMIT ?) page"
            )
        };
        let has = |stage: Stage| {
            let stage = stage_number(stage);
            format!("EXISTS (SELECT 1 FROM {envelope} e WHERE e.stage = {stage} AND e.id > x'')")
        };
        let active = stage_number(Stage::Active);
        let waiting = format!(
            "{}, {}, (SELECT min(e.expires_at_ms) FROM {envelope} e WHERE e.stage = {active})",
            has(Stage::Created),
            has(Stage::Cancelled)
        );
        let pending = [Stage::Created, Stage::Active, Stage::Cancelled].map(has).join(" + ");
        Plain {
            waiting,
            pending: format!("SELECT /* pending */ {pending}"),
            outline: format!(
                "SELECT /* outline */ {pending}, (SELECT min(e.id) FROM {envelope} e), \
                 (SELECT max(e.id) FROM {envelope} e), EXISTS (SELECT 1 FROM {entry} j WHERE j.envelope_id > x'')"
            ),
            count_active: count(Stage::Active),
            count_unpaid: count(Stage::Created),
            cancel: format!("UPDATE /* cancel */ {envelope} SET stage = 2 WHERE id = ? AND stage = 0"),
            stage: format!("SELECT /* stage */ stage, expires_at_ms FROM {envelope} WHERE id = ?"),
            entries: format!(
                "SELECT /* entries */ {j} FROM {entry} j WHERE j.envelope_id = ? AND j.seq > ? ORDER BY j.seq LIMIT ?"
            ),
            scan_entries: format!(
                "SELECT /* scan_entries */ {j} FROM {entry} j WHERE j.envelope_id > ? AND j.envelope_id <= ? \
                 ORDER BY j.envelope_id, j.seq LIMIT ?"
            ),
            tail: format!(
                "SELECT /* tail */ {j}, j.position, e.sender, e.settled_seq, e.audience_type, e.audience_id \
                 FROM {entry} j LEFT JOIN {envelope} e ON e.id = j.envelope_id \
                 WHERE j.position > ? ORDER BY j.position LIMIT ?"
            ),
            unsettled: format!(
                "SELECT /* unsettled */ {e} FROM {envelope} e WHERE e.stage = 1 AND e.id > ? AND EXISTS \
                 (SELECT 1 FROM {entry} j WHERE j.envelope_id = e.id AND j.seq = e.settled_seq + 1 AND j.position <= ?) \
                 ORDER BY e.id LIMIT ?"
            ),
            unpaid: format!(
                "SELECT /* unpaid */ {e} FROM {envelope} e WHERE e.stage = 0 AND e.id > ? AND e.created_at_ms < ? \
                 ORDER BY e.id LIMIT ?"
            ),
            cancelled: format!(
                "SELECT /* cancelled */ e.id FROM {envelope} e WHERE e.stage = 2 AND e.id > ? AND e.created_at_ms < ? \
                 ORDER BY e.id LIMIT ?"
            ),
            purge: [
                format!("DELETE /* purge */ FROM {envelope} WHERE id IN ("),
                format!(") AND stage = 2 AND NOT EXISTS (SELECT 1 FROM {entry} j WHERE j.envelope_id = {envelope}.id)"),
            ],
        }
    }
}

impl Plain {
    /// The statement that counts envelopes of a stage; `None` where nothing is left to be done.
    pub fn count_pending(&self, stage: Stage) -> Option<&str> {
        match stage {
            Stage::Created => Some(&self.count_unpaid),
            Stage::Active => Some(&self.count_active),
            Stage::Cancelled | Stage::Settled => None,
        }
    }
}

/// The day tables of these databases, each with so many tables a day.
pub fn day_tables(databases: impl IntoIterator<Item = u8>, tables: u8) -> Vec<TableRef> {
    let of_days = databases.into_iter().flat_map(|database| (0..tables).map(move |table| (database, table)));
    let of_days = of_days
        .flat_map(|(database, table)| Day::all().map(move |day| TableRef { database, table, span: Span::Day(day) }));
    of_days.collect()
}
