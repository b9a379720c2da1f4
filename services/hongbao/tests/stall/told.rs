//! What clients were told. Whatever was told once is final, whatever dies afterwards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use hongbao_core::{EnvelopeId, TransferId, UserId};

use crate::installation::{home_of, set_of};

/// A place in which something that was read leads to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An opening by somebody who has not asked before.
    Open,
    /// The same once more.
    OpenAgain,
    /// A grab.
    Grab,
    /// A grab at the server that only looks.
    GrabOfSnapshot,
    /// A detail.
    Detail,
    /// A detail of what may not be paid for.
    UnpaidDetail,
    /// The first payment.
    Pay,
    /// The same once more, at any server.
    PayAgain,
    /// A payment that is too late: its cancel is under way.
    PayLate,
    /// Creating.
    Create,
    /// The same by somebody else at the same time, or once more.
    CreateAgain,
    /// A server that starts while a log is stalled.
    ColdStart,
    /// A balance.
    Balance,
    /// A list of transfers.
    History,
    /// A top-up, and the same once more.
    TopUp,
}

impl Place {
    /// The databases, by number, whose logs it waits for when it is about this envelope and this user.
    pub fn rests_on(self, id: EnvelopeId, user: &UserId) -> Vec<usize> {
        let (set, home) = (set_of(id.slot()), home_of(user));
        match self {
            Place::Open | Place::OpenAgain | Place::Grab | Place::GrabOfSnapshot | Place::ColdStart => vec![set],
            Place::Detail | Place::UnpaidDetail | Place::Create | Place::CreateAgain => vec![set],
            Place::Pay | Place::PayAgain | Place::PayLate => vec![set, home],
            Place::Balance | Place::History | Place::TopUp => vec![home],
        }
    }
}

/// What somebody was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has this share.
    Opened { seq: u32, amount: i64 },
    /// There was none left.
    Empty,
    /// It was too late.
    Expired,
    /// The envelope exists.
    Made,
    /// The envelope is paid for.
    Paid,
    /// It never will be.
    Cancelled,
    /// Money is in its balance, under this id.
    ToppedUp { id: uuid::Uuid },
    /// So much was in its balance.
    Held { fen: i64 },
    /// This was transferred.
    Listed { id: TransferId, amount: i64 },
    /// Somebody else has this share.
    Shown { seq: u32, opener: String, amount: i64 },
}

/// One answer that claims something.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Of which envelope.
    pub envelope: EnvelopeId,
    /// Whom.
    pub user: UserId,
    /// Where.
    pub place: Place,
    /// What.
    pub told: Told,
    /// Databases whose log was stalled when it was given.
    pub stalled: usize,
}

/// All answers of a round.
#[derive(Default)]
pub struct Ledger {
    answers: Mutex<Vec<Answer>>,
    /// Calls that were begun while a log that they rest on was stalled.
    in_flight: Mutex<BTreeMap<Place, u64>>,
}

impl Ledger {
    /// Takes an answer in.
    pub fn tell(&self, answer: Answer) {
        self.answers().push(answer);
    }

    /// All of them, in the order in which they were given.
    pub fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().expect("no holder of the lock panics")
    }

    /// A call begins; whether a log that it rests on is stalled.
    pub fn begins(&self, place: Place, is_stalled: bool) {
        if is_stalled {
            *self.in_flight.lock().expect("no holder of the lock panics").entry(place).or_default() += 1;
        }
    }

    /// How often each place was in flight while a log that it rests on was stalled.
    pub fn in_flight(&self) -> BTreeMap<Place, u64> {
        self.in_flight.lock().expect("no holder of the lock panics").clone()
    }
}
