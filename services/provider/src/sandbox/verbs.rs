//! What the sandbox does when it is asked, as its books then say.

use std::sync::Arc;

use hongbao_core::order::{OrderId, OrderKind};
use hongbao_core::{Clock, Timestamp};
use parking_lot::Mutex;

use super::books::{BookError, Booked, Books, Line, Outcome, Received};
use super::faults::Fault;
use super::notify::Notifier;
use super::options::SandboxOptions;
use super::plan::{Ending, Plan};
use super::print::reference_of;
use crate::signature::{Signed, SigningKey};
use crate::wire::{CURRENCY, NewOrder, Refusal, Standing, State};

/// A request about an order.
#[derive(Clone, Debug)]
pub enum Ask {
    /// An order.
    Send(OrderKind, NewOrder),
    /// That it never happens.
    Close(OrderKind, String),
    /// How it stands.
    Query(OrderKind, String),
}

/// What is answered, and how.
#[derive(Clone, Debug)]
pub enum Reply {
    /// How the order stands.
    Standing(Standing),
    /// The same, cut half way.
    Cut(Standing),
    /// There is none.
    NotFound,
    /// The request is refused with this status.
    Refused(u16, Refusal),
    /// Nothing.
    Silent,
    /// 500.
    Error500,
    /// 429, come again in so many seconds.
    RateLimited(u32),
    /// 503.
    Down,
}
/// What the verbs work with.
pub struct Verbs {
    /// The books.
    pub books: Mutex<Books>,
    /// What the sandbox was started with.
    pub options: SandboxOptions,
    /// What its answers are signed with.
    pub key: SigningKey,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Sends its notifications.
    pub notifier: Notifier,
}

impl Verbs {
    /// Answers a request, with what goes wrong about the order.
    pub fn answer(&self, ask: Ask, fault: Option<Fault>) -> Reply {
        let mut books = self.books.lock();
        let answered = match ask {
            Ask::Send(kind, order) => self.receive(&mut books, kind, order, fault),
            Ask::Close(kind, number) => self.close(&mut books, kind, number),
            Ask::Query(kind, number) => Ok(match books.find(&number) {
                Some(booked) if booked.received.kind == kind => Reply::Standing(self.standing(booked)),
                _ => Reply::NotFound,
            }),
        };
        answered.unwrap_or_else(|error| {
            tracing::warn!(%error, "the sandbox could not do what it was asked");
            Reply::Down
        })
    }

    fn receive(
        &self,
        books: &mut Books,
        kind: OrderKind,
        order: NewOrder,
        fault: Option<Fault>,
    ) -> Result<Reply, BookError> {
        if let Some(booked) = books.find(&order.number) {
            return Ok(if is_same(&booked.received, kind, &order) {
                Reply::Standing(self.standing(booked))
            } else {
                refused(409, "number_taken", "there is another order under this number")
            });
        }
        if let Err(detail) = check(kind, &order) {
            return Ok(refused(422, "invalid_request", detail));
        }
        let now = self.clock.now();
        let mut plan = Plan::of(kind, order.amount_fen, fault, now, self.options.pace);
        if kind == OrderKind::Charge && self.options.by_hand && fault.is_none() {
            plan.ending = Ending::Waits;
        }
        if let Some(reason) = self.refund_fails(books, kind, &order) {
            plan.ending = Ending::Fails(reason.to_owned());
        }
        let NewOrder { number, amount_fen, user, of, expires_at, .. } = order;
        let received = Received { number: number.clone(), kind, amount_fen, user, of, expires_at, at: now, plan };
        books.write(Line::Received(received))?;
        if fault == Some(Fault::Forged) {
            self.notifier.forge(kind, &number);
        }
        if fault == Some(Fault::Early) {
            self.happen_to(books, &number)?;
        }
        Ok(books.find(&number).map_or(Reply::NotFound, |booked| Reply::Standing(self.standing(booked))))
    }

