//! A payment provider in memory, which loses, keeps and repeats what it is sent. Its books are the truth of what
//! happened outside: in the end the wallet has to agree with them, order by order.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::date::Date;
use hongbao_core::limits::PROVIDER_REQUEST_AGE_MS_MAX;
use hongbao_core::order::{Answer, Happened};
use hongbao_core::time::ManualClock;
use hongbao_core::{Clock as _, Fen, Order, OrderId, OrderKind, OrderState, Timestamp, UserId};
use hongbao_provider::{BadNotification, Notification, Provider, ProviderError};
use hongbao_wallet::Wallet;
use http::HeaderMap;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::model::Balances;

/// What has become of an order at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    Happened(Fen),
    Failed,
    CameBack,
}

struct Booked {
    id: OrderId,
    kind: OrderKind,
    user: UserId,
    amount: Fen,
    fate: Fate,
}

struct Books {
    dice: StdRng,
    /// Nothing goes wrong any more.
    is_calm: bool,
    /// The network keeps every order: none arrives while it is waited for.
    is_far: bool,
    orders: Vec<Booked>,
    /// Requests that the network has kept.
    travelling: Vec<Order>,
}

pub struct SimulatedProvider {
    clock: Arc<ManualClock>,
    books: Mutex<Books>,
}

impl SimulatedProvider {
    pub fn new(clock: Arc<ManualClock>) -> SimulatedProvider {
        let books = Books {
            dice: StdRng::seed_from_u64(0),
            is_calm: false,
            is_far: false,
            orders: Vec::new(),
            travelling: Vec::new(),
        };
        SimulatedProvider { clock, books: Mutex::new(books) }
    }

    /// A seed begins; its dice are its own.
    pub fn begin(&self, seed: u64) {
        let mut books = self.books.lock();
        books.dice = StdRng::seed_from_u64(seed);
        (books.is_calm, books.orders, books.travelling) = (false, Vec::new(), Vec::new());
        books.is_far = books.dice.random_ratio(1, 3);
    }

    /// Nothing goes wrong from now on, but what travels still arrives or has been lost.
    pub fn calm_down(&self) {
        {
            let mut books = self.books.lock();
            (books.is_calm, books.is_far) = (true, false);
        }
        self.go_on();
    }

    /// Requests arrive that the network has kept; orders that wait happen or fail; what was paid out comes back.
    pub fn go_on(&self) {
        let now = self.clock.now();
        let mut books = self.books.lock();
        let travelling = std::mem::take(&mut books.travelling);
        for order in travelling {
            let arrives_in = if books.is_far { 12 } else { 4 };
            match books.dice.random_range(0..arrives_in) {
                0 => books.receive(&order, now),
                1 => {}
                _ => books.travelling.push(order),
            }
        }
        for place in 0..books.orders.len() {
            let roll = books.dice.random_range(0..20);
            let booked = &mut books.orders[place];
            booked.fate = match (booked.fate, roll) {
                (Fate::Waits, 0..3) => Fate::Happened(booked.amount),
                (Fate::Waits, 3) => Fate::Happened(Fen::new(booked.amount.get() + 1).unwrap()),
                (Fate::Waits, 4) => Fate::Failed,
                (Fate::Happened(amount), 19) if booked.kind == OrderKind::Payout && amount == booked.amount => {
                    Fate::CameBack
                }
                (fate, _) => fate,
            };
        }
    }

    /// All orders of this seed that have arrived.
    pub fn orders(&self) -> Vec<OrderId> {
        self.books.lock().orders.iter().map(|booked| booked.id).collect()
    }

    /// Some order of this seed, for a notification.
    pub fn some_order(&self, dice: &mut StdRng) -> Option<OrderId> {
        let books = self.books.lock();
        let place = dice.random_range(0..books.orders.len().max(1));
        books.orders.get(place).map(|booked| booked.id)
    }

    fn answer(&self, order: &Order) -> Answer {
        let books = self.books.lock();
        let Some(booked) = books.orders.iter().find(|booked| booked.id == order.id) else { return Answer::NotFound };
        let happened = |amount| Happened { amount, at: self.clock.now(), reference: "simulated".to_owned() };
        match booked.fate {
            Fate::Waits => Answer::Pending { action_url: None },
            Fate::Happened(amount) => Answer::Succeeded(happened(amount)),
            Fate::Failed => Answer::Failed { reason: "refused".to_owned() },
            Fate::CameBack => Answer::Returned(happened(booked.amount)),
        }
    }

    fn roll(&self) -> u32 {
        let mut books = self.books.lock();
        if books.is_calm { u32::MAX } else { books.dice.random_range(0..16) }
    }

