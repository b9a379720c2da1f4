//! `eve`: New Year's Eve in minutes. Groups send more and more, everybody sends
//! at midnight, it grows quiet, and what was not opened goes back.

use rand::rngs::SmallRng;

use super::groups::{for_rate, parameters, send};
use super::wish::{Wish, phases};
use crate::run::arrivals::Arrivals;
use crate::run::plan::RunPlan;

/// The parts of the night, as parts of the whole, and how many are sent at their
/// end, as a part of the full rate.
const RAMP: f64 = 0.35;
const PEAK: f64 = 0.20;
const TAIL: f64 = 0.25;
const EXPIRY: f64 = 0.20;
/// The rate of the tail.
const TAIL_RATE: f64 = 0.10;
/// Of the ramp: it ends at this part of the full rate.
const RAMP_RATE: f64 = 0.40;
/// The peak has this part of itself before midnight: envelopes of both days are opened in it.
const BEFORE_MIDNIGHT: f64 = 0.25;
/// The shortest life of an envelope, in seconds.
const SECONDS_MIN: u32 = 1;

/// The openings of the whole night, as a part of those of a peak that lasted as long.
pub const PEAKS: f64 = RAMP * RAMP_RATE / 2.0 + PEAK + TAIL * TAIL_RATE;

/// Where local midnight lies, in seconds since the load began.
pub fn midnight_s(wish: &Wish) -> f64 {
    wish.seconds * (RAMP + PEAK * BEFORE_MIDNIGHT)
}

/// Writes the plan. Every envelope expires within the last part of the night.
pub fn plan(wish: &Wish, random: &mut SmallRng) -> RunPlan {
    let groups = for_rate(wish.rate, random);
    let of_users = groups.of_users();
    let mut plan = RunPlan { users: of_users.len() as u32, groups: of_users, ..RunPlan::default() };
    let sends_per_s = wish.rate / groups.openings_mean(wish.shares_max);
    let expiry_s = wish.seconds * (RAMP + PEAK + TAIL);
    let parts = [
        (Arrivals::Ramp, RAMP_RATE, 0.0, RAMP),
        (Arrivals::Poisson, 1.0, RAMP, PEAK),
        (Arrivals::Poisson, TAIL_RATE, RAMP + PEAK, TAIL),
    ];
    for (arrivals, rate, from, length) in parts {
        let from_s = wish.seconds * from;
        for at_us in arrivals.moments(sends_per_s * rate, wish.seconds * length, random) {
            let at_us = at_us + (from_s * 1e6) as u64;
            let left_s = expiry_s + wish.seconds * EXPIRY / 2.0 - at_us as f64 / 1e6;
            let expires_in_s = (left_s as u32).max(SECONDS_MIN);
            // No visit comes while the wave goes back: openers that are late would only find it expired.
            send(&mut plan, &groups, wish, at_us, (expiry_s * 1e6) as u64, expires_in_s, random);
        }
    }
    plan.parameters.extend(parameters(&groups, wish));
    let percent = |part: f64| part * 100.0;
    let night = format!(
        "{} s: ramp {}% (to {}% of the full rate), peak {}%, tail {}% (at {}%), expiry {}%",
        wish.seconds,
        percent(RAMP),
        percent(RAMP_RATE),
        percent(PEAK),
        percent(TAIL),
        percent(TAIL_RATE),
        percent(EXPIRY)
    );
    plan.parameters.insert("night".to_owned(), night);
    plan.parameters.insert("sends".to_owned(), format!("{sends_per_s:.1} a second in the peak"));
    plan.phases = phases(&[
        ("ramp", wish.seconds * RAMP),
        ("peak", wish.seconds * PEAK),
        ("tail", wish.seconds * TAIL),
        ("expiry", wish.seconds * EXPIRY),
    ]);
    plan
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::tests::wish;
    use super::*;
    use crate::outcome::Phase;
    use crate::run::plan::What;

    #[test]
    fn a_night_grows_to_its_peak_across_midnight_and_ends_in_refunds() {
        let wish = Wish { rate: 2_000.0, seconds: 100.0, ..wish() };
        let plan = plan(&wish, &mut SmallRng::seed_from_u64(1));
        let sends = |phase: usize| {
            let sends = plan.visits.iter().filter(|visit| visit.what == What::Send);
            let Phase { from_s, to_s, .. } = &plan.phases[phase];
            let within = sends.filter(|visit| (*from_s..*to_s).contains(&(visit.at_us as f64 / 1e6))).count();
            within as f64 / (to_s - from_s)
        };
        let [ramp, peak, tail, expiry] = [0, 1, 2, 3].map(sends);
        for (rate, part) in [(ramp, 0.2), (tail, 0.1)] {
            assert!((rate / peak / part - 1.0).abs() < 0.25, "{rate} of {peak} is not {part}");
        }
        assert_eq!(expiry, 0.0);
        assert_eq!(plan.phases[1].name, "peak");
        assert!((plan.phases[1].from_s..plan.phases[1].to_s).contains(&midnight_s(&wish)));
        for visit in plan.visits.iter().filter(|visit| visit.what == What::Send) {
            let ends_s = visit.at_us as f64 / 1e6 + f64::from(plan.envelopes[visit.envelope as usize].expires_in_s);
            assert!((plan.phases[3].from_s..=plan.phases[3].to_s).contains(&ends_s), "{ends_s}");
        }
    }
}
