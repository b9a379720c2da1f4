//! The credit job on real files.

mod common;

use common::faults::{DEATHS, Verb, run_and_die};
use common::{DAY_MS, World, ZONE_S, fen, run_until_idle, user};
use hongbao_core::id::Span;
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::{Date, EnvelopeId, Stage, Transfer, TransferId, TransferKind, TransferOutcome};
use hongbao_workers::Job as _;
use hongbao_workers::credit::Credit;

fn worker(world: &World) -> Credit {
    Credit::new(world.ports(), ZONE_S, &world.limits())
}

#[tokio::test]
async fn i6_each_opening_is_credited_exactly_once() {
    let world = World::new().await;
    let mut credit = worker(&world);
    let (one, two) = (world.active(1_000, 10).await, world.active(50, 5).await);
    run_until_idle(&mut credit, 100).await;

    let opened = world.open_many(one, "a", 10).await + world.open_many(two, "a", 3).await;
    assert_eq!(run_until_idle(&mut credit, 100).await, 13);
    assert_eq!(world.balances("a", 10).await, opened);
    assert_eq!(run_until_idle(&mut credit, 100).await, 0, "there is nothing left to credit");
    assert_eq!(run_until_idle(&mut worker(&world), 100).await, 0, "a fresh worker sees that, too");

    assert_eq!(world.envelope(one).await.stage, Stage::Settled, "its journal has ended and is credited");
    let two = world.envelope(two).await;
    assert_eq!((two.stage, two.settled_seq), (Stage::Active, 3));
    world.assert_sound().await;
}

/// A table that is renamed while its tail is followed would delay credits until the sweep comes round.
#[tokio::test]
async fn credits_are_never_late_while_day_tables_are_rotated() {
    let world = World::new().await;
    let mut credit = worker(&world);
    for day in 0..40 {
        let through = Date::of(world.now(), ZONE_S).plus_days(ROTATION_AHEAD_DAYS);
        world.store.rotate(through).await.unwrap();
        run_until_idle(&mut credit, 100).await;
        // One of yesterday's last minute, as late as it can be, and one of today.
        let ids = [world.active_at(world.now().plus_millis(-DAY_MS), 100, 5).await, world.active(100, 5).await];
        for (number, id) in ids.into_iter().enumerate() {
            let name = format!("u-{day}-{number}");
            let opened = world.open_at(id, &name, world.now().plus_millis(-DAY_MS)).await;
            credit.run_once(100).await.unwrap();
            assert_eq!(world.balance(&name).await, opened, "day {day}: the next run has credited it");
        }
        world.clock.advance_millis(DAY_MS);
    }
    let renamed = world.store.tables().into_iter().filter(|table| matches!(table.span, Span::Date(_)));
    assert!(renamed.count() > 5, "tables were renamed meanwhile");
}

#[tokio::test]
async fn i6_a_death_at_any_step_neither_loses_nor_doubles_a_credit() {
    for verb in [Verb::Transfer, Verb::Settle] {
        for death in DEATHS {
            for restarts in [true, false] {
                let world = World::new().await;
                let mut credit = worker(&world);
                run_until_idle(&mut credit, 100).await;
                let id = world.active(1_000, 10).await;
                let opened = world.open_many(id, "a", 5).await;

                world.faults.arm(verb, death);
                run_and_die(&mut credit, 100).await;
                assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
                world.assert_sound().await;

                if restarts {
                    credit = worker(&world);
                }
                for _ in 0..5 {
                    credit.run_once(100).await.unwrap();
                }
                assert_eq!(world.balances("a", 5).await, opened, "{verb:?} {death:?} restarts: {restarts}");
                assert_eq!(world.transfers(id, TransferKind::Open).await, 5);
                assert_eq!(world.envelope(id).await.settled_seq, 5);
                world.assert_sound().await;
            }
        }
    }
}

#[tokio::test]
async fn i6_two_workers_at_once_credit_each_opening_once() {
    let world = World::new().await;
    let (mut one, mut two) = (worker(&world), worker(&world));
    let mut opened = 0;
    for round in 0..20 {
        let id = world.active(1_000, 10).await;
        opened += world.open_many(id, "a", 10).await;
        let (one, two) = tokio::join!(one.run_once(7 + round), two.run_once(20));
        one.unwrap();
        two.unwrap();
    }
    run_until_idle(&mut one, 100).await;
    assert_eq!(world.balances("a", 10).await, opened);
    world.assert_sound().await;
}

#[tokio::test]
async fn a_fresh_worker_finds_what_an_earlier_one_left_also_on_old_days() {
    let world = World::with_databases(2).await;
    let mut opened = 0;
    for days_ago in [0, 1, 2, 3, 5, 9, 20] {
        let at = world.now().plus_millis(-days_ago * DAY_MS);
        let id = world.active_at(at, 1_000, 10).await;
        for number in 1..=4 {
            opened += world.open_at(id, &format!("a-{number}"), at).await;
        }
    }
    assert_eq!(run_until_idle(&mut worker(&world), 3).await, 28);
    assert_eq!(world.balances("a", 4).await, opened);
    world.assert_sound().await;
}

