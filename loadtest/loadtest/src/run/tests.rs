//! The engine against a server that is not there, and the drain against one that credits late, or never.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use hongbao_load::{Answered, RequestBuffer, Signer};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::audit::Audit;
use super::books::Books;
use super::drive::{Driven, Equipment, Pace};
use super::engine::Engine;
use super::history::HistoryEvent;
use super::plan::{ClientBehaviour, PlannedEnvelope, RunPlan, Visit, What};
use super::recorder::Gauges;
use super::request::UserCall;
use super::settle::{Look, Settled};
use super::shown::Shown;
use super::users::Users;
use crate::outcome::{Phase, Second};

/// One envelope, and an opening of it every ten milliseconds of `seconds`.
fn plan(visits: u32, seconds: f64) -> RunPlan {
    let visit = |number: u32| Visit {
        at_us: u64::from(number) * 10_000,
        envelope: 0,
        user: number,
        what: What::Open,
        behaviour: ClientBehaviour::default(),
    };
    let envelope =
        PlannedEnvelope { sender: 0, shares: 9, total_fen: 9, group: None, expires_in_s: 60, sent_ahead: true };
    RunPlan {
        envelopes: vec![envelope],
        users: visits,
        visits: (0..visits).map(visit).collect(),
        phases: vec![Phase { name: "load".into(), from_s: 0.0, to_s: seconds }],
        ..RunPlan::default()
    }
}

/// Drives it with tickets made ahead, over four connections.
fn drive(plan: &RunPlan, pace: Pace, addr: SocketAddr) -> Driven {
    drive_with(plan, pace, addr, b"a-ticket", 4)
}

fn drive_with(plan: &RunPlan, pace: Pace, addr: SocketAddr, ticket: &[u8], connections: usize) -> Driven {
    let (mut tokens, mut tickets) = (RequestBuffer::default(), RequestBuffer::default());
    for user in 0..plan.users {
        tokens.push(|out| out.extend_from_slice(format!("user-{user}").as_bytes()));
        tickets.push(|out| out.extend_from_slice(ticket));
    }
    let equipment = Equipment {
        site: addr.into(),
        tokens: &tokens,
        tickets: &tickets,
        envelopes: plan.envelopes.iter().map(|envelope| envelope.sent_ahead.then(|| "0".to_owned())).collect(),
        header: String::new(),
        connections,
        retries: 1,
        random: SmallRng::seed_from_u64(1),
        gauges: &Gauges::default,
        on_second: &mut |_: &Second| (),
    };
    Engine::new(plan, pace, equipment).unwrap().drive(Instant::now()).unwrap()
}

#[test]
fn where_no_connection_can_be_made_requests_are_lost_and_the_run_goes_on() {
    // Nobody connects to the broadcast address: the system refuses at once.
    let driven = drive(&plan(3, 0.05), Pace::Open, ([255, 255, 255, 255], 9).into());
    assert_eq!(driven.history.len(), 6, "each was tried once more");
    assert!(driven.history.iter().all(|event| event.answer == Answered::Refused));
    assert_eq!((driven.recorder.not_started, driven.traffic.requests), (0, 0));
    let second = driven.recorder.seconds.last().unwrap();
    let label = second.errors.keys().next().unwrap();
    assert!(label.starts_with("open no connection: "), "{label}");
}

/// Opens with this ticket; a grab brings `a-new-ticket`.
fn doorkeeper(valid: &'static str) -> SocketAddr {
    let open = async move |body: String| match body.contains(valid) {
        true => (StatusCode::OK, Json(json!({ "outcome": "opened", "amount_fen": 3, "seq": 1, "replayed": false }))),
        false => (StatusCode::FORBIDDEN, Json(json!({ "code": "ticket_invalid" }))),
    };
    let grab = async move || Json(json!({ "outcome": "ready", "ticket": "a-new-ticket" }));
    hongbao_load_testkit::serve(
        axum::Router::new().route("/v1/envelopes/{id}/open", post(open)).route("/v1/envelopes/{id}/grab", post(grab)),
    )
}

#[test]
fn a_ticket_that_was_made_too_long_ahead_is_grabbed_anew() {
    let driven = drive(&plan(3, 0.05), Pace::Open, doorkeeper("a-new-ticket"));
    assert_eq!((driven.tickets_renewed, driven.recorder.totals.committed), (3, 3));
    // Where no ticket is ever valid, it ends nevertheless.
    let driven = drive(&plan(3, 0.05), Pace::Open, doorkeeper("none"));
    assert_eq!((driven.tickets_renewed, driven.history.len()), (3, 6));
}

