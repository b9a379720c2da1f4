//! Clients that never give up, and what they know from the answers alone.
//!
//! A lost connection, a 503 and a 504 leave an outcome unknown; a client then
//! asks again until it is told. Whatever it is told once is final: a different
//! answer later fails the test on the spot (I2, I3). In the end the answers say
//! to the fen what every balance must be (I1, I6).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::{Answer, Service, User, audit_of, hongbao, text, wait_until};

/// Users of one test.
const USERS: usize = 12;
/// What everybody has at the start.
const START_FEN: i64 = 1_000_000;
/// The most that a share may be on average.
const SHARE_FEN: i64 = 500;
/// Openings go mostly to so many of the latest envelopes.
const LATEST: usize = 8;
/// However often it is asked again, an answer must come within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// Pause before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(3);
/// Credits and refunds must have arrived within this time after the last answer.
const CREDITED_WITHIN: Duration = Duration::from_secs(8);

/// An envelope that was paid for.
#[derive(Clone)]
struct Sent {
    id: String,
    sender: usize,
    total_fen: i64,
    /// Nobody is in a hurry to open it: it will expire, and the rest goes back.
    short_lived: bool,
}

/// How an opening ended, once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Opened { amount_fen: i64, seq: u64, opened_at: String },
    Empty,
    Expired,
}

impl Fate {
    fn of(outcome: &Value) -> Fate {
        match outcome["outcome"].as_str() {
            Some("opened") => Fate::Opened {
                amount_fen: outcome["amount_fen"].as_i64().unwrap(),
                seq: outcome["seq"].as_u64().unwrap(),
                opened_at: outcome["opened_at"].as_str().unwrap().to_owned(),
            },
            Some("empty") => Fate::Empty,
            Some("expired") => Fate::Expired,
            _ => panic!("no outcome: {outcome}"),
        }
    }

    fn amount_fen(&self) -> i64 {
        if let Fate::Opened { amount_fen, .. } = self { *amount_fen } else { 0 }
    }
}

/// What all clients know.
#[derive(Default)]
struct Known {
    topped_up_fen: Vec<i64>,
    envelopes: Vec<Sent>,
    /// By envelope and user.
    fates: HashMap<(usize, usize), Fate>,
    /// What was told since somebody last took it.
    news: Vec<(usize, usize)>,
}

/// The users, where they may ask, and what they know.
pub struct Town {
    users: Vec<User>,
    addresses: RwLock<Vec<SocketAddr>>,
    known: Mutex<Known>,
    envelopes_max: usize,
    stopped: AtomicBool,
    /// Answers that never came.
    pub lost: AtomicU64,
    /// Answers `503` and `504`.
    pub refused: AtomicU64,
}

/// Lets the clients end when it is dropped, by a failed test too.
pub struct StopOnDrop<'a>(&'a Town);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

impl Town {
    /// Users of a service, each with some money; at most so many envelopes will be sent.
    pub fn new(service: &Service, envelopes_max: usize) -> Town {
        let users: Vec<User> = (0..USERS).map(|number| service.user(&format!("user-{number}"))).collect();
        for user in &users {
            user.top_up(START_FEN);
        }
        let town = Town {
            users,
            addresses: RwLock::default(),
            known: Mutex::new(Known { topped_up_fen: vec![START_FEN; USERS], ..Known::default() }),
            envelopes_max,
            stopped: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        town.ask_at(&[service]);
        town
    }

    /// From now on, clients ask these.
    pub fn ask_at(&self, services: &[&Service]) {
        *self.addresses.write().unwrap() = services.iter().map(|service| service.address()).collect();
    }

    /// One of the clients. Its seed decides what it does.
    pub fn client(&self, number: usize, seed: u64) -> Client<'_> {
        let dice = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Client { town: self, number, dice, connections: HashMap::new() }
    }

