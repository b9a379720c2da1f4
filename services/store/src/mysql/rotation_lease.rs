//! Which process of a SET rotates.

use hongbao_core::limits::ROTATION_LEASE;

use super::lease::MysqlLeases;
use crate::StoreError;
use crate::lease::Leases as _;

/// The name of the lease.
const JOB: &str = "rotation";

/// One process of a SET at a time rotates, so that none acts on what another has
/// changed since. A rename alone would be safe without it.
pub struct RotationLease {
    leases: MysqlLeases,
    holder: String,
}

impl RotationLease {
    /// That of a process.
    pub fn new(leases: MysqlLeases) -> Result<RotationLease, StoreError> {
        let number = getrandom::u64().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(RotationLease { leases, holder: format!("{number:016x}") })
    }

    /// Takes it, or keeps it for longer than one table may take.
    pub async fn hold(&self) -> Result<bool, StoreError> {
        match self.leases.hold(&[JOB], &self.holder, ROTATION_LEASE).await {
            // It met another process that takes it.
            Err(StoreError::Locked(_)) => Ok(false),
            held => Ok(held? == [true]),
        }
    }

    /// Lets another process rotate.
    pub async fn give_back(&self) {
        // If it fails the next one waits until it is over.
        let _ = self.leases.give_back(JOB, &self.holder).await;
    }
}
