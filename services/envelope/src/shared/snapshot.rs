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
//! | can still be opened, by the clock | not sure for this user, who may have opened it since and would be told `ready` instead of `opened` |
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

use hmac::{Hmac, Mac};
use hongbao_core::limits::{SHARES_CEILING, SNAPSHOT_BYTES_MAX};
use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, EnvelopeId, Fen, GroupId, Kind, Opened, Seed, Stage, State, Timestamp, UserId,
};
use sha2::Sha256;

use crate::live_envelope::LiveJournal;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + MAC_BYTES;

/// Makes and checks the MAC of snapshots.
#[derive(Clone)]
pub struct SnapshotKey(Hmac<Sha256>);

impl SnapshotKey {
    /// Derived from the secret of the tickets, which all servers of a SET have.
    pub fn derive(tickets_secret: &[u8]) -> SnapshotKey {
        let hmac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        // What a ticket's MAC covers is longer than this, and so never the same.
        let derived = hmac(tickets_secret).chain_update(b"shared snapshots").finalize().into_bytes();
        SnapshotKey(hmac(&derived))
    }

    fn mac(&self, id: EnvelopeId, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update([VERSION]).chain_update(id.as_bytes()).chain_update(body)
    }
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
        let mac = key.mac(envelope.id, &body).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&mac[..MAC_BYTES]);
        bytes.extend_from_slice(&body);
        Some(bytes)
    }

    /// What the MAC covers, apart from version and id.
    fn body(envelope: &Envelope, journal: &LiveJournal) -> Option<Vec<u8>> {
        // A longer one is no use: do not walk through millions of openers.
        if journal.open_count() as usize > SNAPSHOT_BYTES_MAX / OPENING_BYTES_MIN {
            return None;
        }
        let mut body = Vec::with_capacity(256 + journal.open_count() as usize * 32);
        put_name(&mut body, envelope.sender.as_str());
        match &envelope.audience {
            Audience::Link => body.push(0),
            Audience::Group(group) => {
                body.push(1);
                put_name(&mut body, group.as_str());
            }
            Audience::User(user) => {
                body.push(2);
                put_name(&mut body, user.as_str());
            }
        }
        put_i64(&mut body, envelope.expires_at?.millis());
        put_i64(&mut body, envelope.total.get());
        put_u32(&mut body, journal.open_count());
        for (user, opened) in (1..=journal.open_count()).filter_map(|seq| journal.open_at(seq)) {
            put_name(&mut body, user.as_str());
            put_i64(&mut body, opened.amount.get());
            put_i64(&mut body, opened.at.millis());
        }
        body.push(u8::from(journal.fold.has_ended()));
        if journal.fold.has_ended() {
            body.push(u8::from(journal.fold.refunded));
            body.push(u8::from(envelope.kind == Kind::Equal));
            put_u32(&mut body, envelope.shares);
            put_i64(&mut body, envelope.share_cap.get());
            put_u32(&mut body, envelope.greeting.len() as u32);
            body.extend_from_slice(envelope.greeting.as_bytes());
            body.extend_from_slice(envelope.seed.as_bytes());
            put_i64(&mut body, envelope.created_at.millis());
            put_i64(&mut body, envelope.lifetime_ms);
        }
        (HEAD_BYTES + body.len() <= SNAPSHOT_BYTES_MAX).then_some(body)
    }

    /// Reads what [`Snapshot::encode`] wrote for this envelope with this key;
    /// `None` for anything else.
    pub fn decode(id: EnvelopeId, bytes: &[u8], key: &SnapshotKey) -> Option<Snapshot> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return None;
        }
        let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
        let (version, mac) = head.split_first()?;
        if *version != VERSION || key.mac(id, body).verify_truncated_left(mac).is_err() {
            return None;
        }
        let mut body = Body(body);
        let snapshot = body.snapshot(id)?;
        body.0.is_empty().then_some(snapshot)
    }
}

/// The least that an opening takes: a name of one character, amount, time.
const OPENING_BYTES_MIN: usize = 1 + 1 + 8 + 8;

fn put_u32(body: &mut Vec<u8>, number: u32) {
    body.extend_from_slice(&number.to_be_bytes());
}

fn put_i64(body: &mut Vec<u8>, number: i64) {
    body.extend_from_slice(&number.to_be_bytes());
}

fn put_name(body: &mut Vec<u8>, name: &str) {
    // Names have 64 characters at most.
    body.push(name.len() as u8);
    body.extend_from_slice(name.as_bytes());
}

/// What is still to be read.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn snapshot(&mut self, id: EnvelopeId) -> Option<Snapshot> {
        let sender = self.user()?;
        let audience = match self.byte()? {
            0 => Audience::Link,
            1 => Audience::Group(GroupId::parse(self.name()?)?),
            2 => Audience::User(self.user()?),
            _ => return None,
        };
        let expires_at = self.time()?;
        let total = self.fen()?;
        let mut journal = self.openings(id, total)?;
        if !self.flag()? {
            let goes_on = !journal.fold.has_ended();
            return goes_on.then_some(Snapshot::Open { journal });
        }
        if self.flag()? {
            let (seq, amount) = (journal.fold.last_seq + 1, journal.fold.remaining);
            let kind = EntryKind::Refund;
            // When it was refunded is told to nobody.
            journal.apply(&Entry { envelope_id: id, seq, kind, amount, remaining: Fen::ZERO, at: expires_at });
        }
        let envelope = Envelope {
            id,
            sender,
            kind: if self.flag()? { Kind::Equal } else { Kind::Lucky },
            total,
            shares: self.u32()?,
            share_cap: self.fen()?,
            greeting: self.text()?,
            audience,
            seed: Seed::from_slice(self.take(32)?)?,
            created_at: self.time()?,
            lifetime_ms: self.i64()?,
            stage: Stage::Active,
            expires_at: Some(expires_at),
            settled_seq: 0,
        };
        journal.fold.has_ended().then_some(Snapshot::Ended { envelope, journal })
    }

    fn openings(&mut self, id: EnvelopeId, total: Fen) -> Option<LiveJournal> {
        let count = self.u32()?;
        if count > SHARES_CEILING {
            return None;
        }
        let mut journal = LiveJournal::empty(total);
        for seq in 1..=count {
            let kind = EntryKind::Open(self.user()?);
            let (amount, at) = (self.fen()?, self.time()?);
            let remaining = journal.fold.remaining.checked_sub(amount)?;
            journal.apply(&Entry { envelope_id: id, seq, kind, amount, remaining, at });
        }
        // Nobody opens twice.
        (journal.open_count() == count).then_some(journal)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    fn fen(&mut self) -> Option<Fen> {
        Fen::new(self.i64()?)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.i64().map(Timestamp::from_millis)
    }

    fn name(&mut self) -> Option<&str> {
        let bytes = self.byte()?;
        std::str::from_utf8(self.take(usize::from(bytes))?).ok()
    }

    fn user(&mut self) -> Option<UserId> {
        UserId::parse(self.name()?)
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.u32()?;
        String::from_utf8(self.take(bytes as usize)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests;
