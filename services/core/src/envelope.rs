//! The envelope, its journal, and the decisions about it.
//!
//! An envelope is one row that hardly changes and a gapless journal of
//! [`Entry`]s. Folding the journal gives [`Journal`]: what is left. Decisions are
//! pure functions of the row, the fold and the time; their results are values.

use serde::{Deserialize, Serialize};

use crate::id::EnvelopeId;
use crate::money::Fen;
use crate::split::{self, Seed};
use crate::time::Timestamp;
use crate::user::{GroupId, UserId};

/// How the total is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EnvelopeKind)]
pub enum Kind {
    /// At random, each opener with the same expectation.
    Lucky,
    /// The same for everybody.
    Equal,
}

/// Who may grab and open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Everybody who has the link.
    Link,
    /// The members of a group, as the caller's token names them.
    Group(GroupId),
    /// One user.
    User(UserId),
}

impl Audience {
    /// Whether this caller is among those whom the sender meant.
    pub fn invites(&self, user: &UserId, groups: &[GroupId]) -> bool {
        match self {
            Audience::Link => true,
            Audience::Group(group) => groups.contains(group),
            Audience::User(invited) => invited == user,
        }
    }
}

/// How far the stored envelope has come. What a client sees is [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Made, not yet paid.
    Created,
    /// Paid; can be opened until it expires.
    Active,
    /// Never paid, and never will be.
    Cancelled,
    /// The journal has ended and every entry has reached a balance.
    Settled,
}

/// What a client sees of an envelope's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EnvelopeState)]
pub enum State {
    /// Made, not yet paid.
    Created,
    /// Can be opened.
    Active,
    /// Every share was opened.
    Finished,
    /// Past its time; the refund is under way.
    Expired,
    /// The rest went back to the sender.
    Refunded,
    /// Never paid.
    Cancelled,
}

/// The envelope row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its id.
    pub id: EnvelopeId,
    /// Who pays.
    pub sender: UserId,
    /// How the total is divided.
    pub kind: Kind,
    /// The money in it.
    pub total: Fen,
    /// How many may open it.
    pub shares: u32,
    /// The largest share that a draw may give; part of the draw, so kept with it.
    pub share_cap: Fen,
    /// What the sender wrote on it.
    pub greeting: String,
    /// Who may grab and open.
    pub audience: Audience,
    /// Where the draws come from.
    pub seed: Seed,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long it can be opened once it is paid, in milliseconds.
    pub lifetime_ms: i64,
    /// How far it has come.
    pub stage: Stage,
    /// When it expires; `None` until it is paid.
    pub expires_at: Option<Timestamp>,
    /// The journal up to this `seq` has reached the wallet.
    pub settled_seq: u32,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The envelope.
    pub envelope_id: EnvelopeId,
    /// Its place in the journal, from 1, without gaps.
    pub seq: u32,
    /// An opening or the refund.
    pub kind: EntryKind,
    /// What the opener, or the sender, gets.
    pub amount: Fen,
    /// What is left in the envelope after it.
    pub remaining: Fen,
    /// When it was decided.
    pub at: Timestamp,
}

/// Whom an entry pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// This user opened a share.
    Open(UserId),
    /// The rest goes back to the sender; always the last entry.
    Refund,
}

/// A user's opening, as its answer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its place in the journal.
    pub seq: u32,
    /// What the user got.
    pub amount: Fen,
    /// When.
    pub at: Timestamp,
}

/// The fold of an envelope's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The last entry's `seq`; 0 when there is none.
    pub last_seq: u32,
    /// The money left.
    pub remaining: Fen,
    /// Whether the last entry is the refund.
    pub refunded: bool,
}

impl Journal {
    /// An empty journal: everything is left.
    pub const fn new(total: Fen) -> Journal {
        Journal { last_seq: 0, remaining: total, refunded: false }
    }

    /// The fold after its last entry alone, which carries all that is needed.
    pub const fn after(entry: &Entry) -> Journal {
        Journal { last_seq: entry.seq, remaining: entry.remaining, refunded: matches!(entry.kind, EntryKind::Refund) }
    }

    /// No entry can follow: all shares were opened or the rest was refunded.
    pub const fn has_ended(&self) -> bool {
        self.remaining.is_zero()
    }
}