#[tokio::test]
async fn an_old_day_comes_round_while_the_worker_runs() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;

    let at = world.now().plus_millis(-10 * DAY_MS);
    let id = world.active_at(at, 1_000, 10).await;
    let opened = world.open_at(id, "a-1", at).await;
    for _ in 0..100 {
        world.clock.advance_millis(500);
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.balance("a-1").await, opened);
}

#[tokio::test]
async fn rows_that_the_tail_has_missed_are_found_by_the_sweep() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let (id, other) = (world.active(1_000, 10).await, world.active(1_000, 10).await);
    let missed = world.open(id, "a-1").await;
    let seen = world.open(other, "a-2").await;
    world.faults.hidden.lock().unwrap().insert((id, 1));
    run_until_idle(&mut credit, 100).await;
    assert_eq!((world.balance("a-1").await, world.balance("a-2").await), (0, seen));

    for _ in 0..100 {
        world.clock.advance_millis(500);
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.balance("a-1").await, missed);
}

#[tokio::test]
async fn a_row_behind_a_missed_one_brings_it_along() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let id = world.active(1_000, 10).await;
    let opened = world.open_many(id, "a", 3).await;
    world.faults.hidden.lock().unwrap().extend([(id, 1), (id, 2)]);
    credit.run_once(100).await.unwrap();
    assert_eq!(world.balances("a", 3).await, opened);
    assert_eq!(world.envelope(id).await.settled_seq, 3);
}

#[tokio::test]
async fn a_gap_that_is_longer_than_a_run_is_closed_at_once() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let id = world.active(1_000, 20).await;
    let opened = world.open_many(id, "a", 11).await;
    world.faults.hidden.lock().unwrap().extend((1..=10).map(|seq| (id, seq)));
    assert_eq!(run_until_idle(&mut credit, 4).await, 11);
    assert_eq!(world.balances("a", 11).await, opened);
}

#[tokio::test]
async fn a_worker_that_slept_for_days_goes_on_with_today() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    world.clock.advance_millis(10 * DAY_MS);
    let id = world.active(1_000, 10).await;
    let opened = world.open_many(id, "a", 5).await;
    credit.run_once(100).await.unwrap();
    assert_eq!(world.balances("a", 5).await, opened);
}

#[tokio::test]
async fn a_long_journal_and_its_newest_opening_are_credited_over_many_runs() {
    let world = World::new().await;
    let id = world.active(1_000, 60).await;
    let opened = world.open_many(id, "a", 50).await;
    let mut credit = worker(&world);
    for _ in 0..3 {
        let report = credit.run_once(4).await.unwrap();
        assert!(report.more && report.rows <= 4, "{report:?}");
    }
    // It is opened on while the backlog is worked off.
    let newest = world.open_many(id, "b", 5).await;
    run_until_idle(&mut credit, 4).await;
    assert_eq!(world.balances("a", 50).await + world.balances("b", 5).await, opened + newest);
    assert_eq!(world.envelope(id).await.settled_seq, 55);
    world.assert_sound().await;
}

/// Takes the id of a credit for something else.
async fn poison(world: &World, id: EnvelopeId, seq: u32) {
    let transfer = Transfer {
        id: TransferId::Envelope(id, seq),
        kind: TransferKind::Open,
        user: user("thief"),
        amount: fen(1),
        at: world.now(),
    };
    world.transfer(transfer, TransferOutcome::Done).await;
}

#[tokio::test]
async fn a_refused_credit_stops_its_envelope_and_nobody_else() {
    for (limit, fresh) in [(100, false), (100, true), (2, false), (2, true)] {
        let world = World::new().await;
        let mut credit = worker(&world);
        run_until_idle(&mut credit, 100).await;
        let (bad, good) = (world.active(1_000, 10).await, world.active(1_000, 10).await);
        poison(&world, bad, 2).await;
        let before = world.open(bad, "a-1").await;
        world.open(bad, "unlucky").await;
        if fresh {
            credit = worker(&world);
        }
        for _ in 0..20 {
            credit.run_once(limit).await.unwrap();
        }
        // Openings that come after it, of this envelope and of others.
        let after = world.open_many(bad, "b", 5).await;
        let others = world.open_many(good, "c", 10).await;
        for _ in 0..40 {
            world.clock.advance_millis(500);
            credit.run_once(limit).await.unwrap();
        }
        assert_eq!(world.envelope(bad).await.settled_seq, 1, "limit {limit}: settled up to the refused one only");
        assert_eq!(world.balance("a-1").await, before);
        assert_eq!(world.balance("unlucky").await, 0);
        assert_eq!(world.balances("b", 5).await, after, "limit {limit}: those behind it get their money all the same");
        assert_eq!(world.balances("c", 10).await, others);
        assert_eq!(world.envelope(good).await.stage, Stage::Settled);
        assert_eq!(world.audit().await.0, ["credit_wrong"], "and the audit names it");
    }
}

