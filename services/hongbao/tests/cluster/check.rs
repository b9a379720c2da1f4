//! After a fault: what was unknown settles, and all that was acknowledged is there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::common::{number_of, text, text_of};
use crate::history::{Fate, History, Sent};
use crate::person::{Person, Trouble};

/// However often it is asked again, an answer must come within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// Before asking again.
const PAUSE: Duration = Duration::from_millis(20);
/// A credit or refund must have arrived within this time.
const CREDITED_WITHIN: Duration = Duration::from_secs(15);
/// What an envelope's former owner shows may be old, but not for longer than this.
const SHOWN_WITHIN: Duration = Duration::from_secs(4);
/// Openings that are asked for again, and users whose balance is looked at.
const SAMPLE: usize = 12;

/// Asks until there is an answer.
pub fn until_settled<T>(what: &str, mut ask: impl FnMut() -> Result<T, Trouble>) -> T {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(trouble) => {
                assert!(Instant::now() < deadline, "{what}: no answer within {SETTLED_WITHIN:?}: {trouble:?}");
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// All of it, over what was touched since the last time. How many were unknown.
pub fn check(cluster: &Cluster, history: &History) -> usize {
    let mut person = Person::new(cluster.secret(), cluster.gateway());
    let unknown = settle(history, &mut person);
    let touched = std::mem::take(&mut history.known().touched);
    for envelope in touched.iter().copied() {
        let (sent, fates) = {
            let known = history.known();
            (known.envelopes[envelope].clone(), known.fates.get(&envelope).cloned().unwrap_or_default())
        };
        check_envelope(&mut person, &sent, &fates);
    }
    let opened: Vec<(usize, String, Fate)> = {
        let known = history.known();
        let fates = touched.iter().flat_map(|envelope| {
            known.fates.get(envelope).into_iter().flatten().map(|(user, fate)| (*envelope, user.clone(), fate.clone()))
        });
        fates.filter(|(_, _, fate)| matches!(fate, Fate::Opened { .. })).collect()
    };
    let every = opened.len().div_ceil(SAMPLE).max(1);
    for (envelope, user, fate) in opened.iter().step_by(every) {
        let id = history.id_of(*envelope);
        let again = until_settled("an opening once more", || person.open(user, &id));
        assert_eq!((&Fate::of(&again), &again["replayed"]), (fate, &Value::Bool(true)), "I2: {user} again for {id}");
    }
    check_balances(history, &mut person, opened.iter().step_by(every).map(|(_, user, _)| user.as_str()));
    audit(cluster);
    unknown
}

/// Asks again for all that nobody knows, until somebody says.
fn settle(history: &History, person: &mut Person) -> usize {
    let (unpaid, unknown) = {
        let mut known = history.known();
        (std::mem::take(&mut known.unpaid), std::mem::take(&mut known.unknown))
    };
    for sent in &unpaid {
        until_settled("a payment", || person.pay(&sent.sender, &sent.id));
        // Enough wait for users already.
        history.sent_apart(sent.clone());
    }
    for (envelope, user) in &unknown {
        let id = history.id_of(*envelope);
        let outcome = until_settled("an opening", || person.open(user, &id));
        history.learn(*envelope, user, Fate::of(&outcome));
    }
    unpaid.len() + unknown.len()
}

/// The envelope as it is told now is what users were told of it, neither more nor less.
fn check_envelope(person: &mut Person, sent: &Sent, fates: &HashMap<String, Fate>) {
    let id = &sent.id;
    let mut told: Vec<(u64, String, i64)> = fates
        .iter()
        .filter_map(|(user, fate)| match fate {
            Fate::Opened { amount_fen, seq } => Some((*seq, user.clone(), *amount_fen)),
            Fate::Empty | Fate::Expired => None,
        })
        .collect();
    told.sort_unstable();
    let deadline = Instant::now() + SHOWN_WITHIN;
    let (envelope, shown) = loop {
        let (envelope, shown) = detail(person, sent);
        if shown == told || Instant::now() > deadline {
            break (envelope, shown);
        }
        std::thread::sleep(PAUSE);
    };
    assert_eq!(shown, told, "I2, I3: openings of {id}, as shown and as told");
    let places: Vec<u64> = shown.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(places, (1..=shown.len() as u64).collect::<Vec<_>>(), "I4: places of {id}");
    let opened_fen: i64 = shown.iter().map(|(.., fen)| fen).sum();
    let state = text_of(&envelope["state"]);
    if sent.short_lived {
        assert!(["active", "finished", "expired", "refunded"].contains(&state), "{envelope}");
    } else {
        assert!(["active", "finished"].contains(&state), "before its time: {envelope}");
        let remaining_fen = number_of(&envelope["remaining_fen"]);
        assert_eq!(opened_fen + remaining_fen, sent.total_fen, "I1: {envelope}");
        assert_eq!(state == "finished", remaining_fen == 0, "{envelope}");
        assert!(!fates.values().any(|fate| *fate == Fate::Expired), "nobody is too late for {id}");
        let refused = fates.iter().find(|(_, fate)| **fate == Fate::Empty);
        assert!(refused.is_none() || remaining_fen == 0, "undersold: {refused:?}, and there is more: {envelope}");
    }
}

/// The envelope, and all openings: place, user, amount.
fn detail(person: &mut Person, sent: &Sent) -> (Value, Vec<(u64, String, i64)>) {
    let mut opens: Vec<(u64, String, i64)> = Vec::new();
    loop {
        let after_seq = opens.last().map_or(0, |(seq, ..)| *seq);
        let mut page = until_settled("a detail", || person.detail(&sent.sender, &sent.id, after_seq));
        opens.extend(page["opens"].as_array().expect("openings are a list").iter().map(|open| {
            let seq = open["seq"].as_u64().expect("a place is a number");
            (seq, text_of(&open["user_id"]).to_owned(), number_of(&open["amount_fen"]))
        }));
        if page["next_seq"].is_null() {
            return (page["envelope"].take(), opens);
        }
    }
}

/// I6: what users were told is what they get.
fn check_balances<'a>(history: &History, person: &mut Person, users: impl Iterator<Item = &'a str>) {
    let deadline = Instant::now() + CREDITED_WITHIN;
    for user in users {
        let expected: i64 = {
            let known = history.known();
            let fates = known.fates.values().filter_map(|fates| fates.get(user));
            fates.map(|fate| if let Fate::Opened { amount_fen, .. } = fate { *amount_fen } else { 0 }).sum()
        };
        loop {
            let balance = until_settled("a balance", || person.balance(user));
            if balance == expected {
                break;
            }
            assert!(Instant::now() < deadline, "I6: {user} has {balance} fen, and was told of {expected}");
            std::thread::sleep(PAUSE);
        }
    }
}

/// Requires that all envelopes that had to end by now have ended.
pub fn check_refunds(cluster: &Cluster, history: &History) {
    let mut person = Person::new(cluster.secret(), cluster.gateway());
    let all: Vec<Sent> = history.known().envelopes.iter().filter(|sent| sent.short_lived).cloned().collect();
    let deadline = Instant::now() + CREDITED_WITHIN;
    for sent in all {
        loop {
            let (envelope, _) = detail(&mut person, &sent);
            if ["finished", "refunded"].contains(&text_of(&envelope["state"])) {
                break;
            }
            assert!(Instant::now() < deadline, "{:?} ago: {envelope}", sent.at.elapsed());
            std::thread::sleep(PAUSE);
        }
    }
}

/// Requires that the audit over all SETs finds nothing broken; the books of the system.
pub fn audit(cluster: &Cluster) -> Value {
    let audit = cluster.installation().hongbao(&["audit", "--json"]).output().unwrap();
    assert_eq!(audit.status.code(), Some(0), "{}{}", text(&audit.stdout), text(&audit.stderr));
    let audit: Value = serde_json::from_slice(&audit.stdout).unwrap();
    audit["report"]["books"].clone()
}
