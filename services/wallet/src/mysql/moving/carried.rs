//! What users have beside their transfers: copied as a whole behind the fence, when nothing of it changes any more at
//! the source, and compared row by row before the target opens.
//!
//! Rows stay at the source as they were, and count no more there, like transfers.

use std::fmt::Write as _;

use hongbao_database::StoredRow as _;
use sqlx::mysql::MySqlRow;

use super::place::Place;
use crate::WalletError;
use crate::mysql::layout::slot_of_name;
use crate::mysql::slots::SlotSet;
use crate::row::hex;

/// How a column is read and written.
#[derive(Clone, Copy)]
enum Type {
    Number,
    /// Of the character set `ascii`.
    Text,
    /// Of the character set `utf8mb4`.
    Words,
    Bytes,
}
use Type::{Bytes, Number, Text, Words};

/// A table with a row for what a user has.
pub(super) struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Type)],
    /// The first so many columns are its primary key.
    key: usize,
    /// The column with the name of the user, or of the feed, that decides the slot.
    name_in: usize,
    /// Characters before that name.
    prefix: usize,
}

/// All of them. A table that holds anything of a user, and is not here, would be left behind.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "provider_order",
        columns: &[
            ("id", Bytes),
            ("user_id", Text),
            ("kind", Number),
            ("state", Number),
            ("amount_fen", Number),
            ("envelope_id", Bytes),
            ("of_id", Bytes),
            ("created_ms", Number),
            ("close_ms", Number),
            ("sent_ms", Number),
            ("due_ms", Number),
            ("attempts", Number),
            ("reference", Text),
            ("action_url", Text),
            ("failure", Text),
            ("happened_ms", Number),
            ("attention", Number),
            ("version", Number),
        ],
        key: 1,
        name_in: 1,
        prefix: 0,
    },
    Table {
        name: "request_key",
        columns: &[
            ("user_id", Text),
            ("call_kind", Number),
            ("request_key", Text),
            ("body_hash", Bytes),
            ("id", Bytes),
            ("at_ms", Number),
        ],
        key: 3,
        name_in: 0,
        prefix: 0,
    },
    Table {
        name: "user_day",
        columns: &[
            ("user_id", Text),
            ("day", Number),
            ("sent_fen", Number),
            ("sent_count", Number),
            ("paid_out_fen", Number),
            ("paid_out_count", Number),
        ],
        key: 2,
        name_in: 0,
        prefix: 0,
    },
    Table {
        name: "counted_order",
        columns: &[("subject", Bytes), ("user_id", Text), ("daily", Number), ("day", Number), ("amount_fen", Number)],
        key: 1,
        name_in: 1,
        prefix: 0,
    },
    Table {
        name: "reservation",
        columns: &[("user_id", Text), ("envelope_id", Bytes), ("until_ms", Number)],
        key: 2,
        name_in: 0,
        prefix: 0,
    },
    Table {
        name: "freeze_log",
        columns: &[
            ("number", Number),
            ("user_id", Text),
            ("is_frozen", Number),
            ("reason", Words),
            ("operator_id", Text),
            ("at_ms", Number),
        ],
        key: 1,
        name_in: 1,
        prefix: 0,
    },
    Table {
        name: "event",
        columns: &[
            ("position", Number),
            ("feed", Text),
            ("is_copy", Number),
            ("subject", Bytes),
            ("series", Number),
            ("last_seq", Number),
            ("at_ms", Number),
            ("body", Bytes),
        ],
        key: 1,
        name_in: 1,
        // "u:" or "g:".
        prefix: 2,
    },
];

/// Rows that are read at once.
const PAGE: usize = 1_000;

/// A row: its columns as literals, by which two rows can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CarriedRow(Vec<String>);

impl Table {
    fn column_list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The condition that a row comes behind another one.
    fn behind(&self, row: Option<&CarriedRow>) -> String {
        let Some(CarriedRow(values)) = row else { return "1 = 1".to_owned() };
        let alternatives = (0..self.key).map(|last| {
            let equal = (0..last).map(|place| format!("{} = {} AND ", self.columns[place].0, values[place]));
            format!("({}{} > {})", equal.collect::<String>(), self.columns[last].0, values[last])
        });
        alternatives.collect::<Vec<_>>().join(" OR ")
    }

