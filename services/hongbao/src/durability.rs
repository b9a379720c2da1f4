//! What a commit is worth, of the envelopes' databases and the wallet's together:
//! money is as safe as the weaker of them.

use std::fmt;
use std::sync::Arc;

use hongbao_database::Durability;
use hongbao_http::health::Check;
use hongbao_store::Store;
use hongbao_wallet::Wallet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The durability in force: full only if both are.
pub fn of(store: &dyn Store, wallet: &dyn Wallet) -> Durability {
    let (envelopes, wallet) = (store.durability(), wallet.durability());
    Durability {
        settings: format!("envelopes: {}; wallet: {}", envelopes.settings, wallet.settings),
        full: envelopes.full && wallet.full,
    }
}

/// Registers `hongbao_durability_full` and `hongbao_ledger_append_only`; gives what
/// `/readyz` says. All are asked anew each time, for what is promised may change
/// while we run: see `hongbao_database::mysql::promise`.
///
/// A store that refuses commits can serve no opening, so it is not ready. Without
/// the wallet, or a part of it, openings go on: that is a remark.
pub fn shown(store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, registry: &mut Registry) -> Vec<Check> {
    registry.register_collector(Box::new(Shown { store: store.clone(), wallet: wallet.clone() }));
    let ledger = wallet.clone();
    let durability = Check::remarking("durability", move || {
        if let Some(reason) = store.refusal() {
            return Err(format!("nothing is committed: {reason}"));
        }
        let durability = of(&*store, &*wallet);
        let refused = wallet.refusal().map(|reason| format!("the wallet commits nothing: {reason}"));
        let weak = (!durability.full).then(|| format!("commits may be lost with the power: {}", durability.settings));
        Ok(refused.or(weak))
    });
    let append_only = Check::remarking("ledger", move || {
        let unguarded = ledger.unguarded();
        Ok(unguarded.map(|names| format!("nothing in the database keeps transfers append-only: {names}")))
    });
    vec![durability, append_only]
}

struct Shown {
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut tell = |name, help, value| {
            let gauge = ConstGauge::new(i64::from(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let (full, guarded) = (of(&*self.store, &*self.wallet).full, self.wallet.unguarded().is_none());
        tell("hongbao_durability_full", "1 if commits survive a loss of power.", full)?;
        tell("hongbao_ledger_append_only", "1 if the database keeps transfers from being changed.", guarded)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use hongbao_core::id::Fold;
    use hongbao_core::{Clock as _, Date, Slot, SystemClock, Traffic};
    use hongbao_database::mysql::connection::MysqlOptions;
    use hongbao_database::sqlite::file::Mode;
    use hongbao_http::Health;
    use hongbao_store::mysql::{Layout, MysqlStore};
    use hongbao_store::sqlite::SqliteStore;
    use hongbao_testbed::Part;
    use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};
    use hongbao_wallet::sqlite::SqliteWallet;
    use sqlx::{Connection as _, Executor as _, MySqlConnection};

    /// What `/readyz` and `/metrics` say.
    async fn shown_with(store: Mode, wallet: Mode) -> (serde_json::Value, String) {
        let dir = tempfile::tempdir().unwrap();
        let fold = Fold::new(1, 1).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path(), fold, 0, store).await.unwrap());
        let wallet: Arc<dyn Wallet> = Arc::new(SqliteWallet::open(dir.path(), wallet).await.unwrap());
        let mut registry = Registry::default();
        let health = Health::new(shown(store, wallet, &mut registry));
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
        (serde_json::to_value(health.readiness()).unwrap(), metrics)
    }

    #[tokio::test]
    async fn durability_is_full_only_where_that_of_the_wallet_is_too_i3() {
        let (ready, metrics) = shown_with(Mode::Durable, Mode::Durable).await;
        assert!(ready["checks"][0]["detail"].is_null(), "{ready}");
        assert!(metrics.contains("hongbao_durability_full 1"), "{metrics}");
        for (store, wallet) in [(Mode::Durable, Mode::Volatile), (Mode::Volatile, Mode::Durable)] {
            let (ready, metrics) = shown_with(store, wallet).await;
            let detail = ready["checks"][0]["detail"].as_str().unwrap();
            assert!(detail.contains("may be lost") && detail.contains("wallet: "), "{ready}");
            assert_eq!(ready["ready"], true, "it is a remark, not a refusal");
            assert!(metrics.contains("hongbao_durability_full 0"), "{metrics}");
        }
    }

    /// With `SET GLOBAL` under a running service.
    #[tokio::test]
    async fn what_is_shown_and_readiness_follow_what_the_databases_promise_now_i3() {
        let (of_store, of_wallet) = (Part::mariadb(&[]), Part::mariadb(&[]));
        let options = |part: &Part| MysqlOptions {
            nodes: vec![part.node().parse().unwrap()],
            user: "hongbao".to_owned(),
            password: "hongbao".to_owned(),
            ..MysqlOptions::default()
        };
        let slots: Vec<Slot> = Slot::all().collect();
        let fold = Fold::new(1, 1).unwrap();
        let layout = Layout::always(slots.clone(), fold, 0, Traffic::Live);
        hongbao_store::mysql::migrate(options(&of_store), &layout, Date::of(SystemClock.now(), 0)).await.unwrap();
        let homes = vec![DatabaseServer { options: options(&of_wallet), slots, traffic: Traffic::Live }];
        hongbao_wallet::mysql::migrate(&homes, 1).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(MysqlStore::open(options(&of_store), layout).await.unwrap());
        let wallet: Arc<dyn Wallet> = Arc::new(MysqlWallet::open(homes, 1).await.unwrap());
        let mut registry = Registry::default();
        let health = Health::new(shown(store, wallet, &mut registry));
        let until = async |ready: bool, durable: bool, guarded: bool, reason: &str| {
            let began = Instant::now();
            loop {
                let mut metrics = String::new();
                prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
                let said = serde_json::to_value(health.readiness()).unwrap();
                let full = format!("hongbao_durability_full {}", i32::from(durable));
                let append_only = format!("hongbao_ledger_append_only {}", i32::from(guarded));
                let is_shown = metrics.contains(&full) && metrics.contains(&append_only);
                if is_shown && said["ready"] == ready && said.to_string().contains(reason) {
                    break;
                }
                assert!(began.elapsed() < Duration::from_secs(10), "not {reason:?}: {said}\n{metrics}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let set = async |part: &Part, statement: &str| {
            let mut root = MySqlConnection::connect(&format!("mysql://root@{}", part.node())).await.unwrap();
            root.execute(sqlx::raw_sql(statement)).await.unwrap();
        };
        until(true, true, true, "").await;
        for (part, ready, reason) in
            [(&of_store, false, "nothing is committed"), (&of_wallet, true, "the wallet commits nothing")]
        {
            set(part, "SET GLOBAL innodb_flush_log_at_trx_commit = 0").await;
            until(ready, false, true, reason).await;
            set(part, "SET GLOBAL innodb_flush_log_at_trx_commit = 1").await;
            until(true, true, true, "").await;
        }
        set(&of_wallet, "DROP TRIGGER wallet_00.transfer_refuses_delete").await;
        until(true, true, false, "append-only: wallet_00").await;
    }
}
