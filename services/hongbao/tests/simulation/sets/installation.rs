//! What stays from seed to seed: the stores, the wallet, the clock. Opening them costs more than a seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::time::ManualClock;
use hongbao_core::{Clock as _, Timestamp};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::Store;
use hongbao_store::sqlite::SqliteStore;
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::audit::{SetStore, audit};
use tempfile::TempDir;

use super::files::{File, Map, SETS};
use crate::world::{START_MS, ZONE_S};

/// A seed's day begins at a time of its own, so that it is the same when it is run alone.
const SEED_APART_MS: i64 = 7 * 3_600_000;
/// No id of a seed is older than its beginning by so much.
const BEFORE_MS: i64 = 600_000;

pub struct Installation {
    pub clock: Arc<ManualClock>,
    pub stores: Vec<Arc<dyn Store>>,
    pub wallet: Arc<dyn Wallet>,
    /// The maps that came into force in the seeds until now, one after the other.
    maps: Vec<Map>,
    envelopes: usize,
    _folder: TempDir,
}

impl Installation {
    pub async fn open() -> Installation {
        let folder = tempfile::tempdir().unwrap();
        let mut stores: Vec<Arc<dyn Store>> = Vec::new();
        for (name, databases) in SETS {
            let fold = Fold::new(databases, 1).unwrap();
            let store = SqliteStore::open(&folder.path().join(name), fold, ZONE_S, Mode::Volatile).await.unwrap();
            stores.push(Arc::new(store));
        }
        Installation {
            clock: Arc::new(ManualClock::at(Timestamp::from_millis(START_MS))),
            stores,
            wallet: Arc::new(SqliteWallet::open(folder.path(), Mode::Volatile).await.unwrap()),
            maps: Vec::new(),
            envelopes: 0,
            _folder: folder,
        }
    }

    /// The day of a seed begins, with the first file.
    pub fn begin(&mut self, seed: u64) {
        let start = (START_MS + seed as i64 * SEED_APART_MS).max(self.clock.now().millis() + 2 * BEFORE_MS);
        self.clock.advance_millis(start - self.clock.now().millis());
        let first = File::first().maps.remove(0);
        let from = if self.maps.is_empty() { first.from } else { self.clock.now().plus_millis(-BEFORE_MS) };
        self.maps.push(Map { from, ..first });
    }

    /// It has ended, with these maps in force and so many envelopes made.
    pub fn end(&mut self, maps: &[Map], envelopes: usize) {
        let now = self.clock.now();
        self.maps.extend(maps[1..].iter().filter(|map| map.from <= now).cloned());
        self.envelopes += envelopes;
    }

    /// Reads everything that any SET holds, against the maps of all seeds; and what the audit says of it.
    pub async fn check(&self) {
        let all = File::write(1, self.maps.clone());
        let (mut found, mut sets) = (BTreeSet::new(), Vec::new());
        for (number, store) in self.stores.iter().enumerate() {
            let held = all.held(number).expect("slots were moved to each SET");
            for table in store.tables() {
                for (envelope, _) in store.scan(table, None, u32::MAX).await.unwrap() {
                    let id = envelope.id;
                    assert!(
                        held.holds(id),
                        "placed: {id} lies in SET {number}, and the map of its time does not say so"
                    );
                    assert!(found.insert(id), "placed: {id} lies in SET {number}, and in another one");
                }
            }
            sets.push(SetStore { name: SETS[number].0.to_owned(), held, store: store.clone() });
        }
        assert_eq!(found.len(), self.envelopes, "placed: there are others than those that were found at once");
        let report = audit(&sets, &*self.wallet, &mut |breach| eprintln!("{breach}")).await.unwrap();
        assert_eq!(report.breaches, 0);
    }
}
