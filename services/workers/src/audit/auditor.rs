//! What an audit works with, and what all of its parts share.

use std::collections::{BTreeSet, HashMap};

use hongbao_core::audit::{Breach, RunningBalance};
use hongbao_core::held::BEGINNING;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::{EnvelopeId, Slot, Timestamp, UserId};
use hongbao_store::StoreError;
use hongbao_wallet::{Boundaries, Wallet};

use super::known::Known;
use super::report::AuditReport;
use super::set::{AuditError, SetStore};
use super::ties::Ties;

/// An audit under way.
pub(super) struct Audit<'a> {
    pub(super) sets: &'a [SetStore],
    pub(super) wallet: &'a dyn Wallet,
    pub(super) report: &'a mut (dyn FnMut(&Breach) + Send),
    pub(super) found: AuditReport,
    pub(super) known: Known,
    pub(super) ties: Ties,
    /// Up to where the wallet's transfers are taken by their months.
    pub(super) months: Boundaries,
    /// Users whose last transfer was wrong, with what it should have led to.
    pub(super) wrong_balances: HashMap<UserId, RunningBalance>,
    /// Sealed tables that are not there, by the place of their SET.
    pub(super) missing: Vec<(usize, TableRef)>,
    /// SETs whose archive did not answer: it is not waited for again.
    pub(super) silent: BTreeSet<usize>,
}

impl<'a> Audit<'a> {
    /// An audit of these SETs, which are all there are.
    ///
    /// # Errors
    /// When the slots do not add up.
    pub(super) fn of(
        sets: &'a [SetStore],
        wallet: &'a dyn Wallet,
        report: &'a mut (dyn FnMut(&Breach) + Send),
    ) -> Result<Audit<'a>, AuditError> {
        check_whole(sets)?;
        let found = AuditReport { sets: sets.len() as u64, ..AuditReport::default() };
        Ok(Audit {
            sets,
            wallet,
            report,
            found,
            known: Known::default(),
            ties: Ties::default(),
            months: Boundaries::default(),
            wrong_balances: HashMap::new(),
            missing: Vec::new(),
            silent: BTreeSet::new(),
        })
    }

    /// Reports what is broken.
    pub(super) fn tell(&mut self, breaches: impl IntoIterator<Item = Breach>) {
        for breach in breaches {
            self.found.breaches += 1;
            (self.report)(&breach);
        }
    }

    /// The SET that should have an envelope.
    pub(super) fn holder(&self, id: EnvelopeId) -> &'a SetStore {
        &self.sets[self.holder_number(id)]
    }

    /// Its place among the SETs.
    pub(super) fn holder_number(&self, id: EnvelopeId) -> usize {
        let holder = self.sets.iter().position(|set| set.held.holds(id));
        holder.expect("each slot is held by one SET at all times")
    }
}

/// Checks that each slot is held by one SET at all times.
fn check_whole(sets: &[SetStore]) -> Result<(), AuditError> {
    let moments: BTreeSet<Timestamp> =
        sets.iter().flat_map(|set| set.held.spans()).map(|span| span.from).chain([BEGINNING]).collect();
    for moment in moments {
        for slot in Slot::all() {
            let holders = sets.iter().filter(|set| set.held.at(moment).slots.contains(&slot)).count();
            if holders != 1 {
                return Err(AuditError::Slots(slot.number(), moment, holders));
            }
        }
    }
    Ok(())
}

/// Whether an envelope is where its id leads.
pub(super) async fn is_there(set: &SetStore, id: EnvelopeId) -> Result<bool, AuditError> {
    match set.store.load(id).await {
        Ok(found) => Ok(found.is_some()),
        // A damaged row is reported when its table is read.
        Err(StoreError::Damaged(_)) => Ok(true),
        Err(error) => Err(set.failed(error)),
    }
}

/// A table in words.
pub(super) fn words_of(set: &SetStore, table: TableRef) -> String {
    let kind = if matches!(table.span, Span::Day(_)) { "day" } else { "date" };
    format!("SET {} database {:02} table {} {kind} {}", set.name, table.database, table.table, table.span)
}

/// A gap in a table in words.
pub(super) fn gap_in(
    set: &SetStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    next: Option<Timestamp>,
    reason: &str,
) -> String {
    let from = after.map_or("its first row".to_owned(), |id| format!("envelope {id}"));
    let until = next.map_or("its end".to_owned(), |next| format!("what was minted at {next}"));
    format!("{}, after {from} up to {until}: {reason}", words_of(set, table))
}
