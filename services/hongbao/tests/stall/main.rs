//! Databases whose log stops answering and that then die, while every place is
//! in flight in which something that was read from a database leads to a write
//! in another one, to an answer, or to what others answer from.
//!
//! InnoDB shows a commit to readers before its log is on the disk. Whoever acts
//! on what it has read, without knowing that it is durable, acts on something
//! that a crash takes back. A round makes envelopes in every state, lets clients
//! loose on them (see [`traffic`]) while servers start anew and the jobs run,
//! stalls the logs of one to four databases for up to three seconds, kills most
//! of those with SIGKILL and starts them again. Then everything must settle, and
//! nobody may have been told or paid anything that is not so.
//!
//! Rounds run on several installations at the same time, because a round mostly
//! waits. `HONGBAO_STALL_ROUNDS=100` plays so many; `HONGBAO_STALL_SEED=42` plays
//! the one with this seed (its plan is the same, the timing of threads is not).

mod check;
mod installation;
mod payment;
mod process;
mod round;
mod told;
mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hongbao_workers::audit::{SetStore, audit};

use crate::installation::Installation;
use crate::round::Outcome;
use crate::told::Place;

/// Rounds, unless the environment says otherwise.
const ROUNDS: u64 = 50;
/// How long the processes of each installation wait for a statement. With the
/// first two a stall is mostly an unknown outcome, with the last one a long wait.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(600), Duration::from_millis(1_500), Duration::from_millis(4_000)];
/// The first audits meet connections that broke with their databases.
const AUDIT_TRIES: usize = 40;
const AUDIT_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Places of [`Place`].
const PLACES: usize = Place::TopUp as usize + 1;
/// Lines of each kind of violation that are printed.
const LINES_MAX: usize = 4;

/// What was found in all rounds.
#[derive(Default)]
struct Found {
    /// By kind: the seeds of its rounds, and what exactly.
    violations: BTreeMap<&'static str, Vec<(u64, String)>>,
    in_flight: BTreeMap<Place, u64>,
    kills: usize,
    rounds: u64,
}

impl Found {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.rounds += 1;
        self.kills += outcome.kills;
        for (place, count) in outcome.in_flight {
            *self.in_flight.entry(place).or_default() += count;
        }
        for violation in outcome.violations {
            self.violations.entry(violation.kind).or_default().push((seed, violation.reason));
        }
    }

    fn print(&self) {
        println!("{} rounds, {} kills of a database whose log was stalled", self.rounds, self.kills);
        println!("requests that began while a log that they rest on was stalled: {:?}", self.in_flight);
        for (kind, found) in &self.violations {
            let mut seeds: Vec<u64> = found.iter().map(|(seed, _)| *seed).collect();
            seeds.sort_unstable();
            seeds.dedup();
            println!("{kind}: {} in {} rounds, HONGBAO_STALL_SEED={seeds:?}", found.len(), seeds.len());
            found.iter().take(LINES_MAX).for_each(|(seed, reason)| println!("    {seed}: {reason}"));
        }
    }
}

#[test]
fn i3_i6_stalled_and_killed_databases_lose_and_make_no_money_and_no_answer_was_false() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let seeds = match number("HONGBAO_STALL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HONGBAO_STALL_ROUNDS").unwrap_or(ROUNDS),
    };
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(Found::default()));
    let began = Instant::now();
    let all_ended = std::thread::scope(|scope| {
        let installations = &PATIENCE[..PATIENCE.len().min(seeds.clone().count())];
        let (next, found, end) = (&next, &found, seeds.end);
        let playing =
            installations.iter().map(|patience| scope.spawn(move || play_rounds(*patience, next, end, found)));
        let playing: Vec<_> = playing.collect();
        let ended: Vec<bool> = playing.into_iter().map(|playing| playing.join().is_ok()).collect();
        ended.into_iter().all(|ended| ended)
    });
    let found = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    found.print();
    println!("{:.0} s", began.elapsed().as_secs_f64());
    assert!(all_ended, "an installation did not come to its end");
    assert_eq!(found.rounds, seeds.count() as u64);
    if found.rounds >= ROUNDS {
        assert_eq!(
            found.in_flight.len(),
            PLACES,
            "not every place was in flight while a log that it rests on was stalled"
        );
    }
    assert!(found.violations.is_empty(), "see above");
}

/// Plays rounds on an installation of its own until there is none left, and audits it.
fn play_rounds(patience: Duration, next: &AtomicU64, end: u64, found: &Mutex<Found>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let installation = Arc::new(Installation::start(patience).await);
        installation.start_workers().await;
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end {
                break;
            }
            let outcome = round::play(installation.clone(), seed).await;
            found.lock().expect("no round panicked").add(seed, outcome);
        }
        let breaches = audit_all(&installation).await;
        let mut found = found.lock().expect("no round panicked");
        for breach in breaches {
            found.violations.entry("audit").or_default().push((end, breach));
        }
    });
}

/// What the audit finds over all that has happened to an installation.
async fn audit_all(installation: &Installation) -> Vec<String> {
    let named = installation.sets.iter().enumerate().map(|(number, set)| SetStore {
        name: number.to_string(),
        held: set.shape.layout.held.clone(),
        store: set.store.clone(),
    });
    let sets: Vec<SetStore> = named.collect();
    let mut reason = String::new();
    for _ in 0..AUDIT_TRIES {
        let mut breaches = Vec::new();
        match audit(&sets, &*installation.wallet, &mut |breach| breaches.push(breach.to_string())).await {
            Ok(_) => return breaches,
            // The connections of the test broke with the databases: the next ones are new.
            Err(error) => reason = error.to_string(),
        }
        tokio::time::sleep(AUDIT_AGAIN_AFTER).await;
    }
    panic!("the audit cannot read everything: {reason}");
}
