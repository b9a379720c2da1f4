//! `hot`: one envelope, and everybody opens it.

use rand::rngs::SmallRng;

use super::wish::{Wish, ahead, named, phases};
use crate::run::plan::{ClientBehaviour, RunPlan, Visit, What};

/// Writes the plan. User 0 sends; everybody else comes once.
pub fn plan(wish: &Wish, random: &mut SmallRng) -> RunPlan {
    let moments = wish.arrivals.moments(wish.rate, wish.seconds, random);
    let openers = moments.len() as u32;
    let shares = openers.clamp(1, wish.shares_max);
    let visit = |(number, at_us): (usize, u64)| Visit {
        at_us,
        envelope: 0,
        user: number as u32 + 1,
        what: What::Open,
        behaviour: ClientBehaviour::default(),
    };
    let parameters = [
        ("envelopes", "1, sent ahead".to_owned()),
        ("shares", shares.to_string()),
        ("openers", format!("{openers}, each once")),
        ("arrivals", format!("{:?}, {} a second, {} s", wish.arrivals, wish.rate, wish.seconds)),
    ];
    RunPlan {
        parameters: named(parameters),
        envelopes: vec![ahead(shares)],
        groups: Vec::new(),
        users: openers + 1,
        visits: moments.into_iter().enumerate().map(visit).collect(),
        phases: phases(&[("load", wish.seconds)]),
    }
}
