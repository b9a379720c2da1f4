//! The scenarios: each writes a whole plan before anything is sent. What a
//! scenario fixes stands as constants at the top of its file, and is printed.

mod eve;
mod groups;
mod hot;
mod rain;
mod replay;
mod wish;

pub use wish::Wish;

use hongbao_load::Fallible;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::wish::{ENVELOPES_MAX, VISITS_MAX};
use super::plan::{ClientBehaviour, RunPlan};

/// What to rehearse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// One envelope, everybody
    Hot,
    /// Groups of all sizes: sends, grabs, opens and views in the proportions of a real night
    Groups,
    /// Many envelopes at a second on the second
    Rain,
    /// A night in minutes: ramp, midnight peak across a day boundary, tail, expiry wave
    Eve,
    /// What was recorded in a file: lines like {"at_ms":5,"call":"open","envelope":0,"user":7}, where a call is
    /// send, grab, open (which grabs first, unless tickets are fetched ahead) or view
    Replay,
}

impl Scenario {
    /// Its name, as it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Hot => "hot",
            Scenario::Groups => "groups",
            Scenario::Rain => "rain",
            Scenario::Eve => "eve",
            Scenario::Replay => "replay",
        }
    }

    /// Where in the load local midnight lies, in seconds, if the scenario has one.
    pub fn midnight_s(self, wish: &Wish) -> Option<f64> {
        matches!(self, Scenario::Eve).then(|| eve::midnight_s(wish))
    }

    /// About how many visits the plan has, at the full rate all the time; those of a
    /// recording are counted as they are read.
    fn visits_expected(self, wish: &Wish) -> f64 {
        match self {
            Scenario::Hot => wish.rate * wish.seconds,
            Scenario::Groups => wish.rate * wish.seconds * groups::VISITS_PER_OPEN,
            Scenario::Eve => wish.rate * wish.seconds * eve::PEAKS * groups::VISITS_PER_OPEN,
            Scenario::Rain => rain::openings(wish),
            Scenario::Replay => 0.0,
        }
    }

    /// The plan.
    ///
    /// # Errors
    /// When it would be larger than this machine should hold, or a file cannot be read.
    pub fn plan(self, wish: &Wish) -> Fallible<RunPlan> {
        // Before it is written: it need not fit into memory.
        if self.visits_expected(wish) > VISITS_MAX as f64 {
            let visits = self.visits_expected(wish);
            return Err(
                format!("about {visits:.0} visits are too many, {VISITS_MAX} at most: ask for less time").into()
            );
        }
        let mut random = SmallRng::seed_from_u64(wish.seed);
        let mut plan = match self {
            Scenario::Hot => hot::plan(wish, &mut random),
            Scenario::Groups => groups::plan(wish, &mut random),
            Scenario::Rain => rain::plan(wish, &mut random),
            Scenario::Eve => eve::plan(wish, &mut random),
            Scenario::Replay => {
                replay::plan(wish.file.as_deref().ok_or("replay: name the FILE that it was recorded in")?, wish)?
            }
        };
        if plan.visits.len() > VISITS_MAX || plan.envelopes.len() > ENVELOPES_MAX {
            let (visits, envelopes) = (plan.visits.len(), plan.envelopes.len());
            return Err(format!("{visits} visits and {envelopes} envelopes are too many: ask for less time").into());
        }
        for visit in &mut plan.visits {
            visit.behaviour = ClientBehaviour {
                double: random.random::<f64>() < wish.doubles,
                slow: random.random::<f64>() < wish.slow,
            };
        }
        let parameters = [
            ("double taps", format!("{}% of the openings", wish.doubles * 100.0)),
            ("slow clients", format!("{}% of the visits", wish.slow * 100.0)),
            ("seed", wish.seed.to_string()),
        ];
        plan.parameters.extend(wish::named(parameters));
        Ok(plan.sorted())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::arrivals::Arrivals;
    use super::super::plan::What;
    use super::*;

    pub fn wish() -> Wish {
        Wish {
            rate: 200.0,
            seconds: 20.0,
            arrivals: Arrivals::Poisson,
            shares_max: 500,
            doubles: 0.02,
            slow: 0.01,
            seed: 1,
            file: None,
        }
    }

    #[test]
    fn every_plan_is_sound_and_the_same_seed_makes_the_same() {
        for scenario in [Scenario::Hot, Scenario::Groups, Scenario::Rain, Scenario::Eve] {
            let name = scenario.name();
            let plan = scenario.plan(&wish()).unwrap();
            assert!(plan.visits.is_sorted_by_key(|visit| visit.at_us), "{name}");
            assert!(plan.visits.iter().all(|visit| visit.user < plan.users), "{name}");
            assert!(plan.visits.iter().all(|visit| (visit.envelope as usize) < plan.envelopes.len()), "{name}");
            assert!(plan.envelopes.iter().all(|envelope| (1..=500).contains(&envelope.shares)), "{name}");
            assert!((plan.load_s() - 20.0).abs() < 0.001, "{name}: {}", plan.load_s());
            let opens: Vec<_> = plan.visits.iter().filter(|visit| visit.what == What::Open).collect();
            let once: HashSet<_> = opens.iter().map(|visit| (visit.envelope, visit.user)).collect();
            assert_eq!(once.len(), opens.len(), "{name}: no user plans to open an envelope twice");
            let doubles = opens.iter().filter(|visit| visit.behaviour.double).count() as f64 / opens.len() as f64;
            assert!((0.005..0.05).contains(&doubles), "{name}: {doubles}");
            for visit in &plan.visits {
                let envelope = &plan.envelopes[visit.envelope as usize];
                if let Some(group) = envelope.group {
                    assert_eq!(plan.groups[visit.user as usize], group, "{name}: only members come");
                }
            }
            assert_eq!(plan.visits, scenario.plan(&wish()).unwrap().visits, "{name}");
            let other = Wish { seed: 2, ..wish() };
            assert_ne!(plan.visits, scenario.plan(&other).unwrap().visits, "{name}");
        }
    }

    #[test]
    fn a_plan_that_is_too_large_is_refused() {
        let refused = |scenario: Scenario, rate, seconds| {
            let wish = Wish { rate, seconds, ..wish() };
            let error = scenario.plan(&wish).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains("too many")), "{}: {error:?}", scenario.name());
        };
        for scenario in [Scenario::Hot, Scenario::Groups, Scenario::Rain, Scenario::Eve] {
            // None of these would fit into memory.
            refused(scenario, 1_000_000.0, 86_400.0);
            refused(scenario, 50_000.0, 86_400.0);
        }
        refused(Scenario::Hot, 1_000_000.0, 30.0);
        refused(Scenario::Groups, 100_000.0, 30.0);
    }
}
