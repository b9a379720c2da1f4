//! A lane, stepped by hand, on a real store that a guard makes fail on demand.

mod bench;
mod expired;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};

use hongbao_core::{Entry, EntryKind, EnvelopeId, Fen, Journal};
use hongbao_envelope::answer::OpenAnswer;
use hongbao_envelope::lane::{Lane, OpenJob};

use crate::bench::{Bench, Faults, START, seq_of, user};

/// I4.
#[tokio::test]
async fn openings_of_an_envelope_are_committed_in_the_order_of_their_acceptance() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 100).await, bench.envelope(2, 100).await);
    let names: Vec<String> = (0..100).map(|number| format!("u{}", number * 37 % 100)).collect();
    let openings: Vec<(EnvelopeId, &str)> =
        names.iter().enumerate().map(|(index, name)| (if index % 3 == 0 { b } else { a }, name.as_str())).collect();
    let answers = bench.batch(&openings).await;

    for id in [a, b] {
        let accepted: Vec<&str> = openings.iter().filter(|(to, _)| *to == id).map(|(_, name)| *name).collect();
        assert_eq!(bench.openers(id).await, accepted);
        let seqs: Vec<u32> = openings
            .iter()
            .zip(&answers)
            .filter(|((to, _), _)| *to == id)
            .map(|(_, answer)| seq_of(answer).unwrap().0)
            .collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    assert_eq!(bench.appends(), 1, "a batch over two envelopes is one transaction");
}

/// I2.
#[tokio::test]
async fn a_user_who_is_twice_in_a_batch_gets_one_share() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 3).await;
    let answers = bench.batch(&[(id, "li"), (id, "li"), (id, "wang"), (id, "li")]).await;
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, false), (1, true), (2, false), (1, true)]);
    assert_eq!(bench.openers(id).await, ["li", "wang"]);
}

#[tokio::test]
async fn what_the_last_share_leaves_is_nothing() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    let answers = bench.batch(&[(id, "a"), (id, "b"), (id, "c")]).await;
    assert_eq!(answers[2], OpenAnswer::Empty);
    assert_eq!(bench.batch(&[(id, "a"), (id, "d")]).await[1], OpenAnswer::Empty);
    assert_eq!(bench.appends(), 1, "answers from memory write nothing");
}

#[tokio::test]
async fn a_late_opening_is_dropped_before_its_transaction() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    let live = bench.context.live.get_or_load(id, &bench.store, START).await.unwrap();
    let (job, mut answered) = OpenJob::new(live, user("late"), true, START);
    let mut jobs = vec![job];
    bench.lane.process(&mut jobs).await;
    assert_eq!(answered.try_recv().unwrap(), OpenAnswer::Busy);
    assert!(bench.openers(id).await.is_empty());
}

#[tokio::test]
async fn one_opening_that_cannot_be_written_does_not_fail_its_neighbours() {
    let bench = Bench::new(Faults { unwritable: Some(user("bad")), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "bad"), (id, "b"), (id, "c")]).await;
    assert!(matches!(answers[1], OpenAnswer::Unavailable(_)));
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, false), (2, false), (3, false)]);
    assert_eq!(bench.openers(id).await, ["a", "b", "c"], "I4 holds in the replay, too");
}

#[tokio::test]
async fn when_the_database_is_gone_the_rest_of_a_batch_is_refused_unasked() {
    let bench = Bench::new(Faults { gone: true, ..Faults::default() }).await;
    let id = bench.envelope(1, 100).await;
    let names: Vec<String> = (0..100).map(|number| format!("u{number}")).collect();
    let openings: Vec<(EnvelopeId, &str)> = names.iter().map(|name| (id, name.as_str())).collect();
    let answers = bench.batch(&openings).await;
    assert!(answers.iter().all(|answer| matches!(answer, OpenAnswer::Unavailable(_))));
    assert!(bench.appends() <= 5, "{} attempts", bench.appends());
}

/// I3, I6: the answer comes from what the database has, and nothing is written twice.
#[tokio::test]
async fn a_commit_that_nobody_confirmed_is_settled_from_the_database() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "b")]).await;
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, true), (2, true)]);
    assert_eq!(bench.openers(id).await, ["a", "b"]);
}

