//! Who runs a job: one holder of a lease at a time.

use std::sync::Arc;
use std::time::Duration;

use hongbao_store::lease::Leases as _;
use hongbao_store::mysql::MysqlLeases;

use super::databases::{pause, set};

const LEASE: Duration = Duration::from_millis(400);

async fn holds(leases: &MysqlLeases, job: &str, holder: &str) -> bool {
    let could = leases.could_hold(&[job], holder).await.unwrap() == [true];
    let holds = leases.hold(&[job], holder, LEASE).await.unwrap() == [true];
    assert_eq!(could, holds, "{job} for {holder}");
    holds
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_or_is_given_back() {
    let (one, two) = (set(0).await.leases(), set(0).await.leases());
    assert!(holds(&one, "credit", "one").await);
    assert!(!holds(&two, "credit", "two").await);
    assert!(holds(&two, "refund", "two").await, "each job has a lease of its own");

    two.give_back("credit", "two").await.unwrap();
    assert!(!holds(&two, "credit", "two").await, "no worker gives back another's lease");
    one.give_back("credit", "one").await.unwrap();
    assert!(holds(&two, "credit", "two").await);
    assert!(!holds(&one, "credit", "one").await);

    pause(500).await;
    assert!(holds(&one, "credit", "one").await, "it ended, and no worker renewed it");
    for _ in 0..4 {
        pause(200).await;
        assert!(holds(&one, "credit", "one").await, "renewed, it goes on");
        assert!(!holds(&two, "credit", "two").await);
    }
}

#[tokio::test]
async fn of_several_leases_each_goes_to_whom_it_is_free_for() {
    let (one, two) = (set(1).await.leases(), set(1).await.leases());
    let long = Duration::from_secs(60);
    assert_eq!(one.hold(&["x", "y"], "one", long).await.unwrap(), [true, true]);
    assert_eq!(two.could_hold(&["z", "y", "x"], "two").await.unwrap(), [true, false, false]);
    assert_eq!(two.hold(&["z", "y", "x"], "two", long).await.unwrap(), [true, false, false]);
    assert_eq!(one.hold(&["x", "y", "z"], "one", long).await.unwrap(), [true, true, false]);
    assert_eq!(one.hold_some(&["x", "y", "z"], "one", long).await.unwrap(), 2);
    one.give_back("y", "one").await.unwrap();
    assert_eq!(two.hold(&["x", "y", "z"], "two", long).await.unwrap(), [false, true, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_ask_at_once_one_gets_the_lease() {
    let leases = Arc::new(set(1).await.leases());
    for job in ["a", "b", "c", "d", "e"] {
        let mut asking = Vec::new();
        for number in 0..8 {
            let leases = leases.clone();
            asking.push(tokio::spawn(async move {
                leases.hold(&[job], &format!("holder-{number}"), Duration::from_secs(60)).await.unwrap() == [true]
            }));
        }
        let mut holders = 0;
        for asking in asking {
            holders += u32::from(asking.await.unwrap());
        }
        assert_eq!(holders, 1);
    }
}
