//! What can be read, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use hongbao_core::{Fen, Transfer, TransferKind, TransferOutcome};

use super::{NOON, all_posted, by_user, cancel, envelope, fen, of_envelope, one, open, send, top_up, user};
use hongbao_wallet::{AccountRow, Boundaries, CLEARING, SealedBalance, TOP_UPS, Wallet};

/// Ann sends two envelopes that Bob and Cid open; a third is cancelled.
async fn a_small_world(wallet: &Arc<dyn Wallet>) -> Vec<Transfer> {
    let transfers = vec![
        top_up(1, "ann", 1_000),
        send(1, "ann", 300),
        send(2, "ann", 400),
        cancel(3, "ann"),
        open(2, 1, "bob", 150),
        open(1, 1, "cid", 200),
        open(1, 2, "bob", 40),
        of_envelope(TransferKind::Refund, 1, 3, "ann", 60),
    ];
    let outcomes = wallet.transfer(transfers.clone()).await.unwrap();
    assert_eq!(outcomes, vec![TransferOutcome::Done; transfers.len()]);
    transfers
}

async fn history(wallet: &Arc<dyn Wallet>, name: &str, kinds: &[TransferKind]) -> Vec<Transfer> {
    let posted = wallet.history(&user(name), kinds, None, 100).await.unwrap();
    posted.into_iter().map(|posted| posted.transfer).collect()
}

/// Nobody has to be made an account before money can come.
pub async fn a_user_without_transfers_has_nothing(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.balance(&user("ann")).await.unwrap(), Fen::ZERO);
    assert_eq!(history(&wallet, "ann", &[]).await, []);
}

/// The position of the last one shown is the cursor for what is older.
pub async fn history_is_paged_newest_first(wallet: Arc<dyn Wallet>) {
    let mut transfers: Vec<_> = (0..25).map(|number| top_up(number, "ann", 1 + number as i64)).collect();
    for transfer in &mut transfers {
        // The order of writing counts, whatever the caller's clocks say.
        transfer.at = NOON.plus_millis(-transfer.amount.get());
    }
    wallet.transfer(transfers.clone()).await.unwrap();
    transfers.reverse();
    let (mut shown, mut before) = (Vec::new(), None);
    loop {
        let page = wallet.history(&user("ann"), &[], before, 10).await.unwrap();
        before = page.last().map(|posted| posted.position);
        if page.is_empty() {
            break;
        }
        shown.extend(page.into_iter().map(|posted| posted.transfer));
        // What is written meanwhile does not move the pages.
        one(&wallet, top_up(1_000 + shown.len() as u64, "ann", 1)).await;
    }
    assert_eq!(shown, transfers);
}

/// None named means all of them.
pub async fn history_can_be_of_some_kinds(wallet: Arc<dyn Wallet>) {
    let transfers = a_small_world(&wallet).await;
    let of = |places: &[usize]| places.iter().map(|place| transfers[*place].clone()).collect::<Vec<_>>();
    assert_eq!(history(&wallet, "ann", &[]).await, of(&[7, 3, 2, 1, 0]));
    assert_eq!(history(&wallet, "ann", &[TransferKind::Send]).await, of(&[2, 1]));
    assert_eq!(history(&wallet, "ann", &[TransferKind::Refund, TransferKind::TopUp]).await, of(&[7, 0]));
    assert_eq!(history(&wallet, "ann", &[TransferKind::Open]).await, []);
    let page = wallet.history(&user("ann"), &[TransferKind::Send], None, 1).await.unwrap();
    let older = wallet.history(&user("ann"), &[TransferKind::Send], Some(page[0].position), 1).await.unwrap();
    assert_eq!(older[0].transfer, transfers[1]);
}

/// Also where one name begins another.
pub async fn history_shows_only_the_users_own(wallet: Arc<dyn Wallet>) {
    wallet.transfer(vec![top_up(1, "an", 1), top_up(2, "ann", 2), top_up(3, "anna", 3)]).await.unwrap();
    assert_eq!(history(&wallet, "ann", &[]).await, [top_up(2, "ann", 2)]);
}

/// Each field comes back, of all the named ones and of no other.
pub async fn the_transfers_of_envelopes_come_by_id_and_seq(wallet: Arc<dyn Wallet>) {
    let transfers = a_small_world(&wallet).await;
    let of = |places: &[usize]| places.iter().map(|place| transfers[*place].clone()).collect::<Vec<_>>();
    let found = async |numbers: &[u64]| {
        let ids: Vec<_> = numbers.iter().map(|number| envelope(*number)).collect();
        let posted = wallet.of_envelopes(&ids).await.unwrap();
        posted.into_iter().map(|posted| posted.transfer).collect::<Vec<_>>()
    };
    assert_eq!(found(&[2, 9, 1]).await, of(&[1, 5, 6, 7, 2, 4]));
    assert_eq!(found(&[3]).await, of(&[3]));
    assert_eq!(found(&[]).await, []);
    one(&wallet, open(4, u32::MAX, "bob", 1)).await;
    assert_eq!(found(&[4]).await, [open(4, u32::MAX, "bob", 1)]);
    let places: BTreeSet<i64> = wallet.scan(0, 100).await.unwrap().iter().map(|line| line.position).collect();
    let posted = wallet.of_envelopes(&[envelope(1), envelope(2)]).await.unwrap();
    assert!(posted.iter().all(|posted| places.contains(&posted.position)));
}

