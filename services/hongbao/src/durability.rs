//! What a commit is worth, of the envelopes' databases and the wallet's together:
//! money is as safe as the weaker of them.

use std::fmt;
use std::sync::Arc;

use hongbao_http::health::Check;
use hongbao_store::{Durability, Store};
use hongbao_wallet::Wallet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The durability in force: full only if both are.
pub fn of(store: &dyn Store, wallet: &dyn Wallet) -> Durability {
    let (envelopes, wallet) = (store.durability(), wallet.durability());
    Durability {
        words: format!("envelopes: {}; wallet: {}", envelopes.words, wallet.words),
        full: envelopes.full && wallet.full,
    }
}

/// Registers `hongbao_durability_full`; gives the remark of `/readyz`. Both are
/// read anew each time: a connection that is made anew may find another setting.
pub fn shown(store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, registry: &mut Registry) -> Check {
    registry.register_collector(Box::new(Full { store: store.clone(), wallet: wallet.clone() }));
    Check::remarking("durability", move || {
        let durability = of(&*store, &*wallet);
        Ok((!durability.full).then(|| format!("commits may be lost with the power: {}", durability.words)))
    })
}

struct Full {
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
}

impl fmt::Debug for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

impl Collector for Full {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new(i64::from(of(&*self.store, &*self.wallet).full));
        let help = "1 if commits survive a loss of power";
        gauge.encode(encoder.encode_descriptor("hongbao_durability_full", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao_core::id::Fold;
    use hongbao_http::Health;
    use hongbao_store::sqlite::SqliteStore;
    use hongbao_store::sqlite::file::Mode;
    use hongbao_wallet::sqlite::SqliteWallet;

    /// What `/readyz` and `/metrics` say.
    async fn told(store: Mode, wallet: Mode) -> (serde_json::Value, String) {
        let dir = tempfile::tempdir().unwrap();
        let fold = Fold::new(1, 1).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path(), fold, 0, store).await.unwrap());
        let wallet: Arc<dyn Wallet> = Arc::new(SqliteWallet::open(dir.path(), wallet).await.unwrap());
        let mut registry = Registry::default();
        let health = Health::new(vec![shown(store, wallet, &mut registry)]);
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
        (serde_json::to_value(health.readiness()).unwrap(), metrics)
    }

    #[tokio::test]
    async fn durability_is_full_only_where_that_of_the_wallet_is_too_i3() {
        let (ready, metrics) = told(Mode::Durable, Mode::Durable).await;
        assert!(ready["checks"][0]["detail"].is_null(), "{ready}");
        assert!(metrics.contains("hongbao_durability_full 1"), "{metrics}");
        for (store, wallet) in [(Mode::Durable, Mode::Volatile), (Mode::Volatile, Mode::Durable)] {
            let (ready, metrics) = told(store, wallet).await;
            let detail = ready["checks"][0]["detail"].as_str().unwrap();
            assert!(detail.contains("may be lost") && detail.contains("wallet: "), "{ready}");
            assert_eq!(ready["ready"], true, "it is a remark, not a refusal");
            assert!(metrics.contains("hongbao_durability_full 0"), "{metrics}");
        }
    }
}
