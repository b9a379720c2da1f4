//! The wallet on three Galera nodes, when several processes write through
//! different ones: as operators should not have it, and as it happens after a failover.

use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_parts::Part;
use hongbao_wallet::mysql::{Home, MysqlWallet, migrate};
use hongbao_wallet::suite::top_up;
use hongbao_wallet::{Wallet as _, WalletError};
use sqlx::Executor as _;

use crate::common::{DATABASES, audited, homes};
use hongbao_store::mysql::connection::Connections;

const ROUNDS: u64 = 60;

/// Homes that prefer this node.
fn preferring(first: usize, nodes: &[Part; 3]) -> Vec<Home> {
    let order: Vec<String> = (0..3).map(|place| nodes[(first + place) % 3].node()).collect();
    homes(&order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallets_on_different_nodes_make_one_ledger_and_double_nothing() {
    let nodes = Part::galera();
    // One after the other, as the handbook asks for on a cluster.
    for _ in 0..2 {
        migrate(&preferring(0, &nodes), DATABASES).await.unwrap();
    }

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

    let home = Connections::open(preferring(1, &nodes).remove(0).options).await.unwrap();
    let mut lease = home.lease().await.unwrap();
    for database in 0..DATABASES {
        let change = format!("UPDATE wallet_{database:02}.transfer SET amount_fen = 6 ORDER BY position LIMIT 1");
        if let Err(error) = lease.connection().execute(change.as_str()).await {
            assert!(error.to_string().contains("transfers are append-only"), "{error}");
        }
    }
    assert_eq!(
        audited(&MysqlWallet::open(preferring(2, &nodes), DATABASES).await.unwrap()).await,
        i128::from(ROUNDS) * 4
    );
}
