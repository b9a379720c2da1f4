//! The audit on real files: silent when all is well, also in the middle of
//! things, and able to name each kind of damage.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::damage::{Files, damage_store, damage_wallet};
use common::{LIFETIME_MS, World, ZONE_S, before, columns, long, run_until_idle};
use hongbao_core::audit::Breach;
use hongbao_core::{EnvelopeId, Transfer, TransferOutcome};
use hongbao_workers::credit::Credit;
use hongbao_workers::refund::Refund;
use hongbao_workers::{Job as _, Ports, SetStore, audit};

/// A world with finished, refunded, running and cancelled envelopes, all credited.
async fn quiet_world() -> (World, EnvelopeId) {
    let world = World::new().await;
    let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
    world.finished_and_refunded().await;
    let (running, _) = world.running_and_cancelled().await;
    world.created_at(world.now(), 100, 10).await;
    run_until_idle(&mut credit, 100).await;
    (world, running)
}

async fn breaches(world: &World) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut tell = |breach: &Breach| found.push(breach.clone());
    let report = audit(&world.sets(), &*world.wallet, &mut tell).await.unwrap();
    assert_eq!(report.breaches, found.len() as u64);
    found
}

/// The damage is found under this name, with its envelope or user.
async fn assert_found(world: &World, invariant: &str, code: &str, id: Option<EnvelopeId>, user: Option<&str>) {
    let found = breaches(world).await;
    let named = found.iter().any(|breach| {
        breach.invariant == invariant
            && breach.code == code
            && (id.is_none() || breach.envelope_id == id)
            && (user.is_none() || breach.user_id.as_deref() == user)
    });
    assert!(named, "{invariant} {code} is not among {found:#?}");
}

#[tokio::test]
async fn a_sound_system_has_no_breach() {
    let (world, _) = quiet_world().await;
    let (codes, report) = world.audit().await;
    assert_eq!(codes, [""; 0]);
    assert_eq!((report.envelopes, report.entries), (5, 5 + 4 + 4));
    // A top-up, three payments, a cancel and the credits.
    assert_eq!(report.transfers, 1 + 3 + 1 + 13);
    assert_eq!(report.accounts, 4 + 1 + 5 + 3);
    assert_eq!(report.books.top_ups_fen, 100_000_000);
    assert!(report.books.outstanding_fen > 0);
    assert_eq!(report.books.check(), None);
}

#[tokio::test]
async fn an_empty_system_is_sound() {
    let (codes, report) = World::new().await.audit().await;
    assert_eq!(codes, [""; 0]);
    assert_eq!(report.envelopes, 0);
}