#[test]
fn a_second_tap_that_waits_for_a_connection_still_has_its_ticket() {
    let mut plan = plan(3, 0.05);
    plan.visits.iter_mut().for_each(|visit| visit.behaviour.double = true);
    let driven = drive_with(&plan, Pace::Open, doorkeeper("a-new-ticket"), b"", 1);
    assert_eq!((driven.history.len(), driven.recorder.totals.committed), (6, 6));
}

#[test]
fn an_envelope_of_which_nobody_knows_whether_it_was_made_is_not_made_again() {
    for (status, code, asked) in [(504, "outcome_unknown", 1), (503, "busy", 2)] {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let create = async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            (StatusCode::from_u16(status).unwrap(), Json(json!({ "code": code })))
        };
        let mut plan = plan(2, 0.05);
        (plan.envelopes[0].sent_ahead, plan.visits[0].what) = (false, What::Send);
        let service = axum::Router::new().route("/v1/envelopes", post(create));
        let driven = drive(&plan, Pace::Open, hongbao_load_testkit::serve(service));
        assert_eq!((count.load(Ordering::Relaxed), driven.history.len()), (asked, 0), "{code}");
        let left = driven.recorder.seconds.iter().filter_map(|second| second.errors.get("visit without an envelope"));
        assert_eq!(left.sum::<u64>(), 1);
    }
}

#[test]
fn a_slow_client_sends_the_rest_of_its_request_after_a_while() {
    let mut plan = plan(2, 0.05);
    plan.visits.iter_mut().for_each(|visit| visit.behaviour.slow = true);
    let began = Instant::now();
    let driven = drive(&plan, Pace::Open, doorkeeper("a-ticket"));
    let took = began.elapsed();
    assert_eq!(driven.recorder.totals.committed, 2);
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_request_that_was_lost_half_sent_has_not_happened_and_a_whole_one_may_have() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // Reads what has come, and hangs up.
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(stream.unwrap().read(&mut [0; 4_096]))));
    for (slow, answer) in [(true, Answered::Refused), (false, Answered::Unknown)] {
        let mut plan = plan(1, 0.05);
        plan.visits[0].behaviour.slow = slow;
        let driven = drive(&plan, Pace::Open, addr);
        assert_eq!(driven.history.iter().map(|event| event.answer).collect::<Vec<_>>(), [answer; 2]);
    }
}

/// Serves one envelope of 9 fen that user 0 has paid for and user 1 has opened, 4 fen of it. User 1 is credited
/// from the given look at the wallet on; `fen_missing` are gone all the same.
fn bookkeeper(credited_from: u32, fen_missing: i64) -> SocketAddr {
    bookkeeper_of("active", credited_from, fen_missing)
}

/// The same with an envelope in this state.
fn bookkeeper_of(state: &'static str, credited_from: u32, fen_missing: i64) -> SocketAddr {
    let looks = Arc::new(AtomicU32::new(0));
    let is_opener = |headers: &HeaderMap| headers["authorization"] == "Bearer user-1";
    let transfer = |kind: &str, amount_fen: i64, id: Option<&str>| json!({ "kind": kind, "amount_fen": amount_fen, "envelope_id": id });
    let detail = json!({
        "envelope": { "state": state, "total_fen": 9, "remaining_fen": 5 },
        "opens": [{ "seq": 1, "user_id": "r00000001-1", "amount_fen": 4 }],
        "next_seq": null,
    });
    let of_wallet = looks.clone();
    let wallet = async move |headers: HeaderMap| -> Json<Value> {
        if !is_opener(&headers) {
            return Json(json!({ "balance_fen": 0 }));
        }
        let look = of_wallet.fetch_add(1, Ordering::Relaxed) + 1;
        Json(json!({ "balance_fen": if look >= credited_from { 4 - fen_missing } else { 0 } }))
    };
    let transfers = async move |headers: HeaderMap| -> Json<Value> {
        let credited = looks.load(Ordering::Relaxed) >= credited_from;
        let transfers = match (is_opener(&headers), credited) {
            (false, _) => vec![transfer("top_up", 9, None), transfer("send", -9, Some("an-id"))],
            (true, true) => vec![transfer("open", 4, Some("an-id"))],
            (true, false) => Vec::new(),
        };
        Json(json!({ "transfers": transfers, "next_cursor": null }))
    };
    hongbao_load_testkit::serve(
        axum::Router::new()
            .route("/v1/envelopes/{id}", get(async move || Json(detail.clone())))
            .route("/v1/wallet", get(wallet))
            .route("/v1/wallet/transfers", get(transfers)),
    )
}

