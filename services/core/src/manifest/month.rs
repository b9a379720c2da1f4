//! Months of the wallet: what the transfers of one database were, up to a position.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::bytes::{Bytes, Hash};
use super::chain::Link;
use crate::date::Date;
use crate::time::Timestamp;
use crate::transfer::SystemBalances;

/// A month of the calendar, in the zone of an installation: `202611`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YearMonth(u32);

impl YearMonth {
    /// The month of `at`, in a zone that is so many seconds ahead of UTC.
    pub fn of(at: Timestamp, zone_offset_s: i32) -> YearMonth {
        YearMonth(Date::of(at, zone_offset_s).year_and_month())
    }

    /// From its number, `202611`; `None` for one that no month has.
    pub fn new(number: u32) -> Option<YearMonth> {
        (1..=12).contains(&(number % 100)).then_some(YearMonth(number))
    }

    /// The month after it.
    pub fn next(self) -> YearMonth {
        YearMonth(if self.0 % 100 == 12 { self.0 + 89 } else { self.0 + 1 })
    }

    /// The month before it.
    pub fn previous(self) -> YearMonth {
        YearMonth(if self.0 % 100 == 1 { self.0 - 89 } else { self.0 - 1 })
    }

    /// Its number, `202611`.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// `202611`.
impl fmt::Display for YearMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The manifest of a sealed month: of the transfers behind the position at which the month
/// before it ends, up to [`Month::last_position`]. It is written once and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// Its place in the chain of its database, from 1.
    pub number: u64,
    /// The number of the wallet's database.
    pub database: u8,
    /// Which month, which is only a name: the positions say what belongs to it.
    pub month: YearMonth,
    /// The zone in which months and dates were counted, in seconds ahead of UTC.
    pub zone_offset_s: i32,
    /// "52 56": the slots of users who had left the database. Their transfers are left out, so it
    /// counts only as long as no others leave.
    pub moved_slots: String,
    /// The position of the last transfer that belongs to it.
    pub last_position: i64,
    /// What the transfers were.
    pub content: MonthContent,
    /// The hash of the manifest before it; zeros for the first one.
    pub previous: Hash,
}

/// What the transfers of a month were, and what all transfers up to its end come to. Amounts are in fen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonthContent {
    /// Transfers of the month.
    pub transfers: u64,
    /// What came from outside in the month.
    pub topped_up_fen: i64,
    /// What was paid for envelopes.
    pub sent_fen: i64,
    /// What was opened.
    pub opened_fen: i64,
    /// What went back to senders.
    pub refunded_fen: i64,
    /// What was charged at the provider.
    pub charged_fen: i64,
    /// What was paid out at the provider, less what it returned.
    pub paid_out_fen: i64,
    /// Over the rows, block by block.
    pub rows_hash: Hash,
    /// Over the balances of the users who had transfers in the month, in the order of their ids.
    pub balances_hash: Hash,
    /// Over the ties of the month's transfers to the envelopes, in the order of their dates.
    pub ties_hash: Hash,
    /// What all transfers up to the end of the month come to.
    pub end: MonthEnd,
}

/// The balances that all transfers up to the end of a month lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonthEnd {
    /// Users with a transfer.
    pub users: u64,
    /// The sum of their balances.
    pub balances_fen: i64,
    /// The balances of the system's accounts.
    pub system: SystemBalances,
}

impl MonthContent {
    /// Whether all accounts add up to zero at the end, as the two sides of each transfer do.
    pub fn adds_up(&self) -> bool {
        i128::from(self.end.balances_fen) + self.end.system.sum() == 0
    }
}

impl Month {
    /// The hash over all of it, which the next manifest holds. A month in which, and before which, nothing moved at
    /// the provider has the hash that it had before there was one.
    pub fn hash(&self) -> Hash {
        let Month { number, database, month, zone_offset_s, moved_slots, last_position, content, previous } = self;
        let MonthContent { transfers, topped_up_fen, sent_fen, opened_fen, refunded_fen, .. } = content;
        let MonthEnd { users, balances_fen, system } = content.end;
        let SystemBalances { clearing_fen, top_ups_fen, provider_fen, payouts_fen } = system;
        let at_the_provider = [content.charged_fen, content.paid_out_fen, provider_fen, payouts_fen];
        let has_provider = at_the_provider != [0; 4];
        let mut bytes = Bytes::of(if has_provider { "hongbao month 2" } else { "hongbao month 1" });
        bytes.number(*number).number(*database).number(month.number()).signed((*zone_offset_s).into());
        bytes.text(moved_slots).signed(*last_position).number(*transfers).signed(*topped_up_fen).signed(*sent_fen);
        bytes.signed(*opened_fen).signed(*refunded_fen);
        bytes.raw(&content.rows_hash).raw(&content.balances_hash).raw(&content.ties_hash);
        bytes.number(users).signed(balances_fen).signed(clearing_fen).signed(top_ups_fen).raw(previous);
        if has_provider {
            at_the_provider.into_iter().for_each(|fen| {
                bytes.signed(fen);
            });
        }
        Sha256::digest(bytes.take()).into()
    }
}

impl From<&Month> for Link {
    fn from(month: &Month) -> Link {
        let Month { number, previous, content, .. } = month;
        Link { number: *number, previous: *previous, hash: month.hash(), adds_up: content.adds_up() }
    }
}