#[tokio::test]
async fn a_commit_that_is_never_confirmed_is_answered_as_unknown_or_as_it_is() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(i64::MAX), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "b")]).await;
    // Each was written; reading it again told so.
    assert_eq!(answers.iter().filter_map(seq_of).collect::<Vec<_>>(), [(1, true), (2, true)]);
    assert_eq!(bench.openers(id).await, ["a", "b"]);
}

/// I5.
#[tokio::test]
async fn a_lost_fence_drops_the_memory_and_decides_again_in_the_same_order() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 4).await;
    bench.batch(&[(id, "a")]).await;
    bench.open_elsewhere(id, "x").await;
    let answers = bench.batch(&[(id, "b"), (id, "x"), (id, "c"), (id, "d")]).await;
    assert_eq!(
        answers.iter().map(seq_of).collect::<Vec<_>>(),
        [Some((3, false)), Some((2, true)), Some((4, false)), None]
    );
    assert_eq!(answers[3], OpenAnswer::Empty);
    assert_eq!(bench.openers(id).await, ["a", "x", "b", "c"]);
    assert_eq!(bench.appends(), 3, "the failed batch was written once more as a whole");
}

/// I1: the database was restored to a moment before the last entry, or is
/// another node that lacks it. The fence alone would let a gap through.
#[tokio::test]
async fn a_memory_that_is_ahead_of_a_restored_database_writes_no_gap() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 4).await, bench.envelope(2, 4).await);
    for id in [a, b] {
        bench.batch(&[(id, "kept")]).await;
        let live = bench.context.live.get(id, &*bench.context.store, START).unwrap();
        let lost = Entry {
            envelope_id: id,
            seq: 2,
            kind: EntryKind::Open(user("lost")),
            amount: Fen::new(10).unwrap(),
            remaining: Fen::new(20).unwrap(),
            at: START,
        };
        bench.context.live.committed(&live, [&lost].into_iter());
    }
    let waiting = bench.context.live.get(a, &*bench.context.store, START).unwrap();

    bench.faults.epoch.fetch_add(1, Ordering::SeqCst);
    assert!(bench.context.live.get(b, &*bench.context.store, START).is_none(), "reads do not see it either");

    // One opening was accepted with the old copy, the other finds a new one.
    let (job, mut answered) = OpenJob::new(waiting, user("next"), true, START.plus_millis(1_000));
    let mut jobs = vec![job];
    bench.lane.process(&mut jobs).await;
    assert_eq!(seq_of(&answered.try_recv().unwrap()), Some((2, false)));
    let answers = bench.batch(&[(b, "lost"), (b, "next")]).await;
    assert_eq!(answers.iter().map(seq_of).collect::<Vec<_>>(), [Some((2, false)), Some((3, false))]);
    assert_eq!(bench.openers(a).await, ["kept", "next"]);
    assert_eq!(bench.openers(b).await, ["kept", "lost", "next"]);
}

#[tokio::test]
async fn a_batch_that_lost_the_fence_is_written_again_as_a_whole() {
    let bench = Bench::new(Faults::default()).await;
    let mut openings = Vec::new();
    for number in 0..40 {
        let id = bench.envelope(number, 10).await;
        bench.batch(&[(id, "a")]).await;
        bench.open_elsewhere(id, "x").await;
        openings.extend([(id, "b"), (id, "c")]);
    }
    let before = bench.appends();
    let answers = bench.batch(&openings).await;
    assert!(answers.iter().all(|answer| seq_of(answer).is_some()));
    assert_eq!(bench.appends() - before, 2);
}