    /// A refund is of a charge that happened, and of no more than is left of it.
    fn refund_fails(&self, books: &Books, kind: OrderKind, order: &NewOrder) -> Option<&'static str> {
        let charge = order.of.as_ref().filter(|_| kind == OrderKind::Refund)?;
        match books.find(charge) {
            Some(Booked { received, outcome: Outcome::Happened { amount, .. } })
                if received.kind == OrderKind::Charge =>
            {
                let left = amount.get().saturating_sub(books.refunded(charge));
                (order.amount_fen.get() > left).then_some("more_than_charged")
            }
            _ => Some("no_such_charge"),
        }
    }

    /// What has not arrived yet never will.
    fn close(&self, books: &mut Books, kind: OrderKind, number: String) -> Result<Reply, BookError> {
        let at = self.clock.now();
        let line = match books.find(&number) {
            Some(booked) if booked.received.kind != kind => {
                return Ok(refused(409, "number_taken", "there is an order of another kind under this number"));
            }
            Some(Booked { received, outcome: Outcome::Pending }) if received.plan.is_closable => {
                Line::Failed { number: number.clone(), reason: "closed".to_owned(), at }
            }
            Some(booked) => return Ok(Reply::Standing(self.standing(booked))),
            None if OrderId::parse_number(&number).is_none() => {
                return Ok(refused(422, "invalid_request", "the number is not 32 hexadecimal digits of a UUIDv7"));
            }
            None => Line::Barred { number: number.clone(), kind, at },
        };
        self.write(books, line)?;
        Ok(books.find(&number).map_or(Reply::NotFound, |booked| Reply::Standing(self.standing(booked))))
    }

    /// Lets happen what is due.
    ///
    /// # Errors
    /// What could not be written.
    pub fn happen(&self) -> Result<(), BookError> {
        let mut books = self.books.lock();
        for number in books.due(self.clock.now()) {
            self.happen_to(&mut books, &number)?;
        }
        Ok(())
    }

    fn happen_to(&self, books: &mut Books, number: &str) -> Result<(), BookError> {
        let (number, at) = (number.to_owned(), self.clock.now());
        let Some(booked) = books.find(&number) else { return Ok(()) };
        let line = match (&booked.outcome, &booked.received.plan.ending) {
            (Outcome::Pending, Ending::Happens(amount)) => Line::Happened { number, amount_fen: *amount, at },
            (Outcome::Pending, Ending::Fails(reason)) => Line::Failed { number, reason: reason.clone(), at },
            (Outcome::Pending, Ending::Waits) => Line::Failed { number, reason: "expired".to_owned(), at },
            (Outcome::Happened { .. }, _) => Line::Returned { number, at },
            (Outcome::Failed { .. }, _) => return Ok(()),
        };
        self.write(books, line)
    }

    /// Writes an outcome, and has it notified.
    fn write(&self, books: &mut Books, line: Line) -> Result<(), BookError> {
        let number = match &line {
            Line::Received(Received { number, .. })
            | Line::Barred { number, .. }
            | Line::Happened { number, .. }
            | Line::Failed { number, .. }
            | Line::Returned { number, .. } => number.clone(),
        };
        books.write(line)?;
        if let Some(booked) = books.find(&number) {
            self.notifier.changed(&self.standing(booked), booked.received.plan.notifying);
        }
        Ok(())
    }

    /// How an order stands.
    pub fn look(&self, number: &str) -> Option<Standing> {
        self.books.lock().find(number).map(|booked| self.standing(booked))
    }

    /// What a person decides on the page of a charge; the first decision counts.
    pub fn decide(&self, number: String, pays: bool) {
        let mut books = self.books.lock();
        let at = self.clock.now();
        let line = match books.find(&number) {
            Some(booked) if pays => Line::Happened { number, amount_fen: booked.received.amount_fen, at },
            _ => Line::Failed { number, reason: "declined".to_owned(), at },
        };
        if let Err(error) = self.write(&mut books, line) {
            tracing::info!(%error, "a decision on a page of the sandbox came to nothing");
        }
    }

    /// What the address of an order's page has in it, so that only who was given the address may decide.
    pub fn page_key(&self, number: &str) -> String {
        let what = Signed::Request { method: "PAGE", path: number };
        self.key.sign(what, Timestamp::from_millis(0), b"").1
    }

    fn standing(&self, booked: &Booked) -> Standing {
        let Booked { received: Received { number, kind, amount_fen, .. }, outcome } = booked;
        let mut standing = Standing {
            number: number.clone(),
            kind: *kind,
            state: State::Pending,
            amount_fen: amount_fen.get(),
            currency: CURRENCY.to_owned(),
            action_url: None,
            reason: None,
            at: None,
            reference: None,
        };
        match outcome {
            Outcome::Pending if *kind == OrderKind::Charge => {
                let (base, key) = (&self.options.pages_at, self.page_key(number));
                standing.action_url = Some(format!("{base}/sandbox/pay/{number}?key={key}"));
            }
            Outcome::Pending => {}
            Outcome::Failed { reason } => (standing.state, standing.reason) = (State::Failed, Some(reason.clone())),
            Outcome::Happened { amount, at, returned_at } => {
                standing.state = if returned_at.is_some() { State::Returned } else { State::Succeeded };
                standing.amount_fen = amount.get();
                (standing.at, standing.reference) = (Some(*at), Some(reference_of(number)));
            }
        }
        standing
    }
}

fn is_same(received: &Received, kind: OrderKind, order: &NewOrder) -> bool {
    let is_barred = received.amount_fen.is_zero();
    let has_same_terms =
        received.amount_fen == order.amount_fen && received.user == order.user && received.of == order.of;
    received.kind == kind && (is_barred || has_same_terms)
}

fn check(kind: OrderKind, order: &NewOrder) -> Result<(), &'static str> {
    if OrderId::parse_number(&order.number).is_none() {
        return Err("number is not 32 hexadecimal digits of a UUIDv7");
    }
    if order.amount_fen.is_zero() {
        return Err("amount_fen must be at least 1");
    }
    if order.currency != CURRENCY {
        return Err("currency must be CNY");
    }
    match (kind, &order.of) {
        (OrderKind::Refund, None) => Err("of: a refund names its charge"),
        (OrderKind::Charge | OrderKind::Payout, Some(_)) => Err("of: it is for refunds alone"),
        _ => Ok(()),
    }
}

fn refused(status: u16, code: &str, detail: &str) -> Reply {
    Reply::Refused(status, Refusal { code: code.to_owned(), detail: detail.to_owned() })
}
