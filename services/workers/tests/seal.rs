//! The seal job on real files, and the audit of what it has sealed.

mod common;

use common::columns::{Database as _, Side};
use common::damage::{Files, damage_store};
use common::faults::{DEATHS, Death, Verb, run_and_die};
use common::sealed::{
    NO_ROWS, audited, credit, days_later, each_damage_of_sealed_tables_is_named, many_sealed_rows_are_not_read, rotate,
    seal, seal_with, two_old_tables, unsealed,
};
use common::{DAY_MS, World, ZONE_S, open_store, run_until_idle};
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Chain;
use hongbao_core::{EnvelopeId, Transfer, TransferOutcome};
use hongbao_workers::purge::Purge;
use hongbao_workers::seal::Seal;
use hongbao_workers::{Job as _, Ports, SealedRows};

async fn numbers_of_the_chain(world: &World) -> Vec<u64> {
    let mut chain = Chain::default();
    let manifests = world.store.manifests(0, 0, 1_000).await.unwrap();
    for row in &manifests {
        let stored = row.manifest.as_ref().unwrap();
        assert_eq!(chain.take(&stored.manifest, stored.hash), []);
    }
    manifests.iter().map(|row| row.number).collect()
}

#[tokio::test]
async fn what_is_settled_and_old_is_sealed_and_the_audit_takes_it_by_its_manifest() {
    let world = World::new().await;
    let ids = two_old_tables(&world).await;
    let running = world.active(1_000, 10).await;
    world.open_many(running, "c", 3).await;
    credit(&world).await;
    let before = audited(&world, SealedRows::All).await.1;
    run_until_idle(&mut seal(&world), 100).await;
    assert_eq!(unsealed(&world), []);
    assert_eq!(numbers_of_the_chain(&world).await, [1, 2]);

    let (codes, report) = audited(&world, NO_ROWS).await;
    assert_eq!(codes, [""; 0]);
    assert_eq!((report.envelopes, report.entries), (1, 3), "no row of a sealed table is read");
    let sealed = report.sealed;
    assert_eq!((sealed.tables, sealed.tables_read, sealed.envelopes, sealed.entries), (2, 0, 4, 2 * (5 + 4)));
    assert_eq!(sealed.paid_fen, 4_000);
    assert_eq!(sealed.opened_fen + sealed.refunded_fen, sealed.paid_fen);
    assert!(report.to_string().contains("sealed    2 tables with 4 envelopes, 18 entries: paid 40.00"), "{report}");
    let (codes, report) = audited(&world, SealedRows::All).await;
    assert_eq!(codes, [""; 0]);
    assert_eq!((report.envelopes, report.entries, report.sealed.tables_read), (before.envelopes, before.entries, 2));
    assert_eq!(report.books, before.books);
    let sample = SealedRows::Sample { tables: 1, turn: 5 };
    assert_eq!(audited(&world, sample).await.1.sealed.tables_read, 1);
    for id in ids {
        assert_eq!(world.journal(id).await.len(), 5, "it is read as ever");
    }
}

#[tokio::test]
async fn each_damage_is_named() {
    let world = World::new().await;
    let open = async || open_store(world.dir.path(), 1).await;
    each_damage_of_sealed_tables_is_named(&world, &Files(&world), open).await;
}

#[tokio::test]
async fn i6_a_transfer_of_a_sealed_date_that_names_no_envelope_is_named() {
    let world = World::new().await;
    let [first, _] = two_old_tables(&world).await;
    let missing = world.created_at(first.minted_at(), 1_000, 10).await;
    world.store.cancel(missing.id).await.unwrap();
    assert_eq!(world.store.purge(world.table(first), &[missing.id]).await.unwrap(), 1);
    run_until_idle(&mut seal(&world), 100).await;
    world.transfer(Transfer::send(&missing, world.now()), TransferOutcome::Done).await;
    for rows in [NO_ROWS, SealedRows::All] {
        assert_eq!(audited(&world, rows).await.0, ["sealed_transfers_wrong", "envelope_missing"], "{rows:?}");
    }
}

