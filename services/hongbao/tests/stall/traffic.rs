//! Clients: each does one thing again and again, at any server, and remembers
//! every answer that claims something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{Clock as _, EnvelopeId, Fen, Seed, State, SystemClock, Transfer, TransferOutcome, UserId};
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::time::Instant;

use crate::installation::{Installation, SERVERS, set_of};
use crate::told::{Answer, Ledger, Place, Told};

/// The server that only looks.
const LOOKER: usize = SERVERS - 1;
/// Whoever was told something asks so often again.
const CONFIRMED_TIMES: u32 = 3;
/// Between two requests of a client, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 20..120;

/// What the clients of a round share.
pub struct Traffic {
    pub installation: Arc<Installation>,
    pub ledger: Ledger,
    stopped: AtomicBool,
}

/// One client.
pub struct Client {
    traffic: Arc<Traffic>,
    dice: StdRng,
}

impl Traffic {
    pub fn new(installation: Arc<Installation>) -> Arc<Traffic> {
        Arc::new(Traffic { installation, ledger: Ledger::default(), stopped: AtomicBool::new(false) })
    }

    /// Lets all clients end after their present request.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn tell(&self, place: Place, envelope: EnvelopeId, user: &UserId, told: Told) {
        let stalled = self.installation.stalled();
        self.ledger.tell(Answer { envelope, user: user.clone(), place, told, stalled });
    }
}

impl Client {
    pub fn new(traffic: &Arc<Traffic>, seed: u64) -> Client {
        Client { traffic: traffic.clone(), dice: StdRng::seed_from_u64(seed) }
    }

    async fn pause(&mut self) {
        let pause = Duration::from_millis(self.dice.random_range(PAUSE_MS));
        tokio::time::sleep(pause).await;
    }

    /// One of the servers that do everything.
    fn any_server(&mut self) -> usize {
        self.dice.random_range(0..LOOKER)
    }

    /// `None`: the server is not there, or died before it answered.
    async fn ask<T, F>(
        &self,
        place: Place,
        id: EnvelopeId,
        user: &UserId,
        server: usize,
        ask: impl FnOnce(Arc<Server>) -> F,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let installation = &self.traffic.installation;
        let is_stalled = place.rests_on(id, user).into_iter().any(|database| installation.is_stalled(database));
        self.traffic.ledger.begins(place, is_stalled);
        installation.sets[set_of(id.slot())].server(server)?.ask(ask).await
    }

    /// Grabs, and remembers an outcome; a ticket if there is something to open.
    async fn grab(&self, place: Place, id: EnvelopeId, user: &UserId, server: usize) -> Grabbed {
        let caller = user.clone();
        let ask =
            async move |server: Arc<Server>| server.grab(id, &Caller { user: &caller, groups: &[], class: None }).await;
        match self.ask(place, id, user, server, ask).await {
            Some(Ok(GrabAnswer::Ready(ready))) => Grabbed::Ticket(ready.ticket),
            Some(Ok(GrabAnswer::Outcome(outcome))) => {
                self.traffic.tell(place, id, user, told(&outcome));
                Grabbed::Outcome
            }
            Some(Err(Refusal::NotFound)) => Grabbed::NotPaid,
            Some(Err(_)) | None => Grabbed::Nothing,
        }
    }

