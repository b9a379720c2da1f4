//! The databases of one folder, and what they are as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::{Fold, TableRef};
use hongbao_core::{Date, EnvelopeId};
use hongbao_database::sqlite::file::{Mode, SqliteFile};
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use super::migrate::{self, Identity};
use super::statements::{AllStatements, Statements};
use crate::day_tables::DayTables;
use crate::exported::{ExportedReads, ExportedSource};
use crate::place::DayTableStore;
use crate::statements::day_tables;
use crate::{Archive, Exported, Exporting as _, Store, StoreError};

/// All databases of one folder.
pub struct SqliteStore {
    fold: Fold,
    pub(super) zone_offset_s: i32,
    mode: Mode,
    pub(super) files: Vec<Arc<SqliteFile>>,
    statements: AllStatements,
    days: DayTables,
}

impl SqliteStore {
    /// Opens the databases in `dir`. Unless the mode is read-only, what is
    /// missing is made: the folder, the files, and all of their day tables.
    ///
    /// The fold and the zone (seconds ahead of UTC) decide where an envelope
    /// lies. A folder remembers those it was made with, and is refused with others.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] naming the file or folder that cannot be used, and why.
    pub async fn open(dir: &Path, fold: Fold, zone_offset_s: i32, mode: Mode) -> Result<SqliteStore, StoreError> {
        if mode != Mode::ReadOnly {
            std::fs::create_dir_all(dir).map_err(|error| cannot_use(dir, &error))?;
        }
        let mut files = Vec::with_capacity(usize::from(fold.databases()));
        for database in 0..fold.databases() {
            let path = path_of(dir, database);
            let file = open_file(&path, mode).await?;
            let wanted = Identity { database, fold, zone_offset_s };
            let made = match mode {
                Mode::ReadOnly => migrate::check(&file, wanted).await,
                Mode::Durable | Mode::Volatile => migrate::migrate(&file, wanted).await,
            };
            made.map_err(|error| cannot_use(&path, &error))?;
            files.push(Arc::new(file));
        }
        let statements = AllStatements::new(fold);
        let store = SqliteStore { fold, zone_offset_s, mode, files, statements, days: DayTables::default() };
        store.look_at_all().await?;
        Ok(store)
    }

    /// Opens a folder that holds databases, with the fold and the zone that it remembers.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and when the folder holds no Hongbao data.
    pub async fn open_existing(dir: &Path, mode: Mode) -> Result<SqliteStore, StoreError> {
        let Identity { fold, zone_offset_s, .. } = SqliteStore::identity_in(dir).await?;
        SqliteStore::open(dir, fold, zone_offset_s, mode).await
    }

    /// The fold that a folder remembers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the folder holds no Hongbao data.
    pub async fn fold_in(dir: &Path) -> Result<Fold, StoreError> {
        SqliteStore::identity_in(dir).await.map(|identity| identity.fold)
    }

    async fn identity_in(dir: &Path) -> Result<Identity, StoreError> {
        let path = path_of(dir, 0);
        let first = open_file(&path, Mode::ReadOnly).await?;
        migrate::identity(&first).await.map_err(|error| cannot_use(&path, &error))
    }

    /// Exported tables are read in this archive, and go to it.
    pub fn archive_in(&self, archive: Arc<dyn Archive>) {
        self.days.exported_reads().read_in(archive);
    }

    /// How many databases and tables there are.
    pub fn fold(&self) -> Fold {
        self.fold
    }

    /// The zone that days are counted in, in seconds ahead of UTC.
    pub fn zone_offset_s(&self) -> i32 {
        self.zone_offset_s
    }

    /// The file of each database, in order.
    pub fn files(&self) -> &[Arc<SqliteFile>] {
        &self.files
    }

    pub(super) fn at(&self, table: TableRef) -> Result<(&SqliteFile, Arc<Statements>), StoreError> {
        let file = self.files.get(usize::from(table.database));
        let (file, statements) = file
            .zip(self.statements.of(table))
            .ok_or_else(|| StoreError::Unavailable(format!("the fold has no table {table:?}")))?;
        file.usable()?;
        Ok((file, statements))
    }

    pub(super) fn writable(&self, table: TableRef) -> Result<(&SqliteFile, Arc<Statements>), StoreError> {
        self.check_writable()?;
        self.at(table)
    }

    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        match self.mode {
            Mode::ReadOnly => Err(StoreError::Unavailable("the databases were opened to be read only".to_owned())),
            Mode::Durable | Mode::Volatile => Ok(()),
        }
    }
}

/// What the file of a database is called.
pub fn file_name(database: u8) -> String {
    format!("db_{database:02}.sqlite")
}

fn path_of(dir: &Path, database: u8) -> PathBuf {
    dir.join(file_name(database))
}

async fn open_file(path: &Path, mode: Mode) -> Result<SqliteFile, StoreError> {
    if mode == Mode::ReadOnly && !path.is_file() {
        return Err(StoreError::Unavailable(format!("no Hongbao data here: {} does not exist", path.display())));
    }
    SqliteFile::open(path, mode).await.map_err(|error| cannot_use(path, &error))
}

/// The same failure, naming where it happened.
fn cannot_use(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{}: {why}", path.display()))
}

/// SQLite syncs its write-ahead log before the frames of a commit can be read, so
/// what is visible is durable; what an earlier process left is synced when the
/// files are opened.
#[async_trait]
impl Barrier for SqliteStore {
    fn generations(&self) -> Generations {
        Generations(Vec::new())
    }

    async fn barrier(&self, _since: &Generations) -> Result<bool, DatabaseError> {
        Ok(true)
    }
}

impl ExportedSource for SqliteStore {
    fn exported_reads(&self) -> &ExportedReads {
        self.days.exported_reads()
    }

    async fn exported_as(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        self.exported(table).await
    }
}

impl DayTableStore for SqliteStore {
    fn day_tables(&self) -> &DayTables {
        &self.days
    }

    fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date) {
        let placement = id.placement(self.zone_offset_s);
        (self.fold.table_of(placement), placement.date)
    }

    async fn look_at(&self, day_table: TableRef, _date: Date) -> Result<(), StoreError> {
        self.look_at_database(day_table.database).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.table_for(id)
    }

    fn may_lie_in(&self, table: TableRef, id: EnvelopeId) -> bool {
        self.may_hold(table, id)
    }

    fn tables(&self) -> Vec<TableRef> {
        let mut tables = day_tables(0..self.fold.databases(), self.fold.tables());
        tables.extend(self.days.dated());
        tables
    }

    fn unsealed_tables(&self) -> Vec<TableRef> {
        let mut tables = day_tables(0..self.fold.databases(), self.fold.tables());
        tables.extend(self.days.unsealed());
        tables
    }

    fn durability(&self) -> Durability {
        // The weakest counts; there is at least one.
        let all = self.files.iter().map(|file| file.durability());
        all.min_by_key(|durability| durability.full).expect("a fold has at least one database")
    }

    /// Each database is a file, and no transaction spans two.
    fn writer_of(&self, database: u8) -> Option<u8> {
        (usize::from(database) < self.files.len()).then_some(database)
    }
}
