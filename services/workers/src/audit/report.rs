//! What an audit has to say.

use std::fmt;
use std::time::Duration;

use hongbao_core::audit::Books;
use hongbao_core::limits::AUDIT_PACE_ENTRIES_MIN;
use serde::Serialize;

/// What the audit has read and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditReport {
    /// SETs that were read.
    pub sets: u64,
    /// Envelopes that were checked.
    pub envelopes: u64,
    /// Journal entries that were checked.
    pub entries: u64,
    /// Transfers that were checked.
    pub transfers: u64,
    /// Accounts that were checked, the system's among them.
    pub accounts: u64,
    /// Orders at the provider that were checked.
    pub orders: u64,
    /// Things that are broken; each was reported.
    pub breaches: u64,
    /// What sealed tables hold, by their manifests.
    pub sealed: SealedSums,
    /// Exported tables whose files could not be opened, because their archive did not answer, and why. They were
    /// taken by their manifests, and nothing is known of the files.
    pub not_checked: Vec<String>,
    /// The books of the whole system; nothing but zeros unless `books_read`.
    pub books: Books,
    /// Whether they could be read: a row that is missing is reported as broken.
    pub books_read: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Journal entries checked in a second.
    pub entries_per_s: u64,
    /// Milliseconds that a million journal entries take at this pace, with all
    /// that is checked beside them; absent when there was none.
    pub ms_per_million_entries: Option<u64>,
}

/// What the manifests of sealed tables and months say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SealedSums {
    /// Sealed tables.
    pub tables: u64,
    /// Those of them that were read row by row; what was checked there is counted with all others.
    pub tables_read: u64,
    /// Their envelopes.
    pub envelopes: u64,
    /// Their entries.
    pub entries: u64,
    /// What was paid for them.
    pub paid_fen: i128,
    /// What was opened of it.
    pub opened_fen: i128,
    /// What went back: the rest.
    pub refunded_fen: i128,
    /// Sealed months of the wallet, one for each of its parts.
    pub months: u64,
    /// Their transfers.
    pub transfers: u64,
    /// Blocks of them that were read.
    pub blocks_read: u64,
}

impl AuditReport {
    /// Notes how long it took.
    pub(super) fn took(&mut self, time: Duration) {
        self.duration_ms = time.as_millis() as u64;
        self.entries_per_s = (self.entries as f64 / time.as_secs_f64()) as u64;
        let entries = u128::from(self.entries);
        self.ms_per_million_entries = (time.as_micros() * 1_000).checked_div(entries).map(|millis| millis as u64);
    }
}

/// For people.
impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditReport { sets, envelopes, entries, transfers, accounts, .. } = self;
        let Books { balances_fen, outstanding_fen, top_ups_fen, provider_fen, payouts_fen } = self.books;
        let plural = if *sets == 1 { "" } else { "s" };
        writeln!(
            f,
            "checked   {envelopes} envelopes, {entries} entries, {transfers} transfers, {accounts} accounts \
             in {sets} SET{plural}"
        )?;
        if self.orders > 0 {
            writeln!(f, "orders    {} at the provider", self.orders)?;
        }
        if self.sealed.tables > 0 {
            let SealedSums { tables, tables_read, envelopes, entries, paid_fen, opened_fen, refunded_fen, .. } =
                self.sealed;
            let (paid, opened, refunded) = (Yuan(paid_fen), Yuan(opened_fen), Yuan(refunded_fen));
            writeln!(
                f,
                "sealed    {tables} tables with {envelopes} envelopes, {entries} entries: paid {paid} = opened {opened} \
                 + refunded {refunded}; {tables_read} of them were read"
            )?;
        }
        if self.sealed.months > 0 {
            let SealedSums { months, transfers, blocks_read, .. } = self.sealed;
            writeln!(f, "months    {months} sealed with {transfers} transfers; {blocks_read} blocks were read")?;
        }
        match self.books_read {
            true => {
                let (balances, outstanding) = (Yuan(balances_fen), Yuan(outstanding_fen));
                write!(f, "books     balances {balances} + outstanding {outstanding}")?;
                if payouts_fen != 0 {
                    write!(f, " + payouts under way {}", Yuan(payouts_fen))?;
                }
                write!(f, " = top-ups {}", Yuan(top_ups_fen))?;
                if provider_fen != 0 {
                    write!(f, " + from the provider {}", Yuan(provider_fen))?;
                }
                writeln!(f)?;
            }
            false => writeln!(f, "books     could not be read")?,
        }
        write!(f, "took      {} ms", self.duration_ms)?;
        match self.ms_per_million_entries.filter(|_| *entries >= AUDIT_PACE_ENTRIES_MIN) {
            Some(millis) => writeln!(f, ", {} entries/s, {millis} ms per million entries", self.entries_per_s)?,
            None => writeln!(f, " (its pace is shown from {AUDIT_PACE_ENTRIES_MIN} entries on)")?,
        }
        for place in &self.not_checked {
            writeln!(f, "unread    {place}")?;
        }
        let unread = self.not_checked.len();
        match self.breaches {
            0 if unread > 0 => write!(f, "verdict   nothing is broken, but {unread} exported tables were not checked"),
            0 => write!(f, "verdict   all invariants hold"),
            1 => write!(f, "verdict   1 thing is broken"),
            more => write!(f, "verdict   {more} things are broken"),
        }
    }
}

/// An amount of any size and sign in yuan.
struct Yuan(i128);

impl fmt::Display for Yuan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let fen = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", fen / 100, fen % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_told_where_there_were_enough_entries_to_tell() {
        let mut report = AuditReport { entries: AUDIT_PACE_ENTRIES_MIN, ..AuditReport::default() };
        report.took(Duration::from_micros(10_500));
        assert_eq!((report.duration_ms, report.ms_per_million_entries), (10, Some(1_050)));
        assert!(report.to_string().contains("took      10 ms, 952380 entries/s, 1050 ms per million entries\n"));

        for (entries, per_million) in [(0, None), (3, Some(1_000_000)), (AUDIT_PACE_ENTRIES_MIN - 1, Some(300))] {
            let mut few = AuditReport { entries, ..AuditReport::default() };
            few.took(Duration::from_millis(3));
            assert_eq!(few.ms_per_million_entries, per_million);
            assert!(few.to_string().contains("took      3 ms (its pace is shown from 10000 entries on)\n"), "{few}");
        }
    }
}
