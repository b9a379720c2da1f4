//! What clients were told: the envelopes that were paid for, and how every
//! opening ended. Whatever was told once is final.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;

use crate::common::{number_of, text_of};

/// An envelope.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// The SET that holds it, by its number.
    pub set: usize,
    /// Who sent it.
    pub sender: String,
    /// What was paid.
    pub total_fen: i64,
    /// Into how many shares it is split.
    pub shares: u64,
    /// Whether it expires within the test: the rest goes back.
    pub short_lived: bool,
    /// When it was sent.
    pub at: Instant,
    /// How many users have been let loose on it.
    pub asked: u64,
}

/// How an opening ended, once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With a share.
    Opened { amount_fen: i64, seq: u64 },
    /// There was none left.
    Empty,
    /// It was too late.
    Expired,
}

impl Fate {
    /// From a service's answer.
    pub fn of(outcome: &Value) -> Fate {
        match text_of(&outcome["outcome"]) {
            "opened" => Fate::Opened {
                amount_fen: number_of(&outcome["amount_fen"]),
                seq: outcome["seq"].as_u64().expect("a place is a number"),
            },
            "empty" => Fate::Empty,
            "expired" => Fate::Expired,
            _ => panic!("no outcome: {outcome}"),
        }
    }
}

/// All that is known.
#[derive(Default)]
pub struct Known {
    /// In the order in which they were sent.
    pub envelopes: Vec<Sent>,
    /// By SET: those that still wait for users, by their number.
    pub live: HashMap<usize, Vec<usize>>,
    /// By envelope and user.
    pub fates: HashMap<usize, HashMap<String, Fate>>,
    /// Openings of which nobody knows yet whether they have happened.
    pub unknown: Vec<(usize, String)>,
    /// Envelopes of which nobody knows yet whether they are paid for.
    pub unpaid: Vec<Sent>,
    /// Envelopes about which something was learnt since the last check.
    pub touched: BTreeSet<usize>,
    /// What was put into the wallets.
    pub topped_up_fen: i64,
}

/// Shared by all clients.
#[derive(Default)]
pub struct History(Mutex<Known>);

impl History {
    /// All that is known.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("a client has failed")
    }

    /// An envelope is paid for, and may be opened.
    pub fn sent(&self, sent: Sent) -> usize {
        let mut known = self.known();
        let (number, set) = (known.envelopes.len(), sent.set);
        known.envelopes.push(sent);
        known.live.entry(set).or_default().push(number);
        known.touched.insert(number);
        number
    }

    /// Like [`History::sent`], for one that the load leaves alone.
    pub fn sent_apart(&self, sent: Sent) -> usize {
        let mut known = self.known();
        let number = known.envelopes.len();
        known.envelopes.push(sent);
        known.touched.insert(number);
        number
    }

    /// The id of an envelope.
    pub fn id_of(&self, envelope: usize) -> String {
        self.known().envelopes[envelope].id.clone()
    }

    /// Takes an answer in. It must not differ from what was told before.
    pub fn learn(&self, envelope: usize, user: &str, fate: Fate) {
        let mut known = self.known();
        known.touched.insert(envelope);
        let before = known.fates.entry(envelope).or_default().entry(user.to_owned()).or_insert_with(|| fate.clone());
        let same = *before == fate;
        let reason = format!("{before:?}, then {fate:?}");
        assert!(same, "I2, I3: {user} was told of {}: {reason}", known.envelopes[envelope].id);
    }

    /// Nobody knows whether this opening has happened.
    pub fn lost(&self, envelope: usize, user: &str) {
        let mut known = self.known();
        known.touched.insert(envelope);
        known.unknown.push((envelope, user.to_owned()));
    }
}
