//! The load, and the drain after it.

use std::time::{Duration, Instant, SystemTime};

use hongbao_load::{Fallible, Running, Schedule, interrupt, machine};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::args::RunArgs;
use super::books::Books;
use super::drive::{Driven, Equipment};
use super::engine::Engine;
use super::gauges::GaugeWatch;
use super::history::HistoryEvent;
use super::plan::RunPlan;
use super::prepare::Prepared;
use super::recorder::{Gauges, Recorder};
use super::settle::Settled;
use super::target::Target;
use super::usage::{Usage, Used};
use super::users::Users;
use crate::outcome::{FaultDone, Live, Phase, Second};

/// How long credits and refunds may take after the load and the last fault.
const DRAIN_WITHIN: Duration = Duration::from_secs(300);
/// How much later than balances the metrics may show the last credits.
const SHOWN_WITHIN: Duration = Duration::from_millis(2_500);
/// Between two looks whether a second is over.
const STEP: Duration = Duration::from_millis(20);

/// Everything that a run has at hand.
pub struct Rehearsal<'a> {
    pub args: &'a RunArgs,
    pub plan: &'a RunPlan,
    pub target: &'a Target,
    pub users: &'a Users,
    /// What is broken meanwhile.
    pub faults: &'a Schedule,
}

/// What the load and the drain brought.
pub struct Load {
    /// What the engine saw.
    pub driven: Driven,
    /// Parts of the run, the drain included.
    pub phases: Vec<Phase>,
    pub faults: Vec<FaultDone>,
    /// How the drain ended.
    pub settled: Settled,
    /// How long it took, in seconds after the load; `None` if it did not end in time.
    pub drain_s: Option<f64>,
    pub started_at: SystemTime,
    /// Processor time that it took.
    pub used: Used,
}

impl Rehearsal<'_> {
    /// Carries out the plan.
    ///
    /// # Errors
    /// When it is interrupted, or this machine cannot drive it.
    pub fn drive(&self, prepared: Prepared, header: String) -> Fallible<Load> {
        let watch = GaugeWatch::start(self.target.metrics.clone(), self.args.rehearsal_token_file.is_some());
        let mut live = Live::stderr(self.args.scenario.name(), self.plan.load_s());
        let phase_of = |at_s: f64| self.plan.phases[self.plan.phase_at((at_s * 1e6) as u64)].name.as_str();
        let mut on_second = |second: &Second| live.show(second, phase_of(second.at_s - 0.5));
        let equipment = Equipment {
            site: self.target.site.clone(),
            tokens: &self.users.tokens,
            tickets: &prepared.tickets,
            envelopes: prepared.envelopes,
            header,
            connections: self.args.connections as usize,
            retries: self.args.retries,
            random: SmallRng::seed_from_u64(self.args.seed),
            gauges: &|| watch.gauges(),
            on_second: &mut on_second,
        };
        let engine = Engine::new(self.plan, self.args.pace(), equipment)?;
        let before = Usage::read(self.target)?;
        let (started, started_at) = (Instant::now(), machine::wall_clock());
        let faults =
            self.target.cluster().map(|cluster| self.faults.start(cluster.site(self.faults), started)).transpose()?;
        let mut driven = engine.drive(started)?;
        let cpu = Usage::read(self.target)?.since(&before);
        let mut used = Used { load_s: started.elapsed().as_secs_f64(), cpu, ..Used::default() };

        let mut seconds =
            Seconds { started, gauges: &|| watch.gauges(), on_second: &mut |second| live.show(second, "drain") };
        let recorder = &mut driven.recorder;
        let books = self.books(&driven.envelopes, &driven.history);
        let is_disturbed = || faults.as_ref().is_some_and(|running| !running.is_over());
        let settled = std::thread::scope(|scope| -> Fallible<Settled> {
            let settling = scope.spawn(|| books.settle(DRAIN_WITHIN, &is_disturbed));
            seconds.tick_until(recorder, |_| settling.is_finished() && !is_disturbed())?;
            Ok(settling.join().map_err(|_| "looking at the balances panicked")?)
        })?;
        let faults = faults.map(Running::finish).unwrap_or_default();
        let shown_by = Instant::now() + SHOWN_WITHIN;
        let credits = settled.credits().filter(|_| settled.at.is_some());
        seconds.tick_until(recorder, |recorder| {
            credits.is_none_or(|credits| recorder.totals.settled >= credits) || Instant::now() > shown_by
        })?;

        let load_s = driven.load_s;
        let mut phases = self.plan.phases_until(load_s);
        phases.push(Phase { name: "drain".to_owned(), from_s: load_s, to_s: started.elapsed().as_secs_f64() });
        used.batches = watch.batches();
        let drain_s = settled.at.map(|at| drain_s((at - started).as_secs_f64(), load_s, credits, &driven.recorder));
        Ok(Load { driven, phases, faults, settled, drain_s, started_at, used })
    }

    pub fn books<'a>(&'a self, envelopes: &'a [Option<String>], history: &'a [HistoryEvent]) -> Books<'a> {
        Books { plan: self.plan, users: self.users, envelopes, history, top_ups: self.plan.money() }
    }
}

