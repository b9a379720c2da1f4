//! `groups`: an ordinary evening in groups of all sizes. Somebody sends an
//! envelope; those who get something open it within seconds; then the others come,
//! again and again, only to find it empty; and everybody looks who got what.

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::index;
use rand_distr::{Distribution, Exp, Zipf};

use super::wish::{EXPIRES_IN_S, SHARE_FEN_MEAN, Wish, named, phases};
use crate::run::plan::{ClientBehaviour, PlannedEnvelope, RunPlan, Visit, What};

/// Groups have as many members as a Zipf distribution of this exponent says.
const ZIPF_EXPONENT: f64 = 1.1;
/// The largest group.
const MEMBERS_MAX: u32 = 500;
/// The smallest: the sender and one more.
const MEMBERS_MIN: u32 = 2;
/// Grabs for each opening, the one that leads to it included.
const GRABS_PER_OPEN: f64 = 20.0;
/// Looks at the detail for each opening.
const VIEWS_PER_OPEN: f64 = 10.0;
/// The part of a group that has shares to open.
const SHARES_PER_MEMBER: f64 = 0.6;
/// Visits for each opening.
pub const VISITS_PER_OPEN: f64 = GRABS_PER_OPEN + VIEWS_PER_OPEN;
/// Seconds within which all openers come, and the mean of an exponential time that is cut off there.
const OPEN_WITHIN_S: f64 = 3.0;
const OPEN_AFTER_S: f64 = 2.0;
/// Seconds after the last of them in which the others grab and everybody looks, on average.
const LOOK_AFTER_S: f64 = 3.0;
/// Groups that exist for each envelope that is sent in a second: a group has quiet times.
const GROUPS_PER_RATE: f64 = 10.0;

/// Groups, and their members' numbers in a row.
pub struct Groups {
    /// Of each group: its first member, and how many there are.
    pub members: Vec<(u32, u32)>,
}

impl Groups {
    /// So many groups, of sizes as they are in life.
    pub fn new(count: usize, random: &mut SmallRng) -> Groups {
        let sizes = Zipf::new(f64::from(MEMBERS_MAX), ZIPF_EXPONENT).expect("the bounds are fixed and good");
        let mut first = 0;
        let mut group = || {
            let size = (sizes.sample(random) as u32).clamp(MEMBERS_MIN, MEMBERS_MAX);
            let members = (first, size);
            first += size;
            members
        };
        Groups { members: (0..count).map(|_| group()).collect() }
    }

    pub fn of_users(&self) -> Vec<u32> {
        let users = |(group, (_, size)): (usize, &(u32, u32))| std::iter::repeat_n(group as u32, *size as usize);
        self.members.iter().enumerate().flat_map(users).collect()
    }

    /// Openings that an envelope in a group has on average.
    pub fn openings_mean(&self, shares_max: u32) -> f64 {
        let shares: u64 = self.members.iter().map(|(_, size)| u64::from(shares_of(*size, shares_max))).sum();
        shares as f64 / self.members.len() as f64
    }
}

fn shares_of(members: u32, shares_max: u32) -> u32 {
    ((f64::from(members) * SHARES_PER_MEMBER).ceil() as u32).clamp(1, shares_max)
}

/// Somebody of a random group sends an envelope at `at_us`, and everybody comes.
/// `expires_in_s` is when it expires; no visit is at or after `until_us`.
pub fn send(
    plan: &mut RunPlan,
    groups: &Groups,
    wish: &Wish,
    at_us: u64,
    until_us: u64,
    expires_in_s: u32,
    random: &mut SmallRng,
) {
    let group = random.random_range(0..groups.members.len());
    let (first, size) = groups.members[group];
    let shares = shares_of(size, wish.shares_max);
    let sender = first + random.random_range(0..size);
    let envelope = plan.envelopes.len() as u32;
    plan.envelopes.push(PlannedEnvelope {
        sender,
        shares,
        total_fen: i64::from(shares) * SHARE_FEN_MEAN,
        group: Some(group as u32),
        expires_in_s,
        sent_ahead: false,
    });
    let exponential = |mean_s: f64| Exp::new(1.0 / mean_s).expect("the mean is fixed and good");
    let come = |plan: &mut RunPlan, user, what, after_s: f64| {
        let at_us = at_us + (after_s * 1e6) as u64;
        if at_us < until_us {
            plan.visits.push(Visit { at_us, envelope, user, what, behaviour: ClientBehaviour::default() });
        }
    };
    let behaviour = ClientBehaviour::default();
    plan.visits.push(Visit { at_us, envelope, user: sender, what: What::Send, behaviour });
    let openers: HashSet<u32> =
        index::sample(random, size as usize, shares as usize).iter().map(|place| first + place as u32).collect();
    let everybody: Vec<u32> = (first..first + size).collect();
    let mut others: Vec<u32> = everybody.iter().copied().filter(|user| !openers.contains(user)).collect();
    if others.is_empty() {
        others.clone_from(&everybody);
    }
    let mut all_opened_s: f64 = 0.0;
    for user in everybody.iter().filter(|user| openers.contains(user)) {
        // An exponential time that is cut off there has the same distribution as the rest of a longer one.
        let after_s: f64 = exponential(OPEN_AFTER_S).sample(random) % OPEN_WITHIN_S;
        all_opened_s = all_opened_s.max(after_s);
        come(plan, *user, What::Open, after_s);
    }
    let looks = [(What::Grab, GRABS_PER_OPEN - 1.0, &others), (What::View, VIEWS_PER_OPEN, &everybody)];
    for (what, per_open, users) in looks {
        for _ in 0..(f64::from(shares) * per_open) as u32 {
            let user = users[random.random_range(0..users.len())];
            come(plan, user, what, all_opened_s + exponential(LOOK_AFTER_S).sample(random));
        }
    }
}

