//! Who runs a job: one holder of a lease at a time.

use std::sync::Arc;
use std::time::Duration;

use hongbao_store::lease::Leases as _;

use super::databases::{pause, set};

const LEASE: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_or_is_given_back() {
    let (one, two) = (set(0).await.leases(), set(0).await.leases());
    assert!(one.hold("credit", "one", LEASE).await.unwrap());
    assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    assert!(two.hold("refund", "two", LEASE).await.unwrap(), "each job has a lease of its own");

    two.give_back("credit", "two").await.unwrap();
    assert!(!two.hold("credit", "two", LEASE).await.unwrap(), "no worker gives back another's lease");
    one.give_back("credit", "one").await.unwrap();
    assert!(two.hold("credit", "two", LEASE).await.unwrap());
    assert!(!one.hold("credit", "one", LEASE).await.unwrap());

    pause(500).await;
    assert!(one.hold("credit", "one", LEASE).await.unwrap(), "it ended, and no worker renewed it");
    for _ in 0..4 {
        pause(200).await;
        assert!(one.hold("credit", "one", LEASE).await.unwrap(), "renewed, it goes on");
        assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_ask_at_once_one_gets_the_lease() {
    let leases = Arc::new(set(1).await.leases());
    for job in ["a", "b", "c", "d", "e"] {
        let mut asking = Vec::new();
        for number in 0..8 {
            let leases = leases.clone();
            asking.push(tokio::spawn(async move {
                leases.hold(job, &format!("holder-{number}"), Duration::from_secs(60)).await.unwrap()
            }));
        }
        let mut holders = 0;
        for asking in asking {
            holders += u32::from(asking.await.unwrap());
        }
        assert_eq!(holders, 1);
    }
}
