//! A snapshot of a live envelope: what other servers of its SET may know of it.
//!
//! # What a snapshot can be trusted with
//! It was genuine when it was written: the row of a paid envelope, which cannot
//! change any more, and a *prefix* of its journal. It may be minutes old: what is
//! in Redis outlives the server that wrote it, and openings that were committed
//! just before that server died may be in no snapshot.
//!
//! | what it says | is it so? |
//! |---|---|
//! | the user has opened it | for ever: entries are never changed |
//! | the journal has ended | for ever, and then the prefix is the whole: who is not in it never opens it |
//! | can still be opened, by the clock | not sure for this user, who may have opened it since and would get `ready` instead of `opened` |
//! | the user is not invited | not sure while the journal goes on: who left the group may have opened it since |
//! | past its time, with money left | not sure: the user may have opened it since |
//! | so much is left, these have opened it | not sure while the journal goes on |
//!
//! So a grab is answered from the first two, a detail from the second alone, and
//! everything else is asked of the database: once for each envelope that a server
//! takes over, since all who ask at the same time share that load, and the
//! opening that follows a `ready` would need it anyway. A sign of life of the
//! writer would not do instead: its last openings may still wait to be written
//! here. An opening never looks here.
//!
//! # Layout
//! `version, 1 byte ‖ MAC, 16 bytes ‖ body`. The MAC is the first half of
//! HMAC-SHA256 over version, envelope id and body, so that a snapshot counts
//! under its own envelope's key alone. The seed is in it only once the journal
//! has ended and everybody may know it: it would tell every share to come.

use std::borrow::Cow;

use hmac::{Hmac, Mac};
use hongbao_core::limits::SNAPSHOT_BYTES_MAX;
use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, EnvelopeId, Fen, GroupId, Kind, Opened, Seed, Stage, State, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::live_envelope::LiveJournal;

const VERSION: u8 = 2;
const MAC_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + MAC_BYTES;

/// Makes and checks the MAC of snapshots.
#[derive(Clone)]
pub struct SnapshotKey {
    signing: Hmac<Sha256>,
    /// What other servers of the SET sign with, while the secret is changed.
    also_accepted: Option<Hmac<Sha256>>,
}

impl SnapshotKey {
    /// Derived from the secret of the tickets, which all servers of a SET have.
    pub fn derive(tickets_secret: &[u8]) -> SnapshotKey {
        SnapshotKey { signing: derived(tickets_secret), also_accepted: None }
    }

    /// The same, which accepts the snapshots of another secret as well, and makes none with it.
    pub fn also_accepting(self, tickets_secret: &[u8]) -> SnapshotKey {
        SnapshotKey { also_accepted: Some(derived(tickets_secret)), ..self }
    }

    fn sign(&self, id: EnvelopeId, body: &[u8]) -> [u8; MAC_BYTES] {
        let mac = mac(&self.signing, id, body).finalize().into_bytes();
        std::array::from_fn(|at| mac[at])
    }

    fn is_good(&self, id: EnvelopeId, body: &[u8], of_snapshot: &[u8]) -> bool {
        let is_of = |key| mac(key, id, body).verify_truncated_left(of_snapshot).is_ok();
        is_of(&self.signing) || self.also_accepted.as_ref().is_some_and(is_of)
    }
}

fn derived(tickets_secret: &[u8]) -> Hmac<Sha256> {
    let hmac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    // What a ticket's MAC covers is longer than this, and so never the same.
    let derived = hmac(tickets_secret).chain_update(b"shared snapshots").finalize().into_bytes();
    hmac(&derived)
}

fn mac(key: &Hmac<Sha256>, id: EnvelopeId, body: &[u8]) -> Hmac<Sha256> {
    key.clone().chain_update([VERSION]).chain_update(id.as_bytes()).chain_update(body)
}

/// What a server of the SET knew of an envelope.
pub enum Snapshot {
    /// The journal may have gone on.
    Open {
        /// The openings, as far as that server knew.
        journal: LiveJournal,
    },
    /// The journal has ended, and this is all of it.
    Ended {
        /// The row.
        envelope: Envelope,
        /// The journal.
        journal: LiveJournal,
    },
}

/// An answer to a grab that a snapshot is enough for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SafeGrab {
    /// The user opened it.
    Opened(Opened),
    /// Others opened every share.
    Empty,
    /// The rest went back.
    Expired,
    /// It was not for this user.
    NotInvited,
}

impl Snapshot {
    /// The answer to a grab; `None` where the database must be asked.
    pub fn grab(&self, user: &UserId, groups: &[GroupId], now: Timestamp) -> Option<SafeGrab> {
        let (Snapshot::Open { journal, .. } | Snapshot::Ended { journal, .. }) = self;
        if let Some(opened) = journal.opened_by(user) {
            return Some(SafeGrab::Opened(opened));
        }
        match self {
            Snapshot::Open { .. } => None,
            Snapshot::Ended { envelope, .. } if !envelope.admits(user, groups) => Some(SafeGrab::NotInvited),
            Snapshot::Ended { envelope, journal } => match envelope.state(&journal.fold, now) {
                State::Finished => Some(SafeGrab::Empty),
                State::Refunded => Some(SafeGrab::Expired),
                State::Created | State::Active | State::Expired | State::Cancelled => None,
            },
        }
    }

