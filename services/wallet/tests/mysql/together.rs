//! Several processes write the same shards at once: here several wallets.

use std::sync::Arc;

use hongbao_core::id::stable_hash;
use hongbao_core::{EnvelopeId, Fen, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome};
use hongbao_testkit::wallet_suite::{top_up, user};
use hongbao_wallet::mysql::MysqlWallet;
use hongbao_wallet::{Wallet as _, WalletReads as _};

use crate::common::{DATABASES, audited, empty_homes};

const WALLETS: u64 = 3;
const USERS: u64 = 6;

async fn wallets() -> (Vec<Arc<MysqlWallet>>, impl Drop) {
    let (homes, guard) = empty_homes().await;
    let mut wallets = Vec::new();
    for _ in 0..WALLETS {
        wallets.push(Arc::new(MysqlWallet::open(homes.clone(), DATABASES).await.unwrap()));
    }
    (wallets, guard)
}

fn name(number: u64) -> String {
    format!("user_{}", number % USERS)
}

fn payment(number: u64, amount: i64) -> Transfer {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&stable_hash(&number.to_be_bytes()).to_be_bytes());
    Transfer {
        id: TransferId::Envelope(EnvelopeId::mint(Timestamp::from_millis(number as i64), random), 0),
        kind: TransferKind::Send,
        user: user(&name(number)),
        amount: Fen::new(amount).unwrap(),
        at: Timestamp::from_millis(0),
    }
}

#[tokio::test]
async fn balances_are_exact_when_several_wallets_write_the_same_users() {
    const CALLS: u64 = 60;
    let (wallets, _guard) = wallets().await;
    let tasks: Vec<_> = (0..WALLETS)
        .flat_map(|wallet| (0..CALLS).map(move |call| wallet * CALLS + call))
        .map(|call| {
            let wallet = Arc::clone(&wallets[(call / CALLS) as usize]);
            tokio::spawn(async move {
                let batch = (0..USERS).map(|place| top_up(call * USERS + place, &name(place), 1)).collect();
                wallet.transfer(batch).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), [TransferOutcome::Done; USERS as usize]);
    }
    for number in 0..USERS {
        assert_eq!(wallets[0].balance(&user(&name(number))).await.unwrap().get(), (WALLETS * CALLS) as i64);
    }
    assert_eq!(audited(&*wallets[0]).await, i128::from(WALLETS * CALLS * USERS));
}

#[tokio::test]
async fn what_several_wallets_are_asked_for_at_once_happens_once() {
    const TRANSFERS: u64 = 200;
    let (wallets, _guard) = wallets().await;
    let tasks: Vec<_> = (0..WALLETS)
        .flat_map(|wallet| (0..TRANSFERS).map(move |number| (wallet, number)))
        .map(|(wallet, number)| {
            let wallet = Arc::clone(&wallets[wallet as usize]);
            tokio::spawn(async move { wallet.transfer(vec![top_up(number, &name(number), 3)]).await.unwrap()[0] })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            TransferOutcome::Done => done += 1,
            outcome => assert_eq!(outcome, TransferOutcome::AlreadyDone),
        }
    }
    assert_eq!(done, TRANSFERS);
    assert_eq!(audited(&*wallets[0]).await, i128::from(3 * TRANSFERS));
}

#[tokio::test]
async fn nobody_spends_the_same_money_through_two_wallets() {
    const PAYMENTS: u64 = 120;
    let (wallets, _guard) = wallets().await;
    let all: Vec<_> = (0..USERS).map(|number| top_up(number, &name(number), 100)).collect();
    wallets[0].transfer(all).await.unwrap();
    let tasks: Vec<_> = (0..PAYMENTS)
        .map(|number| {
            let wallet = Arc::clone(&wallets[(number / USERS % WALLETS) as usize]);
            tokio::spawn(async move { wallet.transfer(vec![payment(number, 30)]).await.unwrap()[0] })
        })
        .collect();
    let mut paid = 0;
    for task in tasks {
        match task.await.unwrap() {
            TransferOutcome::Done => paid += 1,
            outcome => assert_eq!(outcome, TransferOutcome::InsufficientFunds),
        }
    }
    assert_eq!(paid, 3 * USERS, "each of them can pay three times");
    for number in 0..USERS {
        assert_eq!(wallets[1].balance(&user(&name(number))).await.unwrap().get(), 10);
    }
    assert_eq!(audited(&*wallets[2]).await, i128::from(100 * USERS));
}
