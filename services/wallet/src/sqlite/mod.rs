//! The built-in ledger on SQLite: one file, one writer.
//!
//! Round trips of one transaction, for up to 2,048 transfers of any number of callers:
//!
//! | step | statements |
//! |---|---|
//! | begin, commit | 2 |
//! | which ids are taken, what the balances are, with payments also who is frozen | 3 or 4 |
//! | the transfers, by row counts | 1 to 16; 2 for 512, 4 for 1,024, 8 for 2,048 |
//! | the balances of the system's accounts | 1 |
//! | what counts against limits, of payments that do: read, written | 4, and 2 of each |
//! | events, if there are any: where they end, what stands there, the rows, where they end now | 4 |

mod events;
mod freezes;
mod guards;
mod months;
mod noting;
mod orders;
mod reads;
mod scans;
mod transaction;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::limits::WALLET_QUEUE_MAX;
use hongbao_core::{Timestamp, TransferOutcome};
use hongbao_database::DatabaseError;
use hongbao_database::sqlite::file::{Mode, SqliteFile};
use hongbao_database::{Barrier, Durability, Generations};
use sqlx::SqlitePool;
use sqlx::migrate::{Migrate as _, Migrator};

use crate::writer::{Asked, Queue, Transact, TransactError, check_size};
use crate::{TransferRequest, Wallet, WalletError};

static MIGRATIONS: Migrator = sqlx::migrate!("../../sql/sqlite/wallet");
/// The migrations of a ledger that has sealed months.
const MIGRATIONS_WITH_MONTHS: usize = 3;
/// The file's name. One file is the whole ledger.
pub const FILE: &str = "wallet_00.sqlite";

/// The ledger in one SQLite file.
pub struct SqliteWallet {
    file: Arc<SqliteFile>,
    /// Absent when the file is only read.
    queue: Option<Queue>,
    /// Not so of a ledger of an earlier version, which is only read: it lacks what came later.
    is_whole: bool,
}

impl SqliteWallet {
    /// Opens the ledger in `dir`, making and upgrading it unless the mode is
    /// read-only; a read-only ledger must exist and be of this version. What a
    /// newer version has written is refused.
    pub async fn open(dir: &Path, mode: Mode) -> Result<SqliteWallet, WalletError> {
        SqliteWallet::open_with_queue(dir, mode, WALLET_QUEUE_MAX).await
    }

    /// The same, with room for `queue_max` waiting calls, at least one.
    pub async fn open_with_queue(dir: &Path, mode: Mode, queue_max: usize) -> Result<SqliteWallet, WalletError> {
        let path = dir.join(FILE);
        let failed = |error: String| WalletError::Unavailable(format!("{}: {error}", path.display()));
        let file = SqliteFile::open(&path, mode).await.map_err(|error| failed(error.to_string()))?;
        if mode == Mode::ReadOnly {
            let is_whole = check_version(&file).await.map_err(failed)?;
            return Ok(SqliteWallet { file: Arc::new(file), queue: None, is_whole });
        }
        let mut writer = file.writer().await?;
        MIGRATIONS.run_direct(&mut *writer).await.map_err(|error| failed(error.to_string()))?;
        drop(writer);
        let file = Arc::new(file);
        let queue = Queue::start(FileWriter(Arc::clone(&file)), queue_max);
        Ok(SqliteWallet { file, queue: Some(queue), is_whole: true })
    }

    /// The ledger's file.
    pub fn file(&self) -> &Arc<SqliteFile> {
        &self.file
    }

    /// Refuses where the ledger is only read.
    fn writable(&self) -> Result<&Queue, WalletError> {
        self.queue.as_ref().ok_or_else(|| WalletError::Unavailable("the ledger was opened read-only".to_owned()))
    }

    fn readers(&self) -> Result<&SqlitePool, WalletError> {
        self.file.usable()?;
        Ok(self.file.readers())
    }
}

/// What the queue writes to.
struct FileWriter(Arc<SqliteFile>);

impl Transact for FileWriter {
    /// Holds the connection for one transaction and no longer.
    async fn transact(&self, asked: Asked<'_>) -> Result<Vec<TransferOutcome>, TransactError> {
        let mut writer = self.0.writer().await.map_err(|error| TransactError::Begin(error.into()))?;
        let outcomes = transaction::run(&mut writer, asked).await?;
        writer.committed().map_err(|error| TransactError::Commit(error.into()))?;
        Ok(outcomes)
    }
}

/// What may only be read cannot be upgraded. A ledger of before there were marks of folders,
/// sealed months, or orders can be read as it is: what came after its first step is not read. Tells whether it has all of them.
async fn check_version(file: &SqliteFile) -> Result<bool, String> {
    let mut connection = file.readers().acquire().await.map_err(|error| error.to_string())?;
    let applied = connection.list_applied_migrations().await.map_err(|error| error.to_string())?;
    let is_same = (1..=MIGRATIONS.iter().count()).contains(&applied.len())
        && applied.iter().zip(MIGRATIONS.iter()).all(|(is, should)| is.checksum == should.checksum);
    if is_same {
        Ok(applied.len() >= MIGRATIONS_WITH_MONTHS)
    } else {
        Err("the ledger is of another version than this program".to_owned())
    }
}

/// As in the store on SQLite: what is visible is durable.
#[async_trait]
impl Barrier for SqliteWallet {
    fn generations(&self) -> Generations {
        Generations(Vec::new())
    }

    async fn barrier(&self, _since: &Generations) -> Result<bool, DatabaseError> {
        Ok(true)
    }
}

#[async_trait]
impl Wallet for SqliteWallet {
    async fn transfer_within(&self, request: TransferRequest) -> Result<Vec<TransferOutcome>, WalletError> {
        let queue = self.writable()?;
        check_size(&request.transfers)?;
        if request.transfers.is_empty() && request.notes.is_empty() {
            return Ok(Vec::new());
        }
        queue.place()?.fill(request).outcomes().await
    }

    fn durability(&self) -> Durability {
        self.file.durability()
    }

    fn unguarded(&self) -> Option<String> {
        self.file.lacks()
    }

    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        sqlx::query("SELECT 1 /* ping */").execute(self.readers()?).await.map_err(transaction::unavailable)?;
        Ok(Vec::new())
    }

    fn queue_depth(&self) -> usize {
        self.queue.as_ref().map_or(0, Queue::depth)
    }
}
