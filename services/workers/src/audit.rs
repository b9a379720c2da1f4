//! The audit: recomputes the invariants from the stored rows alone, and names
//! what breaks one. It writes nothing, keeps a bounded number of rows in memory,
//! and may run while the service serves.
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
//! **Envelopes.** A page of envelopes with their journals is read first (`J0`,
//! one moment), then the wallet's rows about them (`W1`). Whatever `J0` claims of
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

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use hongbao_core::audit::{Books, Breach, EnvelopeRows, check_balance, check_envelope, envelope_missing};
use hongbao_core::{Entry, Envelope, EnvelopeId, Transfer, TransferId};
use hongbao_store::{Store, StoreError};
use hongbao_wallet::{Wallet, WalletError};
use serde::Serialize;

/// Envelopes that are read at once, each with its journal.
const ENVELOPES_PAGE: u32 = 64;
/// Transfers and accounts that are read at once.
const ROWS_PAGE: u32 = 1_000;
/// Envelopes that are remembered to exist, twice this many at most.
const KNOWN_MAX: usize = 100_000;

/// Why the audit could not finish. It says nothing about the invariants.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be read.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The wallet cannot be read.
    #[error("wallet: {0}")]
    Wallet(#[from] WalletError),
}

/// What the audit has read and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditReport {
    /// Envelopes that were checked.
    pub envelopes: u64,
    /// Journal entries that were checked.
    pub entries: u64,
    /// Transfers that were checked.
    pub transfers: u64,
    /// Accounts that were checked, the system's two among them.
    pub accounts: u64,
    /// Things that are broken; each was reported.
    pub breaches: u64,
    /// The books of the whole system.
    pub books: Books,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Journal entries checked in a second.
    pub entries_per_s: u64,
}

/// For people.
impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditReport { envelopes, entries, transfers, accounts, .. } = self;
        let Books { balances_fen, outstanding_fen, top_ups_fen } = self.books;
        writeln!(f, "checked   {envelopes} envelopes, {entries} entries, {transfers} transfers, {accounts} accounts")?;
        writeln!(
            f,
            "books     balances {} + outstanding {} = top-ups {}",
            Yuan(balances_fen),
            Yuan(outstanding_fen),
            Yuan(top_ups_fen)
        )?;
        writeln!(f, "took      {} ms, {} entries/s", self.duration_ms, self.entries_per_s)?;
        match self.breaches {
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

/// Checks everything, page by page; tells each breach to `report` as it is found.
pub async fn audit(
    store: &dyn Store,
    wallet: &dyn Wallet,
    report: &mut (dyn FnMut(&Breach) + Send),
) -> Result<AuditReport, AuditError> {
    let began = Instant::now();
    let mut audit = Audit { store, wallet, report, found: AuditReport::default(), known: Known::default() };
    audit.envelopes().await?;
    audit.transfers().await?;
    audit.accounts().await?;
    let mut found = audit.found;
    found.duration_ms = began.elapsed().as_millis() as u64;
    found.entries_per_s = (found.entries as f64 / began.elapsed().as_secs_f64()) as u64;
    Ok(found)
}

struct Audit<'a> {
    store: &'a dyn Store,
    wallet: &'a dyn Wallet,
    report: &'a mut (dyn FnMut(&Breach) + Send),
    found: AuditReport,
    known: Known,
}

