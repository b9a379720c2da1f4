//! A steady load of sends and opens through the gateway.
//!
//! Each SET has clients of its own, so that nobody who asks one SET waits
//! behind somebody who waits for another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::cluster::Cluster;
use crate::history::{Fate, History, Sent};
use crate::noticed::{Noticed, Tally};
use crate::person::{Person, Trouble, fresh_name};

/// Clients that open, per SET.
const OPENERS: usize = 2;
/// Clients that send: several, because one may wait for a SET that is gone.
const SENDERS: usize = 4;
/// Between two requests of a client: a steady load, not a full one.
const PAUSE: Duration = Duration::from_millis(5);
/// After a request that failed.
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_millis(20);
/// Envelopes per SET that wait for users: when every SET has so many, nobody sends.
const LIVE_MAX: usize = 12;
/// Users who come for nothing, per envelope.
const TOO_LATE: u64 = 2;
/// The life of most envelopes: less than an hour, so that a clock that is an
/// hour ahead would end it.
const LIFE_S: u64 = 1_800;
/// The life of some: within the test.
const SHORT_LIFE_S: u64 = 2;
/// Without trouble for so long, the load is steady.
const STEADY_FOR: Duration = Duration::from_millis(500);
/// It must become so within this time.
const STEADY_WITHIN: Duration = Duration::from_secs(30);

/// The clients at work.
pub struct Load<'a> {
    cluster: &'a Cluster,
    history: &'a History,
    noticed: &'a Noticed,
    stopped: AtomicBool,
}

/// Lets the clients end when it is dropped, by a failed test too.
pub struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The users who send.
pub fn senders() -> Vec<String> {
    (0..SENDERS).map(|number| format!("sender-{number}")).collect()
}

