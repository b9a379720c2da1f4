//! Export: a sealed table that is old enough goes to the archive, and its rows leave the database.
//!
//! In this order, each step of which may be repeated, also by two workers at the same time:
//!
//! 1. The rows are read in order, a part in each visit, into a file in memory. What was read has to be what the
//!    manifest says: a table that was changed since stays where it is.
//! 2. The file is put into the archive under the name of the table and its own hash, unless a file is there.
//!    The same rows make the same file, so whose it is does not matter.
//! 3. The file that is there is read back as a whole, and its rows are compared with the manifest.
//! 4. A copy of the manifest goes beside it.
//! 5. The database notes where the rows are, and by which hashes the file is known, in the statement that finds
//!    the manifest unchanged.
//! 6. The note is read behind a barrier, and the table is dropped. From here on the rows are read from the file.
//!
//! A worker that dies before step 5 leaves a file that the next one finds and compares; one that dies after it leaves
//! a table that the next one drops, after it has read the file back once more. If the file was damaged since, or is gone,
//! it is made again from the table, and put if none is there; it has to be the file that is noted.
//!
//! An archive that cannot be used, or a file that is not what it should be, keeps the table where it is. The oldest
//! table comes first, one at a time; what cannot be exported is [set aside](crate::seal::set_aside), alone where it is
//! the table's own fault. After a failure of the archive another table begins: it may be that of one file.

mod compare;

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::manifest::{Manifest, Sealer};
use hongbao_core::{Date, EnvelopeId, Timestamp};
use hongbao_database::durable::{Durable, durably};
use hongbao_store::{Archive, ArchivedFile, Exported, NewFile, StoreError};

use self::compare::{compare, is_noted};
use crate::audit::journals;
use crate::job::{Job, JobError, Ports, RunReport, bounded, catch_panic};
use crate::seal::set_aside::{SetAside, Why};

const NAME: &str = "export";
/// Envelopes that are read at once.
const ENVELOPES_PAGE: u32 = 64;
/// After a failure of the archive: it holds up all tables.
const ARCHIVE_REST_MS: i64 = 10 * 60_000;

/// The job.
pub struct Export {
    ports: Ports,
    zone_offset_s: i32,
    after_days: i32,
    under_way: Option<UnderWay>,
    set_aside: SetAside,
    archive_rests_until: Option<Timestamp>,
    /// With these tables the archive failed last, which come after all others, the latest last.
    archive_failed: HashMap<TableRef, Timestamp>,
}

/// A table that is being read.
struct UnderWay {
    manifest: Manifest,
    file: Box<dyn NewFile>,
    sealer: Sealer,
    after: Option<EnvelopeId>,
    has_ended: bool,
    /// The file that it has to become, if one is noted.
    noted: Option<ArchivedFile>,
}

/// What a visit came to.
enum Visit {
    /// So many rows were read.
    Read(u32),
    /// There is nothing to do now.
    Not(Why),
}

impl Export {
    /// The job for these ports: a table is exported so many days after its date.
    pub fn new(ports: Ports, zone_offset_s: i32, after_days: u32) -> Export {
        let after_days = after_days.try_into().unwrap_or(i32::MAX);
        Export {
            ports,
            zone_offset_s,
            after_days,
            under_way: None,
            set_aside: SetAside::default(),
            archive_rests_until: None,
            archive_failed: HashMap::new(),
        }
    }

    /// Sealed tables that are old enough, in the order of their turns.
    fn tables(&self, now: Timestamp) -> Vec<(Date, TableRef)> {
        let youngest = Date::of(now, self.zone_offset_s).plus_days(-self.after_days);
        let old = |table: TableRef| match table.span {
            Span::Date(date) if date < youngest => Some((date, table)),
            _ => None,
        };
        let mut tables: Vec<(Date, TableRef)> = self.ports.store.sealed_tables().into_iter().filter_map(old).collect();
        tables.sort_by_key(|(date, table)| (self.archive_failed.get(table), *date, *table));
        tables
    }

