//! A part of the wallet that is down when everybody starts.

use hongbao_core::{Fen, TransferOutcome};
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::{top_up, user};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Wallet as _, WalletError, WalletReads as _};

use crate::common::{DATABASES, audited, homes};

/// Its durability is weak: whether that is accepted, is up to each home.
const WEAK: &str = "--innodb-flush-log-at-trx-commit=2";

fn home_of(part: &Part, allow_weak_durability: bool) -> Vec<DatabaseServer> {
    let mut homes = homes(&[part.node()]);
    homes[0].options.allow_weak_durability = allow_weak_durability;
    homes
}

fn is_unavailable<T>(result: Result<T, WalletError>, reason: &str) -> bool {
    matches!(result, Err(WalletError::Unavailable(said)) if said.contains(reason))
}

#[tokio::test]
async fn a_home_that_is_down_keeps_nobody_from_starting_and_is_checked_once_it_is_up() {
    let mut part = Part::mariadb(&[WEAK]);
    let unmigrated = MysqlWallet::open_what_is_up(home_of(&part, true), DATABASES).await;
    assert!(is_unavailable(unmigrated, "hongbao migrate"), "what is up is checked at once");
    migrate(&home_of(&part, true), DATABASES).await.unwrap();
    let weak = MysqlWallet::open_what_is_up(home_of(&part, false), DATABASES).await;
    assert!(is_unavailable(weak, "allow_weak_durability"), "what is up is checked at once");

    part.kill();
    let wallet = MysqlWallet::open_what_is_up(home_of(&part, true), DATABASES).await.unwrap();
    let strict = MysqlWallet::open_what_is_up(home_of(&part, false), DATABASES).await.unwrap();
    let for_others = MysqlWallet::open_what_is_up(home_of(&part, true), DATABASES * 5).await.unwrap();
    assert!(!wallet.durability().full);
    assert!(is_unavailable(wallet.ping().await, ""));
    assert!(is_unavailable(wallet.balance(&user("ann")).await, ""));
    assert!(is_unavailable(wallet.transfer(vec![top_up(1, "ann", 5)]).await, ""), "nothing is in doubt");

    part.restart();
    assert!(is_unavailable(strict.transfer(vec![top_up(2, "ann", 5)]).await, "allow_weak_durability"));
    assert!(is_unavailable(strict.balance(&user("ann")).await, "allow_weak_durability"));
    assert!(is_unavailable(for_others.transfer(vec![top_up(3, "ann", 5)]).await, "was made as number"));
    assert_eq!(wallet.transfer(vec![top_up(1, "ann", 5)]).await.unwrap(), [TransferOutcome::Done]);
    assert_eq!(wallet.balance(&user("ann")).await.unwrap(), Fen::new(5).unwrap());
    assert_eq!(audited(&wallet).await, 5);
}
