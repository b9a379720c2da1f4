//! What clients noticed: answers that were none, counted by whom they concern.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::person::Trouble;

/// How many troubles are kept in words.
const WORDS_MAX: usize = 3;

/// Successes and troubles of one kind of call.
#[derive(Default)]
pub struct Tally {
    good: AtomicU64,
    bad: AtomicU64,
    latest: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts a result.
    pub fn count<T>(&self, result: &Result<T, Trouble>) {
        match result {
            Ok(_) => _ = self.good.fetch_add(1, Ordering::Relaxed),
            Err(Trouble(reason)) => {
                self.bad.fetch_add(1, Ordering::Relaxed);
                let mut latest = self.latest.lock().expect("no holder of the lock panics");
                if latest.len() == WORDS_MAX {
                    latest.remove(0);
                }
                latest.push(reason.clone());
            }
        }
    }

    /// How many went well.
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// How many did not.
    pub fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }

    fn latest(&self) -> Vec<String> {
        self.latest.lock().expect("no holder of the lock panics").clone()
    }

    fn require_none(&self, what: &str) {
        assert_eq!(self.bad(), 0, "{what} should have noticed nothing: {:#?}", self.latest());
    }
}

/// By SET, what concerns it; and what concerns no SET that is known.
pub struct Noticed {
    /// Grabs, openings and details.
    pub opens: Vec<Tally>,
    /// Payments: these need the wallet too.
    pub pays: Vec<Tally>,
    /// New envelopes: which SET would have got one that failed is not known.
    pub creates: Tally,
}

/// Who may notice a fault.
#[derive(Clone, Copy)]
pub enum MayNotice {
    /// Nobody at all.
    Nobody,
    /// Whoever asks for envelopes of this SET.
    Set(&'static str),
    /// Whoever sends an envelope.
    Senders,
    /// Everybody.
    Everybody,
}

impl Noticed {
    /// Nothing yet.
    pub fn new(sets: usize) -> Noticed {
        let tallies = || (0..sets).map(|_| Tally::default()).collect();
        Noticed { opens: tallies(), pays: tallies(), creates: Tally::default() }
    }

    /// All troubles so far.
    pub fn bad(&self) -> u64 {
        self.opens.iter().chain(&self.pays).chain([&self.creates]).map(Tally::bad).sum()
    }

    /// The latest troubles of each kind of call, in words.
    pub fn latest(&self) -> Vec<String> {
        self.opens.iter().chain(&self.pays).chain([&self.creates]).flat_map(Tally::latest).collect()
    }

    /// Requires that only those noticed who may.
    pub fn require(&self, sets: &[&str], may: MayNotice) {
        for (number, name) in sets.iter().enumerate() {
            let its_own = matches!(may, MayNotice::Set(hit) if hit == *name) || matches!(may, MayNotice::Everybody);
            if !its_own {
                self.opens[number].require_none(&format!("whoever opens in SET {name}"));
            }
            if !its_own && !matches!(may, MayNotice::Senders) {
                self.pays[number].require_none(&format!("whoever pays in SET {name}"));
            }
        }
        if matches!(may, MayNotice::Nobody) {
            self.creates.require_none("whoever makes envelopes");
        }
    }

    /// In words: what went well, and in brackets what did not.
    pub fn reason(&self, sets: &[&str]) -> String {
        let of = |tally: &Tally| format!("{} ({})", tally.good(), tally.bad());
        let by_set = |tallies: &[Tally]| {
            let each = sets.iter().zip(tallies).map(|(name, tally)| format!("{name} {}", of(tally)));
            each.collect::<Vec<_>>().join(", ")
        };
        format!("opens {}; pays {}; creates {}", by_set(&self.opens), by_set(&self.pays), of(&self.creates))
    }
}
