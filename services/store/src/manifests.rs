//! Manifests as rows, and where exported tables are. A manifest without a `number` is a table that is closed and not
//! sealed yet.

use hongbao_core::id::{Span, TableRef};
use hongbao_core::manifest::{Content, Hash, Manifest, Tie};
use hongbao_core::{Date, EnvelopeId};
use hongbao_database::StoredRow;
use hongbao_database::row as column;

use crate::day_tables::date_of;
use crate::rows::envelope_id;
use crate::{ArchivedFile, Closed, Exported, ManifestRow, Outline, StoreError, StoredManifest};

/// The columns of a manifest, in the order in which they are read.
const COLUMNS: [&str; 16] = [
    "number",
    "y",
    "date",
    "envelopes",
    "entries",
    "paid_fen",
    "opened_fen",
    "refunded_fen",
    "rows_hash",
    "transfers",
    "transfers_fen",
    "transfers_hash",
    "previous_hash",
    "hash",
    "first_id",
    "last_id",
];

/// A manifest of this database.
pub fn manifest(database: u8, row: &impl StoredRow) -> Result<StoredManifest, StoreError> {
    let ends = match row.bytes_or_null(14)? {
        Some(_) => Some((envelope_id(row, 14)?, envelope_id(row, 15)?)),
        None => None,
    };
    let tie = Tie { transfers: count(row, 9)?, amount_fen: row.int(10)?, hash: hash(row, 11)? };
    let content = Content {
        envelopes: count(row, 3)?,
        entries: count(row, 4)?,
        paid_fen: row.int(5)?,
        opened_fen: row.int(6)?,
        refunded_fen: row.int(7)?,
        ends,
        rows_hash: hash(row, 8)?,
        tie,
    };
    let (table, date) = place(row, 1)?;
    let manifest = Manifest { number: count(row, 0)?, database, table, date, content, previous: hash(row, 12)? };
    Ok(StoredManifest { manifest, hash: hash(row, 13)? })
}

/// A row of the manifests of this database.
///
/// # Errors
/// When its number cannot be read.
pub fn manifest_row(database: u8, row: &impl StoredRow) -> Result<ManifestRow, StoreError> {
    let manifest = manifest(database, row).map_err(|error| error.to_string());
    Ok(ManifestRow { number: count(row, 0)?, manifest })
}

/// A sealed table of this database, by its `y` and date. That a table is known to be sealed only spares work, and no
/// row of the manifests may keep a SET from starting: one that cannot be read is passed over, and the audit names it.
pub fn sealed_table(database: u8, row: &impl StoredRow) -> Option<TableRef> {
    match place(row, 0) {
        Ok((table, date)) => Some(TableRef { database, table, span: Span::Date(date) }),
        Err(error) => {
            tracing::warn!(database = format!("db_{database:02}"), %error, "a manifest cannot be read: run the audit");
            None
        }
    }
}

/// Where the rows of an exported table are.
pub fn exported(row: &impl StoredRow) -> Result<Exported, StoreError> {
    let path = row.bytes(2)?;
    let path = std::str::from_utf8(path).map_err(|_| column::damaged("path", path))?.to_owned();
    let (bytes, footer_bytes) = (count(row, 3)?, count(row, 5)?);
    let file = ArchivedFile { path, bytes, sha256: hash(row, 4)?, footer_bytes, footer_sha256: hash(row, 6)? };
    Ok(Exported { number: count(row, 0)?, manifest_hash: hash(row, 1)?, file })
}

/// What a dated table shows of itself.
pub fn outline(row: &impl StoredRow) -> Result<Outline, StoreError> {
    let ends = match row.bytes_or_null(1)? {
        Some(_) => Some((envelope_id(row, 1)?, envelope_id(row, 2)?)),
        None => None,
    };
    Ok(Outline { is_quiet: row.int(0)? == 0, ends, has_entries: row.int(3)? != 0 })
}

fn place(row: &impl StoredRow, start: usize) -> Result<(u8, Date), StoreError> {
    let [table, date] = [row.int(start)?, row.int(start + 1)?];
    let parsed = u8::try_from(table).ok().zip(Date::parse(&date.to_string()));
    parsed.ok_or_else(|| StoreError::Damaged(format!("the manifest of a table {table} of {date}")))
}

/// The statements about the manifests of one database, which every database here understands.
pub struct ManifestStatements {
    /// A page of the chain: after which number, how many.
    pub page: String,
    /// The end of the chain.
    pub last: String,
    /// The places of sealed tables.
    pub sealed: String,
    /// The places of exported tables.
    pub exported: String,
    table: String,
    exported_table: String,
}

impl ManifestStatements {
    /// Those of the tables of manifests and of exported tables that are called so.
    pub fn new(table: &str, exported_table: &str) -> ManifestStatements {
        let columns = COLUMNS.join(", ");
        ManifestStatements {
            page: format!("SELECT /* manifests */ {columns} FROM {table} WHERE number > ? ORDER BY number LIMIT ?"),
            last: format!(
                "SELECT /* last_manifest */ {columns} FROM {table} WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1"
            ),
            sealed: format!("SELECT /* sealed */ y, date FROM {table} WHERE number IS NOT NULL"),
            exported: format!("SELECT /* exported */ y, date FROM {exported_table}"),
            table: table.to_owned(),
            exported_table: exported_table.to_owned(),
        }
    }

