//! One round: envelopes in every state, clients in every place, some logs that
//! stall at the same time, databases that die and come back, and a check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::{Clock as _, Envelope, EnvelopeId, Fen, Kind, Seed, SystemClock, UserId};
use hongbao_store::{Creation as _, Journals as _};
use hongbao_testkit::store_suite::created;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::check::{self, Violation};
use crate::installation::{DATABASES, Installation, PAY_WITHIN_S, SETS, set_of};
use crate::told::Place;
use crate::traffic::{Client, Traffic};

/// The longest stall.
const STALL_MS_MAX: u64 = 3_000;
/// Stalls of one round begin within this time.
const BEGIN_WITHIN_MS: u64 = 200;
/// A killed database stays away at most so long, beyond the time that its start takes.
const AWAY_MS_MAX: u64 = 300;
/// Clients go on so long after the last database is back.
const GOES_ON_FOR: Duration = Duration::from_millis(200);
/// All that nobody knows must be known within this time of that.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// The jobs must have done everything within this time: tables that failed are
/// left out for a while, the longer the busier the machine is.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(40);
/// What every sender has: enough for all of its envelopes.
const START_FEN: i64 = 100_000;
/// Every share holds so much on average.
const FEN_A_SHARE: i64 = 100;
/// Shares of an envelope.
const SHARES: u32 = 6;
/// An envelope is left to its sender's own payment for less than this.
const BEFORE_JOBS_LOOK_MS: i64 = 3_000;

/// What a round does to a database.
#[derive(Clone, Copy, Debug)]
struct Fate {
    begins_after: Duration,
    length: Duration,
    /// How long it stays away after a kill; it lives without.
    killed: Option<Duration>,
}

/// Whom and what a round is about.
#[derive(Default)]
pub struct Cast {
    /// Every envelope.
    pub envelopes: Vec<EnvelopeId>,
    /// Those that must be refunded or empty in the end.
    pub short_lived: Vec<EnvelopeId>,
    /// Senders of envelopes of which nobody knows whether they are paid for.
    pub unpaid: Vec<(EnvelopeId, UserId)>,
    /// Users who want a share.
    pub openers: Vec<(EnvelopeId, UserId)>,
    /// Every user who may have money.
    pub users: Vec<UserId>,
}

/// What came of a round.
pub struct Outcome {
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// How often each place was in flight while a log that it rests on was stalled.
    pub in_flight: BTreeMap<Place, u64>,
    /// Stalls that ended with a kill.
    pub kills: usize,
}

struct Round {
    traffic: Arc<Traffic>,
    installation: Arc<Installation>,
    dice: StdRng,
    seed: u64,
    cast: Cast,
    names: u32,
}

/// Plays the round of this seed.
pub async fn play(installation: Arc<Installation>, seed: u64) -> Outcome {
    let traffic = Traffic::new(installation.clone());
    let dice = StdRng::seed_from_u64(seed);
    let mut round = Round { traffic, installation, dice, seed, cast: Cast::default(), names: 0 };
    let fates = round.fates();
    let mut clients = JoinSet::new();
    for set in 0..SETS {
        round.prepare(set, &fates, &mut clients).await;
    }
    round.let_it_happen(&fates).await;
    round.traffic.stop();
    while let Some(client) = clients.join_next().await {
        client.expect("no client panics");
    }
    round.settle().await;
    let violations = round.wait_until_quiet().await;
    let kills = fates.iter().flatten().filter(|fate| fate.killed.is_some()).count();
    Outcome { violations, in_flight: round.traffic.ledger.in_flight(), kills }
}

