//! The books of the sandbox: a file to which lines are added, and what they come to.
//!
//! What the sandbox does is a line on disk before it answers, so a process that is killed has done what its file says.
//! Under one number there is one order with one outcome: a line that would give it another one is never written.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use hongbao_core::limits::SANDBOX_ORDERS_MAX;
use hongbao_core::order::OrderKind;
use hongbao_core::{Fen, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// The name of the file.
pub const BOOKS_FILE: &str = "books.jsonl";

/// A line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// An order has arrived.
    Received(Received),
    /// Nothing will ever happen under a number that has not arrived.
    Barred {
        /// The number.
        number: String,
        /// The kind that it was asked for as.
        kind: OrderKind,
        /// When.
        at: Timestamp,
    },
    /// It happened.
    Happened {
        /// The number.
        number: String,
        /// How much was moved.
        amount_fen: Fen,
        /// When.
        at: Timestamp,
    },
    /// It never will.
    Failed {
        /// The number.
        number: String,
        /// In a word.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// A payout came back.
    Returned {
        /// The number.
        number: String,
        /// When.
        at: Timestamp,
    },
}

/// An order as it has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Its number.
    pub number: String,
    /// What it asks for.
    pub kind: OrderKind,
    /// How much.
    pub amount_fen: Fen,
    /// Who pays or is paid.
    pub user: UserId,
    /// The charge that a refund takes back.
    pub of: Option<String>,
    /// When it is not paid any more.
    pub expires_at: Timestamp,
    /// When it arrived.
    pub at: Timestamp,
    /// What becomes of it.
    pub plan: Plan,
}

/// What has become of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It happened.
    Happened {
        /// With this amount.
        amount: Fen,
        /// Then.
        at: Timestamp,
        /// It came back.
        returned_at: Option<Timestamp>,
    },
    /// It never will.
    Failed {
        /// In a word.
        reason: String,
    },
}

/// An order in the books.
#[derive(Clone, Debug)]
pub struct Booked {
    /// As it arrived; one that was barred before has no amount.
    pub received: Received,
    /// What has become of it.
    pub outcome: Outcome,
}

impl Booked {
    /// When something happens to it by itself.
    fn due_at(&self) -> Option<Timestamp> {
        let plan = &self.received.plan;
        match &self.outcome {
            Outcome::Pending => Some(plan.due_at(self.received.expires_at)),
            Outcome::Happened { at, returned_at: None, .. } => plan.comes_back_at(*at),
            Outcome::Happened { .. } | Outcome::Failed { .. } => None,
        }
    }
}

/// The books.
#[derive(Debug)]
pub struct Books {
    file: File,
    orders: HashMap<String, Booked>,
    due: BTreeSet<(Timestamp, String)>,
    lines: u64,
}

