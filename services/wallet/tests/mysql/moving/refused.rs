//! What a move refuses, so that no slot has two holders.

use hongbao_wallet::mysql::{Moved, Step, move_slots};

use super::{DATABASES, LEFT, MOVING, Places, a_small_world};
use crate::common::{sql, try_sql};

/// One that was changed at the new place before the end is found, and the users stay refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_differs_by_one_fen_is_found_and_not_opened() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    assert_eq!(places.go(|_, step| step != Step::CompareRest).await.unwrap(), Moved::Stopped);
    let new = [places.new.node()];
    sql(&new, "DROP TRIGGER wallet_00.transfer_refuses_update; DROP TRIGGER wallet_01.transfer_refuses_update").await;
    let change = |by: &str| format!("UPDATE wallet_00.transfer SET at_ms = at_ms {by} ORDER BY position DESC LIMIT 1");
    sql(&new, &change("+ 1")).await;
    let said = places.go(|_, _| true).await.unwrap_err().to_string();
    assert!(said.contains("wallet_00: what was copied differs from its source at position"), "{said}");
    sql(&new, &change("- 1")).await;
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
}

/// Neither the wrong files nor a lost database make a second holder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_move_takes_slots_that_have_left_and_a_target_in_use_takes_none() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    // Slots that come back, to a database that has others.
    let back = vec![Places::server(&places.old, 0..60), Places::server(&places.new, 60..100)];
    let said = move_slots(&places.after(), &back, DATABASES, &mut |_, _| true).await.unwrap_err().to_string();
    assert!(said.contains("need a part of their own"), "{said}");
    // All that w1 has left, to the database that it gave slots to.
    let swapped = vec![Places::server(&places.new, 0..MOVING), Places::server(&places.old, MOVING..100)];
    let said = move_slots(&places.after(), &swapped, DATABASES, &mut |_, _| true).await.unwrap_err().to_string();
    assert!(said.contains("was made as number"), "{said}");
    let new = [places.new.node()];
    // Lost, with all that was written there since: nothing empty or old takes its place.
    sql(&new, "DROP DATABASE wallet_00").await;
    let said = places.go(|_, _| true).await.unwrap_err().to_string();
    assert!(said.contains(LEFT), "{said}");
    assert!(try_sql(&new, "SELECT 1 FROM wallet_00.meta").await.is_err(), "nothing was made");
}