impl Round {
    /// What happens to each database: one to four of them are stalled.
    fn fates(&mut self) -> [Option<Fate>; DATABASES] {
        let mut order: Vec<usize> = (0..DATABASES).collect();
        order.shuffle(&mut self.dice);
        order.truncate(self.dice.random_range(1..=DATABASES));
        let mut fates = [None; DATABASES];
        let mut millis = |max| Duration::from_millis(self.dice.random_range(0..=max));
        let mut made: Vec<Fate> = Vec::new();
        for _ in &order {
            made.push(Fate {
                begins_after: millis(BEGIN_WITHIN_MS),
                length: millis(STALL_MS_MAX),
                killed: Some(millis(AWAY_MS_MAX)),
            });
        }
        for (database, fate) in order.into_iter().zip(made) {
            let lives = self.dice.random_ratio(1, 5);
            fates[database] = Some(Fate { killed: fate.killed.filter(|_| !lives), ..fate });
        }
        fates
    }

    fn user(&mut self, role: &str) -> UserId {
        self.names += 1;
        let user = UserId::parse(&format!("{role}-{}-{}", self.seed, self.names)).expect("it is a name");
        self.cast.users.push(user.clone());
        user
    }

    fn client(&mut self) -> Client {
        let seed = self.dice.random();
        Client::new(&self.traffic, seed)
    }

    /// An id of a SET, from some time ago.
    fn id(&mut self, set: usize, age_ms: i64) -> EnvelopeId {
        let at = SystemClock.now().plus_millis(-age_ms);
        loop {
            let id = EnvelopeId::mint(at, self.dice.random());
            if set_of(id.slot()) == set {
                self.cast.envelopes.push(id);
                return id;
            }
        }
    }

    /// An envelope that was made some time ago and is not paid for.
    fn envelope(&mut self, set: usize, sender: &UserId, age_ms: i64, lifetime_ms: i64) -> Envelope {
        let id = self.id(set, age_ms);
        Envelope {
            sender: sender.clone(),
            kind: Kind::Lucky,
            total: Fen::new(i64::from(SHARES) * FEN_A_SHARE).expect("it is positive"),
            shares: SHARES,
            seed: Seed::new(self.dice.random()),
            created_at: id.minted_at(),
            lifetime_ms,
            ..created(id)
        }
    }