#[tokio::test]
async fn the_report_can_be_read_by_people_and_programs() {
    let (world, id) = quiet_world().await;
    let (_, report) = world.audit().await;
    let reason = report.to_string();
    assert!(reason.contains("5 envelopes, 13 entries, 18 transfers, 13 accounts in 1 SET\n"), "{reason}");
    assert!(reason.contains("= top-ups 1000000.00"), "{reason}");
    assert!(reason.ends_with("all invariants hold"), "{reason}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["entries"], 13);
    assert_eq!(json["books"]["top_ups_fen"], 100_000_000);

    damage_store(&world, id, "UPDATE {e} SET total_fen = total_fen + 1 WHERE id = {id}").await;
    let (_, report) = world.audit().await;
    assert!(report.to_string().contains("broken"), "{report}");
}

#[tokio::test]
async fn i7_a_changed_amount_is_named() {
    let (world, id) = quiet_world().await;
    let sql = "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2";
    damage_store(&world, id, sql).await;
    assert_found(&world, "I7", "amount_wrong", Some(id), Some("a-2")).await;
    assert_found(&world, "I6", "credit_wrong", Some(id), Some("a-2")).await;
}

#[tokio::test]
async fn i1_a_removed_entry_is_named() {
    let (world, id) = quiet_world().await;
    damage_store(&world, id, "DELETE FROM {j} WHERE envelope_id = {id} AND seq = 2").await;
    assert_found(&world, "I1", "entry_missing", Some(id), None).await;
}

#[tokio::test]
async fn i1_a_removed_last_entry_is_named() {
    let (world, id) = quiet_world().await;
    damage_store(&world, id, "DELETE FROM {j} WHERE envelope_id = {id} AND seq = 4").await;
    assert_found(&world, "I1", "entry_missing", Some(id), None).await;
}

#[tokio::test]
async fn i2_a_user_with_two_shares_is_named() {
    let (world, id) = quiet_world().await;
    let table = world.table(id);
    let index = format!("entry_{}_{}_user", table.table, table.span);
    damage_store(&world, id, &format!("DROP INDEX {index}")).await;
    damage_store(&world, id, "UPDATE {j} SET user_id = 'a-1' WHERE envelope_id = {id} AND seq = 3").await;
    assert_found(&world, "I2", "user_twice", Some(id), Some("a-1")).await;
}

#[tokio::test]
async fn i6_a_missing_credit_is_named() {
    let (world, id) = quiet_world().await;
    damage_wallet(&world, id, "DELETE FROM transfer WHERE id = {3}").await;
    assert_found(&world, "I6", "credit_missing", Some(id), Some("a-3")).await;
    // The other side has moved, so that does not add up either.
    assert_found(&world, "I1", "balance_off", None, Some("#clearing")).await;
}

#[tokio::test]
async fn i6_a_doubled_credit_is_named() {
    let (world, id) = quiet_world().await;
    let sql = "INSERT INTO transfer (id, user_id, kind, amount_fen, at_ms, balance_fen) \
               SELECT {8}, user_id, kind, amount_fen, at_ms, balance_fen + amount_fen \
               FROM transfer WHERE id = {3}; \
               UPDATE system_account SET balance_fen = balance_fen \
               - (SELECT amount_fen FROM transfer WHERE id = {3}) WHERE account = '#clearing'";
    damage_wallet(&world, id, sql).await;
    assert_found(&world, "I6", "credit_doubled", Some(id), Some("a-3")).await;
    assert_eq!(breaches(&world).await.len(), 1, "the books themselves add up");
}

#[tokio::test]
async fn i6_a_credit_to_somebody_else_is_named() {
    let (world, id) = quiet_world().await;
    damage_wallet(&world, id, "UPDATE transfer SET user_id = 'thief' WHERE id = {2}").await;
    assert_found(&world, "I6", "credit_wrong", Some(id), Some("thief")).await;
}

#[tokio::test]
async fn i1_a_balance_that_is_off_is_named() {
    let (world, id) = quiet_world().await;
    damage_wallet(&world, id, "UPDATE transfer SET balance_fen = balance_fen + 7 WHERE id = {1}").await;
    assert_found(&world, "I1", "balance_off", None, Some("a-1")).await;
    assert_found(&world, "I1", "books_off", None, None).await;
}

#[tokio::test]
async fn i1_a_system_account_that_is_off_is_named() {
    for account in ["#clearing", "#top_ups"] {
        let (world, id) = quiet_world().await;
        let sql = format!("UPDATE system_account SET balance_fen = balance_fen + 1 WHERE account = '{account}'");
        damage_wallet(&world, id, &sql).await;
        assert_found(&world, "I1", "balance_off", None, Some(account)).await;
        assert_found(&world, "I1", "books_off", None, None).await;
    }
}

#[tokio::test]
async fn a_settlement_that_is_too_far_is_named() {
    let (world, id) = quiet_world().await;
    damage_store(&world, id, "UPDATE {e} SET settled_seq = 5 WHERE id = {id}").await;
    assert_found(&world, "I1", "entry_missing", Some(id), None).await;

    let (world, id) = quiet_world().await;
    world.open(id, "uncredited").await;
    damage_store(&world, id, "UPDATE {e} SET settled_seq = 5 WHERE id = {id}").await;
    assert_found(&world, "I6", "credit_missing", Some(id), Some("uncredited")).await;
}

#[tokio::test]
async fn i1_a_missing_payment_is_named() {
    let (world, id) = quiet_world().await;
    damage_wallet(&world, id, "DELETE FROM transfer WHERE id = {0}").await;
    assert_found(&world, "I1", "payment_missing", Some(id), Some("sender")).await;
}

#[tokio::test]
async fn i1_a_payment_of_a_cancelled_envelope_is_named() {
    let (world, id) = quiet_world().await;
    let sql = "UPDATE {e} SET stage = 2, expires_at_ms = NULL WHERE id = {id}";
    damage_store(&world, id, sql).await;
    assert_found(&world, "I1", "payment_lost", Some(id), Some("sender")).await;
}

#[tokio::test]
async fn i6_transfers_of_an_envelope_that_is_gone_are_named() {
    let (world, id) = quiet_world().await;
    damage_store(&world, id, "DELETE FROM {e} WHERE id = {id}").await;
    assert_found(&world, "I6", "envelope_missing", Some(id), Some("sender")).await;
    assert_found(&world, "I6", "envelope_missing", Some(id), Some("a-4")).await;
    let named = breaches(&world).await.iter().filter(|breach| breach.code == "envelope_missing").count();
    assert_eq!(named, 5, "the payment and four credits");
}

#[tokio::test]
async fn each_of_many_pages_is_checked() {
    let world = World::new().await;
    let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
    let mut ids = Vec::new();
    for _ in 0..200 {
        let id = world.active(100, 10).await;
        world.open_many(id, "a", 3).await;
        ids.push(id);
    }
    run_until_idle(&mut credit, 1_000).await;
    let (codes, report) = world.audit().await;
    assert_eq!((codes.len(), report.envelopes, report.entries, report.transfers), (0, 200, 600, 801));
    ids.sort();
    for place in [0, 63, 64, 127, 128, 199] {
        let sql = "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 1";
        damage_store(&world, ids[place], sql).await;
    }
    let wrong = breaches(&world).await.iter().filter(|breach| breach.code == "amount_wrong").count();
    assert_eq!(wrong, 6);
}

/// An opening that is credited and settled at once, by others than who reads through the faults.
fn opening(world: &Arc<World>, id: EnvelopeId, name: &'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let world = world.clone();
    Box::pin(async move {
        world.open(id, name).await;
        let (store, wallet, clock) = (world.store.clone(), world.wallet.clone(), world.clock.clone());
        run_until_idle(&mut Credit::new(Ports { store, wallet, clock }, ZONE_S, &world.limits()), 100).await;
    })
}

#[tokio::test]
async fn no_false_alarm_whatever_happens_between_two_reads() {
    let world = Arc::new(World::new().await);
    let id = world.active(1_000, 10).await;
    world.open(id, "a").await;
    let ports = world.ports();
    // A page, its journal, its transfers; of the suspect the transfers, the row, the journal, the transfers.
    let names = ["b", "c", "d", "e", "f", "g", "h"];
    world.faults.meanwhile.lock().unwrap().extend(names.map(|name| opening(&world, id, name)));
    let mut found = Vec::new();
    let mut tell = |breach: &Breach| found.push(breach.to_string());
    let report = audit(&[SetStore::whole(ports.store)], &*ports.wallet, &mut tell).await.unwrap();
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!((report.entries, world.journal(id).await.len()), (1, 8), "all of it happened meanwhile");
    world.assert_sound().await;
}

/// Everything happens at once, all the time, while the audit looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_false_alarm_while_the_service_runs() {
    let world = Arc::new(World::with_databases(2).await);
    let stop = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicU32::new(0));

    let mut tasks = Vec::new();
    for name in ["x", "y"] {
        let (world, stop, opened) = (world.clone(), stop.clone(), opened.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let envelope = world.created_at(world.now(), 1_000, 10).await;
                if envelope.id.as_bytes()[15].is_multiple_of(4) {
                    world.transfer(Transfer::cancel(&envelope, world.now()), TransferOutcome::Done).await;
                    world.store.cancel(envelope.id).await.unwrap();
                    continue;
                }
                let paid_at = world.now();
                world.transfer(Transfer::send(&envelope, paid_at), TransferOutcome::Done).await;
                let expires_at = paid_at.plus_millis(LIFETIME_MS);
                world.store.activate(envelope.id, expires_at).await.unwrap();
                for number in 0..8 {
                    let name = format!("{name}-{number}");
                    // The refund may be faster.
                    let Some(entry) = world.next_entry(envelope.id, &name, world.now()).await else { break };
                    world.store.append(&[entry]).await.unwrap();
                    opened.fetch_add(1, Ordering::SeqCst);
                    if number == 4 {
                        world.clock.advance_millis(LIFETIME_MS / 7);
                    }
                }
            }
        }));
    }
    let (worker_world, worker_stop) = (world.clone(), stop.clone());
    tasks.push(tokio::spawn(async move {
        let mut credit = Credit::new(worker_world.ports(), ZONE_S, &worker_world.limits());
        let mut refund = Refund::new(worker_world.ports(), ZONE_S, &worker_world.limits());
        while !worker_stop.load(Ordering::SeqCst) {
            assert_eq!(credit.run_once(50).await.unwrap().failures, 0);
            assert_eq!(refund.run_once(50).await.unwrap().failures, 0);
        }
    }));

    let began = std::time::Instant::now();
    let mut audits = 0;
    while audits < 20 || (opened.load(Ordering::SeqCst) < 500 && began.elapsed().as_secs() < 20) {
        world.assert_sound().await;
        audits += 1;
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(opened.load(Ordering::SeqCst) > 100);
    world.assert_sound().await;
}

#[tokio::test]
async fn damage_on_the_third_page_of_a_journal_is_named() {
    let world = World::new().await;
    let damage = async |id, sql: &str| damage_store(&world, id, sql).await;
    long::damage_on_the_third_page_is_named(&world, damage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_false_alarm_while_a_long_journal_grows() {
    long::no_false_alarm_while_it_grows(Arc::new(World::new().await)).await;
}

#[tokio::test]
async fn rows_before_the_first_entry_are_named() {
    let world = World::new().await;
    let damage = async |id, sql: &str| {
        damage_store(&world, id, &format!("PRAGMA ignore_check_constraints = ON; {sql}")).await;
    };
    before::rows_before_the_first_entry_are_named(&world, damage).await;
}

#[tokio::test]
async fn each_damaged_column_is_named_or_the_reason_why_not_is_stated() {
    let world = World::new().await;
    columns::each_damaged_column_is_named_or_the_reason_why_not_is_stated(&world, &Files(&world)).await;
}
