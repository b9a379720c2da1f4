//! One table, page by page: each envelope with its journal and its transfers.

use std::collections::{HashMap, HashSet};

use hongbao_core::audit::{Breach, EnvelopeRows, check_envelope, misplaced, unreadable};
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Sealer;
use hongbao_core::{Entry, Envelope, EnvelopeId, Transfer, TransferId};
use hongbao_store::StoreError;
use hongbao_wallet::{Posted, WalletError};

use super::auditor::{Audit, gap_in, is_there, words_of};
use super::damage::behind_envelope;
use super::gap::last_id_at;
use super::journals;
use super::set::{AuditError, SetStore};

/// Envelopes that are read at once.
const ENVELOPES_PAGE: u32 = 64;

/// How far a table has been read.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    table: TableRef,
    /// Envelopes up to this one are checked.
    after: Option<EnvelopeId>,
    size: u32,
    /// Its last row was read.
    pub has_ended: bool,
    /// Takes what is read.
    pub sealer: Option<Sealer>,
}

impl Walk {
    /// From the first row of a table on.
    pub fn begin(table: TableRef, sealer: Option<Sealer>) -> Walk {
        Walk { table, after: None, size: ENVELOPES_PAGE, has_ended: false, sealer }
    }
}

impl Audit<'_> {
    /// The whole of a table.
    pub(super) async fn table(&mut self, set: &SetStore, walk: &mut Walk) -> Result<(), AuditError> {
        while !walk.has_ended {
            self.page(set, walk).await?;
        }
        Ok(())
    }

    /// Its next page.
    pub(super) async fn page(&mut self, set: &SetStore, walk: &mut Walk) -> Result<(), AuditError> {
        let table = walk.table;
        match set.store.scan(table, walk.after, walk.size).await {
            Ok(page) => {
                let mut rest = page.as_slice();
                while !rest.is_empty() {
                    let (batch, behind) = rest.split_at(journals::fitting(rest));
                    self.batch(set, walk, batch).await?;
                    walk.after = batch.last().map(|(envelope, _)| envelope.id);
                    rest = behind;
                }
                if (page.len() as u32) < walk.size {
                    self.strays(set, table, walk.after, None).await?;
                    walk.has_ended = true;
                }
            }
            // The sound rows before the damaged one are read one by one.
            Err(StoreError::Damaged(_)) if walk.size > 1 => walk.size = 1,
            Err(StoreError::Damaged(reason)) => {
                let next = behind_envelope(set, table, walk.after).await?;
                self.tell([unreadable(None, gap_in(set, table, walk.after, next, &reason))]);
                match next {
                    Some(next) => (walk.after, walk.size) = (Some(last_id_at(next)), ENVELOPES_PAGE),
                    None => walk.has_ended = true,
                }
            }
            Err(error) => return Err(set.failed(error)),
        }
        Ok(())
    }

    /// Checks envelopes that follow each other in a table, the first of them after `after`.
    async fn batch(&mut self, set: &SetStore, walk: &mut Walk, batch: &[(Envelope, u32)]) -> Result<(), AuditError> {
        let (table, after) = (walk.table, walk.after);
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
            if let Some(sealer) = &mut walk.sealer {
                sealer.add(envelope, &entries);
            }
            // Absent are those whose transfers cannot be read, which was reported.
            let Some(transfers) = transfers.remove(&envelope.id) else { continue };
            if self.sealed_table_of(envelope.id).is_none() {
                self.tie_read(envelope.id, table, &transfers);
            }
            let transfers = plain(transfers);
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
    async fn transfers_of(&mut self, ids: &[EnvelopeId]) -> Result<HashMap<EnvelopeId, Vec<Posted>>, AuditError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut by_envelope: HashMap<EnvelopeId, Vec<Posted>> = ids.iter().map(|id| (*id, Vec::new())).collect();
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
        for posted in all {
            if let Some(of_id) = posted.transfer.id.envelope_id().and_then(|id| by_envelope.get_mut(&id)) {
                of_id.push(posted);
            }
        }
        Ok(by_envelope)
    }

    /// Reads a suspect again, in the order that leaves no doubt.
    async fn suspect(&mut self, set: &SetStore, id: EnvelopeId) -> Result<(), AuditError> {
        let Some(transfers) = self.transfers_of(&[id]).await?.remove(&id) else { return Ok(()) };
        let mut transfers = plain(transfers);
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
        transfers.extend(plain(younger).into_iter().filter(|transfer| {
            let belongs = matches!(transfer.id, TransferId::Envelope(_, seq) if seq <= last_seq);
            belongs && !seen.contains(&transfer.id)
        }));
        self.tell(check_envelope(&EnvelopeRows { envelope: &envelope, entries: &entries, transfers: &transfers }));
        Ok(())
    }
}

/// Transfers without their places.
fn plain(posted: Vec<Posted>) -> Vec<Transfer> {
    posted.into_iter().map(|posted| posted.transfer).collect()
}