#[tokio::test]
async fn no_settlement_passes_an_entry_that_is_lost() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let id = world.active(1_000, 10).await;
    world.open_many(id, "a", 5).await;
    world.faults.lost.lock().unwrap().insert((id, 3));
    for _ in 0..50 {
        world.clock.advance_millis(1_000);
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.envelope(id).await.settled_seq, 2);
    assert!(world.balance("a-5").await > 0, "the others have their money");

    world.faults.lost.lock().unwrap().clear();
    run_until_idle(&mut worker(&world), 100).await;
    assert_eq!(world.envelope(id).await.settled_seq, 5);
    world.assert_sound().await;
}

#[tokio::test]
async fn a_busy_table_does_not_starve_another() {
    let world = World::with_databases(2).await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let mut busy = world.active(2_000, 200).await;
    let mut quiet = world.active(100, 10).await;
    while world.table(quiet) == world.table(busy) {
        quiet = world.active(100, 10).await;
    }
    if world.table(quiet) < world.table(busy) {
        (busy, quiet) = (world.active(2_000, 200).await, busy);
        while world.table(quiet) <= world.table(busy) {
            busy = world.active(2_000, 200).await;
        }
    }
    world.open_many(busy, "a", 100).await;
    let amount = world.open(quiet, "b").await;
    let mut runs = 0;
    while world.balance("b").await == 0 {
        credit.run_once(2).await.unwrap();
        runs += 1;
    }
    assert_eq!(world.balance("b").await, amount);
    assert!(runs <= 4, "{runs} runs");
}

#[tokio::test]
async fn a_tail_without_end_does_not_starve_the_old_days() {
    let world = World::new().await;
    let at = world.now().plus_millis(-10 * DAY_MS);
    let old = world.active_at(at, 1_000, 10).await;
    let opened = world.open_at(old, "old", at).await;
    let mut credit = worker(&world);
    let busy = world.active(20_000, 2_000).await;
    let mut runs = 0;
    while world.balance("old").await == 0 {
        world.open_many(busy, &format!("run-{runs}"), 3).await;
        credit.run_once(2).await.unwrap();
        runs += 1;
        assert!(runs < 200, "the old day is never reached");
    }
    assert_eq!(world.balance("old").await, opened);
}

#[tokio::test]
async fn a_database_that_cannot_be_settled_does_not_hold_up_another() {
    let world = World::with_databases(2).await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    *world.faults.broken_database.lock().unwrap() = Some(0);
    let mut ids = [None, None];
    while ids.contains(&None) {
        let id = world.active(1_000, 10).await;
        ids[usize::from(world.table(id).database)] = Some(id);
    }
    let [broken, sound] = ids.map(Option::unwrap);
    let opened = world.open_many(broken, "a", 5).await + world.open_many(sound, "b", 5).await;
    let report = credit.run_once(100).await.unwrap();
    assert_eq!(report.failures, 1);
    assert_eq!((world.envelope(broken).await.settled_seq, world.envelope(sound).await.settled_seq), (0, 5));

    *world.faults.broken_database.lock().unwrap() = None;
    for _ in 0..5 {
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.envelope(broken).await.settled_seq, 5);
    assert_eq!(world.balances("a", 5).await + world.balances("b", 5).await, opened);
    world.assert_sound().await;
}

#[tokio::test]
async fn a_table_whose_tail_is_damaged_is_still_credited() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let id = world.active(1_000, 10).await;
    *world.faults.unreadable.lock().unwrap() = Some(world.table(id));
    let opened = world.open_many(id, "a", 5).await;
    for _ in 0..10 {
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.balances("a", 5).await, opened);

    *world.faults.unreadable.lock().unwrap() = None;
    let opened = world.open_many(id, "b", 5).await;
    for _ in 0..100 {
        credit.run_once(100).await.unwrap();
    }
    assert_eq!(world.balances("b", 5).await, opened);
    world.assert_sound().await;
}

