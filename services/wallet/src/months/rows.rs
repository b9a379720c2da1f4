//! Months as rows, and as literals that every database here understands.

use std::fmt::Write as _;

use hongbao_core::Date;
use hongbao_core::manifest::{Block, Hash, Month, MonthContent, MonthEnd, Tie, YearMonth};
use hongbao_database::row::{self as column, StoredRow};

use super::{MonthPart, MonthRow, StoredMonth, UserAt};
use crate::row::hex;
use crate::{WalletError, system};

/// The columns of a manifest, in the order in which they are read and written.
pub const MONTH_COLUMNS: &str = "number, month, zone_offset_s, moved_slots, last_position, transfers, topped_up_fen, \
     sent_fen, opened_fen, refunded_fen, rows_hash, balances_hash, ties_hash, users, balances_fen, clearing_fen, \
     top_ups_fen, provider_fen, payouts_fen, charged_fen, paid_out_fen, previous_hash, hash";

/// Reads [`MONTH_COLUMNS`], of this database.
pub fn stored_month(database: u8, row: &impl StoredRow) -> Result<StoredMonth, WalletError> {
    let month = u32::try_from(row.int(1)?).ok().and_then(YearMonth::new);
    let zone_offset_s = i32::try_from(row.int(2)?).ok();
    let (month, zone_offset_s) = month.zip(zone_offset_s).ok_or_else(|| column::damaged("month", row.int(1)))?;
    let end = MonthEnd { users: count(row, 13)?, balances_fen: row.int(14)?, system: system::balances(row, 15)? };
    let content = MonthContent {
        transfers: count(row, 5)?,
        topped_up_fen: row.int(6)?,
        sent_fen: row.int(7)?,
        opened_fen: row.int(8)?,
        refunded_fen: row.int(9)?,
        charged_fen: row.int(19)?,
        paid_out_fen: row.int(20)?,
        rows_hash: hash(row, 10)?,
        balances_hash: hash(row, 11)?,
        ties_hash: hash(row, 12)?,
        end,
    };
    let month = Month {
        number: count(row, 0)?,
        database,
        month,
        zone_offset_s,
        moved_slots: row.text(3)?.to_owned(),
        last_position: row.int(4)?,
        content,
        previous: hash(row, 21)?,
    };
    Ok(StoredMonth { month, hash: hash(row, 22)? })
}

/// The same for the audit, which goes on behind one that cannot be read.
///
/// # Errors
/// When its number cannot be read.
pub fn month_row(database: u8, moved_slots: &str, row: &impl StoredRow) -> Result<MonthRow, WalletError> {
    let month = stored_month(database, row).map_err(|error| error.to_string());
    let is_void = month.as_ref().is_ok_and(|stored| stored.month.moved_slots != moved_slots);
    Ok(MonthRow { number: count(row, 0)?, month, is_void })
}

/// The values of [`MONTH_COLUMNS`].
pub fn month_values(month: &Month) -> String {
    let Month { number, month: of, zone_offset_s, moved_slots, last_position, content, previous, .. } = month;
    let MonthContent { transfers, topped_up_fen, sent_fen, opened_fen, refunded_fen, .. } = content;
    let MonthContent { charged_fen, paid_out_fen, .. } = content;
    let MonthEnd { users, balances_fen, system } = content.end;
    let system = system.to_array().map(|fen| fen.to_string()).join(", ");
    format!(
        "{number}, {of}, {zone_offset_s}, '{moved_slots}', {last_position}, {transfers}, {topped_up_fen}, {sent_fen}, \
         {opened_fen}, {refunded_fen}, x'{}', x'{}', x'{}', {users}, {balances_fen}, {system}, \
         {charged_fen}, {paid_out_fen}, x'{}', x'{}'",
        hex(&content.rows_hash),
        hex(&content.balances_hash),
        hex(&content.ties_hash),
        hex(previous),
        hex(&month.hash())
    )
}

/// The table of a part, its columns, its rows as literals, and how many they are.
pub fn part_values(number: u64, part: &MonthPart) -> (&'static str, &'static str, String, u64) {
    let mut values = String::new();
    let mut put = |row: std::fmt::Arguments<'_>| {
        let comma = if values.is_empty() { "" } else { "," };
        write!(values, "{comma}({row})").expect("a String takes everything");
    };
    match part {
        MonthPart::Block(Block { last_position, transfers, rows_hash }) => {
            put(format_args!("{number},{last_position},{transfers},x'{}'", hex(rows_hash)));
            ("month_block", "number, last_position, transfers, rows_hash", values, 1)
        }
        MonthPart::Balances(balances) => {
            for (user, balance_fen) in balances {
                put(format_args!("'{user}',{number},{balance_fen}"));
            }
            ("month_balance", "user_id, number, balance_fen", values, balances.len() as u64)
        }
        MonthPart::Ties(ties) => {
            for (date, Tie { transfers, amount_fen, hash }) in ties {
                put(format_args!("{number},{date},{transfers},{amount_fen},x'{}'", hex(hash)));
            }
            ("month_tie", "number, date, transfers, amount_fen, hash", values, ties.len() as u64)
        }
    }
}

/// Reads `last_position, transfers, rows_hash`.
pub fn block(row: &impl StoredRow) -> Result<Block, WalletError> {
    Ok(Block { last_position: row.int(0)?, transfers: count(row, 1)?, rows_hash: hash(row, 2)? })
}

/// Reads `date, transfers, amount_fen, hash`.
pub fn tie(row: &impl StoredRow) -> Result<(Date, Tie), WalletError> {
    let number = row.int(0)?;
    let date = Date::parse(&number.to_string()).ok_or_else(|| column::damaged("date", number))?;
    Ok((date, Tie { transfers: count(row, 1)?, amount_fen: row.int(2)?, hash: hash(row, 3)? }))
}

/// Reads `user_id, balance_fen`.
pub fn balance(row: &impl StoredRow) -> Result<(String, i64), WalletError> {
    Ok((row.text(0)?.to_owned(), row.int(1)?))
}

/// Reads the user, the position and the balance of the last transfer, and what was sealed.
pub fn user_at(row: &impl StoredRow) -> Result<UserAt, WalletError> {
    let last = row.int_or_null(1)?.zip(row.int_or_null(2)?);
    Ok(UserAt { user: row.text(0)?.to_owned(), last, sealed_fen: row.int_or_null(3)? })
}

fn count(row: &impl StoredRow, at: usize) -> Result<u64, WalletError> {
    let number = row.int(at)?;
    Ok(u64::try_from(number).map_err(|_| column::damaged("count", number))?)
}

fn hash(row: &impl StoredRow, at: usize) -> Result<Hash, WalletError> {
    let bytes = row.bytes(at)?;
    Ok(bytes.try_into().map_err(|_| column::damaged("hash", bytes))?)
}
