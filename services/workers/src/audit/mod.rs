//! The audit: recomputes the invariants from the stored rows alone, and names
//! what breaks one. It writes nothing but its barriers' commits, and may run while the service serves.
//!
//! It covers every SET and the wallet, page by page; how journals are read, see
//! [`journals`]. In memory are at most one journal, as long as `shares_max` and
//! one more, or several that have fewer than [`JOURNAL_PAGE_MAX`] entries
//! together, with their transfers; or [`wallet::ROWS_PAGE`] transfers or accounts; and
//! twice [`AUDIT_ENVELOPES_REMEMBERED_MAX`] ids. The check of an envelope wants its journal as
//! a whole: who opened twice and what was credited twice can be seen in no less.
//!
//! [`JOURNAL_PAGE_MAX`]: hongbao_core::limits::JOURNAL_PAGE_MAX
//! [`AUDIT_ENVELOPES_REMEMBERED_MAX`]: hongbao_core::limits::AUDIT_ENVELOPES_REMEMBERED_MAX
//!
//! # Why it raises no false alarm while the service runs
//! Store and wallet are two databases: no snapshot holds both. In a sound system
//! rows are only added and stages only go forward, in this order:
//!
//! - (a) an entry is in the journal before its credit is in the wallet;
//! - (b) a credit is in the wallet before `settled_seq` covers it;
//! - (c) the payment is in the wallet before the envelope is active;
//! - (d) the cancel is in the wallet before the envelope is cancelled, and then
//!   no payment can follow;
//! - (e) the envelope exists before its payment does.
//!
//! **Envelopes.** A page of envelopes is read first, then their journals as they
//! were at that moment (`J0`), then the wallet's rows about them (`W1`). Whatever `J0` claims of
//! the wallet, by (b) to (d), is in `W1`. The converse does not hold: `W1` may
//! have credits of entries that are younger than `J0`. So an envelope that
//! passes is sound as of `J0`, and one that does not is only suspected.
//!
//! **A suspect** is read again by itself: the wallet (`W1`), its journal (`J1`),
//! the wallet (`W2`). By (a), all that `W1` claims of the journal is in `J1`. By
//! (b) to (d), all that `J1` claims of the wallet is in `W2`. It is checked with
//! `J1` against `W1` and those rows of `W2` that belong to `J1`, the payment and
//! the entries that `J1` has; rows of `W2` about younger entries are left for
//! the next audit. What is broken then is broken: damage does not heal, for
//! nothing that is wrong here is ever taken back, so it hides neither from `J0`
//! nor from `J1`.
//!
//! **Transfers** are read before the envelopes that they name: by (e), those exist.
//! A cancel moves nothing, and its envelope may have been removed since.
//!
//! **Entries of no envelope** are looked for between the envelopes that were read,
//! and count only if the envelope is still unknown when it is asked for after them.
//!
//! **Balances** are read user by user in the order of writing, and each is compared
//! with the one before it: rows are only added, and behind those that were read.
//!
//! **Accounts.** Each page is one moment, with balances and the sums of transfers,
//! so each account is compared exactly. The books are the sums over all
//! accounts in one read transaction.
//!
//! # Why that is conservation over the system
//! Each transfer has two sides. So if every balance is the sum of its transfers,
//! balances, clearing and top-ups add up; if every envelope's payment is its total
//! and every credit is its entry, then what lies in clearing is what lies in
//! envelopes, paid less opened and refunded.
//!
//! # Where an envelope lies
//! Its id says which slot, and so which SET holds it, and in which table. One that
//! lies elsewhere is named (`wrong_set`, `wrong_table`) and is not checked there:
//! it is as good as missing, and if its transfers say that it should exist, those
//! are named too. What is asked about an envelope is asked of the SET that holds
//! its slot.
//!
//! # What a crash may take back
//! Rows can be read before their commit is on the disk, and an audit that has seen
//! such a row speaks of something that may not be so. So each part ends with a
//! barrier ([`still_there`]), which writes a figure that means nothing to the table
//! `barrier` and nothing else; when a database was started anew since the audit
//! began, it could not check.
//!
//! # Rows that cannot be read
//! They are named (`unreadable`), and the audit goes on behind them: an entry
//! with its envelope, or with its table if that has none; other rows with the
//! gap that they leave. Only a list of accounts ends there.

