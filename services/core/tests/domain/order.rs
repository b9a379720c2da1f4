//! What is asked about an order, and what an answer makes of it.

use hongbao_core::audit::check_order;
use hongbao_core::limits::{
    CHARGE_CLOSE_AFTER_MS, ORDER_ATTENTION_AFTER_MS, ORDER_CLAIM_MS, ORDER_INTERVAL_MS, ORDER_INTERVALS_S,
    PAYOUT_CLOSE_AFTER_MS, PROVIDER_CLOCK_APART_MS_MAX, PROVIDER_REQUEST_AGE_MS_MAX,
};
use hongbao_core::order::{Answer, Attention, Happened, Request, movements};
use hongbao_core::{Fen, Order, OrderId, OrderKind, OrderState, Timestamp, Transfer, UserId};
use proptest::prelude::*;

const NOON: Timestamp = Timestamp::from_millis(1_771_257_600_000);
/// After so long no request can be under way any more.
const OVER_MS: i64 = PROVIDER_REQUEST_AGE_MS_MAX + PROVIDER_CLOCK_APART_MS_MAX;

fn fen(fen: i64) -> Fen {
    Fen::new(fen).unwrap()
}

fn new(kind: OrderKind) -> Order {
    Order::new(OrderId::mint(NOON, [7; 10]), kind, UserId::parse("ann").unwrap(), fen(500), NOON)
}

fn happened(amount: i64) -> Happened {
    Happened { amount: fen(amount), at: NOON.plus_millis(1), reference: "r'\"\\\n1".to_owned() }
}

/// Taken up at a moment and answered then.
fn asked(order: &Order, at: Timestamp, answer: Option<Answer>) -> (Request, Order) {
    let (request, taken) = order.take_up(at, ORDER_CLAIM_MS);
    (request, taken.answered(answer, at))
}

#[test]
fn a_new_order_is_sent_and_one_that_may_have_been_sent_is_asked_for() {
    let order = new(OrderKind::Charge);
    let (request, taken) = order.take_up(NOON, ORDER_CLAIM_MS);
    assert_eq!(
        (request, taken.sent_at, taken.due_at),
        (Request::Send, Some(NOON), Some(NOON.plus_millis(ORDER_CLAIM_MS)))
    );
    // Nothing is known of the answer.
    let (request, _) = asked(&taken, NOON.plus_millis(1_000), None);
    assert_eq!(request, Request::Query);
    let (_, pending) = asked(&taken, NOON, Some(Answer::Pending { action_url: Some("https://pay/1".to_owned()) }));
    assert_eq!((pending.state, pending.action_url.as_deref()), (OrderState::Pending, Some("https://pay/1")));
    let later = NOON.plus_millis(5_000);
    let (request, taken) = pending.take_up(later, ORDER_CLAIM_MS);
    assert_eq!((request, taken.sent_at), (Request::Query, Some(NOON)), "the provider has it: it is not sent again");
}

#[test]
fn not_found_is_a_failure_only_when_no_request_can_be_under_way() {
    for kind in [OrderKind::Charge, OrderKind::Payout] {
        let close_after_ms = if kind == OrderKind::Charge { CHARGE_CLOSE_AFTER_MS } else { PAYOUT_CLOSE_AFTER_MS };
        let mut order = new(kind);
        let last_ms = close_after_ms - 1;
        for ms in [0, 1_000, 60_000, last_ms] {
            let (_, after) = asked(&order, NOON.plus_millis(ms), Some(Answer::NotFound));
            assert_eq!((after.state, after.sent_at), (OrderState::Created, Some(NOON.plus_millis(ms))));
            order = after;
        }
        let closing = NOON.plus_millis(close_after_ms);
        for at in [closing, NOON.plus_millis(last_ms + OVER_MS)] {
            let (request, after) = asked(&order, at, Some(Answer::NotFound));
            assert_eq!((request, after.state), (Request::Close, OrderState::Closing), "a request may still arrive");
            assert_eq!(after.sent_at, Some(NOON.plus_millis(last_ms)), "nothing is sent any more");
            order = after;
        }
        let (_, over) = asked(&order, NOON.plus_millis(last_ms + OVER_MS + 1), Some(Answer::NotFound));
        assert_eq!(
            (over.state, over.failure.as_deref(), over.due_at),
            (OrderState::Failed, Some("never_received"), None)
        );
    }
}

#[test]
fn an_order_that_was_never_sent_fails_when_it_is_closed() {
    let (_, over) = asked(&new(OrderKind::Charge), NOON.plus_millis(CHARGE_CLOSE_AFTER_MS), Some(Answer::NotFound));
    assert_eq!(over.state, OrderState::Failed);
}