    /// The bytes for Redis; `None` for an envelope that has too many openers.
    pub fn encode(envelope: &Envelope, journal: &LiveJournal, key: &SnapshotKey) -> Option<Vec<u8>> {
        let body = Snapshot::body(envelope, journal)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&key.sign(envelope.id, &body));
        bytes.extend_from_slice(&body);
        Some(bytes)
    }

    /// What the MAC covers, apart from version and id.
    fn body(envelope: &Envelope, journal: &LiveJournal) -> Option<Vec<u8>> {
        // A longer one is no use: do not walk through millions of openers.
        if journal.open_count() as usize > SNAPSHOT_BYTES_MAX / SHORTEST_OPENING_BYTES {
            return None;
        }
        let openings = (1..=journal.open_count()).filter_map(|seq| journal.open_at(seq));
        let body = Body {
            sender: Cow::Borrowed(&envelope.sender),
            audience: Cow::Borrowed(&envelope.audience),
            expires_at_ms: envelope.expires_at?.millis(),
            total: envelope.total,
            openings: openings.map(|(user, opened)| (Cow::Borrowed(user), opened.amount, opened.at.millis())).collect(),
            ended: journal.fold.has_ended().then(|| Ended {
                refunded: journal.fold.refunded,
                kind: envelope.kind,
                shares: envelope.shares,
                share_cap: envelope.share_cap,
                greeting: envelope.greeting.clone(),
                seed: *envelope.seed.as_bytes(),
                created_at_ms: envelope.created_at.millis(),
                lifetime_ms: envelope.lifetime_ms,
            }),
        };
        let bytes = postcard::to_stdvec(&body).ok()?;
        (HEAD_BYTES + bytes.len() <= SNAPSHOT_BYTES_MAX).then_some(bytes)
    }

    /// Reads what [`Snapshot::encode`] wrote for this envelope with this key;
    /// `None` for anything else.
    pub fn decode(id: EnvelopeId, bytes: &[u8], key: &SnapshotKey) -> Option<Snapshot> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return None;
        }
        let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
        let (version, mac) = head.split_first()?;
        if *version != VERSION || !key.is_good(id, body, mac) {
            return None;
        }
        let (body, rest) = postcard::take_from_bytes::<Body>(body).ok()?;
        if rest.is_empty() { body.snapshot(id) } else { None }
    }
}

/// The least that an opening takes: a name of one character with its length, one byte of amount, six of time.
const SHORTEST_OPENING_BYTES: usize = 9;

/// The body of a snapshot, encoded by postcard. A change of it raises [`VERSION`].
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    sender: Cow<'a, UserId>,
    audience: Cow<'a, Audience>,
    expires_at_ms: i64,
    total: Fen,
    /// User, amount and time in milliseconds, by `seq` from 1.
    openings: Vec<(Cow<'a, UserId>, Fen, i64)>,
    /// What only the answers about an ended envelope need: the seed would tell every
    /// share to come.
    ended: Option<Ended>,
}

#[derive(Serialize, Deserialize)]
struct Ended {
    refunded: bool,
    kind: Kind,
    shares: u32,
    share_cap: Fen,
    greeting: String,
    seed: [u8; 32],
    created_at_ms: i64,
    lifetime_ms: i64,
}

impl Body<'_> {
    fn snapshot(self, id: EnvelopeId) -> Option<Snapshot> {
        let expires_at = Timestamp::from_millis(self.expires_at_ms);
        let count = u32::try_from(self.openings.len()).ok()?;
        let mut journal = LiveJournal::empty(self.total);
        for (seq, (user, amount, at_ms)) in (1..=count).zip(self.openings) {
            let remaining = journal.fold.remaining.checked_sub(amount)?;
            let (kind, at) = (EntryKind::Open(user.into_owned()), Timestamp::from_millis(at_ms));
            journal.apply(&Entry { envelope_id: id, seq, kind, amount, remaining, at });
        }
        // A user opens an envelope once.
        if journal.open_count() != count {
            return None;
        }
        let Some(ended) = self.ended else {
            let goes_on = !journal.fold.has_ended();
            return goes_on.then_some(Snapshot::Open { journal });
        };
        if ended.refunded {
            let (seq, amount) = (journal.fold.last_seq + 1, journal.fold.remaining);
            let kind = EntryKind::Refund;
            // No answer holds the time of the refund.
            journal.apply(&Entry { envelope_id: id, seq, kind, amount, remaining: Fen::ZERO, at: expires_at });
        }
        let envelope = Envelope {
            id,
            sender: self.sender.into_owned(),
            kind: ended.kind,
            total: self.total,
            shares: ended.shares,
            share_cap: ended.share_cap,
            greeting: ended.greeting,
            audience: self.audience.into_owned(),
            seed: Seed::new(ended.seed),
            created_at: Timestamp::from_millis(ended.created_at_ms),
            lifetime_ms: ended.lifetime_ms,
            stage: Stage::Active,
            expires_at: Some(expires_at),
            settled_seq: 0,
        };
        journal.fold.has_ended().then_some(Snapshot::Ended { envelope, journal })
    }
}

#[cfg(test)]
mod tests;