/// How long after the load the last credit came, in seconds. It had come when all
/// balances were seen to be right; but to ask for those of a million users takes
/// minutes, so where the service counted all `credits` that were seen then, refunds and
/// openings whose answer was lost among them, the last time that its count moved is nearer.
fn drain_s(seen_s: f64, load_s: f64, credits: Option<u64>, recorder: &Recorder) -> f64 {
    let is_counted = credits.is_some_and(|credits| recorder.totals.settled >= credits);
    let last_moved = recorder.seconds.iter().rfind(|second| second.counted.settled > 0);
    let at_s = last_moved.filter(|_| is_counted).map_or(seen_s, |second| second.at_s.min(seen_s));
    (at_s - load_s).max(0.0)
}

/// The seconds after the load: they go on whatever is waited for, or the time axis
/// of the report would have a gap.
struct Seconds<'a> {
    started: Instant,
    gauges: &'a dyn Fn() -> Gauges,
    on_second: &'a mut dyn FnMut(&Second),
}

impl Seconds<'_> {
    fn tick_until(&mut self, recorder: &mut Recorder, is_over: impl Fn(&Recorder) -> bool) -> Fallible<()> {
        while !is_over(recorder) {
            interrupt::check()?;
            std::thread::sleep(STEP);
            let at_s = self.started.elapsed().as_secs_f64();
            if recorder.seconds.last().is_none_or(|last| at_s - last.at_s >= 1.0) {
                (self.on_second)(recorder.tick(at_s, (self.gauges)()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Totals;
    use crate::run::settle::Look;
    use crate::run::shown::Shown;

    #[test]
    fn the_drain_ends_with_the_last_credit_or_where_not_all_were_counted_when_all_balances_were_right() {
        let mut recorder = Recorder::new(&[]);
        let second =
            |at_s, settled| Second { at_s, counted: Totals { settled, ..Totals::default() }, ..Second::default() };
        recorder.seconds =
            vec![second(60.0, 40), second(61.0, 50), second(73.0, 10), second(74.0, 0), second(259.0, 0)];
        // Of 99 openings the answer to one was lost.
        recorder.totals = Totals { committed: 98, settled: 100, ..Totals::default() };
        let blind = Settled { at: Some(Instant::now()), within: DRAIN_WITHIN, look: Err("not asked".into()) };
        let drain = |seen_s, credits, recorder: &Recorder| drain_s(seen_s, 60.0, credits, recorder);
        assert_eq!(drain(259.5, credits(99, 1), &recorder), 13.0);
        assert_eq!(drain(72.5, credits(99, 1), &recorder), 12.5, "it was seen to be over sooner than counted");
        assert_eq!(drain(259.5, credits(99, 2), &recorder), 199.5, "a refund is counted like an opening");
        assert_eq!(drain(259.5, blind.credits(), &recorder), 199.5, "how many there are is not known");
        recorder.totals.settled = 99;
        assert_eq!(drain(259.5, credits(99, 1), &recorder), 199.5, "a worker died with its count");
        recorder.totals = Totals::default();
        recorder.seconds.clear();
        assert_eq!(drain(60.5, credits(0, 0), &recorder), 0.5);
        assert_eq!(drain(59.5, credits(0, 0), &recorder), 0.0, "it is not over before the load");
    }

    /// Of a look that shows so many openings and refunded envelopes, and one that never came to be.
    fn credits(openings: u32, refunded: usize) -> Option<u64> {
        let envelope = |state: &str, openings| Shown {
            state: state.to_owned(),
            total_fen: 200,
            remaining_fen: 0,
            opens: (1..=openings).map(|seq| (seq, format!("user-{seq}"), 1)).collect(),
        };
        let mut shown = vec![Some(envelope("finished", openings)), None];
        shown.extend((0..refunded).map(|_| Some(envelope("refunded", 0))));
        let look = Look { shown, has: Vec::new(), due: Vec::new() };
        Settled { at: Some(Instant::now()), within: DRAIN_WITHIN, look: Ok(look) }.credits()
    }

    #[test]
    fn seconds_go_on_while_something_is_waited_for() {
        let (started, mut shown) = (Instant::now(), 0);
        let mut seconds =
            Seconds { started, gauges: &|| Gauges { settled: 3, ..Gauges::default() }, on_second: &mut |_| shown += 1 };
        let mut recorder = Recorder::new(&[]);
        let until = started + Duration::from_millis(2_500);
        seconds.tick_until(&mut recorder, |_| Instant::now() > until).unwrap();
        assert_eq!((shown, recorder.totals.settled), (recorder.seconds.len(), 3));
        let at: Vec<f64> = recorder.seconds.iter().map(|second| second.at_s).collect();
        assert!(at.len() >= 2 && at.windows(2).all(|two| (1.0..1.5).contains(&(two[1] - two[0]))), "{at:?}");
    }
}