/// The drain and the audit of a run with that opening.
fn audited(addr: SocketAddr, within: Duration) -> (Settled, Audit) {
    audited_beside(addr, within, &|| false)
}

/// The same while something is disturbed.
fn audited_beside(addr: SocketAddr, within: Duration, is_disturbed: &(dyn Fn() -> bool + Sync)) -> (Settled, Audit) {
    let plan = plan(2, 1.0);
    let mut users = Users::new(addr, 1, &plan, Some(&Signer::new("s", None, None)), String::new()).unwrap();
    users.tokens = RequestBuffer::default();
    for user in 0..plan.users {
        users.tokens.push(|out| out.extend_from_slice(format!("user-{user}").as_bytes()));
    }
    let answer = Answered::Opened { seq: 1, amount_fen: 4, replayed: false, accepted: None };
    let history = [HistoryEvent { call: UserCall::Open, envelope: 0, user: 1, sent_us: 0, answered_us: 1, answer }];
    let envelopes = [Some("an-id".to_owned())];
    let books = Books { plan: &plan, users: &users, envelopes: &envelopes, history: &history, top_ups: plan.money() };
    let settled = books.settle(within, is_disturbed);
    let audit = books.audit(&settled);
    assert_eq!(audit.undone, None);
    (settled, audit)
}

fn checked(audit: &Audit, rule: &str) -> u64 {
    audit.checks.iter().find(|check| check.rule.contains(rule)).unwrap().checked
}

fn broken(audit: &Audit) -> Vec<&str> {
    audit.checks.iter().filter(|check| check.broken > 0).map(|check| check.rule.as_str()).collect()
}

#[test]
fn the_drain_is_over_when_the_balances_show_what_was_acknowledged() {
    let began = Instant::now();
    let (settled, audit) = audited(bookkeeper(3, 0), Duration::from_secs(20));
    let drained = settled.at.expect("it was credited within seconds");
    assert!(drained - began > Duration::from_millis(1_500), "two looks were in vain");
    assert_eq!((broken(&audit), audit.late.len()), (Vec::new(), 0));
    assert!(audit.notes[0].starts_with("no server said"), "{:?}", audit.notes);
    assert_eq!(audit.late_fen, None);
    let rules = ["(I6)", "I1 over the system", "acknowledged as paid"];
    assert_eq!(rules.map(|rule| checked(&audit, rule)), [2, 1, 1]);
}

#[test]
fn a_drain_that_is_over_before_the_last_fault_took_no_longer_for_it() {
    let began = Instant::now();
    let is_disturbed = || began.elapsed() < Duration::from_secs(3);
    let (settled, audit) = audited_beside(bookkeeper(0, 0), Duration::from_secs(20), &is_disturbed);
    assert!(!is_disturbed(), "what the audit sees is seen afterwards");
    assert!(settled.at.unwrap() - began < Duration::from_secs(2));
    assert_eq!((broken(&audit), audit.late.len()), (Vec::new(), 0));
    // Nor is anything late while a fault is in force.
    let (settled, _) = audited_beside(bookkeeper(3, 0), Duration::ZERO, &|| began.elapsed() < Duration::from_secs(8));
    assert!(settled.at.is_some());
}

#[test]
fn what_is_not_credited_in_time_is_late_and_no_fen_is_wrong() {
    let (settled, audit) = audited(bookkeeper(u32::MAX, 0), Duration::ZERO);
    assert!(settled.at.is_none());
    assert_eq!(broken(&audit), Vec::<&str>::new());
    assert_eq!(audit.late, ["after 0 s, 4 fen were still on their way, to or from 1 users"]);
    assert_eq!(audit.late_fen, Some(4));
    // The sender has what is right; of the opener it is not known, and so not of the whole.
    assert_eq!((checked(&audit, "(I6)"), checked(&audit, "I1 over the system")), (1, 0));
    assert!(audit.notes.iter().any(|note| note.starts_with("balances were not added up")), "{:?}", audit.notes);
}