/// What a plan with groups says of itself.
pub fn parameters(groups: &Groups, wish: &Wish) -> BTreeMap<String, String> {
    let users = groups.members.iter().map(|(_, size)| size).sum::<u32>();
    let count = groups.members.len();
    named([
        ("groups", format!("{count}, of {MEMBERS_MIN} to {MEMBERS_MAX} members, Zipf with exponent {ZIPF_EXPONENT}")),
        ("users", users.to_string()),
        (
            "for each opening",
            format!("{GRABS_PER_OPEN} grabs, {VIEWS_PER_OPEN} views, about {LOOK_AFTER_S} s after all have opened"),
        ),
        ("shares", format!("for {}% of a group, at most {}", SHARES_PER_MEMBER * 100.0, wish.shares_max)),
    ])
}

/// As many groups as a rate of openings keeps busy.
pub fn for_rate(rate: f64, random: &mut SmallRng) -> Groups {
    Groups::new(((rate / 10.0) * GROUPS_PER_RATE).ceil().clamp(1.0, 100_000.0) as usize, random)
}

pub fn plan(wish: &Wish, random: &mut SmallRng) -> RunPlan {
    let groups = for_rate(wish.rate, random);
    let of_users = groups.of_users();
    let mut plan = RunPlan { users: of_users.len() as u32, groups: of_users, ..RunPlan::default() };
    let sends_per_s = wish.rate / groups.openings_mean(wish.shares_max);
    let until_us = (wish.seconds * 1e6) as u64;
    for at_us in wish.arrivals.moments(sends_per_s, wish.seconds, random) {
        send(&mut plan, &groups, wish, at_us, until_us, EXPIRES_IN_S, random);
    }
    plan.parameters.extend(parameters(&groups, wish));
    let sends = format!("{:?}, {sends_per_s:.1} a second, {} s", wish.arrivals, wish.seconds);
    plan.parameters.insert("sends".to_owned(), sends);
    plan.phases = phases(&[("load", wish.seconds)]);
    plan
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::run::arrivals::Arrivals;

    #[test]
    fn calls_come_in_the_proportions_of_a_real_night() {
        let wish = Wish {
            rate: 300.0,
            seconds: 60.0,
            arrivals: Arrivals::Poisson,
            shares_max: 500,
            doubles: 0.0,
            slow: 0.0,
            seed: 3,
            file: None,
        };
        let plan = plan(&wish, &mut SmallRng::seed_from_u64(3));
        let count = |what| plan.visits.iter().filter(|visit| visit.what == what).count() as f64;
        let opens = count(What::Open);
        assert!((opens / 60.0 / 300.0 - 1.0).abs() < 0.35, "{opens}");
        // Those who would come after the end are left out, and they are more among those who come late.
        let grabs = (count(What::Grab) + opens) / opens;
        let views = count(What::View) / opens;
        assert!((16.0..=21.0).contains(&grabs) && (8.0..=10.5).contains(&views), "{grabs} {views}");
        // Whoever only grabs comes when others were faster.
        let mut opened_by = vec![0; plan.envelopes.len()];
        let is = |what| move |visit: &&Visit| visit.what == what;
        for visit in plan.visits.iter().filter(is(What::Open)) {
            opened_by[visit.envelope as usize] = visit.at_us.max(opened_by[visit.envelope as usize]);
        }
        let late = |visit: &Visit| visit.at_us > opened_by[visit.envelope as usize];
        assert!(plan.visits.iter().filter(is(What::Grab)).all(late));
        let small = plan.envelopes.iter().filter(|envelope| envelope.shares <= 6).count() as f64;
        assert!(small / plan.envelopes.len() as f64 > 0.4, "most groups are small");
        assert!(plan.envelopes.iter().any(|envelope| envelope.shares > 100), "and some are large");
    }
}