mod damage;
mod gap;
mod journals;
mod known;
mod report;
mod set;
mod still_there;
mod strays;
mod wallet;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use hongbao_core::audit::{Breach, EnvelopeRows, check_envelope, misplaced, unreadable};
use hongbao_core::held::BEGINNING;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::{Entry, Envelope, EnvelopeId, Slot, Timestamp, Transfer, TransferId};
use hongbao_store::StoreError;
use hongbao_wallet::{Wallet, WalletError};

use self::damage::behind_envelope;
use self::gap::last_id_at;
use self::known::Known;
pub use self::report::AuditReport;
pub use self::set::{AuditError, SetStore};
use self::still_there::StillThere;

/// Envelopes that are read at once.
const ENVELOPES_PAGE: u32 = 64;

/// Checks everything, page by page; tells each breach to `report` as it is found.
/// The SETs are all there are: each slot belongs to one of them.
///
/// # Errors
/// When something cannot be read, and when the slots do not add up.
pub async fn audit(
    sets: &[SetStore],
    wallet: &dyn Wallet,
    report: &mut (dyn FnMut(&Breach) + Send),
) -> Result<AuditReport, AuditError> {
    let began = Instant::now();
    check_whole(sets)?;
    let found = AuditReport { sets: sets.len() as u64, ..AuditReport::default() };
    let mut audit = Audit { sets, wallet, report, found, known: Known::default() };
    let still_there = StillThere::begin(sets, wallet).await?;
    for set in sets {
        audit.tables(set).await?;
        still_there.check(sets, wallet).await?;
    }
    audit.transfers().await?;
    still_there.check(sets, wallet).await?;
    audit.balances().await?;
    audit.accounts().await?;
    still_there.check(sets, wallet).await?;
    let mut found = audit.found;
    found.took(began.elapsed());
    Ok(found)
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

struct Audit<'a> {
    sets: &'a [SetStore],
    wallet: &'a dyn Wallet,
    report: &'a mut (dyn FnMut(&Breach) + Send),
    found: AuditReport,
    known: Known,
}

impl<'a> Audit<'a> {
    fn tell(&mut self, breaches: impl IntoIterator<Item = Breach>) {
        for breach in breaches {
            self.found.breaches += 1;
            (self.report)(&breach);
        }
    }

