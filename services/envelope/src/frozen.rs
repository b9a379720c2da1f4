//! Which users are frozen, read again and again: openings do not ask the wallet.
//!
//! A payment does, in its own transaction; what is known here spares it the way there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_core::UserId;
use hongbao_core::limits::FROZEN_READ_EVERY;
use hongbao_wallet::{FreezeVersion, Wallet};
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;

/// Who is frozen, as it was read last.
#[derive(Default)]
pub(crate) struct FrozenUsers {
    /// Whether there is any: nearly always not, and then nothing is looked up.
    is_any: AtomicBool,
    by_shard: RwLock<HashMap<u8, Known>>,
    count: Gauge,
}

/// What is known of a shard.
struct Known {
    version: FreezeVersion,
    users: HashSet<UserId>,
}

impl FrozenUsers {
    pub(crate) fn new(count: Gauge) -> FrozenUsers {
        FrozenUsers { count, ..FrozenUsers::default() }
    }

    /// Whether a user is frozen, as far as it is known here.
    pub(crate) fn contains(&self, user: &UserId) -> bool {
        self.is_any.load(Ordering::Relaxed) && self.by_shard.read().values().any(|known| known.users.contains(user))
    }

    /// Reads it again and again, until it is aborted. Where a shard does not answer, what was read of it last holds.
    pub(crate) async fn follow_forever(self: Arc<FrozenUsers>, wallet: Arc<dyn Wallet>) {
        loop {
            self.read(&*wallet).await;
            tokio::time::sleep(FROZEN_READ_EVERY).await;
        }
    }

    /// Reads the users of those shards in which something has changed.
    pub(crate) async fn read(&self, wallet: &dyn Wallet) {
        for version in wallet.freeze_versions().await {
            // A shard in which nothing was ever frozen has nothing to read.
            if self.by_shard.read().get(&version.shard).map_or(0, |known| known.version.number) == version.number {
                continue;
            }
            match wallet.frozen_users(version.shard).await {
                Ok(users) => {
                    let users = users.into_iter().map(|change| change.user).collect();
                    self.by_shard.write().insert(version.shard, Known { version, users });
                }
                Err(error) => tracing::warn!(%error, "who is frozen cannot be read, and is tried again"),
            }
        }
        let count = self.by_shard.read().values().map(|known| known.users.len()).sum::<usize>();
        self.is_any.store(count > 0, Ordering::Relaxed);
        self.count.set(count as i64);
    }
}