impl<'a> Load<'a> {
    /// Not at work yet.
    pub fn new(cluster: &'a Cluster, history: &'a History, noticed: &'a Noticed) -> Load<'a> {
        Load { cluster, history, noticed, stopped: AtomicBool::new(false) }
    }

    /// Runs `fault` while the clients work: from when the load is steady until it is so again.
    pub fn around(&self, fault: impl FnOnce()) {
        std::thread::scope(|scope| {
            let stop = StopOnDrop(&self.stopped);
            for sender in senders() {
                scope.spawn(move || self.send_until_stopped(&sender));
            }
            for set in 0..self.cluster.sets().len() {
                for _ in 0..OPENERS {
                    scope.spawn(move || self.open_until_stopped(set));
                }
            }
            self.wait_until_steady();
            fault();
            self.wait_until_steady();
            drop(stop);
        });
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A connection to the gateway.
    pub fn person(&self) -> Person {
        Person::new(self.cluster.secret(), self.cluster.gateway())
    }

    /// Waits until everybody is served again, without trouble for a while.
    fn wait_until_steady(&self) {
        let tallies = || self.noticed.opens.iter().chain([&self.noticed.creates]);
        let good = || tallies().map(Tally::good).collect::<Vec<_>>();
        let deadline = Instant::now() + STEADY_WITHIN;
        let (mut bad_before, mut since, mut good_before) = (self.noticed.bad(), Instant::now(), good());
        while since.elapsed() < STEADY_FOR || good().iter().zip(&good_before).any(|(now, before)| now <= before) {
            if Instant::now() > deadline {
                let (reason, latest) = (self.noticed.reason(&self.cluster.sets()), self.noticed.latest());
                panic!("no steady load within {STEADY_WITHIN:?}: {reason}: {latest:#?}");
            }
            std::thread::sleep(PAUSE);
            if self.noticed.bad() != bad_before {
                (bad_before, since, good_before) = (self.noticed.bad(), Instant::now(), good());
            }
        }
    }

    fn send_until_stopped(&self, sender: &str) {
        let mut person = self.person();
        let mut dice = StdRng::from_os_rng();
        while !self.is_stopped() {
            let sets = 0..self.cluster.sets().len();
            let waiting: Vec<usize> = sets.map(|set| self.history.known().live.get(&set).map_or(0, Vec::len)).collect();
            // Where an envelope goes is not ours to say: one SET may get too many while another has too few.
            if waiting.iter().all(|count| *count >= LIVE_MAX) || waiting.iter().any(|count| *count >= 4 * LIVE_MAX) {
                std::thread::sleep(PAUSE);
                continue;
            }
            if self.send_something(&mut person, sender, &mut dice).is_err() {
                std::thread::sleep(PAUSE_AFTER_TROUBLE);
            }
        }
    }

    fn send_something(&self, person: &mut Person, sender: &str, dice: &mut StdRng) -> Result<(), Trouble> {
        let shares = dice.random_range(5..=20);
        let equal = dice.random_ratio(1, 3);
        let each_fen = dice.random_range(1..=500);
        let total_fen = shares as i64 * each_fen;
        let short_lived = dice.random_ratio(1, 6);
        let envelope = json!({
            "kind": if equal { "equal" } else { "lucky" },
            "total_fen": total_fen,
            "shares": shares,
            "expires_in_s": if short_lived { SHORT_LIFE_S } else { LIFE_S },
        });
        let id = self.create(person, sender, &envelope)?;
        let set = self.cluster.set_of(&id);
        let sent =
            Sent { id, set, sender: sender.to_owned(), total_fen, shares, short_lived, at: Instant::now(), asked: 0 };
        let paid = person.pay(sender, &sent.id);
        self.noticed.pays[set].count(&paid);
        if let Err(trouble) = paid {
            self.history.known().unpaid.push(sent);
            return Err(trouble);
        }
        self.history.sent(sent);
        Ok(())
    }

    /// Makes an envelope that is not paid for yet; its id.
    pub fn create(&self, person: &mut Person, sender: &str, envelope: &serde_json::Value) -> Result<String, Trouble> {
        let created = person.create(sender, envelope);
        self.noticed.creates.count(&created);
        created
    }

    fn open_until_stopped(&self, set: usize) {
        let mut person = self.person();
        let mut dice = StdRng::from_os_rng();
        while !self.is_stopped() {
            let done = match self.choose(set, &mut dice) {
                Some(envelope) => self.open(&mut person, envelope, &fresh_name()),
                None => self.look(&mut person, set, &mut dice),
            };
            std::thread::sleep(if done.is_ok() { PAUSE } else { PAUSE_AFTER_TROUBLE });
        }
    }

    /// An envelope that still waits for users.
    fn choose(&self, set: usize, dice: &mut StdRng) -> Option<usize> {
        let mut known = self.history.known();
        let known = &mut *known;
        let live = known.live.get_mut(&set)?;
        if live.is_empty() {
            return None;
        }
        let place = dice.random_range(0..live.len());
        let number = live[place];
        let envelope = &mut known.envelopes[number];
        envelope.asked += 1;
        if envelope.asked >= envelope.shares + TOO_LATE {
            live.swap_remove(place);
        }
        Some(number)
    }

    /// Grabs and opens as a user, and remembers the answer, or that there was none.
    pub fn open(&self, person: &mut Person, envelope: usize, user: &str) -> Result<(), Trouble> {
        let (id, set) = {
            let known = self.history.known();
            (known.envelopes[envelope].id.clone(), known.envelopes[envelope].set)
        };
        let outcome = person.open(user, &id);
        self.noticed.opens[set].count(&outcome);
        match outcome {
            Ok(outcome) => {
                self.history.learn(envelope, user, Fate::of(&outcome));
                Ok(())
            }
            Err(trouble) => {
                self.history.lost(envelope, user);
                Err(trouble)
            }
        }
    }

    /// Looks at one of the latest envelopes of a SET.
    fn look(&self, person: &mut Person, set: usize, dice: &mut StdRng) -> Result<(), Trouble> {
        let latest: Vec<String> = {
            let known = self.history.known();
            let of_set = known.envelopes.iter().rev().filter(|sent| sent.set == set);
            of_set.take(LIVE_MAX).map(|sent| sent.id.clone()).collect()
        };
        if latest.is_empty() {
            return Ok(());
        }
        let seen = person.detail("looker", &latest[dice.random_range(0..latest.len())], 0);
        self.noticed.opens[set].count(&seen);
        seen.map(|_| ())
    }
}
