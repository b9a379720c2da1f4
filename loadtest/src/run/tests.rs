//! The engine against servers that are not there, or a fake.

use std::net::SocketAddr;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::drive::{Driven, Equipment, Pace};
use super::engine::Engine;
use super::history::Answered;
use super::plan::{Manners, Plan, PlannedEnvelope, Visit, What};
use super::recorder::Gauges;
use crate::arena::Arena;
use crate::outcome::{Phase, Second};

/// One envelope, and an opening of it every ten milliseconds of `seconds`.
fn plan(visits: u32, seconds: f64) -> Plan {
    let visit = |number: u32| Visit {
        at_us: u64::from(number) * 10_000,
        envelope: 0,
        user: number,
        what: What::Open,
        manners: Manners::default(),
    };
    let envelope =
        PlannedEnvelope { sender: 0, shares: 9, total_fen: 9, group: None, expires_in_s: 60, sent_ahead: true };
    Plan {
        envelopes: vec![envelope],
        users: visits,
        visits: (0..visits).map(visit).collect(),
        phases: vec![Phase { name: "load".into(), from_s: 0.0, to_s: seconds }],
        ..Plan::default()
    }
}

/// Drives it with tickets made ahead.
fn drive(plan: &Plan, pace: Pace, addr: SocketAddr) -> Driven {
    let (mut tokens, mut tickets) = (Arena::default(), Arena::default());
    for user in 0..plan.users {
        tokens.push(|out| out.extend_from_slice(format!("user-{user}").as_bytes()));
        tickets.push(|out| out.extend_from_slice(b"a-ticket"));
    }
    let equipment = Equipment {
        addr,
        tokens: &tokens,
        tickets: &tickets,
        envelopes: vec![Some("0".to_owned())],
        header: String::new(),
        connections: 4,
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
    assert!(driven.history.iter().all(|told| told.answer == Answered::Refused));
    assert_eq!((driven.recorder.not_started, driven.traffic.requests), (0, 0));
    let second = driven.recorder.seconds.last().unwrap();
    let label = second.errors.keys().next().unwrap();
    assert!(label.starts_with("open no connection: "), "{label}");
}