    /// Lets all clients end with what they are at, at the latest when the guard is dropped.
    pub fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("a client has failed")
    }

    /// How many openings were acknowledged.
    pub fn opened(&self) -> usize {
        self.known().fates.values().filter(|fate| fate.amount_fen() > 0).count()
    }

    /// How many envelopes were paid.
    pub fn sent(&self) -> usize {
        self.known().envelopes.len()
    }

    fn is_known(&self, envelope: usize, user: usize) -> bool {
        self.known().fates.contains_key(&(envelope, user))
    }

    fn learn(&self, envelope: usize, user: usize, fate: Fate) {
        let mut known = self.known();
        let id = known.envelopes[envelope].id.clone();
        match known.fates.get(&(envelope, user)) {
            Some(before) => assert_eq!(before, &fate, "I2, I3: {id} by user {user} had another answer before"),
            None => {
                known.fates.insert((envelope, user), fate);
                known.news.push((envelope, user));
            }
        }
    }

    /// What every balance must be once all is settled: nothing but answers goes in.
    fn balances_fen(&self) -> Vec<i64> {
        let known = self.known();
        let mut balances = known.topped_up_fen.clone();
        for (envelope, sent) in known.envelopes.iter().enumerate() {
            let mut left = sent.total_fen;
            for (user, balance) in balances.iter_mut().enumerate() {
                let amount_fen = known.fates.get(&(envelope, user)).map_or(0, Fate::amount_fen);
                *balance += amount_fen;
                left -= amount_fen;
            }
            assert!(left == 0 || sent.short_lived && left > 0, "I1: {} has {left} fen left", sent.id);
            balances[sent.sender] += left - sent.total_fen;
        }
        balances
    }

    /// The end of every such test, when no client is at work any more: opens
    /// what can be opened, waits until all is settled, and compares.
    pub fn settle(&self, data: &Path) {
        let mut client = self.client(99, 0);
        let all = self.known().envelopes.clone();
        for (envelope, sent) in all.iter().enumerate() {
            for user in (0..USERS).filter(|user| !sent.short_lived || self.is_known(envelope, *user)) {
                client.open(envelope, user);
            }
        }
        for sent in &all {
            let ended = |state: &Value| state == "finished" || state == "refunded";
            wait_until(CREDITED_WITHIN, &format!("{} to end", sent.id), || {
                let sender = client.connection(sent.sender);
                ended(&sender.detail(&sent.id)["envelope"]["state"])
            });
        }
        let expected = self.balances_fen();
        for (user, fen) in expected.iter().enumerate() {
            client.connection(user).wait_for_balance(*fen, CREDITED_WITHIN);
        }
        // What was credited twice would show only a little later.
        std::thread::sleep(Duration::from_millis(300));
        for (user, fen) in expected.iter().enumerate() {
            assert_eq!(client.connection(user).balance(), *fen, "I6: user {user} has what the answers add up to");
        }
        self.ask_everybody_again(&mut client);
        let books = books_of(data);
        let topped_up: i64 = self.known().topped_up_fen.iter().sum();
        assert_eq!(books["outstanding_fen"], 0, "I1, I6: nothing is left in any envelope: {books}");
        assert_eq!(books["top_ups_fen"], topped_up, "I6: each top-up happened once: {books}");
        assert_eq!(books["balances_fen"], expected.iter().sum::<i64>(), "I1: {books}");
    }

    /// All answers are given again, by each of the services.
    fn ask_everybody_again(&self, client: &mut Client) {
        let asked: Vec<(usize, usize)> = self.known().fates.keys().copied().collect();
        let addresses = self.addresses.read().unwrap().clone();
        for address in &addresses {
            *self.addresses.write().unwrap() = vec![*address];
            for (envelope, user) in &asked {
                // One of several owners may hand out a ticket for what has been
                // opened through another; to open is then what tells.
                if addresses.len() == 1 {
                    client.ask_for_the_same(*envelope, *user);
                } else {
                    client.open(*envelope, *user);
                }
            }
        }
        *self.addresses.write().unwrap() = addresses;
    }
}

/// Requires that the audit finds nothing broken; the books of the system.
fn books_of(data: &Path) -> Value {
    let audit = hongbao(&["audit", "--json", "--data", data.to_str().unwrap()]).output().unwrap();
    assert_eq!(audit.status.code(), Some(0), "{}{}", text(&audit.stdout), text(&audit.stderr));
    let audit: Value = serde_json::from_slice(&audit.stdout).unwrap();
    audit["report"]["books"].clone()
}

/// Requires that the audit finds nothing broken.
pub fn assert_audit_holds(data: &Path) {
    let audit = audit_of(data);
    let said = format!("{}{}", text(&audit.stdout), text(&audit.stderr));
    assert_eq!(audit.status.code(), Some(0), "I1, I2, I6 in the stored rows: {said}");
}

/// Whether an answer leaves it open what has happened, or will happen when asked again.
fn is_unsettled(answer: &Answer) -> bool {
    let unsettled = matches!(answer.status, 503 | 504);
    if unsettled {
        let problem = answer.json();
        let code = problem["code"].as_str().unwrap();
        assert!(["busy", "unavailable", "outcome_unknown"].contains(&code), "{problem}");
        assert_eq!(problem["retryable"], true, "{problem}");
    }
    unsettled
}

/// One client: does what its dice say, as any of the users.
pub struct Client<'a> {
    town: &'a Town,
    number: usize,
    dice: StdRng,
    connections: HashMap<(SocketAddr, usize), User>,
}