#[tokio::test]
async fn a_table_is_not_sealed_before_its_time_nor_with_anything_left_to_be_done() {
    let world = World::new().await;
    rotate(&world).await;
    let (settled, _) = world.finished_and_refunded().await;
    credit(&world).await;
    days_later(&world, 44).await;
    run_until_idle(&mut seal(&world), 100).await;
    assert_eq!(unsealed(&world), [world.table(settled)], "one day too young");

    // Those of the next two days keep their tables open: one is not credited, one was never paid.
    let at = world.now().plus_millis(-43 * DAY_MS);
    let (stuck, unpaid) =
        (world.active_at(at, 1_000, 10).await, world.created_at(at.plus_millis(DAY_MS), 1_000, 10).await);
    world.open_at(stuck, "a", at).await;
    world.clock.advance_millis(4 * DAY_MS);
    let mut job = seal(&world);
    run_until_idle(&mut job, 100).await;
    let mut open = unsealed(&world);
    open.sort();
    assert_eq!(open, [world.table(stuck), world.table(unpaid.id)]);

    world.transfer(Transfer::cancel(&unpaid, world.now()), TransferOutcome::Done).await;
    world.store.cancel(unpaid.id).await.unwrap();
    run_until_idle(&mut job, 100).await;
    assert_eq!(unsealed(&world).len(), 2, "it waits for its removal");
    world.clock.advance_millis(2 * DAY_MS);
    run_until_idle(&mut Purge::new(world.ports(), ZONE_S, &world.limits(), 1), 100).await;
    run_until_idle(&mut job, 100).await;
    assert_eq!(unsealed(&world), [world.table(stuck)]);
    world.assert_sound().await;
}

/// Damage is not sealed in: the audit goes on naming the envelope, and the table takes what it is still due.
#[tokio::test]
async fn a_table_with_a_breach_is_left_open_and_holds_up_no_other() {
    for damage in [
        "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2",
        "UPDATE {e} SET sender = 'no such name!' WHERE id = {id}",
        "DELETE FROM {e} WHERE id = {id}",
        "UPDATE {e} SET settled_seq = settled_seq - 1 WHERE id = {id}",
    ] {
        let world = World::new().await;
        let [first, _] = two_old_tables(&world).await;
        let table = world.table(first);
        damage_store(&world, first, damage).await;
        let mut job = seal(&world);
        let mut failures = 0;
        for _ in 0..20 {
            failures += job.run_once(100).await.unwrap().failures;
        }
        assert!((1..=5).contains(&failures), "{failures}");
        assert_eq!(unsealed(&world), [table], "{damage}");
        let late = world.created_at(first.minted_at(), 1_000, 10).await;
        assert_eq!(world.table(late.id), table, "it is open");
    }
}

/// A worker has closed a table in the moment in which a row came in, and has died.
#[tokio::test]
async fn a_closed_table_in_which_something_is_left_to_be_done_is_opened_again() {
    let world = World::new().await;
    let [first, _] = two_old_tables(&world).await;
    let table = world.table(first);
    let late = world.created_at(first.minted_at(), 1_000, 10).await;
    world.store.close(table).await.unwrap();
    run_until_idle(&mut seal(&world), 100).await;
    assert_eq!((world.store.closing(table).await.unwrap(), unsealed(&world)), (None, vec![table]));
    world.transfer(Transfer::cancel(&late, world.now()), TransferOutcome::Done).await;
    world.store.cancel(late.id).await.unwrap();
    assert_eq!(world.store.purge(table, &[late.id]).await.unwrap(), 1);
    run_until_idle(&mut seal(&world), 100).await;
    assert_eq!(unsealed(&world), []);
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

#[tokio::test]
async fn nothing_is_sealed_after_a_manifest_that_was_changed() {
    let world = World::new().await;
    two_old_tables(&world).await;
    let mut job = seal(&world);
    while numbers_of_the_chain(&world).await.is_empty() {
        job.run_once(1).await.unwrap();
    }
    let files = Files(&world);
    files.execute(Side::Store, "UPDATE manifest SET paid_fen = paid_fen + 1 WHERE number = 1").await;
    let (mut failures, mut rows) = (0, 0);
    for _ in 0..20 {
        let report = job.run_once(100).await.unwrap();
        (failures, rows) = (failures + report.failures, rows + report.rows);
    }
    assert_eq!((failures, rows), (1, 0), "what cannot be sealed is not read");
    assert_eq!(world.store.manifests(0, 0, 10).await.unwrap().len(), 1);
    files.execute(Side::Store, "UPDATE manifest SET paid_fen = paid_fen - 1 WHERE number = 1").await;
    run_until_idle(&mut seal(&world), 100).await;
    assert_eq!(numbers_of_the_chain(&world).await, [1, 2]);
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_run_goes_on() {
    for verb in [Verb::Close, Verb::Seal] {
        for death in DEATHS {
            let world = World::new().await;
            two_old_tables(&world).await;
            world.faults.arm(verb, death);
            run_and_die(&mut seal(&world), 100).await;
            assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
            assert_eq!(audited(&world, NO_ROWS).await.0, [""; 0], "{verb:?} {death:?}");
            run_until_idle(&mut seal(&world), 100).await;
            assert_eq!(numbers_of_the_chain(&world).await, [1, 2], "{verb:?} {death:?}");
            assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0], "{verb:?} {death:?}");
        }
    }
}

