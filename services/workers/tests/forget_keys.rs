//! The job that forgets the keys of requests, on real files.

mod common;

use common::{World, run_until_idle, user};
use hongbao_core::limits::REQUEST_KEYS_KEPT_MS;
use hongbao_core::{EnvelopeId, KeyedCall, KeyedRequest, RequestKey};
use hongbao_wallet::{NewEnvelope, Reserved};
use hongbao_workers::Job as _;
use hongbao_workers::forget_keys::ForgetKeys;

async fn reserve(world: &World, number: u8) -> Reserved {
    let key = RequestKey::parse(&format!("key-{number}")).unwrap();
    let request = KeyedRequest::new(KeyedCall::Create, key, &"body");
    let id = EnvelopeId::mint(world.now(), [number; 10]);
    world
        .wallet
        .reserve(&NewEnvelope { user: user("li"), id, request: Some(request), quota: None, now: world.now() })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_is_kept_for_two_days_and_then_names_another_request() {
    let world = World::new().await;
    for number in 0..5 {
        assert_eq!(reserve(&world, number).await, Reserved::New);
    }
    let mut job = ForgetKeys::new(world.ports());
    world.clock.advance_millis(REQUEST_KEYS_KEPT_MS);
    assert_eq!(run_until_idle(&mut job, 2).await, 0, "two days, and not longer");
    assert!(matches!(reserve(&world, 0).await, Reserved::Repeated(_)));
    world.clock.advance_millis(1);
    assert_eq!(run_until_idle(&mut job, 2).await, 5);
    assert_eq!(job.run_once(2).await.unwrap().rows, 0);
    assert_eq!(reserve(&world, 0).await, Reserved::New);
}