impl Client<'_> {
    /// Sends, opens and tops up until all clients are stopped.
    pub fn work(&mut self) {
        while !self.town.is_stopped() {
            let sent = self.town.sent();
            match self.dice.random_range(0..100) {
                0..4 => self.top_up(),
                4..16 if sent < self.town.envelopes_max => self.send(),
                _ if sent > 0 => self.open_something(sent),
                _ => {}
            }
        }
    }

    /// A user's connection to one of the services.
    fn connection(&mut self, user: usize) -> &User {
        let addresses = self.town.addresses.read().unwrap();
        let address = addresses[self.dice.random_range(0..addresses.len())];
        drop(addresses);
        self.connections.retain(|(known, _), _| self.town.addresses.read().unwrap().contains(known));
        self.connections.entry((address, user)).or_insert_with(|| self.town.users[user].at(address))
    }

    /// Asks until the answer settles it.
    fn until_settled(&mut self, user: usize, ask: impl Fn(&User) -> io::Result<Answer>) -> Answer {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            match ask(self.connection(user)) {
                Ok(answer) if !is_unsettled(&answer) => return answer,
                Ok(_) => self.town.refused.fetch_add(1, Ordering::Relaxed),
                Err(_) => self.town.lost.fetch_add(1, Ordering::Relaxed),
            };
            assert!(Instant::now() < deadline, "no answer within {SETTLED_WITHIN:?}");
            std::thread::sleep(ASK_AGAIN_AFTER);
        }
    }

    fn top_up(&mut self) {
        let user = self.dice.random_range(0..USERS);
        let amount_fen = self.dice.random_range(1..5_000);
        let id = uuid::Uuid::from_bytes(self.dice.random());
        let body = json!({ "amount_fen": amount_fen, "id": id }).to_string();
        for _ in 0..self.dice.random_range(1..=2) {
            self.until_settled(user, |user| user.try_call("POST", "/v1/dev/top-up", Some(body.as_bytes()))).ok(200);
        }
        self.town.known().topped_up_fen[user] += amount_fen;
    }

    /// Creates and pays. A created envelope of which the answer was lost is never paid.
    fn send(&mut self) {
        let sender = self.dice.random_range(0..USERS);
        let short_lived = self.dice.random_ratio(1, 3);
        let shares = self.dice.random_range(2..USERS as i64);
        let total_fen = self.dice.random_range(shares..=shares * SHARE_FEN);
        let mut envelope = json!({ "kind": "lucky", "total_fen": total_fen, "shares": shares });
        if short_lived {
            envelope["expires_in_s"] = json!(self.dice.random_range(1..=2));
        }
        let body = envelope.to_string();
        let created =
            self.until_settled(sender, |user| user.try_call("POST", "/v1/envelopes", Some(body.as_bytes()))).ok(201);
        let id = created["id"].as_str().unwrap().to_owned();
        let pay = format!("/v1/envelopes/{id}/pay");
        for _ in 0..self.dice.random_range(1..=2) {
            self.until_settled(sender, |user| user.try_call("POST", &pay, None)).ok(200);
        }
        self.town.known().envelopes.push(Sent { id, sender, total_fen, short_lived });
    }

    fn open_something(&mut self, sent: usize) {
        let latest = self.dice.random_ratio(9, 10);
        let from = if latest { sent.saturating_sub(LATEST) } else { 0 };
        let envelope = self.dice.random_range(from..sent);
        let short_lived = self.town.known().envelopes[envelope].short_lived;
        // Two clients that ask for one user at the very moment of expiry may be
        // told different things, for one of them may be ahead of the other's commit.
        let users: Vec<usize> = (0..USERS).filter(|user| !short_lived || user % 4 == self.number % 4).collect();
        let user = users[self.dice.random_range(0..users.len())];
        self.open(envelope, user);
    }

    /// Grabs and opens, until it is settled, and remembers the answer.
    pub fn open(&mut self, envelope: usize, user: usize) {
        let id = self.town.known().envelopes[envelope].id.clone();
        let outcome = self.until_settled(user, |user| user.try_grab_and_open(&id)).ok(200);
        self.town.learn(envelope, user, Fate::of(&outcome));
    }

    /// A grab must say what was said before, without a new ticket.
    fn ask_for_the_same(&mut self, envelope: usize, user: usize) {
        let id = self.town.known().envelopes[envelope].id.clone();
        let grab = format!("/v1/envelopes/{id}/grab");
        let grabbed = self.until_settled(user, |user| user.try_call("POST", &grab, None)).ok(200);
        assert_ne!(grabbed["outcome"], "ready", "I3: what was answered for {id} to user {user} is forgotten");
        self.town.learn(envelope, user, Fate::of(&grabbed));
    }

    /// Asks again for all that was answered since the last call of this; how many that were.
    pub fn ask_for_news_again(&mut self) -> usize {
        let news = std::mem::take(&mut self.town.known().news);
        for (envelope, user) in &news {
            self.ask_for_the_same(*envelope, *user);
        }
        news.len()
    }
}