/// So many finished envelopes of today, each of three rows.
async fn fill(world: &World, envelopes: u32) -> EnvelopeId {
    let mut last = None;
    for _ in 0..envelopes {
        let id = world.active(20, 2).await;
        world.open_many(id, "a", 2).await;
        last = Some(id);
    }
    last.expect("at least one")
}

/// Large tables of three days, dated and old enough; an envelope of each.
async fn three_large_tables(world: &World) -> Vec<EnvelopeId> {
    rotate(world).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(fill(world, 150).await);
        world.clock.advance_millis(DAY_MS);
    }
    credit(world).await;
    days_later(world, 70).await;
    ids
}

/// So a worker that is stopped again and again comes forward all the same.
#[tokio::test]
async fn large_tables_are_sealed_one_after_the_other_the_oldest_first() {
    let world = World::new().await;
    let ids = three_large_tables(&world).await;
    let tables: Vec<TableRef> = ids.iter().map(|id| world.table(*id)).collect();
    let mut job = seal(&world);
    for sealed in 1..=3 {
        while numbers_of_the_chain(&world).await.len() < sealed {
            job.run_once(100).await.unwrap();
            let mut closed = 0;
            for table in &tables {
                closed += u32::from(world.store.closing(*table).await.unwrap().is_some());
            }
            assert!(closed <= 1, "{closed} tables are under way");
        }
        assert_eq!(unsealed(&world), tables[sealed..].to_vec(), "the oldest ones are sealed");
        // As after a change of the lease.
        job.start_over();
    }
}

#[tokio::test]
async fn what_was_read_is_not_read_again_after_an_error_that_passes() {
    let world = World::new().await;
    rotate(&world).await;
    fill(&world, 150).await;
    credit(&world).await;
    days_later(&world, 70).await;
    let mut job = seal(&world);
    world.faults.arm(Verb::Seal, Death::Before);
    let (mut failures, mut rows) = (0, 0);
    for _ in 0..10 {
        let report = job.run_once(100).await.unwrap();
        (failures, rows) = (failures + report.failures, rows + report.rows);
    }
    assert!(!world.faults.is_armed() && failures == 1 && unsealed(&world).len() == 1);
    job.forget_failures();
    let again = job.run_once(100).await.unwrap();
    assert_eq!((again.failures, again.rows, unsealed(&world).len()), (0, 0, 0));
    assert!(rows < 450, "the rows of the run that failed are not counted");
}

/// Its reading succeeds again and again before it comes to the breach.
#[tokio::test]
async fn a_table_with_a_breach_far_behind_is_not_read_again_and_again() {
    let world = World::new().await;
    rotate(&world).await;
    let last = fill(&world, 150).await;
    credit(&world).await;
    days_later(&world, 70).await;
    damage_store(&world, last, "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2").await;
    let mut job = seal(&world);
    let (mut failures, mut rows) = (0, 0);
    for _ in 0..50 {
        let report = job.run_once(100).await.unwrap();
        (failures, rows) = (failures + report.failures, rows + report.rows);
        job.forget_failures();
    }
    assert_eq!(failures, 1);
    assert!(rows < 450, "{rows}");
    damage_store(&world, last, "UPDATE {j} SET amount_fen = amount_fen - 1 WHERE envelope_id = {id} AND seq = 2").await;
    world.clock.advance_millis(DAY_MS / 4);
    run_until_idle(&mut job, 100).await;
    assert_eq!(unsealed(&world), []);
}