    /// Opens with a ticket; whether there was an outcome.
    async fn open(&self, place: Place, id: EnvelopeId, user: &UserId, ticket: String, server: usize) -> bool {
        let caller = user.clone();
        let ask = async move |server: Arc<Server>| {
            server.open(id, &Caller { user: &caller, groups: &[], class: None }, &ticket, None).await
        };
        match self.ask(place, id, user, server, ask).await {
            Some(Ok(opening)) => {
                self.traffic.tell(place, id, user, told(&opening.outcome));
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Looks, as the sender, and remembers which openings were shown.
    pub async fn look(&mut self, id: EnvelopeId, user: &UserId) {
        let server = self.dice.random_range(0..SERVERS);
        let caller = user.clone();
        let ask = async move |server: Arc<Server>| {
            server.detail(id, &Caller { user: &caller, groups: &[], class: None }, 0, 100).await
        };
        let Some(Ok(detail)) = self.ask(Place::Detail, id, user, server, ask).await else { return };
        for open in detail.opens {
            let shown =
                Told::Shown { seq: open.seq, opener: open.user_id.as_str().to_owned(), amount: open.amount_fen.get() };
            self.traffic.tell(Place::Detail, id, user, shown);
        }
    }

    /// A user who wants a share: asks until it is told something, and a few times more.
    pub async fn want_a_share(mut self, id: EnvelopeId, user: UserId, after: Duration) {
        tokio::time::sleep(after).await;
        let (mut ticket, mut asked, mut confirmed) = (None, false, 0);
        while !self.traffic.is_stopped() && confirmed < CONFIRMED_TIMES {
            let grab_first = ticket.is_none() || self.dice.random_ratio(1, 3);
            let server = self.any_server();
            if grab_first {
                let looks = self.dice.random_ratio(1, 3);
                let (place, server) = if looks { (Place::GrabOfSnapshot, LOOKER) } else { (Place::Grab, server) };
                match self.grab(place, id, &user, server).await {
                    Grabbed::Ticket(new) => ticket = Some(new),
                    Grabbed::Outcome => confirmed += 1,
                    Grabbed::NotPaid | Grabbed::Nothing => {}
                }
            } else if let Some(ticket) = ticket.clone() {
                let place = if asked { Place::OpenAgain } else { Place::Open };
                asked = true;
                confirmed += u32::from(self.open(place, id, &user, ticket, server).await);
            }
            self.pause().await;
        }
    }

    /// Somebody who looks at an envelope again and again.
    pub async fn watch(mut self, id: EnvelopeId, sender: UserId) {
        while !self.traffic.is_stopped() {
            self.look(id, &sender).await;
            self.pause().await;
        }
    }

    /// Pays once; whether there was an answer that is final.
    async fn pay(&self, place: Place, id: EnvelopeId, sender: &UserId, server: usize) -> bool {
        let caller = sender.clone();
        let ask =
            async move |server: Arc<Server>| server.pay(id, &Caller { user: &caller, groups: &[], class: None }).await;
        let told = match self.ask(place, id, sender, server, ask).await {
            Some(Ok(_)) => Told::Paid,
            Some(Err(Refusal::Cancelled)) => Told::Cancelled,
            // Its creation is unknown for a while, and then it is there or not.
            Some(Err(Refusal::NotFound)) => return self.traffic.is_stopped(),
            Some(Err(_)) | None => return false,
        };
        self.traffic.tell(place, id, sender, told);
        true
    }

    /// A sender who pays until it is told that it has, and a few times more.
    pub async fn pay_for(mut self, id: EnvelopeId, sender: UserId, after: Duration, is_late: bool) {
        tokio::time::sleep(after).await;
        let (mut asked, mut confirmed) = (false, 0);
        while !self.traffic.is_stopped() && confirmed < CONFIRMED_TIMES {
            let place = match (is_late, asked) {
                (true, _) => Place::PayLate,
                (false, false) => Place::Pay,
                (false, true) => Place::PayAgain,
            };
            asked = true;
            let server = self.any_server();
            confirmed += u32::from(self.pay(place, id, &sender, server).await);
            self.pause().await;
        }
    }

    /// A sender who looks at its envelope until it is paid for or cancelled.
    pub async fn watch_unpaid(mut self, id: EnvelopeId, sender: UserId) {
        while !self.traffic.is_stopped() {
            let (server, caller) = (self.dice.random_range(0..SERVERS), sender.clone());
            let ask = async move |server: Arc<Server>| {
                server.detail(id, &Caller { user: &caller, groups: &[], class: None }, 0, 100).await
            };
            if let Some(Ok(detail)) = self.ask(Place::UnpaidDetail, id, &sender, server, ask).await {
                let told = match detail.envelope.state {
                    State::Created => Told::Made,
                    State::Cancelled => Told::Cancelled,
                    _ => Told::Paid,
                };
                self.traffic.tell(Place::UnpaidDetail, id, &sender, told.clone());
                if told != Told::Made {
                    return;
                }
            }
            self.pause().await;
        }
    }

    /// Creates once; whether it was told that the envelope exists.
    async fn create(&mut self, place: Place, id: EnvelopeId, sender: &UserId) -> bool {
        let (server, seed) = (self.any_server(), Seed::new(self.dice.random()));
        let body = json!({ "kind": "lucky", "total_fen": 500, "shares": 5 });
        let request = serde_json::from_value(body).expect("it is the body of a request");
        let caller = sender.clone();
        let ask = async move |server: Arc<Server>| {
            server.create(id, request, None, &Caller { user: &caller, groups: &[], class: None }, seed).await
        };
        let exists = matches!(self.ask(place, id, sender, server, ask).await, Some(Ok(_)));
        if exists {
            self.traffic.tell(place, id, sender, Told::Made);
        }
        exists
    }

    /// A sender who creates an envelope, and pays for it whatever it was told.
    pub async fn create_and_pay(mut self, id: EnvelopeId, sender: UserId, after: Duration) {
        tokio::time::sleep(after).await;
        self.create(Place::Create, id, &sender).await;
        self.pay_for(id, sender, Duration::ZERO, false).await;
    }

    /// The same sender, who creates it until it is told that it exists, and a few times more.
    pub async fn create_again(mut self, id: EnvelopeId, sender: UserId, after: Duration) {
        tokio::time::sleep(after).await;
        let mut confirmed = 0;
        while !self.traffic.is_stopped() && confirmed < CONFIRMED_TIMES {
            confirmed += u32::from(self.create(Place::CreateAgain, id, &sender).await);
            self.pause().await;
        }
    }

    /// Asks until it is told what has become of a share that a user may have, or for so long.
    pub async fn settle_share(mut self, id: EnvelopeId, user: UserId, within: Duration) {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let server = self.any_server();
            let is_known = match self.grab(Place::Grab, id, &user, server).await {
                Grabbed::Ticket(ticket) => self.open(Place::OpenAgain, id, &user, ticket, server).await,
                Grabbed::Outcome | Grabbed::NotPaid => true,
                Grabbed::Nothing => false,
            };
            if is_known {
                return;
            }
            self.pause().await;
        }
    }

    /// The same of a payment.
    pub async fn settle_payment(mut self, id: EnvelopeId, sender: UserId, within: Duration) {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let server = self.any_server();
            if self.pay(Place::PayAgain, id, &sender, server).await {
                return;
            }
            self.pause().await;
        }
    }

    /// Puts money into a balance, in the SET of an envelope; whether it was told that it is there.
    async fn top_up(&mut self, at: EnvelopeId, id: uuid::Uuid, user: &UserId, fen: i64) -> bool {
        let server = self.any_server();
        let amount = Fen::new(fen).expect("it is positive");
        let transfer = Transfer::top_up(id, user.clone(), amount, SystemClock.now());
        let ask = async move |server: Arc<Server>| server.wallet().transfer(vec![transfer]).await;
        let outcomes = self.ask(Place::TopUp, at, user, server, ask).await;
        let done = [TransferOutcome::Done, TransferOutcome::AlreadyDone];
        let is_there = outcomes.and_then(Result::ok).is_some_and(|outcomes| done.contains(&outcomes[0]));
        if is_there {
            self.traffic.tell(Place::TopUp, at, user, Told::ToppedUp { id });
        }
        is_there
    }

    /// Somebody who looks at its balance and its transfers again and again, in the SET of an envelope.
    pub async fn watch_wallet(mut self, at: EnvelopeId, user: UserId) {
        while !self.traffic.is_stopped() {
            let (server, asked) = (self.any_server(), user.clone());
            if self.dice.random() {
                let ask = async move |server: Arc<Server>| server.wallet().balance(&asked).await;
                if let Some(Ok(balance)) = self.ask(Place::Balance, at, &user, server, ask).await {
                    self.traffic.tell(Place::Balance, at, &user, Told::Held { fen: balance.get() });
                }
            } else {
                let ask = async move |server: Arc<Server>| server.wallet().history(&asked, &[], None, 100).await;
                let listed = self.ask(Place::History, at, &user, server, ask).await;
                for transfer in listed.and_then(Result::ok).into_iter().flatten().map(|posted| posted.transfer) {
                    let told = Told::Listed { id: transfer.id, amount: transfer.amount.get() };
                    self.traffic.tell(Place::History, at, &user, told);
                }
            }
            self.pause().await;
        }
    }

    /// Puts money into a balance before anything happens.
    pub async fn begin_with(mut self, at: EnvelopeId, user: UserId, fen: i64) {
        let id = uuid::Uuid::from_bytes(self.dice.random());
        while !self.top_up(at, id, &user, fen).await {
            self.pause().await;
        }
    }

    /// Somebody who tops up under one id until it is told that the money is there, and a few times more.
    pub async fn want_money(mut self, at: EnvelopeId, user: UserId, fen: i64, after: Duration) {
        tokio::time::sleep(after).await;
        let id = uuid::Uuid::from_bytes(self.dice.random());
        let mut confirmed = 0;
        while !self.traffic.is_stopped() && confirmed < CONFIRMED_TIMES {
            confirmed += u32::from(self.top_up(at, id, &user, fen).await);
            self.pause().await;
        }
    }
}

enum Grabbed {
    Ticket(String),
    Outcome,
    /// It does not exist, or not for openers.
    NotPaid,
    /// No answer that claims something.
    Nothing,
}

fn told(outcome: &Outcome) -> Told {
    match outcome {
        Outcome::Opened { amount_fen, seq, .. } => Told::Opened { seq: *seq, amount: amount_fen.get() },
        Outcome::Empty => Told::Empty,
        Outcome::Expired => Told::Expired,
    }
}
