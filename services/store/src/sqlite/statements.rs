//! The SQL of one day table, built once: the text is the key of the
//! statement cache, and the big inserts are worth not formatting again.

use std::sync::{Arc, OnceLock};

use hongbao_core::Day;
use hongbao_core::id::{Fold, Span, TableRef};
use hongbao_core::limits::OPEN_BATCH_SIZE_MAX;

use crate::rows::{ENTRY_COLUMNS, ENVELOPE_COLUMNS, columns};
use crate::statements::Plain;

/// Row counts of the multi-row statements. A batch takes the smallest that it
/// fits in, so that each statement is prepared once and then found in the cache.
const BATCH_ROWS: [usize; 4] = [1, 16, 128, OPEN_BATCH_SIZE_MAX];
/// Rows that one statement takes at most.
pub const LARGEST_BATCH_ROWS: usize = BATCH_ROWS[BATCH_ROWS.len() - 1];

/// A statement in one text for each row count.
///
/// The number of rows is its first parameter, then come the rows; what a batch
/// does not fill stays unbound and is cut off by the `LIMIT` before it is read.
/// What fails takes its whole transaction back (`OR ROLLBACK`), which spares
/// SQLite a copy of every page for undoing the statement alone.
pub struct MultiRow {
    head: String,
    tail: String,
    columns: usize,
    texts: [OnceLock<String>; BATCH_ROWS.len()],
}

impl MultiRow {
    fn new(head: String, tail: String, columns: usize) -> MultiRow {
        MultiRow { head, tail, columns, texts: Default::default() }
    }

    /// The text for `rows` rows, 1 to [`LARGEST_BATCH_ROWS`].
    pub fn text(&self, rows: usize) -> &str {
        let size = BATCH_ROWS.partition_point(|size| *size < rows);
        self.texts[size].get_or_init(|| self.build(BATCH_ROWS[size]))
    }

    fn build(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        let rows = vec![row.as_str(); rows].join(",");
        format!(
            "WITH batch(size) AS (VALUES (?)) {} SELECT * FROM (VALUES {rows}) LIMIT (SELECT size FROM batch){}",
            self.head, self.tail
        )
    }
}

/// The SQL of one table.
pub struct Statements {
    /// Those that are as everywhere.
    pub plain: Plain,
    pub create: MultiRow,
    pub append: MultiRow,
    pub settle: MultiRow,
    pub activate: String,
    pub load: String,
    /// A JSON list of ids in hexadecimal digits.
    pub load_many: String,
    /// The same, and through which seq.
    pub load_journals: String,
    pub load_for: String,
    pub tail_position: String,
    pub expired: String,
    pub scan: String,
    /// Removes cancelled envelopes: a JSON list of their ids in hexadecimal digits, one text for any number of them.
    pub purge: String,
}

impl Statements {
    fn new(table: u8, span: Span) -> Statements {
        let envelope = format!("envelope_{table}_{span}");
        let entry = format!("entry_{table}_{span}");
        let (e, j) = (columns("e", &ENVELOPE_COLUMNS), columns("j", &ENTRY_COLUMNS));
        let listed = "(SELECT unhex(value) FROM json_each(?))";
        // The last entry carries the whole fold of the journal.
        let last = format!(
            "LEFT JOIN {entry} j ON j.envelope_id = e.id \
             AND j.seq = (SELECT max(seq) FROM {entry} WHERE envelope_id = e.id)"
        );
        let plain = Plain::new(&envelope, &entry);
        let [purge, rest_of_purge] = &plain.purge;
        Statements {
            purge: format!("{purge}SELECT unhex(value) FROM json_each(?){rest_of_purge}"),
            plain,
            create: MultiRow::new(
                format!("INSERT OR ROLLBACK /* create */ INTO {envelope} ({})", ENVELOPE_COLUMNS.join(", ")),
                String::new(),
                ENVELOPE_COLUMNS.len(),
            ),
            append: MultiRow::new(
                format!("INSERT OR ROLLBACK /* append */ INTO {entry} ({})", ENTRY_COLUMNS.join(", ")),
                String::new(),
                ENTRY_COLUMNS.len(),
            ),
            // The rows are (id, seq, ended). The plus sign leaves SQLite one plan: to look each id up
            // by its key. It would rather read the whole table and compare.
            settle: MultiRow::new(
                format!(
                    "UPDATE OR ROLLBACK /* settle */ {envelope} SET settled_seq = s.column2, \
                     stage = CASE WHEN s.column3 AND stage = 1 THEN 3 ELSE stage END FROM ("
                ),
                ") AS s WHERE id = +s.column1 \
                 AND (settled_seq < s.column2 OR (settled_seq = s.column2 AND s.column3 AND stage = 1))"
                    .to_owned(),
                3,
            ),
            activate: format!(
                "UPDATE /* activate */ {envelope} SET stage = 1, expires_at_ms = ?2 \
                 WHERE id = ?1 AND stage = 0"
            ),
            load: format!(
                "SELECT /* load */ {e}, j.seq, j.user_id, j.remaining_fen FROM {envelope} e {last} WHERE e.id = ?"
            ),
            load_many: format!(
                "SELECT /* load_many */ {e}, j.seq, j.user_id, j.remaining_fen FROM {envelope} e {last} \
                 WHERE e.id IN {listed}"
            ),
            load_journals: format!(
                "SELECT /* load_journals */ {j} FROM {entry} j WHERE j.envelope_id IN {listed} AND j.seq <= ?"
            ),
            load_for: format!(
                "SELECT /* load_for */ {e}, j.seq, j.user_id, j.remaining_fen, o.seq, o.amount_fen, o.at_ms \
                 FROM {envelope} e {last} \
                 LEFT JOIN {entry} o ON o.envelope_id = e.id AND o.user_id = ?2 WHERE e.id = ?1"
            ),
            tail_position: format!("SELECT /* tail_position */ coalesce(max(position), 0) FROM {entry}"),
            expired: format!(
                "SELECT /* expired */ {e}, j.seq, j.user_id, j.remaining_fen FROM {envelope} e {last} \
                 WHERE e.stage = 1 AND e.expires_at_ms <= ?1 AND e.expires_at_ms >= ?2 \
                 AND (e.expires_at_ms > ?2 OR e.id > ?3) AND (j.remaining_fen IS NULL OR j.remaining_fen > 0) \
                 ORDER BY e.expires_at_ms, e.id LIMIT ?4"
            ),
            scan: format!(
                "SELECT /* scan */ {e}, (SELECT max(seq) FROM {entry} WHERE envelope_id = e.id) \
                 FROM {envelope} e WHERE e.id > ? ORDER BY e.id LIMIT ?"
            ),
        }
    }
}

/// The statements of all day tables; databases share them, for their tables have the same names.
pub struct AllStatements {
    tables: Vec<Arc<Statements>>,
}

impl AllStatements {
    pub fn new(fold: Fold) -> AllStatements {
        let of_table = |table| Day::all().map(move |day| Arc::new(Statements::new(table, Span::Day(day))));
        AllStatements { tables: (0..fold.tables()).flat_map(of_table).collect() }
    }

    /// Those of a table; `None` if the fold does not have it. Those of dated tables are seldom
    /// needed, and made each time.
    pub fn of(&self, table: TableRef) -> Option<Arc<Statements>> {
        match table.span {
            Span::Day(day) => self.tables.get(usize::from(table.table) * 31 + usize::from(day.number()) - 1).cloned(),
            Span::Date(_) => Some(Arc::new(Statements::new(table.table, table.span))),
        }
    }
}