    /// Rows of the slots behind one, as visible, and the last that was looked at.
    async fn page(
        &self,
        place: &Place,
        slots: SlotSet,
        behind: Option<&CarriedRow>,
    ) -> Result<(Vec<CarriedRow>, Option<CarriedRow>), WalletError> {
        let key: Vec<&str> = self.columns[..self.key].iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "SELECT /* move */ {} FROM {}.{} WHERE {} ORDER BY {} LIMIT {PAGE}",
            self.column_list(),
            place.db,
            self.name,
            self.behind(behind),
            key.join(", ")
        );
        let rows = place.fetch_durably(&sql).await?;
        let (mut of_slots, mut last) = (Vec::new(), None);
        for row in &rows {
            let read = self.read(row)?;
            let name = row.text(self.name_in)?;
            if slots.contains(slot_of_name(name.get(self.prefix..).unwrap_or(name))) {
                of_slots.push(read.clone());
            }
            last = Some(read);
        }
        Ok((of_slots, last.filter(|_| rows.len() == PAGE)))
    }

    fn read(&self, row: &MySqlRow) -> Result<CarriedRow, WalletError> {
        let literal = |(place, (_, kind)): (usize, &(&str, Type))| -> Result<String, WalletError> {
            let value = match kind {
                Number => row.int_or_null(place)?.map(|number| number.to_string()),
                Text => {
                    row.text_or_null(place)?.map(|text| format!("_ascii x'{}' COLLATE ascii_bin", hex(text.as_bytes())))
                }
                Words => row.text_or_null(place)?.map(|text| format!("_utf8mb4 x'{}'", hex(text.as_bytes()))),
                Bytes => row.bytes_or_null(place)?.map(|bytes| format!("x'{}'", hex(bytes))),
            };
            Ok(value.unwrap_or_else(|| "NULL".to_owned()))
        };
        Ok(CarriedRow(self.columns.iter().enumerate().map(literal).collect::<Result<_, _>>()?))
    }

    /// The statement that inserts rows, of which there is one at least, and leaves those that are there already: an
    /// earlier run has copied them, and the comparison shows whether they are the same.
    fn insert(&self, db: &str, rows: &[CarriedRow]) -> String {
        let mut sql = format!("INSERT /* move */ INTO {db}.{} ({}) VALUES ", self.name, self.column_list());
        for (number, CarriedRow(values)) in rows.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(sql, "{comma}({})", values.join(",")).expect("a String takes everything");
        }
        let first = self.columns[0].0;
        write!(sql, " ON DUPLICATE KEY UPDATE {first} = {first}").expect("a String takes everything");
        sql
    }
}

/// Copies what the slots have; gives the statements of a page at a time to `write`.
pub(super) async fn copy<F: Future<Output = Result<(), WalletError>>>(
    source: &Place,
    target: &Place,
    slots: SlotSet,
    write: impl Fn(String, u64) -> F,
) -> Result<(), WalletError> {
    for table in TABLES {
        let mut behind = None;
        loop {
            let (rows, last) = table.page(source, slots, behind.as_ref()).await?;
            if !rows.is_empty() {
                write(table.insert(&target.db, &rows), rows.len() as u64).await?;
            }
            match last {
                Some(last) => behind = Some(last),
                None => break,
            }
        }
    }
    Ok(())
}

/// Where the events of the source end, and how far the webhook has got them: the target goes on from there, so that a
/// cursor of a feed stays good, and nothing is delivered again that was taken.
pub(super) async fn go_on_from<F: Future<Output = Result<(), WalletError>>>(
    source: &Place,
    target: &Place,
    write: impl Fn(String, u64) -> F,
) -> Result<(), WalletError> {
    let sql = format!(
        "SELECT /* move */ e.last_position, e.purged_position, e.purged_before_ms, w.position \
         FROM {0}.event_end e JOIN {0}.webhook w ON w.one = e.one WHERE e.one = 1",
        source.db
    );
    let rows = source.fetch_durably(&sql).await?;
    let row = rows.first().ok_or_else(|| WalletError::Damaged(format!("{}.event_end has no row", source.db)))?;
    let (last, purged, purged_before, delivered) = (row.int(0)?, row.int(1)?, row.int(2)?, row.int(3)?);
    let sql = format!(
        "UPDATE /* move */ {0}.event_end e JOIN {0}.webhook w ON w.one = e.one \
         SET e.last_position = {last}, e.purged_position = {purged}, e.purged_before_ms = {purged_before}, \
         w.position = {delivered} WHERE e.one = 1",
        target.db
    );
    // Found, be they changed or not.
    write(sql, 2).await
}

/// Refuses where the target has not the same rows as the source.
pub(super) async fn compare(source: &Place, target: &Place, slots: SlotSet) -> Result<(), WalletError> {
    for table in TABLES {
        let mut behind: Option<CarriedRow> = None;
        loop {
            let (rows, last) = table.page(source, slots, behind.as_ref()).await?;
            let mut there = Vec::new();
            let mut from = behind.clone();
            while there.len() < rows.len() {
                let (found, more) = table.page(target, slots, from.as_ref()).await?;
                from = more;
                there.extend(found);
                if from.is_none() {
                    break;
                }
            }
            let is_end = last.is_none();
            let is_same = if is_end { there == rows } else { there.starts_with(&rows) };
            if !is_same {
                return Err(WalletError::Damaged(format!(
                    "{}.{}: what was copied differs from its source; nothing was opened",
                    target.db, table.name
                )));
            }
            match last {
                Some(last) => behind = Some(last),
                None => break,
            }
        }
    }
    Ok(())
}