#[test]
fn an_expired_envelope_that_was_not_refunded_in_time_is_late() {
    let (settled, audit) = audited(bookkeeper_of("expired", 0, 0), Duration::ZERO);
    assert!(settled.at.is_none() && broken(&audit).is_empty());
    assert_eq!(audit.late, ["after 0 s, 1 expired envelopes were still not refunded"]);
    assert_eq!(audit.late_fen, Some(5));
}

#[test]
fn a_fen_less_after_every_credit_is_wrong_and_not_late() {
    let (_, audit) = audited(bookkeeper(0, 1), Duration::ZERO);
    let broken = broken(&audit);
    assert!(broken.len() == 2 && broken[0].contains("(I6)") && broken[1].contains("I1 over the system"), "{broken:?}");
    assert_eq!(audit.late.len(), 0);
    // A fen too much is wrong, too.
    assert_eq!(self::broken(&audited(bookkeeper(0, -1), Duration::ZERO).1), broken);
}

#[test]
fn a_service_that_stops_to_answer_hides_no_fen_that_was_found_wrong_before() {
    let service = axum::Router::new().route("/v1/envelopes/{id}/grab", post(async || "no JSON"));
    let users = Users::new(
        hongbao_load_testkit::serve(service),
        1,
        &plan(3, 1.0),
        Some(&Signer::new("s", None, None)),
        String::new(),
    )
    .unwrap();
    let event =
        |user, answer| HistoryEvent { call: UserCall::Open, envelope: 0, user, sent_us: 0, answered_us: 1, answer };
    let opened = Answered::Opened { seq: 1, amount_fen: 4, replayed: false, accepted: None };
    let (plan, envelopes) = (plan(3, 1.0), [Some("an-id".to_owned())]);
    let rules = |history: &[HistoryEvent]| {
        let books = Books { plan: &plan, users: &users, envelopes: &envelopes, history, top_ups: plan.money() };
        let shown = Shown { state: "active".into(), total_fen: 9, remaining_fen: 9, opens: Vec::new() };
        let look = Look { shown: vec![Some(shown)], due: vec![0; 3], has: vec![0; 3] };
        let audit = books.audit(&Settled { at: Some(Instant::now()), within: Duration::ZERO, look: Ok(look) });
        assert!(audit.undone.as_ref().is_some_and(|why| why.contains("expected")), "{:?}", audit.undone);
        audit.checks.into_iter().map(|check| check.rule).collect::<Vec<_>>()
    };
    let wrong = rules(&[event(1, opened), event(2, Answered::Unknown)]);
    assert_eq!(wrong, ["an acknowledged opening exists once, with the amount that was answered"]);
    assert_eq!(rules(&[event(2, Answered::Unknown)]), Vec::<String>::new(), "whether the money is right is not known");
}

#[test]
fn where_no_money_moved_balances_hold_nothing() {
    let plan = plan(2, 1.0);
    let users =
        Users::new(SocketAddr::from(([127, 0, 0, 1], 9)), 1, &plan, Some(&Signer::new("s", None, None)), String::new())
            .unwrap();
    let books = Books { plan: &plan, users: &users, envelopes: &[None], history: &[], top_ups: plan.money() };
    let settled = Settled { at: Some(Instant::now()), within: Duration::ZERO, look: Err("not asked".into()) };
    let look = Look { shown: vec![None], due: vec![9, 0], has: vec![9, 0] };
    let checks = books.balances(&settled, &look).unwrap().checks;
    assert_eq!(checks.map(|check| (check.checked, check.broken)), [(0, 0), (0, 0)]);
}

#[test]
fn a_closed_loop_without_visits_has_driven_for_as_long_as_it_had_some() {
    let driven = drive(&plan(3, 20.0), Pace::Closed(2), hongbao_load_testkit::start());
    assert_eq!(driven.history.len(), 3);
    let used_up_s = driven.used_up_s.expect("three visits take no twenty seconds");
    assert!(driven.load_s >= used_up_s && driven.load_s < 10.0, "{}", driven.load_s);
    let driven = drive(&plan(3, 0.5), Pace::Open, hongbao_load_testkit::start());
    assert_eq!((driven.load_s, driven.used_up_s), (0.5, None));
}
