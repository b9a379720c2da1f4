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
//! **Balances.** Each transfer is read with the balance that its user had before it, and has to lead from that
//! to its own: rows are only added, and behind those that were read.
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
//! # Sealed tables
//! Manifests are read before the tables of their SET, and their chain is verified. What a manifest says
//! stands for the rows of its table, so that these are not read: a sealed table does not change, and
//! it was sealed only after each of its envelopes had passed the check that the audit makes. What each table shows
//! of itself without its rows being read (its ends, whether anything in it waits) is compared all the same; what else
//! was damaged since in a row is found when the table is in the sample that is read. The wallet's
//! transfers of these envelopes are compared as a whole with what the manifest says is due ([`ties`]). A
//! table whose manifest is broken or missing is read as any other.
//!
//! Of an exported table the file stands for the table: its footer is read each time, and all of it in the sample.
//! Where the archive does not answer, its tables are taken by their manifests, and named as not checked.
//! A table that is exported and dropped while the audit reads it is read on in its file, which has the same rows.
//!
//! # Sealed months
//! The wallet's transfers up to the end of its last sealed month are taken by what was sealed, so that an audit does not
//! grow with them: nothing is ever written among them. Of each month the chain, its blocks' hashes and its ties to the
//! envelopes are verified; of each user the balance at the boundary is compared with the one that was sealed, and goes
//! on from there; and the ties are compared, date by date, with what the envelopes are due ([`ties`]). Transfers
//! are read again block by block, a sample each time ([`months`]). From a month on that is not what was sealed, all
//! are read as if none was.
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

mod auditor;
mod damage;
mod gap;
pub(crate) mod journals;
mod known;
mod months;
mod orders;
mod report;
mod sealed;
mod set;
mod still_there;
mod strays;
mod table;
mod tied;
mod ties;
mod wallet;

use std::collections::BTreeSet;
use std::time::Instant;

use hongbao_core::audit::Breach;
use hongbao_core::id::TableRef;
use hongbao_wallet::Wallet;

use self::auditor::Audit;
pub use self::report::AuditReport;
pub use self::sealed::SealedRows;
pub use self::set::{AuditError, SetStore};
use self::still_there::StillThere;
pub(crate) use self::table::Walk;

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
    audit_with(sets, wallet, SealedRows::All, report).await
}

/// The same, without reading the rows of each sealed table.
///
/// # Errors
/// As [`fn@audit`].
pub async fn audit_with(
    sets: &[SetStore],
    wallet: &dyn Wallet,
    sealed_rows: SealedRows,
    report: &mut (dyn FnMut(&Breach) + Send),
) -> Result<AuditReport, AuditError> {
    let began = Instant::now();
    let mut audit = Audit::of(sets, wallet, report)?;
    let still_there = StillThere::begin(sets, wallet).await?;
    audit.months(sealed_rows).await?;
    for number in 0..sets.len() {
        audit.tables(number, sealed_rows).await?;
        still_there.check(sets, wallet).await?;
    }
    audit.transfers().await?;
    audit.ties().await?;
    audit.orders().await?;
    still_there.check(sets, wallet).await?;
    audit.accounts().await?;
    still_there.check(sets, wallet).await?;
    let mut found = audit.found;
    found.took(began.elapsed());
    Ok(found)
}

/// Checks the next page of a table for the sealer of `walk`; gives what is broken there.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn check_page(
    set: &SetStore,
    wallet: &dyn Wallet,
    walk: &mut Walk,
) -> Result<Option<Breach>, AuditError> {
    let mut first = None;
    let mut report = |breach: &Breach| _ = first.get_or_insert_with(|| breach.clone());
    Audit::of(std::slice::from_ref(set), wallet, &mut report)?.page(set, walk).await?;
    Ok(first)
}

impl Audit<'_> {
    /// All tables of a SET. Where one was renamed meanwhile, its rows are read under the new name, too.
    async fn tables(&mut self, number: usize, sealed_rows: SealedRows) -> Result<(), AuditError> {
        let set = &self.sets[number];
        let sealed = self.manifests(number).await?;
        let to_read = sealed_rows.choose(&sealed.keys().copied().collect::<Vec<_>>());
        let mut read = BTreeSet::new();
        loop {
            set.store.look().await.map_err(|error| set.failed(error))?;
            let tables: Vec<TableRef> = set.store.tables().into_iter().filter(|table| read.insert(*table)).collect();
            if tables.is_empty() {
                break;
            }
            for table in tables {
                match sealed.get(&table) {
                    Some(manifest) => {
                        self.sealed_table(number, table, manifest, to_read.contains(&table)).await?;
                    }
                    None => {
                        self.ties.begin_table(number, table);
                        self.table(set, &mut Walk::begin(table, None)).await?;
                    }
                }
            }
        }
        for (table, manifest) in sealed.iter().filter(|(table, _)| !read.contains(table)) {
            match set.store.is_exported(*table) {
                true => self.sealed_table(number, *table, manifest, to_read.contains(table)).await?,
                false => self.missing(number, *table, manifest),
            }
        }
        Ok(())
    }
}