impl Audit<'_> {
    fn tell(&mut self, breaches: impl IntoIterator<Item = Breach>) {
        for breach in breaches {
            self.found.breaches += 1;
            (self.report)(&breach);
        }
    }

    async fn envelopes(&mut self) -> Result<(), AuditError> {
        for table in self.store.tables() {
            let mut after = None;
            loop {
                let page = self.store.scan(table, after, ENVELOPES_PAGE).await?;
                self.check_page(&page).await?;
                match page.last() {
                    Some((last, _)) if page.len() as u32 == ENVELOPES_PAGE => after = Some(last.id),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    async fn check_page(&mut self, page: &[(Envelope, Vec<Entry>)]) -> Result<(), AuditError> {
        if page.is_empty() {
            return Ok(());
        }
        let ids: Vec<EnvelopeId> = page.iter().map(|(envelope, _)| envelope.id).collect();
        let mut transfers: HashMap<EnvelopeId, Vec<Transfer>> = HashMap::with_capacity(ids.len());
        for transfer in self.wallet.of_envelopes(&ids).await? {
            if let Some(id) = transfer.id.envelope_id() {
                transfers.entry(id).or_default().push(transfer);
            }
        }
        for (envelope, entries) in page {
            self.found.envelopes += 1;
            self.found.entries += entries.len() as u64;
            self.known.insert(envelope.id);
            let transfers = transfers.remove(&envelope.id).unwrap_or_default();
            if !check_envelope(&EnvelopeRows { envelope, entries, transfers: &transfers }).is_empty() {
                self.check_suspect(envelope.id).await?;
            }
        }
        Ok(())
    }

    /// Reads a suspect again, in the order that leaves no doubt.
    async fn check_suspect(&mut self, id: EnvelopeId) -> Result<(), AuditError> {
        let mut transfers = self.wallet.of_envelopes(&[id]).await?;
        // A row that vanished since is missing for its transfers, which are checked later.
        let Some((envelope, entries)) = self.store.load_journal(id).await? else { return Ok(()) };
        let seen: HashSet<TransferId> = transfers.iter().map(|transfer| transfer.id).collect();
        let last_seq = entries.iter().map(|entry| entry.seq).max().unwrap_or(0);
        let younger = self.wallet.of_envelopes(&[id]).await?;
        transfers.extend(younger.into_iter().filter(|transfer| {
            let belongs = matches!(transfer.id, TransferId::Envelope(_, seq) if seq <= last_seq);
            belongs && !seen.contains(&transfer.id)
        }));
        self.tell(check_envelope(&EnvelopeRows { envelope: &envelope, entries: &entries, transfers: &transfers }));
        Ok(())
    }

    async fn transfers(&mut self) -> Result<(), AuditError> {
        let mut after = i64::MIN;
        loop {
            let page = self.wallet.scan(after, ROWS_PAGE).await?;
            self.found.transfers += page.len() as u64;
            let mut missing = HashSet::new();
            for transfer in page.iter().map(|posted| &posted.transfer) {
                let Some(id) = transfer.id.envelope_id() else { continue };
                if !self.known.contains(id) && !missing.contains(&id) {
                    match self.store.load(id).await? {
                        Some(_) => self.known.insert(id),
                        None => missing.extend([id]),
                    }
                }
                if missing.contains(&id) {
                    self.tell([envelope_missing(transfer)]);
                }
            }
            match page.last() {
                Some(last) if page.len() as u32 == ROWS_PAGE => after = last.position,
                _ => return Ok(()),
            }
        }
    }

    async fn accounts(&mut self) -> Result<(), AuditError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.wallet.accounts(after.as_deref(), ROWS_PAGE).await?;
            self.found.accounts += page.len() as u64;
            self.tell(
                page.iter().filter_map(|row| check_balance(&row.account, row.balance_fen, row.transfers_sum_fen)),
            );
            let full = page.len() as u32 == ROWS_PAGE;
            after = page.into_iter().last().filter(|_| full).map(|last| last.account);
            if after.is_none() {
                break;
            }
        }
        self.found.books = self.wallet.books().await?;
        self.tell(self.found.books.check());
        Ok(())
    }
}

/// Envelopes that exist: the latest [`KNOWN_MAX`] at least. Forgetting one costs a read.
#[derive(Default)]
struct Known {
    young: HashSet<EnvelopeId>,
    old: HashSet<EnvelopeId>,
}

impl Known {
    fn contains(&self, id: EnvelopeId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }

    fn insert(&mut self, id: EnvelopeId) {
        if self.young.len() == KNOWN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}
