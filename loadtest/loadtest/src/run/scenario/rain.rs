//! `rain`: many envelopes fall at once, at a second on the second, and a few
//! people tap each of them.

use rand::Rng;
use rand::rngs::SmallRng;

use super::wish::{Wish, ahead, named, phases};
use crate::run::plan::{ClientBehaviour, RunPlan, Visit, What};

/// Who taps one envelope.
const OPENERS: u32 = 8;
/// Shares in it: some come too late.
const SHARES: u32 = 6;
/// All taps of a second come within this many microseconds.
const WITHIN_US: u64 = 100_000;

/// Envelopes of a second, and the seconds in which they fall.
fn extent(wish: &Wish) -> (u32, u32) {
    ((wish.rate / f64::from(OPENERS)).ceil().max(1.0) as u32, wish.seconds.ceil() as u32)
}

/// How many taps that makes.
pub fn openings(wish: &Wish) -> f64 {
    let (drops, seconds) = extent(wish);
    f64::from(drops) * f64::from(OPENERS) * f64::from(seconds)
}

/// Writes the plan: user 0 sends everything ahead; each second has `rate`
/// openings, all at its beginning.
pub fn plan(wish: &Wish, random: &mut SmallRng) -> RunPlan {
    let (drops, seconds) = extent(wish);
    let shares = SHARES.min(wish.shares_max);
    // People come again every second; within one no user taps twice.
    let users = drops * OPENERS;
    let mut visits = Vec::new();
    for second in 0..seconds {
        for tap in 0..users {
            let at_us = u64::from(second) * 1_000_000 + random.random_range(0..WITHIN_US);
            let envelope = second * drops + tap % drops;
            visits.push(Visit {
                at_us,
                envelope,
                user: tap + 1,
                what: What::Open,
                behaviour: ClientBehaviour::default(),
            });
        }
    }
    let parameters = [
        ("envelopes", format!("{drops} each second, sent ahead")),
        ("shares", shares.to_string()),
        ("openers", format!("{OPENERS} an envelope, within {} ms", WITHIN_US / 1_000)),
        ("seconds", seconds.to_string()),
    ];
    RunPlan {
        parameters: named(parameters),
        envelopes: vec![ahead(shares); (drops * seconds) as usize],
        groups: Vec::new(),
        users: users + 1,
        visits,
        phases: phases(&[("rain", f64::from(seconds))]),
    }
}