/// A journal that cannot be read holds up no other, whichever comes first in the table.
#[tokio::test]
async fn a_damaged_journal_holds_up_no_other() {
    for damaged_is_first in [true, false] {
        let world = World::new().await;
        let mut credit = worker(&world);
        run_until_idle(&mut credit, 100).await;
        let mut ids = [world.active(1_000, 10).await, world.active(1_000, 10).await];
        while world.table(ids[0]) != world.table(ids[1]) {
            ids[1] = world.active(1_000, 10).await;
        }
        ids.sort();
        let [damaged, sound] = if damaged_is_first { ids } else { [ids[1], ids[0]] };
        // The tail does not see its first entry, and so has to read the journal.
        let unpaid = world.open_many(damaged, "x", 2).await;
        world.faults.hidden.lock().unwrap().insert((damaged, 1));
        *world.faults.damaged_journal.lock().unwrap() = Some(damaged);
        let opened = world.open_many(sound, "a", 5).await;
        let mut failures = 0;
        for _ in 0..10 {
            // A page of the tail has two entries.
            failures += credit.run_once(2).await.unwrap().failures;
        }
        assert_eq!((world.balances("a", 5).await, world.balances("x", 2).await), (opened, 0));
        assert!(failures > 0, "it is said");

        *world.faults.damaged_journal.lock().unwrap() = None;
        while world.balances("x", 2).await < unpaid {
            credit.run_once(100).await.unwrap();
            world.clock.advance_millis(1_000);
        }
        world.assert_sound().await;
    }
}

/// What lies ahead of the tail is left to it: the sweep reads no journal for it.
#[tokio::test]
async fn a_sweep_reads_nothing_that_the_tail_will_come_by() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    let id = world.active(1_000, 10).await;
    let opened = world.open_many(id, "a", 10).await;
    // A journal that is read ends the run with an error.
    *world.faults.damaged_journal.lock().unwrap() = Some(id);
    while world.balances("a", 10).await < opened {
        let report = credit.run_once(2).await.unwrap();
        assert_eq!((report.failures, report.rows), (0, 2));
        world.clock.advance_millis(2_000);
    }
    world.assert_sound().await;
}

#[tokio::test]
async fn the_tail_goes_on_after_midnight() {
    let world = World::new().await;
    let mut credit = worker(&world);
    for _ in 0..5 {
        run_until_idle(&mut credit, 100).await;
        let id = world.active(1_000, 10).await;
        assert!(world.store.tables().contains(&world.table(id)));
        let opened = world.open_many(id, "a", 3).await;
        let before = world.balances("a", 3).await;
        credit.run_once(100).await.unwrap();
        assert_eq!(world.balances("a", 3).await, before + opened, "credited in the very next run");
        world.clock.advance_millis(DAY_MS);
    }
}

#[tokio::test]
async fn a_run_tells_how_much_arrived_meanwhile() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 10).await;
    let id = world.active(10_000, 100).await;
    world.open_many(id, "a", 25).await;

    let arrived = async |credit: &mut Credit| {
        let report = credit.run_once(10).await.unwrap();
        (report.rows, report.arrived)
    };
    assert_eq!(arrived(&mut credit).await, (10, Some(25)), "also what it had no room for");
    world.open_many(id, "b", 4).await;
    assert_eq!(arrived(&mut credit).await, (10, Some(4)));
    assert_eq!(arrived(&mut credit).await, (9, Some(0)), "it catches up");
    assert_eq!(arrived(&mut credit).await, (0, Some(0)));
}

#[tokio::test]
async fn who_takes_over_does_not_read_again_what_is_credited() {
    let world = World::new().await;
    let (mut one, mut two) = (worker(&world), worker(&world));
    run_until_idle(&mut one, 10).await;
    run_until_idle(&mut two, 10).await;
    let id = world.active(10_000, 100).await;
    let opened = world.open_many(id, "a", 60).await;
    run_until_idle(&mut one, 10).await;
    assert_eq!(world.balances("a", 60).await, opened);

    two.start_over();
    let later = world.open(id, "b").await;
    let report = two.run_once(10).await.unwrap();
    assert_eq!((report.rows, world.balance("b").await), (1, later), "the first run finds what is new");
    world.assert_sound().await;
}

#[tokio::test]
async fn an_entry_that_appears_behind_the_tail_is_credited_a_second_later() {
    let world = World::new().await;
    let mut credit = worker(&world);
    run_until_idle(&mut credit, 100).await;
    // The last share is not followed by an entry that would show what is missing.
    let (late, other) = (world.active(1_000, 1).await, world.active(1_000, 10).await);
    world.faults.hidden.lock().unwrap().insert((late, 1));
    let amount = world.open(late, "late").await;
    world.open(other, "a").await;
    run_until_idle(&mut credit, 100).await;
    assert_eq!(world.balance("late").await, 0);

    world.faults.hidden.lock().unwrap().clear();
    run_until_idle(&mut credit, 100).await;
    assert_eq!(world.balance("late").await, 0, "not by chance: the sweep is elsewhere");
    world.clock.advance_millis(1_000);
    credit.run_once(100).await.unwrap();
    assert_eq!(world.balance("late").await, amount);
    world.assert_sound().await;
}