#[tokio::test]
async fn an_envelope_over_its_cap_is_busy_and_the_others_are_not() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 4).await, bench.envelope(2, 4).await);
    for _ in 0..4 {
        assert_eq!(bench.context.permits.enter(&[a]).await, [true]);
    }
    let answers = bench.batch(&[(a, "x"), (b, "x"), (a, "y")]).await;
    assert_eq!(answers[0], OpenAnswer::Busy);
    assert_eq!(seq_of(&answers[1]), Some((1, false)));
    assert_eq!(answers[2], OpenAnswer::Busy);
    bench.context.permits.leave(&[a]);
    assert!(seq_of(&bench.batch(&[(a, "x")]).await[0]).is_some());
    assert_eq!(bench.context.permits.enter(&[a]).await, [true], "the lane has given its permit back");
}

/// The memory has room for 1,000 envelopes, and is divided into parts.
#[tokio::test]
async fn an_envelope_with_more_openers_than_a_part_of_the_memory_has_room_for_stays_in_memory() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 6_000).await;
    let names: Vec<String> = (0..5_000).map(|number| format!("u{number}")).collect();
    for part in names.chunks(1_000) {
        let openings: Vec<(EnvelopeId, &str)> = part.iter().map(|name| (id, name.as_str())).collect();
        assert!(bench.batch(&openings).await.iter().all(|answer| seq_of(answer).is_some()));
    }
    let live = bench.context.live.get(id, &*bench.store, START).expect("it is still in memory");
    assert_eq!(live.journal().open_count(), 5_000);
}

#[tokio::test]
async fn openings_count_as_waiting_until_their_batch_is_committed() {
    let bench = Bench::new(Faults::default()).await;
    let live = bench.context.live.get_or_load(bench.envelope(1, 4).await, &bench.store, START).await.unwrap();
    let (queue, waiting) = tokio::sync::mpsc::channel(8);
    for name in ["a", "b", "c"] {
        let (job, _) = OpenJob::new(live.clone(), user(name), true, START.plus_millis(1_000));
        queue.try_send(job).ok().unwrap();
    }
    drop(queue);
    Lane::new(bench.context.clone()).run(waiting).await;
    assert_eq!(bench.faults.queue_depth.1.load(Ordering::SeqCst), 3);
    assert_eq!(bench.context.metrics.queue_depth.get(), 0, "all are answered");
}

#[tokio::test]
async fn a_batch_that_panics_leaves_a_lane_that_works() {
    let bench = Bench::new(Faults { panics: Some(user("bad")), ..Faults::default() }).await;
    let id = bench.envelope(1, 4).await;
    let live = bench.context.live.get_or_load(id, &bench.store, START).await.unwrap();
    let (queue, waiting) = tokio::sync::mpsc::channel(8);
    let lane = tokio::spawn(Lane::new(bench.context.clone()).run(waiting));
    let open = async |name: &str| {
        let (job, answered) = OpenJob::new(live.clone(), user(name), true, START.plus_millis(1_000));
        queue.try_send(job).ok().unwrap();
        answered.await
    };
    assert!(open("bad").await.is_err(), "no answer: the outcome is unknown");
    assert_eq!(seq_of(&open("good").await.unwrap()), Some((1, false)));
    drop(queue);
    lane.await.unwrap();
}

/// Two owners, each with a memory of its own, one envelope: one order (I5).
#[tokio::test]
async fn two_lanes_that_own_the_same_envelope_give_each_share_once() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 40).await;
    let twin = bench.another_owner();
    for round in 0..10 {
        let names: Vec<String> = (0..3).map(|number| format!("u{}", round * 3 + number)).collect();
        let openings: Vec<(EnvelopeId, &str)> = names.iter().map(|name| (id, name.as_str())).collect();
        let (ours, theirs) = tokio::join!(bench.batch(&openings), twin.batch(&openings));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let ((seq, first), (same, second)) = (seq_of(ours).unwrap(), seq_of(theirs).unwrap());
            assert_eq!(seq, same, "both owners tell the same");
            assert!(first != second, "one of them opened, the other repeated it");
        }
    }
    let openers = bench.openers(id).await;
    assert_eq!(openers.len(), 30);
    assert_eq!(openers.iter().collect::<HashSet<_>>().len(), 30);
    let (_, Journal { remaining, .. }) = bench.store.load(id).await.unwrap().unwrap();
    assert_eq!(remaining.get(), 100, "I1");
}
