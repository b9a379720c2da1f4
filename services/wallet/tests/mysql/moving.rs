//! Slots that move to another database while wallets with the file of before and with the
//! next one use both.

mod any_moment;
mod refused;

use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, AlreadyPaid, Cancelled, Done};
use hongbao_core::event::Feed;
use hongbao_core::id::stable_hash;
use hongbao_core::order::Answer;
use hongbao_core::{
    Daily, Date, DayQuota, EnvelopeId, KeyedCall, KeyedRequest, Order, OrderKind, RequestKey, Slot, Traffic, Transfer,
    TransferKind, UserLimit,
};
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::{NOON, cancel, open, order, send, top_up, unavailable, user};
use hongbao_wallet::mysql::{Carried, DatabaseServer, Moved, MysqlWallet, Step, migrate, move_slots, upgrade};
use hongbao_wallet::{
    FreezeChange, NewEnvelope, NewOrder, OrderChange, OrderOpening, Posted, Reserved, TransferRequest, UnpaidQuota,
    Wallet, WalletError,
};

use crate::common::{audited, options, sql};

const DATABASES: u8 = 2;
/// Slots from here on move.
const MOVING: u8 = 50;

/// Two database servers, with what the files of before and after say of them.
struct Places {
    old: Part,
    new: Part,
}

impl Places {
    fn start() -> Places {
        let (old, new) = std::thread::scope(|scope| {
            let new = scope.spawn(|| Part::mariadb(&[]));
            (Part::mariadb(&[]), new.join().unwrap())
        });
        Places { old, new }
    }

    fn server(part: &Part, slots: impl IntoIterator<Item = u8>) -> DatabaseServer {
        let slots = slots.into_iter().filter_map(Slot::new).collect();
        DatabaseServer { options: options(&[part.node()]), slots, traffic: Traffic::Live }
    }

    fn before(&self) -> Vec<DatabaseServer> {
        vec![Places::server(&self.old, 0..100)]
    }

    fn after(&self) -> Vec<DatabaseServer> {
        vec![Places::server(&self.old, 0..MOVING), Places::server(&self.new, MOVING..100)]
    }

    /// Empty databases at the old place, and none at the new one.
    async fn empty(&self) {
        let drop = (0..DATABASES).map(|number| format!("DROP DATABASE IF EXISTS wallet_{number:02}"));
        let drop = drop.collect::<Vec<_>>().join(";");
        for part in [&self.old, &self.new] {
            sql(&[part.node()], &drop).await;
        }
        migrate(&self.before(), DATABASES).await.unwrap();
    }

    async fn wallet(&self, homes: Vec<DatabaseServer>) -> Arc<dyn Wallet> {
        Arc::new(MysqlWallet::open(homes, DATABASES).await.unwrap())
    }

    async fn go(&self, mut go_on: impl FnMut(&Carried, Step) -> bool + Send) -> Result<Moved, WalletError> {
        move_slots(&self.before(), &self.after(), DATABASES, &mut go_on).await
    }
}

fn moves(name: &str) -> bool {
    stable_hash(name.as_bytes()) % 100 >= u64::from(MOVING)
}

/// So many users who move, and who stay.
fn users(count: usize) -> [Vec<String>; 2] {
    let names = || (0..).map(|number| format!("user_{number}"));
    [
        names().filter(|name| moves(name)).take(count).collect(),
        names().filter(|name| !moves(name)).take(count).collect(),
    ]
}

/// Each user gets, sends, opens, and one payment of each is cancelled.
async fn a_small_world(wallet: &dyn Wallet) -> Vec<Transfer> {
    let mut all = Vec::new();
    for (number, name) in users(4).concat().iter().enumerate() {
        let number = number as u64 * 10 + 1;
        all.push(top_up(number, name, 1_000));
        all.push(send(number, name, 300));
        all.push(cancel(number + 1, name));
        all.push(open(number, 1, name, 7));
        all.extend((0..6).map(|more| top_up(number + 2 + more, name, 1 + more as i64)));
    }
    let sent = all.iter().filter(|transfer| transfer.kind == TransferKind::Send);
    let quotas = sent.map(|transfer| (transfer.id, ONE_A_DAY)).collect();
    let request = TransferRequest { transfers: all.clone(), notes: Vec::new(), quotas };
    let outcomes = wallet.transfer_within(request).await.unwrap();
    assert_eq!(outcomes, vec![Done; all.len()]);
    for (number, name) in users(4).concat().iter().enumerate() {
        wallet.open_order(charge_of(number as u8, name)).await.unwrap();
        assert_eq!(wallet.reserve(&only_unpaid(number as u8, name)).await.unwrap(), Reserved::New);
        let reason = format!("为什么 {name}");
        let freeze = FreezeChange { user: user(name), is_frozen: true, reason, operator: user("op"), at: NOON };
        wallet.set_frozen(&freeze).await.unwrap();
    }
    // What becomes of them is in the feeds of their users.
    for taken in wallet.take_up_orders(NOON, 100).await.unwrap() {
        let after = taken.order.answered(Some(Answer::Failed { reason: "no".to_owned() }), NOON);
        let change = OrderChange { before: taken.order, after, may_pay: false, refund: None };
        wallet.change_orders(vec![change]).await.unwrap();
    }
    all
}