/// The audit asks for what should be there.
pub async fn only_stored_transfers_are_found(wallet: Arc<dyn Wallet>) {
    let transfers = a_small_world(&wallet).await;
    let ids = [transfers[5].id, top_up(99, "ann", 1).id, transfers[0].id, open(1, 9, "bob", 1).id];
    let found = wallet.find(&ids).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&transfers[0]) && found.contains(&transfers[5]));
    assert_eq!(wallet.find(&[]).await.unwrap(), []);
}

/// In pages, each position once and rising.
pub async fn a_scan_gives_every_transfer_once_and_each_users_in_order(wallet: Arc<dyn Wallet>) {
    let transfers = by_user(a_small_world(&wallet).await);
    assert_eq!(all_posted(&wallet).await, transfers);
    for first in [0, i64::MIN] {
        let (mut scanned, mut after) = (Vec::new(), first);
        loop {
            let page = wallet.scan(after, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page[0].position > after.max(0) && page.is_sorted_by(|a, b| a.position < b.position));
            assert!(page.len() == 3 || scanned.len() + page.len() == transfers.len(), "short before the end");
            after = last.position;
            scanned.extend(page.into_iter().map(|posted| posted.transfer));
        }
        assert_eq!(by_user(scanned), transfers);
    }
}

/// Each carries the balance and the sum of its transfers. Every shard has the
/// system's two, which together are the whole's.
pub async fn accounts_are_paged_each_once(wallet: Arc<dyn Wallet>) {
    let empty = wallet.accounts(None, 1_000, &Boundaries::default()).await.unwrap();
    assert!(empty.len() >= 2 && empty.iter().all(|row| row.is_of_system() && is_settled_at(row, 0)));
    a_small_world(&wallet).await;
    one(&wallet, cancel(9, "dot")).await;
    let all = wallet.accounts(None, 1_000, &Boundaries::default()).await.unwrap();
    assert!(all.iter().all(|row| is_settled_at(row, stored(row))));
    let (system, mut users): (Vec<_>, Vec<_>) = all.iter().cloned().partition(AccountRow::is_of_system);
    users.sort_by(|one, other| one.account.cmp(&other.account));
    assert_eq!(users, [row("ann", 360), row("bob", 190), row("cid", 200), row("dot", 0)]);
    for (name, fen) in [(CLEARING, 250), (TOP_UPS, -1_000)] {
        let of_name = system.iter().filter(|row| row.account.starts_with(name));
        assert_eq!(of_name.map(stored).sum::<i64>(), fen, "{name}");
    }
    for limit in 1..=all.len() as u32 {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = wallet.accounts(after.as_deref(), limit, &Boundaries::default()).await.unwrap();
            let Some(last) = page.last() else { break };
            let is_full = page.len() == limit as usize;
            after = Some(last.account.clone());
            paged.extend(page);
            assert!(is_full || paged.len() == all.len(), "short before the end");
        }
        assert_eq!(paged, all, "{limit} a page");
    }
    assert_eq!(wallet.balance(&user("ann")).await.unwrap(), fen(360));
}

/// Each transfer leads from the balance that its user had before it, in pages of any size.
pub async fn a_scan_gives_the_balances_before_and_after_each_transfer(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.scan(0, 10).await.unwrap(), []);
    a_small_world(&wallet).await;
    let all = wallet.scan(0, 1_000).await.unwrap();
    let mut lines: Vec<_> =
        all.iter().map(|line| (line.transfer.user.as_str(), line.before_fen, line.balance_fen)).collect();
    // Between users of different shards there is no order.
    lines.sort_by_key(|line| line.0);
    let anns = [(0, 1_000), (1_000, 700), (700, 300), (300, 300), (300, 360)].map(|(from, to)| ("ann", from, to));
    assert_eq!(lines, [&anns[..], &[("bob", 0, 150), ("bob", 150, 190), ("cid", 0, 200)]].concat());
    for line in &all {
        assert_eq!(line.before_fen + line.transfer.signed_amount(), line.balance_fen);
    }
}

/// For those who show it to an operator.
pub async fn an_idle_wallet_answers_and_tells_its_durability(wallet: Arc<dyn Wallet>) {
    for clock in wallet.ping().await.unwrap() {
        assert!(clock > NOON, "the database's clock says {clock:?}");
    }
    assert!(!wallet.durability().settings.is_empty());
}

/// The balance of an account whose row is there.
pub(super) fn stored(row: &AccountRow) -> i64 {
    row.balance_fen.expect("no row is missing")
}

fn is_settled_at(row: &AccountRow, fen: i64) -> bool {
    row.balance_fen == Some(fen) && row.transfers_sum_fen == fen.into()
}

fn row(account: &str, fen: i64) -> AccountRow {
    AccountRow {
        account: account.to_owned(),
        balance_fen: Some(fen),
        transfers_sum_fen: fen.into(),
        sealed: SealedBalance::default(),
    }
}