    /// What the provider has done for each user of the seed, and that the wallet says the same of each order.
    pub async fn check(&self, wallet: &dyn Wallet, users: &[UserId], balances: &mut Balances) {
        for user in users {
            for kind in [OrderKind::Charge, OrderKind::Payout, OrderKind::Refund] {
                for order in wallet.orders(user, kind, None, 1_000).await.unwrap() {
                    let fate = self.fate_of(order.id);
                    let agrees = match order.state {
                        OrderState::Succeeded => fate == Some(Fate::Happened(order.amount)),
                        OrderState::Failed => matches!(fate, None | Some(Fate::Failed)),
                        OrderState::Held => matches!(fate, Some(Fate::Happened(amount)) if amount != order.amount),
                        OrderState::Returned => fate == Some(Fate::CameBack),
                        OrderState::Created | OrderState::Pending | OrderState::Closing => false,
                    };
                    assert!(
                        agrees,
                        "I11: order {} of {kind:?} is {:?}, and at the provider {fate:?}",
                        order.id, order.state
                    );
                    if fate.is_none() && kind != OrderKind::Charge {
                        assert_eq!(order.state, OrderState::Failed);
                    }
                }
            }
        }
        for booked in &self.books.lock().orders {
            let balance = balances.entry(booked.user.clone()).or_default();
            match (booked.kind, booked.fate) {
                (OrderKind::Charge, Fate::Happened(amount)) if amount == booked.amount => *balance += amount.get(),
                // What was paid out with another amount is held, and is not in the balance.
                (OrderKind::Payout | OrderKind::Refund, Fate::Happened(_)) => *balance -= booked.amount.get(),
                _ => {}
            }
        }
    }

    fn fate_of(&self, id: OrderId) -> Option<Fate> {
        self.books.lock().orders.iter().find(|booked| booked.id == id).map(|booked| booked.fate)
    }
}

impl Books {
    /// One number, one order; a request that was signed too long ago is refused.
    fn receive(&mut self, order: &Order, now: Timestamp) {
        let sent_at = order.sent_at.expect("it is stored as sent before it is sent");
        let is_fresh = now.millis_since(sent_at) <= PROVIDER_REQUEST_AGE_MS_MAX;
        if is_fresh && !self.orders.iter().any(|booked| booked.id == order.id) {
            let Order { id, kind, amount, .. } = *order;
            self.orders.push(Booked { id, kind, user: order.user.clone(), amount, fate: Fate::Waits });
        }
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    async fn send(&self, order: &Order) -> Result<Answer, ProviderError> {
        let now = self.clock.now();
        let roll = if self.books.lock().is_far { 4 } else { self.roll() };
        match roll {
            0 => return Err(ProviderError::NotSent("the circuit is open".to_owned())),
            1 => return Err(ProviderError::Rejected("a wrong field".to_owned())),
            2 => return Err(ProviderError::RateLimited { retry_after_s: 2 }),
            // It is lost, or comes later.
            3 => return Err(ProviderError::Unknown("lost".to_owned())),
            4..6 => {
                self.books.lock().travelling.push(order.clone());
                return Err(ProviderError::Unknown("kept".to_owned()));
            }
            // It comes twice.
            6 => self.books.lock().travelling.push(order.clone()),
            _ => {}
        }
        self.books.lock().receive(order, now);
        match self.roll() {
            0..4 => Err(ProviderError::Unknown("the answer is lost".to_owned())),
            _ => Ok(self.answer(order)),
        }
    }

    async fn close(&self, order: &Order) -> Result<Answer, ProviderError> {
        if self.roll() < 3 {
            return Err(ProviderError::Unknown("lost".to_owned()));
        }
        for booked in self.books.lock().orders.iter_mut().filter(|booked| booked.id == order.id) {
            if booked.fate == Fate::Waits {
                booked.fate = Fate::Failed;
            }
        }
        match self.roll() {
            0..3 => Err(ProviderError::Unknown("the answer is lost".to_owned())),
            _ => Ok(self.answer(order)),
        }
    }

    async fn query(&self, order: &Order) -> Result<Answer, ProviderError> {
        match self.roll() {
            0..3 => Err(ProviderError::Unknown("lost".to_owned())),
            _ => Ok(self.answer(order)),
        }
    }

    async fn bill(&self, _date: Date) -> Result<String, ProviderError> {
        Err(ProviderError::NotSent("it prints no bills".to_owned()))
    }

    fn notification(&self, _: &HeaderMap, _: &[u8], _: Timestamp) -> Result<Notification, BadNotification> {
        Err(BadNotification::NotSigned)
    }
}