    /// The manifest of a table.
    pub fn of_table(&self, table: u8, date: Date) -> String {
        format!(
            "SELECT /* manifest */ {} FROM {} WHERE y = {table} AND date = {date} AND number IS NOT NULL",
            COLUMNS.join(", "),
            self.table
        )
    }

    /// The place of a table, if it was exported.
    pub fn exported_place(&self, table: u8, date: Date) -> String {
        format!("{} WHERE y = {table} AND date = {date}", self.exported)
    }

    /// Where the rows of a table went.
    pub fn exported_as(&self, table: u8, date: Date) -> String {
        format!(
            "SELECT /* exported */ number, manifest_hash, path, bytes, sha256, footer_bytes, footer_sha256 FROM {} \
             WHERE y = {table} AND date = {date}",
            self.exported_table
        )
    }

    /// Notes where the rows of a sealed table are, if its manifest is this one: the text that commits.
    pub fn note_exported(&self, manifest: &Manifest, file: &ArchivedFile) -> String {
        let Manifest { table: y, date, number, .. } = manifest;
        let ArchivedFile { path, bytes, sha256, footer_bytes, footer_sha256 } = file;
        let (hash, path) = (hex(&manifest.hash()), hex(path.as_bytes()));
        format!(
            "INSERT /* note_exported */ INTO {} (y, date, number, manifest_hash, path, bytes, sha256, footer_bytes, \
             footer_sha256) SELECT y, date, number, hash, {path}, {bytes}, {}, {footer_bytes}, {} FROM {} \
             WHERE y = {y} AND date = {date} AND number = {number} AND hash = {hash}",
            self.exported_table,
            hex(sha256),
            hex(footer_sha256),
            self.table
        )
    }

    /// The closing of a table, and whether it is sealed.
    pub fn closing(&self, table: u8, date: Date) -> String {
        format!("SELECT /* closing */ closing, number FROM {} WHERE y = {table} AND date = {date}", self.table)
    }

    /// Takes a closing back, unless it was sealed: the text that commits. After a crash or a restore a database may
    /// give the number of a closing that it forgot to that of another table, so the table must be the same.
    pub fn reopen(&self, closed: Closed, date: Date) -> String {
        let Closed { table: TableRef { table: y, .. }, number } = closed;
        let table = &self.table;
        format!(
            "DELETE /* reopen */ FROM {table} WHERE closing = {number} AND y = {y} AND date = {date} AND number IS NULL"
        )
    }

    /// Seals what was closed so, with the same caution: the text that commits.
    pub fn seal(&self, closed: Closed, manifest: &Manifest) -> String {
        let Manifest { table: y, date, .. } = manifest;
        let closing = closed.number;
        let Content { envelopes, entries, paid_fen, opened_fen, refunded_fen, ends, rows_hash, tie } =
            &manifest.content;
        let id = |id: Option<EnvelopeId>| id.map_or("NULL".to_owned(), |id| hex(id.as_bytes()));
        format!(
            "UPDATE /* seal */ {} SET number = {}, envelopes = {envelopes}, entries = {entries}, paid_fen = {paid_fen}, \
             opened_fen = {opened_fen}, refunded_fen = {refunded_fen}, first_id = {}, last_id = {}, rows_hash = {}, \
             transfers = {}, transfers_fen = {}, transfers_hash = {}, previous_hash = {}, hash = {} \
             WHERE closing = {closing} AND y = {y} AND date = {date} AND number IS NULL",
            self.table,
            manifest.number,
            id(ends.map(|(first, _)| first)),
            id(ends.map(|(_, last)| last)),
            hex(rows_hash),
            tie.transfers,
            tie.amount_fen,
            hex(&tie.hash),
            hex(&manifest.previous),
            hex(&manifest.hash())
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The closing of a table, and whether it is sealed: `None` then.
pub fn closing(table: TableRef, row: &impl StoredRow) -> Result<Option<Closed>, StoreError> {
    let number = row.int(0)?;
    Ok(row.int_or_null(1)?.is_none().then_some(Closed { table, number }))
}

/// The date of a dated table.
///
/// # Errors
/// For a day table, which is never sealed.
pub fn date_of_dated(table: TableRef) -> Result<Date, StoreError> {
    date_of(table).ok_or_else(|| StoreError::Unavailable("a day table is never sealed".to_owned()))
}

fn count(row: &impl StoredRow, column: usize) -> Result<u64, StoreError> {
    let number = row.int(column)?;
    u64::try_from(number).map_err(|_| column::damaged("count", number).into())
}

fn hash(row: &impl StoredRow, column: usize) -> Result<Hash, StoreError> {
    let bytes = row.bytes(column)?;
    bytes.try_into().map_err(|_| column::damaged("hash", bytes).into())
}