    fn failed(&mut self, table: TableRef, error: &JobError, now: Timestamp) {
        let is_archive = matches!(error, JobError::Archive(StoreError::Unavailable(_)));
        if is_archive {
            self.archive_rests_until = Some(now.plus_millis(ARCHIVE_REST_MS));
            self.archive_failed.insert(table, now);
        }
        let why = match error {
            JobError::Store(StoreError::Damaged(_)) | JobError::Archive(StoreError::Damaged(_)) => Why::Unsound,
            JobError::Archive(StoreError::Unsupported(_)) | JobError::Panicked => Why::Unsupported,
            _ => Why::Failed,
        };
        let is_first = self.set_aside.put(table, why, now);
        if is_first || why != Why::Failed || is_archive {
            tracing::error!(job = NAME, %table, %error, "a table cannot be exported, and stays in the database");
        } else {
            tracing::debug!(job = NAME, %table, %error, "a table cannot be exported, and stays in the database");
        }
    }
}

#[async_trait]
impl Job for Export {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.ports.clock.now();
        let mut report = RunReport::default();
        let Some(archive) = self.ports.store.archive() else { return Ok(report) };
        if self.archive_rests_until.is_some_and(|until| until > now) {
            return Ok(report);
        }
        self.set_aside.end_rests(now);
        let mut tables = self.tables(now);
        tables.retain(|(_, table)| !self.set_aside.contains(*table));
        // What was begun is read to its end, unless another process has exported it.
        self.under_way.take_if(|under_way| tables.iter().all(|(_, table)| *table != under_way.manifest.table_ref()));
        let begun = self.under_way.as_ref().map(|under_way| under_way.manifest.table_ref());
        let Some(table) = begun.or(tables.first().map(|(_, table)| *table)) else { return Ok(report) };
        report.more = true;
        // A defect that one table shows holds up no other.
        match catch_panic(self.visit(&*archive, table, bounded(limit))).await {
            Ok(Visit::Read(rows)) => {
                self.archive_failed.remove(&table);
                report.rows = rows;
            }
            Ok(Visit::Not(why)) => _ = self.set_aside.put(table, why, now),
            Err(error) => {
                self.under_way = None;
                self.failed(table, &error, now);
                report.failures = 1;
            }
        }
        Ok(report)
    }

    fn start_over(&mut self) {
        self.under_way = None;
    }

    fn forget_failures(&mut self) {
        self.set_aside.forget_failures();
    }
}

impl Export {
    /// Reads on in a table, for at least `limit` rows, and exports it at its end.
    async fn visit(&mut self, archive: &dyn Archive, table: TableRef, limit: u32) -> Result<Visit, JobError> {
        let mut under_way = match self.under_way.take() {
            Some(begun) => begun,
            None => {
                let (manifest, mut noted) = (self.manifest(table).await?, None);
                if let Some(Exported { file, .. }) = self.noted(table).await? {
                    if !self.ports.store.is_in_database(table).await? {
                        // Another process has exported it, and its file was read there.
                        return Ok(Visit::Read(0));
                    }
                    // Another process has died before it dropped the table, or is about to drop it.
                    match compare(archive, &manifest, &file).await {
                        Ok(()) => return self.drop(table).await,
                        Err(error @ JobError::Archive(StoreError::Damaged(_))) => {
                            tracing::warn!(job = NAME, %table, %error, "the file is made again from the table");
                            noted = Some(file);
                        }
                        Err(error) => return Err(error),
                    }
                }
                let file = archive.begin(&manifest).map_err(JobError::Archive)?;
                UnderWay { manifest, file, sealer: Sealer::default(), after: None, has_ended: false, noted }
            }
        };
        let before = under_way.sealer.rows();
        self.read(&mut under_way, limit).await?;
        let rows = (under_way.sealer.rows() - before) as u32;
        if !under_way.has_ended {
            self.under_way = Some(under_way);
            return Ok(Visit::Read(rows));
        }
        let UnderWay { manifest, file, sealer, noted, .. } = under_way;
        let found = sealer.content();
        if found != manifest.content {
            let differences = manifest.content.differences(&found);
            return Err(StoreError::Damaged(format!("it is not as it was sealed: {differences}")).into());
        }
        let bytes = file.finish().await.map_err(JobError::Archive)?;
        let (bytes, is_another) = match noted {
            Some(noted) => {
                // It may be half a gigabyte, and the runtime may have one thread.
                let hashed = tokio::task::spawn_blocking(move || {
                    let is_another = !is_noted(&bytes, &noted);
                    (bytes, is_another)
                });
                hashed.await.map_err(|error| JobError::Archive(StoreError::Unavailable(error.to_string())))?
            }
            None => (bytes, false),
        };
        if is_another {
            let reason = "another version has made the file that is noted: this one makes another file of its rows";
            return Err(JobError::Archive(StoreError::Unsupported(reason.to_owned())));
        }
        let file = archive.put(&manifest, bytes).await.map_err(JobError::Archive)?;
        compare(archive, &manifest, &file).await?;
        archive.put_manifest(&manifest, &file).await.map_err(JobError::Archive)?;
        self.ports.store.note_exported(&manifest, &file).await?;
        // What counts is what the database says now, by whichever process it was written.
        match self.noted(table).await? {
            Some(noted) if noted.file == file => match self.drop(table).await? {
                Visit::Read(_) => Ok(Visit::Read(rows)),
                in_use => Ok(in_use),
            },
            _ => {
                Err(StoreError::Damaged("its manifest was changed, or it was exported to another file".to_owned())
                    .into())
            }
        }
    }