/// A line that was not written.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The disk.
    #[error("the books cannot be written: {0}")]
    Disk(#[from] std::io::Error),
    /// It would contradict what stands there.
    #[error("number {number}: {reason}")]
    Contradiction {
        /// The number.
        number: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no room.
    #[error("the books are full: {SANDBOX_ORDERS_MAX} orders")]
    Full,
}

impl Books {
    /// Opens the file, makes it if it is missing, and reads it. A last line that was cut off is taken away: what it
    /// says was not answered.
    ///
    /// # Errors
    /// What is wrong with the file; another process has it.
    pub fn open(path: &Path) -> Result<Books, String> {
        let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| named(&error))?;
        file.try_lock().map_err(|_| named(&"another process has it"))?;
        let mut books = Books { file, orders: HashMap::new(), due: BTreeSet::new(), lines: 0 };
        let whole = books.replay().map_err(|error| named(&error))?;
        books.file.set_len(whole).map_err(|error| named(&error))?;
        books.file.seek(SeekFrom::Start(whole)).map_err(|error| named(&error))?;
        Ok(books)
    }

    /// Reads the file, which a sandbox may be writing to.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Books, String> {
        let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
        let file = File::open(path).map_err(|error| named(&error))?;
        let mut books = Books { file, orders: HashMap::new(), due: BTreeSet::new(), lines: 0 };
        books.replay().map_err(|error| named(&error))?;
        Ok(books)
    }

    /// Bytes of the lines that are whole.
    fn replay(&mut self) -> Result<u64, String> {
        let mut reader = BufReader::new(self.file.try_clone().map_err(|error| error.to_string())?);
        let (mut whole, mut text) = (0, Vec::new());
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(|error| error.to_string())?;
            if text.last() != Some(&b'\n') {
                return Ok(whole);
            }
            let at = self.lines + 1;
            let line: Line = serde_json::from_slice(&text).map_err(|error| format!("line {at}: {error}"))?;
            self.check(&line).map_err(|error| format!("line {at}: {error}"))?;
            self.apply(line);
            whole += read as u64;
        }
    }

    /// Writes a line, and does what it says once it is on disk.
    ///
    /// # Errors
    /// Why it was not written.
    pub fn write(&mut self, line: Line) -> Result<(), BookError> {
        self.check(&line)?;
        let mut text = serde_json::to_vec(&line).expect("a line can be written as JSON");
        text.push(b'\n');
        let start = self.file.stream_position()?;
        if let Err(error) = self.file.write_all(&text).and_then(|()| self.file.sync_data()) {
            // Half a line must not be followed by another one.
            self.file.set_len(start)?;
            self.file.seek(SeekFrom::Start(start))?;
            return Err(error.into());
        }
        self.apply(line);
        Ok(())
    }

    /// One number, one order, one outcome.
    fn check(&self, line: &Line) -> Result<(), BookError> {
        let wrong = |number: &String, reason| Err(BookError::Contradiction { number: number.clone(), reason });
        match line {
            Line::Received(Received { number, .. }) | Line::Barred { number, .. } => {
                if self.orders.contains_key(number) {
                    return wrong(number, "it is there already");
                }
                if self.orders.len() >= SANDBOX_ORDERS_MAX { Err(BookError::Full) } else { Ok(()) }
            }
            Line::Happened { number, .. } | Line::Failed { number, .. } => match self.orders.get(number) {
                Some(Booked { outcome: Outcome::Pending, .. }) => Ok(()),
                Some(_) => wrong(number, "it has an outcome already"),
                None => wrong(number, "it is not there"),
            },
            Line::Returned { number, .. } => match self.orders.get(number) {
                Some(Booked { received, outcome: Outcome::Happened { returned_at: None, .. } })
                    if received.kind == OrderKind::Payout =>
                {
                    Ok(())
                }
                _ => wrong(number, "it is no payout that happened"),
            },
        }
    }

    fn apply(&mut self, line: Line) {
        self.lines += 1;
        let number = match &line {
            Line::Received(Received { number, .. })
            | Line::Barred { number, .. }
            | Line::Happened { number, .. }
            | Line::Failed { number, .. }
            | Line::Returned { number, .. } => number.clone(),
        };
        if let Some(due) = self.orders.get(&number).and_then(Booked::due_at) {
            self.due.remove(&(due, number.clone()));
        }
        match line {
            Line::Received(received) => {
                self.orders.insert(number.clone(), Booked { received, outcome: Outcome::Pending });
            }
            Line::Barred { number, kind, at } => {
                let user = UserId::parse("nobody").expect("it is a name");
                let (amount_fen, plan) = (Fen::ZERO, Plan::never());
                let received =
                    Received { number: number.clone(), kind, amount_fen, user, of: None, expires_at: at, at, plan };
                let outcome = Outcome::Failed { reason: "closed".to_owned() };
                self.orders.insert(number, Booked { received, outcome });
            }
            Line::Happened { amount_fen: amount, at, .. } => {
                self.become_(&number, Outcome::Happened { amount, at, returned_at: None });
            }
            Line::Failed { reason, .. } => self.become_(&number, Outcome::Failed { reason }),
            Line::Returned { at, .. } => {
                if let Some(Booked { outcome: Outcome::Happened { returned_at, .. }, .. }) =
                    self.orders.get_mut(&number)
                {
                    *returned_at = Some(at);
                }
            }
        }
        if let Some(due) = self.orders.get(&number).and_then(Booked::due_at) {
            self.due.insert((due, number));
        }
    }

    fn become_(&mut self, number: &str, outcome: Outcome) {
        if let Some(booked) = self.orders.get_mut(number) {
            booked.outcome = outcome;
        }
    }

    /// An order.
    pub fn find(&self, number: &str) -> Option<&Booked> {
        self.orders.get(number)
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Booked> {
        self.orders.values()
    }

    /// The numbers of those to which something happens by itself now.
    pub fn due(&self, now: Timestamp) -> Vec<String> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, number)| number.clone()).collect()
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What of a charge has been refunded, or is about to be.
    pub fn refunded(&self, charge: &str) -> i64 {
        let of = |booked: &&Booked| {
            booked.received.of.as_deref() == Some(charge) && !matches!(booked.outcome, Outcome::Failed { .. })
        };
        self.all().filter(of).map(|booked| booked.received.amount_fen.get()).sum()
    }
}