#[test]
fn a_closed_order_may_have_succeeded_before() {
    let (_, pending) = asked(&new(OrderKind::Charge), NOON, Some(Answer::Pending { action_url: None }));
    let closing = NOON.plus_millis(CHARGE_CLOSE_AFTER_MS);
    let (request, paid) = asked(&pending, closing, Some(Answer::Succeeded(happened(500))));
    assert_eq!((request, paid.state), (Request::Close, OrderState::Succeeded));
    assert_eq!(paid.reference.as_deref(), Some("r1"), "what would end a literal is left out");
    let (_, closed) = asked(&pending, closing, Some(Answer::Failed { reason: "closed".to_owned() }));
    assert_eq!((closed.state, closed.failure.as_deref()), (OrderState::Failed, Some("closed")));
}

#[test]
fn a_payout_that_came_back_before_we_knew_that_it_had_gone_has_gone_first() {
    let (_, first) = asked(&new(OrderKind::Payout), NOON, Some(Answer::Returned(happened(500))));
    assert_eq!((first.state, first.due_at), (OrderState::Succeeded, Some(NOON)), "and is asked for again at once");
    let (_, second) = asked(&first, NOON, Some(Answer::Returned(happened(500))));
    assert_eq!((second.state, second.due_at), (OrderState::Returned, None));
}

#[test]
fn the_intervals_grow_and_do_not_end_and_after_days_a_person_is_asked() {
    let (mut order, mut now, mut waits) = (new(OrderKind::Payout), NOON, Vec::new());
    for _ in 0..120 {
        order = asked(&order, now, None).1;
        let due = order.due_at.unwrap();
        assert!(now >= order.close_at || due <= order.close_at, "it is closed on time");
        waits.push((due.millis() - now.millis(), now));
        now = due;
    }
    let (first, then) = waits.split_at(ORDER_INTERVALS_S.len());
    assert_eq!(first.iter().map(|(wait, _)| wait / 1_000).collect::<Vec<_>>(), ORDER_INTERVALS_S);
    for (wait, at) in then {
        let (least, most) = (*ORDER_INTERVAL_MS.start(), *ORDER_INTERVAL_MS.end());
        assert!(*wait <= (at.millis_since(NOON) / 10).clamp(least, most), "{wait} ms at {at}");
    }
    assert_eq!(then.last().unwrap().0, *ORDER_INTERVAL_MS.end());
    assert!(now.millis_since(NOON) > ORDER_ATTENTION_AFTER_MS);
    assert_eq!((order.state, order.attention), (OrderState::Closing, Some(Attention::Overdue)));
}

fn any_answer() -> impl Strategy<Value = Option<Answer>> {
    let amount = prop_oneof![4 => Just(500_i64), 1 => Just(499_i64)];
    prop_oneof![
        Just(None),
        Just(Some(Answer::NotFound)),
        Just(Some(Answer::Pending { action_url: None })),
        Just(Some(Answer::Failed { reason: "no".to_owned() })),
        amount.clone().prop_map(|amount| Some(Answer::Succeeded(happened(amount)))),
        amount.prop_map(|amount| Some(Answer::Returned(happened(amount)))),
    ]
}

proptest! {
    /// Whatever a provider says, in whatever order: states move one way, each movement happens once, and the user has
    /// in the end what the state says.
    #[test]
    fn i11_one_order_has_one_outcome(
        kind in prop_oneof![Just(OrderKind::Charge), Just(OrderKind::Payout), Just(OrderKind::Refund)],
        steps in proptest::collection::vec((0_i64..100_000_000, any_answer()), 1..40),
    ) {
        let mut order = new(kind);
        let mut moved: Vec<Transfer> = movements(None, &order, NOON);
        let mut now = NOON;
        for (wait_ms, answer) in steps {
            now = now.plus_millis(wait_ms);
            let (_, taken) = order.take_up(now, ORDER_CLAIM_MS);
            prop_assert!(movements(Some(order.state), &taken, now).is_empty(), "asking moves nothing");
            let after = taken.answered(answer, now);
            prop_assert!(after.state >= order.state);
            let is_return = (order.state, after.state) == (OrderState::Succeeded, OrderState::Returned);
            prop_assert!(!order.state.is_final() || after.state == order.state || is_return);
            moved.extend(movements(Some(taken.state), &after, now));
            order = after;
            prop_assert!(order.state.is_final() || order.due_at.is_some(), "it is asked for again");
        }
        let mut ids: Vec<_> = moved.iter().map(|transfer| transfer.id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), moved.len(), "each movement once");
        prop_assert!(moved.iter().all(Transfer::is_sound));
        prop_assert_eq!(check_order(&order, &moved), []);
        let got: i64 = moved.iter().map(Transfer::signed_amount).sum();
        let expected = match (kind, order.state) {
            (OrderKind::Charge, OrderState::Succeeded) => 500,
            (OrderKind::Charge, _) | (_, OrderState::Failed | OrderState::Returned) => 0,
            _ => -500,
        };
        prop_assert_eq!(got, expected);
    }
}