    /// The manifest of a sealed table, which must not have been changed.
    async fn manifest(&self, table: TableRef) -> Result<Manifest, JobError> {
        let store = &self.ports.store;
        let found = durably::<_, StoreError, _>(&**store, || store.manifest(table)).await?;
        match found.map(Durable::into_inner) {
            Some(found) if found.hash == found.manifest.hash() && found.manifest.table_ref() == table => {
                Ok(found.manifest)
            }
            Some(_) => Err(StoreError::Damaged("its manifest was changed".to_owned()).into()),
            None => Err(StoreError::Damaged("its manifest is gone".to_owned()).into()),
        }
    }

    /// Where the database says that the rows of a table are, and will say after a crash.
    async fn noted(&self, table: TableRef) -> Result<Option<Exported>, JobError> {
        let store = &self.ports.store;
        let found = durably::<_, StoreError, _>(&**store, || store.exported(table)).await?;
        Ok(found.map(Durable::into_inner))
    }

    async fn drop(&self, table: TableRef) -> Result<Visit, JobError> {
        match self.ports.store.drop_exported(table).await? {
            true => {
                tracing::info!(%table, "a table is exported");
                Ok(Visit::Read(0))
            }
            // Statements use it: its turn comes again.
            false => Ok(Visit::Not(Why::Waits)),
        }
    }

    /// Reads on for at least `limit` rows.
    async fn read(&self, under_way: &mut UnderWay, limit: u32) -> Result<(), JobError> {
        let (store, table) = (&*self.ports.store, under_way.manifest.table_ref());
        let until = under_way.sealer.rows() + u64::from(limit);
        while !under_way.has_ended && under_way.sealer.rows() < until {
            let page = store.scan(table, under_way.after, ENVELOPES_PAGE).await?;
            under_way.has_ended = (page.len() as u32) < ENVELOPES_PAGE;
            let mut rest = page.as_slice();
            while !rest.is_empty() {
                let (batch, behind) = rest.split_at(journals::fitting(rest));
                let mut at_once = journals::at_once(store, table, under_way.after, batch).await?;
                for (envelope, last_seq) in batch {
                    let journal = match &mut at_once {
                        Some(all) => all.remove(&envelope.id).unwrap_or_default(),
                        None => journals::of_one(store, envelope.id, *last_seq).await?,
                    };
                    under_way.sealer.add(envelope, &journal);
                    under_way.file.add(envelope.clone(), journal).await.map_err(JobError::Archive)?;
                }
                under_way.after = batch.last().map(|(envelope, _)| envelope.id);
                rest = behind;
            }
        }
        Ok(())
    }
}