/// What opening an envelope comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenDecision {
    /// The next share: append this entry.
    Append(Entry),
    /// The user has opened it before: the same answer, for ever.
    Replay(Opened),
    /// Every share was opened.
    Empty,
    /// Too late.
    Expired,
    /// Not paid, or its rows are damaged: for an opener it does not exist.
    NotActive,
}

impl Envelope {
    /// Whether both were made by the same request: all that a sender decides is the same.
    pub fn has_the_terms_of(&self, other: &Envelope) -> bool {
        let terms = |one: &Envelope| (one.id, one.kind, one.total, one.shares, one.share_cap, one.lifetime_ms);
        let reason = |one: &Envelope| (one.sender.clone(), one.greeting.clone(), one.audience.clone());
        terms(self) == terms(other) && reason(self) == reason(other)
    }

    /// Decides an opening by `user`, whose earlier opening, if any, is `before`.
    pub fn decide_open(
        &self,
        journal: &Journal,
        before: Option<&Opened>,
        user: &UserId,
        now: Timestamp,
    ) -> OpenDecision {
        if let Some(opened) = before {
            return OpenDecision::Replay(opened.clone());
        }
        match self.state(journal, now) {
            State::Created | State::Cancelled => OpenDecision::NotActive,
            State::Finished => OpenDecision::Empty,
            State::Expired | State::Refunded => OpenDecision::Expired,
            State::Active if !self.fits(journal) => OpenDecision::NotActive,
            State::Active => OpenDecision::Append(self.next_open(journal, user, now)),
        }
    }

    /// Decides the refund: the last entry, once the time has come and money is left.
    pub fn decide_refund(&self, journal: &Journal, now: Timestamp) -> Option<Entry> {
        let due = self.state(journal, now) == State::Expired && self.fits(journal);
        due.then(|| Entry {
            envelope_id: self.id,
            seq: journal.last_seq + 1,
            kind: EntryKind::Refund,
            amount: journal.remaining,
            remaining: Fen::ZERO,
            at: now,
        })
    }

    /// What a client sees at `now`.
    pub fn state(&self, journal: &Journal, now: Timestamp) -> State {
        match self.stage {
            Stage::Created => return State::Created,
            Stage::Cancelled => return State::Cancelled,
            Stage::Active | Stage::Settled => {}
        }
        if journal.refunded {
            return State::Refunded;
        }
        if journal.has_ended() {
            return State::Finished;
        }
        match self.expires_at {
            Some(expires_at) if now < expires_at => State::Active,
            _ => State::Expired,
        }
    }

    /// Shares that can still be opened.
    pub fn shares_left(&self, journal: &Journal) -> u32 {
        if journal.has_ended() { 0 } else { self.shares.saturating_sub(journal.last_seq) }
    }

    /// Whether a fold with money left can be this envelope's: the money splits
    /// into the shares left. Damaged rows alone say no; no money leaves them.
    fn fits(&self, journal: &Journal) -> bool {
        let shares_left = self.shares.saturating_sub(journal.last_seq);
        split::splits(journal.remaining, shares_left, self.share_cap)
            && match self.kind {
                Kind::Lucky => journal.remaining <= self.total,
                Kind::Equal => {
                    let share = split::equal_share(self.total, self.shares);
                    i128::from(journal.remaining.get()) == i128::from(share.get()) * i128::from(shares_left)
                }
            }
    }

    /// What share `seq` of this envelope is, when `remaining` is left before it.
    /// `seq` is 1 to the number of shares, and `remaining` splits into those left.
    pub fn share(&self, seq: u32, remaining: Fen) -> Fen {
        let shares_left = self.shares.saturating_sub(seq.saturating_sub(1));
        match self.kind {
            Kind::Lucky => split::lucky_share(&self.seed, seq, remaining, shares_left, self.share_cap),
            Kind::Equal => split::equal_share(self.total, self.shares),
        }
    }

    /// Whether this caller may see, grab and open it. The sender always may.
    pub fn admits(&self, user: &UserId, groups: &[GroupId]) -> bool {
        *user == self.sender || self.audience.invites(user, groups)
    }

    fn next_open(&self, journal: &Journal, user: &UserId, now: Timestamp) -> Entry {
        let seq = journal.last_seq + 1;
        let amount = self.share(seq, journal.remaining);
        let remaining = journal.remaining.checked_sub(amount).expect("a share is at most what remains");
        Entry { envelope_id: self.id, seq, kind: EntryKind::Open(user.clone()), amount, remaining, at: now }
    }
}
