//! Keys under which requests are repeated.

use std::collections::HashSet;
use std::sync::Arc;

use hongbao_core::limits::REQUEST_KEYS_KEPT_MS;
use hongbao_core::{KeyedCall, KeyedRequest, RequestKey};
use hongbao_wallet::{NewEnvelope, Reserved, Wallet};

use super::{NOON, envelope, user};

/// A request for the envelope of this number, under a key and with a body.
fn new(number: u64, name: &str, key: &str, body: &str) -> NewEnvelope {
    let request = KeyedRequest::new(KeyedCall::Create, RequestKey::parse(key).unwrap(), &body);
    NewEnvelope {
        user: user(name),
        id: envelope(number),
        request: Some(request),
        quota: None,
        now: NOON.plus_millis(number as i64),
    }
}

/// Whatever id a repeat brings along.
pub async fn a_key_stands_for_the_id_that_came_with_it_first(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.reserve(&new(1, "ann", "k", "body")).await.unwrap(), Reserved::New);
    for number in [1, 2, 3] {
        let again = wallet.reserve(&new(number, "ann", "k", "body")).await.unwrap();
        assert_eq!(again, Reserved::Repeated(envelope(1)));
    }
    assert_eq!(wallet.reserve(&new(2, "ann", "K", "body")).await.unwrap(), Reserved::New, "keys differ by case");
}

/// And nothing is written: the first one stands.
pub async fn a_key_with_another_body_is_a_conflict(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.reserve(&new(1, "ann", "k", "body")).await.unwrap(), Reserved::New);
    assert_eq!(wallet.reserve(&new(2, "ann", "k", "other")).await.unwrap(), Reserved::KeyConflict);
    assert_eq!(wallet.reserve(&new(2, "ann", "k", "body")).await.unwrap(), Reserved::Repeated(envelope(1)));
}

/// The same key of two users stands for two ids.
pub async fn each_user_has_keys_of_its_own(wallet: Arc<dyn Wallet>) {
    for (number, name) in ["ann", "bob", "cid", "dot"].into_iter().enumerate() {
        assert_eq!(wallet.reserve(&new(number as u64, name, "k", name)).await.unwrap(), Reserved::New);
    }
    assert_eq!(wallet.reserve(&new(9, "cid", "k", "cid")).await.unwrap(), Reserved::Repeated(envelope(2)));
}

/// All others get its id.
pub async fn of_many_concurrent_requests_under_one_key_one_is_new(wallet: Arc<dyn Wallet>) {
    let mut tasks = Vec::new();
    for number in 0..50 {
        let wallet = Arc::clone(&wallet);
        tasks.push(tokio::spawn(async move {
            let reserved = wallet.reserve(&new(number, "ann", "k", "body")).await.unwrap();
            (number, reserved)
        }));
    }
    let (mut first, mut repeated) = (Vec::new(), HashSet::new());
    for task in tasks {
        match task.await.unwrap() {
            (number, Reserved::New) => first.push(envelope(number)),
            (_, Reserved::Repeated(id)) => drop(repeated.insert(id)),
            (_, Reserved::KeyConflict | Reserved::TooManyUnpaid(_)) => panic!("it is the same request"),
        }
    }
    assert_eq!(first.len(), 1);
    assert_eq!(repeated.into_iter().collect::<Vec<_>>(), first);
}

/// Not before, and so many at a time.
pub async fn keys_are_forgotten_when_they_are_old(wallet: Arc<dyn Wallet>) {
    for number in 0..5 {
        let key = format!("k{number}");
        assert_eq!(wallet.reserve(&new(number, "ann", &key, "body")).await.unwrap(), Reserved::New);
    }
    let now = NOON.plus_millis(3 + REQUEST_KEYS_KEPT_MS);
    let mut gone = Vec::new();
    for place in wallet.shards() {
        loop {
            match wallet.purge_keys(place.shard, now.plus_millis(-REQUEST_KEYS_KEPT_MS), 2).await.unwrap() {
                0 => break,
                some => gone.push(some),
            }
        }
    }
    assert_eq!(gone, [2, 1]);
    for number in 0..5 {
        let again = wallet.reserve(&new(9, "ann", &format!("k{number}"), "body")).await.unwrap();
        let expected = if number < 3 { Reserved::New } else { Reserved::Repeated(envelope(number)) };
        assert_eq!(again, expected, "{number}");
    }
}