    /// The SET that should have an envelope.
    fn holder(&self, id: EnvelopeId) -> &'a SetStore {
        self.sets.iter().find(|set| set.held.holds(id)).expect("each slot is held by one SET at all times")
    }

    /// All tables of a SET. Where one was renamed meanwhile, its rows are read under the new name, too.
    async fn tables(&mut self, set: &SetStore) -> Result<(), AuditError> {
        let mut read = BTreeSet::new();
        loop {
            set.store.look().await.map_err(|error| set.failed(error))?;
            let tables: Vec<TableRef> = set.store.tables().into_iter().filter(|table| read.insert(*table)).collect();
            if tables.is_empty() {
                return Ok(());
            }
            for table in tables {
                self.table(set, table).await?;
            }
        }
    }

    async fn table(&mut self, set: &SetStore, table: TableRef) -> Result<(), AuditError> {
        let (mut after, mut size) = (None, ENVELOPES_PAGE);
        loop {
            match set.store.scan(table, after, size).await {
                Ok(page) => {
                    let mut rest = page.as_slice();
                    while !rest.is_empty() {
                        let (batch, behind) = rest.split_at(journals::fitting(rest));
                        self.batch(set, table, after, batch).await?;
                        after = batch.last().map(|(envelope, _)| envelope.id);
                        rest = behind;
                    }
                    match page.last() {
                        Some(_) if page.len() as u32 == size => {}
                        _ => return self.strays(set, table, after, None).await,
                    }
                }
                // The sound rows before the damaged one are read one by one.
                Err(StoreError::Damaged(_)) if size > 1 => size = 1,
                Err(StoreError::Damaged(reason)) => {
                    let next = behind_envelope(set, table, after).await?;
                    self.tell([unreadable(None, gap_in(set, table, after, next, &reason))]);
                    let Some(next) = next else { return Ok(()) };
                    (after, size) = (Some(last_id_at(next)), ENVELOPES_PAGE);
                }
                Err(error) => return Err(set.failed(error)),
            }
        }
    }

    /// Checks envelopes that follow each other in a table, the first of them after `after`.
    async fn batch(
        &mut self,
        set: &SetStore,
        table: TableRef,
        after: Option<EnvelopeId>,
        batch: &[(Envelope, u32)],
    ) -> Result<(), AuditError> {
        let (mut at_once, mut damaged) = match journals::at_once(&*set.store, table, after, batch).await {
            Ok(journals) => (journals, None),
            Err(StoreError::Damaged(reason)) => (None, Some(reason)),
            Err(error) => return Err(set.failed(error)),
        };
        match &mut at_once {
            Some(all) => {
                let known: HashSet<EnvelopeId> = batch.iter().map(|(envelope, _)| envelope.id).collect();
                let strays: Vec<EnvelopeId> = all.extract_if(|id, _| !known.contains(id)).map(|(id, _)| id).collect();
                self.tell_strays(set, table, strays).await?;
            }
            None if damaged.is_none() => self.strays_among(set, table, after, batch).await?,
            None => {}
        }
        let mut read = Vec::with_capacity(batch.len());
        for (envelope, last_seq) in batch {
            let id = envelope.id;
            if let Some(breach) = self.place(set, table, id).await? {
                self.found.envelopes += 1;
                self.tell([breach]);
                continue;
            }
            self.known.insert(id);
            let entries = match &mut at_once {
                Some(all) => all.remove(&id).unwrap_or_default(),
                None => match self.journal(set, id, *last_seq).await? {
                    Some(entries) => entries,
                    None => {
                        damaged = None;
                        continue;
                    }
                },
            };
            self.found.envelopes += 1;
            self.found.entries += entries.len() as u64;
            read.push((envelope, entries));
        }
        if let Some(reason) = damaged {
            // The row belongs to none of the journals that were read one by one.
            let detail = format!("{}, an entry of no envelope that is checked: {reason}", words_of(set, table));
            self.tell([unreadable(None, detail)]);
        }
        let ids: Vec<EnvelopeId> = read.iter().map(|(envelope, _)| envelope.id).collect();
        let mut transfers = self.transfers_of(&ids).await?;
        for (envelope, entries) in read {
            // Absent are those whose transfers cannot be read, which was reported.
            let Some(transfers) = transfers.remove(&envelope.id) else { continue };
            let rows = EnvelopeRows { envelope, entries: &entries, transfers: &transfers };
            if !check_envelope(&rows).is_empty() {
                // It is read again: a long one need not be there twice.
                drop((entries, transfers));
                self.suspect(set, envelope.id).await?;
            }
        }
        Ok(())
    }

    /// A journal up to its last entry as of then; `None` if it cannot be read, which was reported.
    async fn journal(
        &mut self,
        set: &SetStore,
        id: EnvelopeId,
        last_seq: u32,
    ) -> Result<Option<Vec<Entry>>, AuditError> {
        match journals::of_one(&*set.store, id, last_seq).await {
            Ok(entries) => Ok(Some(entries)),
            Err(StoreError::Damaged(reason)) => {
                self.tell([unreadable(Some(id), format!("its journal: {reason}"))]);
                Ok(None)
            }
            Err(error) => Err(set.failed(error)),
        }
    }

    /// What is wrong about where an envelope was found.
    async fn place(&mut self, set: &SetStore, table: TableRef, id: EnvelopeId) -> Result<Option<Breach>, AuditError> {
        if !set.held.holds(id) {
            let (slot, holder) = (id.slot().number(), &self.holder(id).name);
            let detail = format!("it lies in SET {}, but slot {slot:02} is held by SET {holder}", set.name);
            return Ok(Some(misplaced("wrong_set", id, detail)));
        }
        let right = set.store.table_of(id);
        // The table may have been renamed since the page was read; then its id leads to where it is.
        let was_renamed = async || Ok::<_, AuditError>(set.store.may_lie_in(table, id) && is_there(set, id).await?);
        if right != table && !was_renamed().await? {
            let detail = format!("it lies in {}, but its id says {}", words_of(set, table), words_of(set, right));
            return Ok(Some(misplaced("wrong_table", id, detail)));
        }
        Ok(None)
    }

    /// The transfers of each envelope; without those that cannot be read.
    async fn transfers_of(&mut self, ids: &[EnvelopeId]) -> Result<HashMap<EnvelopeId, Vec<Transfer>>, AuditError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut by_envelope: HashMap<EnvelopeId, Vec<Transfer>> = ids.iter().map(|id| (*id, Vec::new())).collect();
        let all = match self.wallet.of_envelopes(ids).await {
            Err(WalletError::Damaged(_)) => {
                let mut all = Vec::new();
                for id in ids {
                    match self.wallet.of_envelopes(&[*id]).await {
                        Err(WalletError::Damaged(reason)) => {
                            self.tell([unreadable(Some(*id), format!("its transfers: {reason}"))]);
                            by_envelope.remove(id);
                        }
                        found => all.extend(found?),
                    }
                }
                all
            }
            found => found?,
        };
        for transfer in all {
            if let Some(of_id) = transfer.id.envelope_id().and_then(|id| by_envelope.get_mut(&id)) {
                of_id.push(transfer);
            }
        }
        Ok(by_envelope)
    }

    /// Reads a suspect again, in the order that leaves no doubt.
    async fn suspect(&mut self, set: &SetStore, id: EnvelopeId) -> Result<(), AuditError> {
        let Some(mut transfers) = self.transfers_of(&[id]).await?.remove(&id) else { return Ok(()) };
        let (envelope, fold) = match set.store.load(id).await {
            Ok(Some(found)) => found,
            // A row that vanished since is missing for its transfers, which are checked later.
            Ok(None) => return Ok(()),
            Err(StoreError::Damaged(reason)) => {
                self.tell([unreadable(Some(id), reason)]);
                return Ok(());
            }
            Err(error) => return Err(set.failed(error)),
        };
        let Some(entries) = self.journal(set, id, fold.last_seq).await? else { return Ok(()) };
        let seen: HashSet<TransferId> = transfers.iter().map(|transfer| transfer.id).collect();
        let last_seq = entries.iter().map(|entry| entry.seq).max().unwrap_or(0);
        let younger = self.transfers_of(&[id]).await?.remove(&id).unwrap_or_default();
        transfers.extend(younger.into_iter().filter(|transfer| {
            let belongs = matches!(transfer.id, TransferId::Envelope(_, seq) if seq <= last_seq);
            belongs && !seen.contains(&transfer.id)
        }));
        self.tell(check_envelope(&EnvelopeRows { envelope: &envelope, entries: &entries, transfers: &transfers }));
        Ok(())
    }
}

/// Whether an envelope is where its id leads.
async fn is_there(set: &SetStore, id: EnvelopeId) -> Result<bool, AuditError> {
    match set.store.load(id).await {
        Ok(found) => Ok(found.is_some()),
        // A damaged row is reported when its table is read.
        Err(StoreError::Damaged(_)) => Ok(true),
        Err(error) => Err(set.failed(error)),
    }
}

fn words_of(set: &SetStore, table: TableRef) -> String {
    let kind = if matches!(table.span, Span::Day(_)) { "day" } else { "date" };
    format!("SET {} database {:02} table {} {kind} {}", set.name, table.database, table.table, table.span)
}

fn gap_in(set: &SetStore, table: TableRef, after: Option<EnvelopeId>, next: Option<Timestamp>, reason: &str) -> String {
    let from = after.map_or("its first row".to_owned(), |id| format!("envelope {id}"));
    let until = next.map_or("its end".to_owned(), |next| format!("what was minted at {next}"));
    format!("{}, after {from} up to {until}: {reason}", words_of(set, table))
}
