//! The wallet on three Galera nodes, when several processes write through
//! different ones: as operators should not have it, and as it happens after a failover.

use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::top_up;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Wallet as _, WalletError};

use crate::common::{DATABASES, audited, homes, sql};

const ROUNDS: u64 = 60;

/// Homes that prefer this node.
fn preferring(first: usize, nodes: &[Part; 3]) -> Vec<DatabaseServer> {
    let order: Vec<String> = (0..3).map(|place| nodes[(first + place) % 3].node()).collect();
    homes(&order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallets_on_different_nodes_make_one_ledger_and_double_nothing() {
    let nodes = Part::galera();
    // One after the other, as the handbook asks for on a cluster.
    migrate(&preferring(0, &nodes), DATABASES).await.unwrap();
    // As in data that comes from a MariaDB alone.
    let moved = "CREATE TRIGGER wallet_00.transfer_refuses_update BEFORE UPDATE ON wallet_00.transfer \
                 FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'transfers are append-only'";
    sql(&[nodes[0].node()], moved).await;
    migrate(&preferring(0, &nodes), DATABASES).await.unwrap();

    let tasks: Vec<_> = (0..3)
        .map(|place| {
            let homes = preferring(place, &nodes);
            tokio::spawn(async move {
                let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
                for round in 0..ROUNDS {
                    // The same transfers through every node: each is executed by one of them.
                    let batch: Vec<_> =
                        (0..4).map(|user| top_up(round * 4 + user, &format!("user_{user}"), 1)).collect();
                    loop {
                        match wallet.transfer(batch.clone()).await {
                            Ok(outcomes) => {
                                assert!(outcomes.iter().all(|outcome| [Done, AlreadyDone].contains(outcome)));
                                break;
                            }
                            Err(WalletError::Unknown(_) | WalletError::Unavailable(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for place in 0..3 {
        let wallet = Arc::new(MysqlWallet::open(preferring(place, &nodes), DATABASES).await.unwrap());
        assert_eq!(audited(&*wallet).await, i128::from(ROUNDS) * 4, "as node {place} sees it");
    }

    let triggers = sql(
        &[nodes[1].node()],
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema LIKE 'wallet%'",
    )
    .await;
    assert!(triggers.is_empty(), "a trigger that a node reads while a statement is taken back stops all inserts");
}