/// Tables that are younger than what is sealed now, one of which was closed when fewer days were configured.
#[tokio::test]
async fn a_closed_table_is_sealed_also_where_more_days_are_configured_since() {
    let world = World::new().await;
    let [first, second] = two_old_tables(&world).await;
    let tables = [first, second].map(|id| world.table(id));
    world.store.close(tables[0]).await.unwrap();
    run_until_idle(&mut Seal::new(world.ports(), ZONE_S, 1_000), 100).await;
    assert_eq!(unsealed(&world), [tables[1]]);
}

/// What the handbook says of a part that was restored from before the seals.
#[tokio::test]
async fn tables_whose_seals_are_taken_back_are_as_any_others_and_are_sealed_again() {
    let world = World::new().await;
    let [_, second] = two_old_tables(&world).await;
    let table = world.table(second);
    run_until_idle(&mut seal(&world), 100).await;
    let taken_back = Files(&world).execute(Side::Store, "DELETE FROM manifest WHERE number >= 2").await;
    assert_eq!(taken_back, 1);
    let (codes, report) = audited(&world, NO_ROWS).await;
    assert_eq!((codes.len(), report.sealed.tables, report.envelopes), (0, 1, 2), "its rows are read");

    let late = world.created_at(second.minted_at(), 1_000, 10).await;
    world.transfer(Transfer::cancel(&late, world.now()), TransferOutcome::Done).await;
    world.store.cancel(late.id).await.unwrap();
    world.clock.advance_millis(2 * DAY_MS);
    let anew = Ports { store: open_store(world.dir.path(), 1).await, ..world.ports() };
    assert!(anew.store.unsealed_tables().contains(&table));
    let mut purge = Purge::new(anew.clone(), ZONE_S, &world.limits(), 1);
    assert_eq!(run_until_idle(&mut purge, 100).await, 1, "jobs visit it");
    run_until_idle(&mut seal_with(anew), 100).await;
    assert_eq!(numbers_of_the_chain(&world).await, [1, 2]);
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

/// A table takes several visits, and a worker may stop after any of them.
#[tokio::test]
async fn a_large_table_is_sealed_in_bounded_runs_by_one_worker_or_the_next() {
    let world = World::new().await;
    rotate(&world).await;
    fill(&world, 300).await;
    credit(&world).await;
    days_later(&world, 70).await;
    let mut job = seal(&world);
    for _ in 0..3 {
        let report = job.run_once(100).await.unwrap();
        assert!(report.more && (100..=300).contains(&report.rows), "{report:?}");
    }
    // The other one begins again.
    let rows = run_until_idle(&mut seal(&world), 100).await;
    assert_eq!(rows, 900);
    assert_eq!((run_until_idle(&mut job, 100).await, unsealed(&world).len()), (0, 0));
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_without_a_lease_seal_each_table_once() {
    let world = World::new().await;
    rotate(&world).await;
    for _ in 0..12 {
        world.finished_and_refunded().await;
        days_later(&world, 1).await;
    }
    credit(&world).await;
    days_later(&world, 70).await;
    let other = Ports { store: open_store(world.dir.path(), 1).await, ..world.ports() };
    let (mut one, mut two) = (seal(&world), seal_with(other));
    for _ in 0..100 {
        let (one, two) = tokio::join!(one.run_once(20), two.run_once(20));
        assert_eq!((one.unwrap().failures, two.unwrap().failures), (0, 0));
    }
    world.store.look().await.unwrap();
    assert_eq!(unsealed(&world), []);
    assert_eq!(numbers_of_the_chain(&world).await, (1..=12).collect::<Vec<_>>());
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

#[tokio::test]
async fn an_audit_reads_none_of_many_sealed_rows() {
    many_sealed_rows_are_not_read(&World::new().await).await;
}
