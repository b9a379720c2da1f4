//! The bill that the sandbox prints of its books.

use std::path::Path;

use hongbao_core::date::Date;

use super::books::{BOOKS_FILE, Booked, Books, Outcome};
use crate::bill::{BillKind, BillLine, plain};

/// The bill of a day of a zone.
pub fn print(books: &Books, date: Date, zone_offset_s: i32) -> String {
    let mut lines = Vec::new();
    for Booked { received, outcome } in books.all() {
        let Outcome::Happened { amount, at, returned_at } = outcome else { continue };
        let line = |kind, at| BillLine {
            number: received.number.clone(),
            kind,
            amount_fen: amount.get(),
            at,
            reference: reference_of(&received.number),
        };
        lines.push(line(BillKind::of(received.kind), *at));
        lines.extend(returned_at.map(|at| line(BillKind::Return, at)));
    }
    lines.retain(|line| Date::of(line.at, zone_offset_s) == date);
    lines.sort_unstable_by(|one, other| (one.at, &one.number).cmp(&(other.at, &other.number)));
    plain::write(date, &lines)
}

/// The bill of a day out of a folder, which a sandbox may be writing to.
///
/// # Errors
/// What is wrong with its books.
pub fn bill_of(folder: &Path, date: Date, zone_offset_s: i32) -> Result<String, String> {
    Ok(print(&Books::read(&folder.join(BOOKS_FILE))?, date, zone_offset_s))
}

/// What the sandbox calls an order.
pub fn reference_of(number: &str) -> String {
    format!("sandbox-{number}")
}