    /// Makes a SET's envelopes, and starts clients of all kinds. They come at any
    /// time until the last stall is over, and later.
    async fn prepare(&mut self, set: usize, fates: &[Option<Fate>], clients: &mut JoinSet<()>) {
        let over = fates.iter().flatten().map(|fate| fate.begins_after + fate.length).max().unwrap_or_default();
        let hour_ms = 3_600_000;
        let senders: Vec<UserId> = (0..3).map(|_| self.user("sender")).collect();
        let sender = |number: usize| senders[number % senders.len()].clone();
        let to_open: Vec<Envelope> = (0..2).map(|n| self.envelope(set, &sender(n), 0, hour_ms)).collect();
        let short_ms = self.dice.random_range(300..=over.as_millis() as i64 + 600);
        let short_lived = self.envelope(set, &sender(2), 0, short_ms);
        let to_pay: Vec<Envelope> =
            (0..3).map(|n| self.envelope(set, &sender(n), BEFORE_JOBS_LOOK_MS, hour_ms)).collect();
        let overdue_ms = i64::from(PAY_WITHIN_S) * 1_000 - 300;
        let too_late: Vec<Envelope> = (0..2).map(|n| self.envelope(set, &sender(n), overdue_ms, hour_ms)).collect();

        for user in &senders {
            self.client().begin_with(to_open[0].id, user.clone(), START_FEN).await;
        }
        let paid: Vec<&Envelope> = to_open.iter().chain([&short_lived]).collect();
        let every: Vec<Envelope> = paid.iter().copied().chain(&to_pay).chain(&too_late).cloned().collect();
        let store = &self.installation.sets[set].store;
        for envelope in &every {
            // One that exists was created by a try whose answer came too late.
            while store.create(std::slice::from_ref(envelope)).await.is_err()
                && !matches!(store.load(envelope.id).await, Ok(Some(_)))
            {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
        }
        for envelope in &paid {
            self.client().settle_payment(envelope.id, envelope.sender.clone(), SETTLED_WITHIN).await;
        }
        self.cast.short_lived.push(short_lived.id);

        // The stalls begin soon after the last of these is started.
        let at_any_time = |round: &mut Round| {
            let millis = round.dice.random_range(0..=over.as_millis() as u64 + 400);
            Duration::from_millis(millis)
        };
        for envelope in &paid {
            for _ in 0..SHARES + 1 {
                let (user, client, after) = (self.user("opener"), self.client(), at_any_time(self));
                self.cast.openers.push((envelope.id, user.clone()));
                clients.spawn(client.want_a_share(envelope.id, user, after));
            }
            clients.spawn(self.client().watch(envelope.id, envelope.sender.clone()));
        }
        for (number, envelope) in to_pay.iter().chain(&too_late).enumerate() {
            let is_late = number >= to_pay.len();
            for _ in 0..2 {
                let (client, after) = (self.client(), at_any_time(self));
                clients.spawn(client.pay_for(envelope.id, envelope.sender.clone(), after, is_late));
            }
            self.cast.unpaid.push((envelope.id, envelope.sender.clone()));
            let (user, client, after) = (self.user("opener"), self.client(), at_any_time(self));
            self.cast.openers.push((envelope.id, user.clone()));
            clients.spawn(client.want_a_share(envelope.id, user, after));
        }
        let new = self.id(set, 0);
        let (client, after) = (self.client(), at_any_time(self));
        self.cast.unpaid.push((new, sender(0)));
        clients.spawn(client.create_and_pay(new, sender(0), after));
        clients.spawn(self.client().create_again(new, sender(0), after));
        for id in [new, too_late[0].id] {
            clients.spawn(self.client().watch_unpaid(id, sender(0)));
        }
        let (user, client, after) = (self.user("rich"), self.client(), at_any_time(self));
        clients.spawn(client.want_money(new, user.clone(), START_FEN, after));
        for user in [user, sender(0)] {
            clients.spawn(self.client().watch_wallet(new, user));
        }
        let (traffic, after, server) = (self.traffic.clone(), at_any_time(self), self.dice.random_range(0..3));
        clients.spawn(async move {
            tokio::time::sleep(after).await;
            traffic.ledger.begins(Place::ColdStart, traffic.installation.is_stalled(set));
            traffic.installation.sets[set].restart_server(server).await;
        });
    }

    /// Stalls, kills and restarts, all as planned; returns when all are back.
    async fn let_it_happen(&self, fates: &[Option<Fate>]) {
        let mut stalls = JoinSet::new();
        for (database, fate) in fates.iter().enumerate() {
            let (Some(fate), installation) = (*fate, self.installation.clone()) else { continue };
            stalls.spawn_blocking(move || {
                std::thread::sleep(fate.begins_after);
                installation.stall(database, fate.length, fate.killed);
            });
        }
        while let Some(stall) = stalls.join_next().await {
            stall.expect("a database comes back");
        }
        tokio::time::sleep(GOES_ON_FOR).await;
    }

    /// Asks again for all that nobody knows, until somebody says.
    async fn settle(&mut self) {
        let mut settling = JoinSet::new();
        for (id, sender) in std::mem::take(&mut self.cast.unpaid) {
            settling.spawn(self.client().settle_payment(id, sender, SETTLED_WITHIN));
        }
        while settling.join_next().await.is_some() {}
        for (id, user) in std::mem::take(&mut self.cast.openers) {
            settling.spawn(self.client().settle_share(id, user, SETTLED_WITHIN));
        }
        while settling.join_next().await.is_some() {}
    }

    /// Waits until the jobs have done everything; gives what is wrong then.
    async fn wait_until_quiet(&self) -> Vec<Violation> {
        let deadline = Instant::now() + QUIET_WITHIN;
        loop {
            let books = check::read(&self.installation, &self.cast).await;
            let (violations, open) = check::check(&books, &self.cast, &self.traffic.ledger.answers());
            if open.is_empty() {
                return violations;
            }
            if Instant::now() > deadline {
                let late =
                    open.into_iter().map(|(id, reason)| Violation::new("never_settled", format!("{id}: {reason}")));
                return violations.into_iter().chain(late).collect();
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}