/// One payment on a day.
const ONE_A_DAY: DayQuota = DayQuota { daily: Daily::Sent, date: Date::of(NOON, 0), fen_max: None, count_max: Some(1) };

/// An envelope whose user may have one that waits for payment.
fn only_unpaid(number: u8, name: &str) -> NewEnvelope {
    let quota = Some(UnpaidQuota { count_max: Some(1), until: NOON.plus_millis(60_000) });
    NewEnvelope { user: user(name), id: EnvelopeId::mint(NOON, [number; 10]), request: None, quota, now: NOON }
}

/// A charge under a key of its user.
fn charge_of(number: u8, name: &str) -> NewOrder {
    let request = KeyedRequest::new(KeyedCall::Charge, RequestKey::parse("k").unwrap(), &500);
    NewOrder { order: order(number, OrderKind::Charge, name, 500), request: Some(request), quota: None }
}

/// What each user can see.
async fn seen(wallet: &dyn Wallet) -> BTreeMap<String, (i64, Vec<Transfer>, Vec<Order>)> {
    let feeds: Vec<_> = users(4).concat().iter().map(|name| (Feed::User(user(name)), 0)).collect();
    let events: usize = wallet.read_feeds(&feeds, 100).await.unwrap().iter().map(|page| page.rows.len()).sum();
    assert_eq!(events, feeds.len(), "each has the event of its charge");
    let mut seen = BTreeMap::new();
    for name in users(4).concat() {
        let balance = wallet.balance(&user(&name)).await.unwrap().get();
        let history = wallet.history(&user(&name), &[], None, 100).await.unwrap();
        let orders = wallet.orders(&user(&name), OrderKind::Charge, None, 100).await.unwrap();
        assert_eq!(orders.len(), 1, "{name}");
        let again = wallet.open_order(charge_of(99, &name)).await.unwrap();
        assert_eq!(again, OrderOpening::Repeated(orders[0].clone()), "its key has come along");
        let more = NewOrder { order: order(98, OrderKind::Charge, &name, 1), request: None, quota: Some(ONE_A_DAY) };
        let exceeded = OrderOpening::LimitExceeded(UserLimit::SentCountADay);
        assert_eq!(wallet.open_order(more).await.unwrap(), exceeded, "what was sent today has come along");
        let unpaid = wallet.reserve(&only_unpaid(99, &name)).await.unwrap();
        assert!(matches!(unpaid, Reserved::TooManyUnpaid(Some(_))), "{unpaid:?}");
        let log = wallet.freeze_log(&user(&name), 10).await.unwrap();
        assert!(matches!(&log[..], [freeze] if freeze.reason == format!("为什么 {name}")), "{log:?}");
        seen.insert(name, (balance, history.into_iter().map(|posted| posted.transfer).collect(), orders));
    }
    seen
}

/// Neither reads nor writes anything for the user, and says so.
async fn refuses(wallet: &dyn Wallet, name: &str, reason: &str) {
    let said = [
        unavailable(wallet.balance(&user(name)).await),
        unavailable(wallet.history(&user(name), &[], None, 10).await),
        unavailable(wallet.orders(&user(name), OrderKind::Charge, None, 10).await),
        unavailable(wallet.transfer(vec![top_up(9_999, name, 1)]).await),
        unavailable(wallet.open_order(order(98, OrderKind::Charge, name, 1).into()).await),
        unavailable(wallet.find(&[top_up(1, name, 1).id]).await),
        unavailable(wallet.books().await),
        unavailable(wallet.scan(0, 1_000_000).await),
    ];
    assert!(said.iter().all(|said| said.contains(reason)), "{said:?}");
}

async fn serves(wallet: &dyn Wallet, name: &str) {
    wallet.balance(&user(name)).await.unwrap();
    // An id that is taken: it writes nothing that the next round would have to know.
    let outcomes = wallet.transfer(vec![cancel(777, name)]).await;
    assert!(outcomes.is_ok(), "{outcomes:?}");
}

const LEFT: &str = "were moved from wallet_0";
const ARRIVING: &str = "is being filled from another database";

