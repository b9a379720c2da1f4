//! What the audit adds up, while transfers are written.

use std::sync::Arc;

use hongbao_testkit::wallet_suite::top_up;
use hongbao_wallet::Wallet as _;
use hongbao_wallet::mysql::MysqlWallet;

use crate::common::{DATABASES, audited, empty_homes};

/// More than one statement adds up, of transfers and of users.
#[tokio::test]
async fn sums_over_many_transfers_and_users_are_of_one_moment() {
    let (homes, _guard) = empty_homes().await;
    let wallet = Arc::new(MysqlWallet::open(homes, DATABASES).await.unwrap());
    for thousand in 0..11 {
        let batch = (0..1_000).map(|number| top_up(thousand * 1_000 + number, "one", 1)).collect();
        wallet.transfer(batch).await.unwrap();
    }
    for thousand in 11..17 {
        let batch = (0..1_000).map(|number| thousand * 1_000 + number);
        wallet.transfer(batch.map(|number| top_up(number, &format!("user_{number}"), 1)).collect()).await.unwrap();
    }
    assert_eq!(audited(&*wallet).await, 17_000);
    let writer = Arc::clone(&wallet);
    let writing = tokio::spawn(async move {
        for number in 17_000..20_000 {
            writer.transfer(vec![top_up(number, ["one", "abc", "xyz"][number as usize % 3], 1)]).await.unwrap();
        }
    });
    let mut audits = 0;
    while !writing.is_finished() || audits == 0 {
        audited(&*wallet).await;
        audits += 1;
    }
    writing.await.unwrap();
    assert_eq!(audited(&*wallet).await, 20_000);
}
