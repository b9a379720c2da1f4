//! The way to a shard, which leads nowhere until its database is known to be the right one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_database::mysql::connection::{Connections, Lease};

use super::layout::ShardPlan;
use super::migrate;
use super::promise::{Complete, Guard};
use crate::WalletError;

/// The connections of a shard. a server may be down when we start, so whether the
/// database was made for this shard is asked when it is first reached.
pub(super) struct VerifiedConnections {
    server: Arc<Connections>,
    plan: ShardPlan,
    databases: u8,
    is_checked: AtomicBool,
    guard: Arc<Guard>,
}

impl VerifiedConnections {
    /// To the database that the plan names, one of `databases` over all slots.
    pub fn new(server: Arc<Connections>, plan: ShardPlan, databases: u8) -> VerifiedConnections {
        VerifiedConnections { server, plan, databases, is_checked: AtomicBool::new(false), guard: Arc::default() }
    }

    /// A connection to a database that is what it should be.
    pub async fn lease(&self) -> Result<Lease, WalletError> {
        if !self.is_checked.load(Ordering::Relaxed) {
            self.check().await?;
        }
        Ok(self.server.lease().await?)
    }

    /// The generation of the server; see [`Connections::generation`].
    pub fn generation(&self) -> u64 {
        self.server.generation()
    }

    /// Makes durable what was read since the generation was `since`; see [`Connections::barrier`].
    pub async fn barrier(&self, since: u64) -> Result<bool, WalletError> {
        Ok(self.server.barrier(since).await?)
    }

    /// Checks the database.
    pub async fn check(&self) -> Result<(), WalletError> {
        migrate::check(&self.server, &self.plan, self.databases).await?;
        self.is_checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What the database has to keep from now on, and the place of its server.
    pub fn promise(&self) -> (usize, Complete) {
        (self.plan.server, Complete::new(self.plan.clone(), self.databases, self.guard.clone()))
    }

    /// Nothing in the database keeps the transfers append-only.
    pub fn is_unguarded(&self) -> bool {
        self.guard.is_missing()
    }

    /// The server, by its place among them, if it has never answered.
    pub fn silent_server(&self) -> Option<usize> {
        (!self.server.was_reached()).then_some(self.plan.server)
    }
}