/// Killed before each step: as often as there are steps, and whatever steps there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_before_any_step_goes_on_and_no_user_is_served_at_two_places_i1() {
    let places = Places::start();
    for killed_before in Step::ALL {
        places.empty().await;
        let old = places.wallet(places.before()).await;
        let world = a_small_world(&*old).await;
        let (all, money) = (seen(&*old).await, audited(&*old).await);
        let [moving, staying] = users(1).map(|names| names[0].clone());

        assert_eq!(places.go(|_, step| step != killed_before).await.unwrap(), Moved::Stopped, "{killed_before:?}");
        let place = |step| Step::ALL.iter().position(|one| *one == step).unwrap();
        // All databases are made and copied before the first is fenced.
        let is_made = place(killed_before) >= place(Step::Fence);
        let is_fenced = place(killed_before) > place(Step::Fence);
        serves(&*old, &staying).await;
        // The database of this user may be the second one, whose turn had not come.
        let first = (0..DATABASES).find(|number| stable_hash(moving.as_bytes()) % 2 == u64::from(*number)).unwrap();
        let is_first = first == (MOVING % DATABASES);
        if is_fenced && is_first {
            refuses_user(&*old, &moving, LEFT).await;
        } else {
            serves(&*old, &moving).await;
        }
        let new = MysqlWallet::open(places.after(), DATABASES).await;
        match (is_made, new) {
            (false, new) => assert!(unavailable(new).contains("`hongbao move-wallet`")),
            (true, new) => refuses(&new.unwrap(), &moving, ARRIVING).await,
        }
        let refused = unavailable(upgrade(&places.after(), DATABASES).await.and_then(|()| match is_made {
            true => Err(WalletError::Unavailable("`hongbao move-wallet`".to_owned())),
            false => Ok(()),
        }));
        assert!(refused.contains("`hongbao move-wallet`"), "{refused}");

        assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
        assert_eq!(places.go(|_, step| panic!("{step:?} is done")).await.unwrap(), Moved::All, "it may be repeated");
        let new = places.wallet(places.after()).await;
        refuses(&*old, &moving, LEFT).await;
        serves(&*old, &staying).await;
        // `serves` has taken an id for them.
        let mut left = seen(&*new).await;
        left.values_mut().for_each(|(_, history, _)| history.retain(|one| one.id != cancel(777, "x").id));
        assert_eq!(left, all, "{killed_before:?}");
        assert_eq!(audited(&*new).await, money);
        let scanned = new.scan(0, 10_000).await.unwrap();
        let first = new.scan(0, 1).await.unwrap();
        let second = new.scan(first[0].position, 1).await.unwrap();
        assert_eq!([first, second].concat(), scanned[..2], "pages of one pass over those who have left");
        ids_stay_taken(&*new, &world).await;
        let more = top_up(5_000, &moving, 5);
        assert_eq!(new.transfer(vec![more]).await.unwrap(), [Done]);
        assert_eq!(audited(&*new).await, money + 5);
    }
}

async fn refuses_user(wallet: &dyn Wallet, name: &str, reason: &str) {
    let said = [
        unavailable(wallet.balance(&user(name)).await),
        unavailable(wallet.transfer(vec![top_up(9_999, name, 1)]).await),
    ];
    assert!(said.iter().all(|said| said.contains(reason)), "{said:?}");
}

/// Payments, credits and cancels of before are known at the new place.
async fn ids_stay_taken(wallet: &dyn Wallet, world: &[Transfer]) {
    assert_eq!(wallet.transfer(world.to_vec()).await.unwrap(), vec![AlreadyDone; world.len()]);
    for (number, name) in users(4).concat().iter().enumerate() {
        let number = number as u64 * 10 + 1;
        let late = vec![send(number + 1, name, 300), cancel(number, name)];
        assert_eq!(wallet.transfer(late).await.unwrap(), [Cancelled, AlreadyPaid]);
    }
}

/// The list of a user is begun at the old place and read to its end at the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursors_of_lists_stay_valid_across_a_move() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    let mut begun: Vec<(String, Vec<Posted>)> = Vec::new();
    for name in users(4).concat() {
        begun.push((name.clone(), old.history(&user(&name), &[], None, 3).await.unwrap()));
    }
    let all = seen(&*old).await;
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    let new = places.wallet(places.after()).await;
    for (name, first) in begun {
        // What comes meanwhile does not move the pages.
        new.transfer(vec![top_up(8_000 + stable_hash(name.as_bytes()) % 1_000, &name, 1)]).await.unwrap();
        let (mut list, mut before) = (first.clone(), first.last().map(|posted| posted.position));
        loop {
            let page = new.history(&user(&name), &[], before, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.position);
            list.extend(page);
        }
        let list: Vec<Transfer> = list.into_iter().map(|posted| posted.transfer).collect();
        assert_eq!(list, all[&name].1, "{name}");
    }
}
