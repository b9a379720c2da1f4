//! "Expired" as an answer: the refund is in the journal before it.

use std::sync::atomic::AtomicI64;

use hongbao_core::{Entry, EnvelopeId};
use hongbao_envelope::answer::OpenAnswer;
use hongbao_envelope::direct;
use hongbao_store::Append;

use crate::bench::{Bench, Faults, LIFETIME_MS, START, seq_of, user};

/// An expired envelope of two shares: "a" has the first, and another owner has decided the
/// second for "x" in time, and not written it.
async fn expired_with_an_opening_under_way() -> (Bench, EnvelopeId, Entry) {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    bench.batch(&[(id, "a")]).await;
    let under_way = bench.opening_elsewhere(id, "x").await;
    bench.clock.advance_millis(LIFETIME_MS);
    (bench, id, under_way)
}

#[tokio::test]
async fn an_expired_envelope_still_knows_who_opened_it_elsewhere() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 4).await;
    bench.batch(&[(id, "a")]).await;
    bench.open_elsewhere(id, "x").await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "x"), (id, "y")]).await;
    assert_eq!(seq_of(&answers[0]), Some((2, true)));
    assert_eq!(answers[1], OpenAnswer::Expired);
}

/// An opening that was decided before the expiry, and is written after an answer "expired".
#[tokio::test]
async fn no_opening_follows_an_answer_that_the_envelope_has_expired() {
    let (bench, id, late) = expired_with_an_opening_under_way().await;
    assert_eq!(bench.batch(&[(id, "y"), (id, "z")]).await, [OpenAnswer::Expired, OpenAnswer::Expired]);
    assert_eq!(bench.openers(id).await, ["a", "refund"]);
    assert_eq!(bench.store.append(&[late]).await.unwrap(), Append::Fenced);
    assert_eq!(bench.batch(&[(id, "y")]).await, [OpenAnswer::Expired]);
}

#[tokio::test]
async fn an_opening_that_is_committed_just_before_the_refund_makes_the_answer_empty() {
    let (bench, id, last) = expired_with_an_opening_under_way().await;
    *bench.faults.overtakes.lock().unwrap() = Some((bench.store.clone(), last));
    assert_eq!(bench.batch(&[(id, "y"), (id, "z")]).await, [OpenAnswer::Empty, OpenAnswer::Empty]);
    assert_eq!(bench.openers(id).await, ["a", "x"]);
}

#[tokio::test]
async fn a_refund_that_nobody_confirmed_is_looked_for_before_the_answer() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    assert_eq!(bench.batch(&[(id, "y")]).await, [OpenAnswer::Expired]);
    assert_eq!(bench.openers(id).await, ["refund"]);
    assert_eq!(bench.appends(), 1);
}

#[tokio::test]
async fn an_expired_envelope_whose_refund_cannot_be_written_has_no_answer() {
    let bench = Bench::new(Faults { gone: true, ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "y")]).await;
    assert!(matches!(answers[..], [OpenAnswer::Unavailable(_)]), "{answers:?}");
}

/// What a grab asks of an expired envelope takes no share of one that has not expired.
#[tokio::test]
async fn a_question_opens_nothing_and_refunds_what_has_expired() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 2).await, bench.envelope(2, 2).await);
    let deadline = START.plus_millis(2 * LIFETIME_MS);
    let ask = async |id| direct::open(&bench.context, id, &user("x"), false, deadline).await;
    assert_eq!(ask(a).await, OpenAnswer::Busy);
    assert_eq!(bench.questions(&[(b, "x")]).await, [OpenAnswer::Busy]);
    assert_eq!((bench.openers(a).await.len(), bench.openers(b).await.len()), (0, 0));
    bench.clock.advance_millis(LIFETIME_MS);
    assert_eq!(ask(a).await, OpenAnswer::Expired);
    assert_eq!(bench.questions(&[(b, "x")]).await, [OpenAnswer::Expired]);
    assert_eq!(
        (bench.openers(a).await, bench.openers(b).await),
        (vec!["refund".to_owned()], vec!["refund".to_owned()])
    );
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_refunds_nothing() {
    let bench = Bench::new(Faults { database_clock: Some(START), ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "y"), (id, "z")]).await;
    let is_refused =
        |answer: &OpenAnswer| matches!(answer, OpenAnswer::Unavailable(reason) if reason.contains("clock"));
    assert!(answers.iter().all(is_refused), "{answers:?}");
    assert!(bench.openers(id).await.is_empty());
}

/// An opening without a lane whose first commit nobody confirmed, and whose
/// envelope expires before the second: the refund takes its place before the answer.
#[tokio::test]
async fn without_a_lane_an_opening_in_doubt_is_too_late_once_the_refund_has_its_place() {
    let bench = Bench::new(Faults { lost: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 4).await;
    let first = bench.opening_elsewhere(id, "a").await;
    *bench.faults.expires.lock().unwrap() = Some(bench.clock.clone());
    let deadline = START.plus_millis(2 * LIFETIME_MS);
    let answer = direct::open(&bench.context, id, &user("a"), true, deadline).await;
    assert_eq!(answer, OpenAnswer::Expired);
    assert_eq!(bench.openers(id).await, ["refund"]);
    assert_eq!(bench.store.append(&[first]).await.unwrap(), Append::Fenced);
}
