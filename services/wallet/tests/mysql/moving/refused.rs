//! What a move refuses, so that no slot has two holders.

use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::{top_up, unavailable};
use hongbao_wallet::mysql::{DatabaseServer, Moved, MysqlWallet, Step, check_serves_all, migrate, move_slots};

use super::{ARRIVING, DATABASES, LEFT, MOVING, Places, a_small_world, refuses_user, seen, users};
use crate::common::{audited, sql, try_sql};

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
    assert!(said.contains("not those of the next file"), "{said}");
    let new = [places.new.node()];
    // Lost, with all that was written there since: nothing empty or old takes its place.
    sql(&new, "DROP DATABASE wallet_00").await;
    let said = places.go(|_, _| true).await.unwrap_err().to_string();
    assert!(said.contains(LEFT), "{said}");
    assert!(try_sql(&new, "SELECT 1 FROM wallet_00.meta").await.is_err(), "nothing was made");
}

async fn refused(from: &[DatabaseServer], to: &[DatabaseServer]) -> String {
    move_slots(from, to, DATABASES, &mut |_, _| true).await.unwrap_err().to_string()
}

/// The file in force on one host is that of before an earlier move; it pairs the new database with the first source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_file_of_another_source_is_refused_before_and_after_the_target_is_made_i6() {
    let places = Places::start();
    places.empty().await;
    let newest = Part::mariadb(&[]);
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    // The first source goes on further than the second one.
    let [_, staying] = users(1).map(|names| names[0].clone());
    old.transfer((0..50).map(|number| top_up(6_000 + number, &staying, 1)).collect()).await.unwrap();
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    let before = seen(&*places.wallet(places.after()).await).await;
    let next = vec![Places::server(&places.old, 0..MOVING), Places::server(&newest, MOVING..100)];
    let said = refused(&places.before(), &next).await;
    assert!(said.contains(LEFT), "{said}");
    assert!(try_sql(&[newest.node()], "SELECT 1 FROM wallet_00.meta").await.is_err(), "nothing was made");
    let copied = move_slots(&places.after(), &next, DATABASES, &mut |_, step| step != Step::Fence).await;
    assert_eq!(copied.unwrap(), Moved::Stopped);
    let said = refused(&places.before(), &next).await;
    assert!(said.contains("is not the source of the target that is there"), "{said}");
    assert_eq!(move_slots(&places.after(), &next, DATABASES, &mut |_, _| true).await.unwrap(), Moved::All);
    let wallet = places.wallet(next).await;
    assert_eq!(seen(&*wallet).await, before);
    audited(&*wallet).await;
}

/// The next file is edited between two runs, to fewer slots and to more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_on_with_the_slots_that_it_was_begun_with_alone_i1() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    let money = audited(&*old).await;
    assert_eq!(places.go(|_, step| step != Step::Fence).await.unwrap(), Moved::Stopped);
    for other in [60, 40] {
        let next = vec![Places::server(&places.old, 0..other), Places::server(&places.new, other..100)];
        let said = refused(&places.before(), &next).await;
        assert!(said.contains("was made for the slots") && said.contains("not those of the next file"), "{said}");
        // Nor to a further place.
        sql(&[places.new.node()], "DROP DATABASE wallet_00; DROP DATABASE wallet_01").await;
        let said = refused(&places.before(), &next).await;
        assert!(said.contains("has begun to move the slots"), "{said}");
        assert_eq!(places.go(|_, step| step != Step::Fence).await.unwrap(), Moved::Stopped);
    }
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    assert_eq!(audited(&*places.wallet(places.after()).await).await, money);
}

/// A copy of a part of the wallet, which was not made by a move, is no other part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_whole_part_serves_no_share_of_its_slots_i1() {
    let places = Places::start();
    places.empty().await;
    let copy = vec![Places::server(&places.new, 0..100)];
    migrate(&copy, DATABASES).await.unwrap();
    a_small_world(&*places.wallet(copy).await).await;
    for _ in 0..2 {
        let said = unavailable(MysqlWallet::open(places.after(), DATABASES).await);
        assert!(said.contains("was made as number"), "{said}");
        let said = places.go(|_, _| true).await.unwrap_err().to_string();
        assert!(said.contains("and not those of the next file"), "{said}");
    }
}

/// Both files are the next one, while its databases are filled and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_not_called_done_nor_dumped_while_a_database_is_filled_or_has_given_up_slots() {
    let places = Places::start();
    places.empty().await;
    a_small_world(&*places.wallet(places.before()).await).await;
    check_serves_all(&places.before(), DATABASES).await.unwrap();
    assert_eq!(places.go(|_, step| step != Step::Open).await.unwrap(), Moved::Stopped);
    let said = refused(&places.after(), &places.after()).await;
    assert!(said.contains(ARRIVING), "{said}");
    let said =
        [check_serves_all(&places.before(), DATABASES).await, check_serves_all(&places.after(), DATABASES).await];
    let said = said.map(unavailable);
    assert!(said[0].contains(LEFT) && said[1].contains(ARRIVING), "{said:?}");
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    check_serves_all(&places.after(), DATABASES).await.unwrap();
    let again = move_slots(&places.after(), &places.after(), DATABASES, &mut |_, _| true).await;
    assert_eq!(again.unwrap(), Moved::All);
    let said = refused(&places.before(), &places.before()).await;
    assert!(said.contains(LEFT), "{said}");
}

/// The source is put back as it was before the fence, when the target serves already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_restored_to_before_the_fence_refuses_again_after_the_next_run_i1() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    let restored = |db: &str| {
        format!(
            "UPDATE {db}.fence SET moved_slots = ''; \
             UPDATE {db}.slot_move SET clearing_fen = NULL, top_ups_fen = NULL, target_id = NULL"
        )
    };
    sql(&[places.old.node()], &restored("wallet_00")).await;
    let said = places.go(|_, _| true).await.unwrap_err().to_string();
    assert!(said.contains("was not settled with the target, which serves"), "{said}");
    let old = places.wallet(places.before()).await;
    for name in users(4)[0].clone() {
        refuses_user(&*old, &name, LEFT).await;
    }
}

/// The target is lost at any time before it has got anything, and made anew; another one gets nothing after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_lost_before_it_serves_is_made_anew_and_only_one_of_two_is_ever_opened_i1_i6() {
    let places = Places::start();
    places.empty().await;
    let old = places.wallet(places.before()).await;
    a_small_world(&*old).await;
    let (all, money) = (seen(&*old).await, audited(&*old).await);
    for killed_before in [Step::Copy, Step::CopyRest, Step::Settle] {
        assert_eq!(places.go(|_, step| step != killed_before).await.unwrap(), Moved::Stopped);
        sql(&[places.new.node()], "DROP DATABASE IF EXISTS wallet_00; DROP DATABASE IF EXISTS wallet_01").await;
    }
    let other = Part::mariadb(&[]);
    let next = vec![Places::server(&places.old, 0..MOVING), Places::server(&other, MOVING..100)];
    let until_settled = move_slots(&places.before(), &next, DATABASES, &mut |_, step| step != Step::Settle).await;
    assert_eq!(until_settled.unwrap(), Moved::Stopped);
    assert_eq!(places.go(|_, _| true).await.unwrap(), Moved::All);
    let said = refused(&places.before(), &next).await;
    assert!(said.contains("another one may have got it"), "{said}");
    let new = places.wallet(places.after()).await;
    assert_eq!(seen(&*new).await, all);
    assert_eq!(audited(&*new).await, money);
}
