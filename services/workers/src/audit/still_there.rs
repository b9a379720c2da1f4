//! Whether what the audit has read is durable, and was all read from the same
//! start of each database.

use hongbao_database::Generations;
use hongbao_wallet::{Wallet, WalletError};

use super::set::{AuditError, SetStore};

/// The generations of all databases when the audit began.
pub(super) struct StillThere {
    sets: Vec<Generations>,
    wallet: Generations,
}

impl StillThere {
    /// Before anything is read.
    pub async fn begin(sets: &[SetStore], wallet: &dyn Wallet) -> Result<StillThere, AuditError> {
        // The first barrier opens its connection, which begins a generation.
        for set in sets {
            set.store.barrier(&set.store.generations()).await.map_err(|error| set.failed(error))?;
        }
        wallet.barrier(&wallet.generations()).await.map_err(WalletError::from)?;
        Ok(StillThere { sets: sets.iter().map(|set| set.store.generations()).collect(), wallet: wallet.generations() })
    }

    /// All that was read so far is durable.
    pub async fn check(&self, sets: &[SetStore], wallet: &dyn Wallet) -> Result<(), AuditError> {
        for (set, since) in sets.iter().zip(&self.sets) {
            if !set.store.barrier(since).await.map_err(|error| set.failed(error))? {
                return Err(AuditError::Restarted(format!("the database of SET {}", set.name)));
            }
        }
        match wallet.barrier(&self.wallet).await.map_err(WalletError::from)? {
            true => Ok(()),
            false => Err(AuditError::Restarted("a database of the wallet".to_owned())),
        }
    }
}
