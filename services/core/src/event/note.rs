//! What is to be written into feeds.

use super::body::{EventBody, OrderOutcome};
use super::feed::Feed;
use super::subject::Subject;
use crate::envelope::{Audience, Entry, EntryKind, Envelope};
use crate::limits::EVENT_ROW_ENTRIES_MAX;
use crate::money::Fen;
use crate::order::{Order, OrderKind, OrderState};
use crate::time::Timestamp;
use crate::transfer::TransferId;
use crate::user::UserId;

/// On what it rests that a note is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteWhen {
    /// What is in the feed already is cut off.
    New,
    /// It is written with a transfer of the same call and shard, if that is executed now.
    With(TransferId),
}

/// What is to be written into a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub feed: Feed,
    /// Whether another feed has the same: then it is not sent to the installation's owner from here.
    pub is_copy: bool,
    /// What it is about.
    pub subject: Subject,
    /// On what it rests that it is written once.
    pub when: NoteWhen,
    /// What happened.
    pub body: EventBody,
}

impl Note {
    /// An envelope's payment, for its sender: written with the transfer, if that is executed now.
    pub fn paid(envelope: &Envelope, at: Timestamp) -> Note {
        Note {
            feed: Feed::User(envelope.sender.clone()),
            is_copy: false,
            subject: Subject::Envelope(envelope.id),
            when: NoteWhen::With(TransferId::Envelope(envelope.id, 0)),
            body: EventBody::paid(envelope, at),
        }
    }

    /// The same for its audience: to be written before it can be opened.
    pub fn paid_for_audience(envelope: &Envelope, at: Timestamp) -> Option<Note> {
        let paid = Note::paid(envelope, at);
        let feed = Feed::of_audience(&envelope.audience).filter(|feed| *feed != paid.feed)?;
        Some(Note { feed, is_copy: true, when: NoteWhen::New, ..paid })
    }

    /// That an envelope expires soon, for its sender and its audience.
    pub fn expiring_soon(envelope: &Envelope, remaining: Fen, at: Timestamp) -> Vec<Note> {
        let Some(expires_at) = envelope.expires_at else { return Vec::new() };
        let body = EventBody::expiring_soon(&envelope.sender, remaining, expires_at, at);
        let feeds = feeds_of(&envelope.sender, &envelope.audience);
        let note = |(feed, is_copy)| Note {
            feed,
            is_copy,
            subject: Subject::Envelope(envelope.id),
            when: NoteWhen::New,
            body: body.clone(),
        };
        feeds.map(note).collect()
    }

    /// What became of a charge or a payout, if that is known now and was not before: to be written in the transaction
    /// that stores it.
    pub fn of_order(before: &Order, after: &Order) -> Option<Note> {
        if before.state == after.state {
            return None;
        }
        let outcome = match (after.kind, after.state) {
            (OrderKind::Charge, OrderState::Succeeded) => OrderOutcome::ChargeSucceeded,
            (OrderKind::Charge, OrderState::Failed) => OrderOutcome::ChargeFailed,
            (OrderKind::Payout, OrderState::Succeeded) => OrderOutcome::PayoutSucceeded,
            (OrderKind::Payout, OrderState::Failed) => OrderOutcome::PayoutFailed,
            (OrderKind::Payout, OrderState::Returned) => OrderOutcome::PayoutReturned,
            _ => return None,
        };
        let failure = after.failure.clone();
        let at_ms = after.happened_at.unwrap_or(after.created_at).max(after.created_at).millis();
        let (user, amount) = (after.user.clone(), after.amount);
        Some(Note {
            feed: Feed::User(user.clone()),
            is_copy: false,
            subject: Subject::Order(after.id),
            when: NoteWhen::New,
            body: EventBody::Order { user, outcome, amount, failure, at_ms },
        })
    }

    /// What a page of an envelope's journal comes to: `entries` are in order, all of this envelope.
    pub fn of_entries(sender: &UserId, audience: &Audience, entries: &[Entry]) -> Vec<Note> {
        let mut notes = Vec::new();
        for entries in entries.chunks(EVENT_ROW_ENTRIES_MAX) {
            let subject = Subject::Envelope(entries[0].envelope_id);
            let body = EventBody::of_entries(sender, entries);
            let note = |(feed, is_copy)| Note { feed, is_copy, subject, when: NoteWhen::New, body: body.clone() };
            notes.extend(feeds_of(sender, audience).map(note));
        }
        if *audience == Audience::Link {
            notes.extend(entries.iter().filter_map(|entry| Note::of_opener(sender, entry)));
        }
        notes
    }

    /// For one who has opened an envelope of another, of which it has no feed otherwise.
    fn of_opener(sender: &UserId, entry: &Entry) -> Option<Note> {
        let EntryKind::Open(user) = &entry.kind else { return None };
        (user != sender).then(|| Note {
            feed: Feed::User(user.clone()),
            is_copy: true,
            subject: Subject::Envelope(entry.envelope_id),
            when: NoteWhen::With(TransferId::Envelope(entry.envelope_id, entry.seq)),
            // That it is empty since is for its sender to know.
            body: EventBody::of_opening(sender, entry),
        })
    }
}

/// The feeds of an envelope, and whether each is a copy.
fn feeds_of(sender: &UserId, audience: &Audience) -> impl Iterator<Item = (Feed, bool)> {
    let own = Feed::User(sender.clone());
    let others = Feed::of_audience(audience).filter(|feed| *feed != own);
    [(own, false)].into_iter().chain(others.map(|feed| (feed, true)))
}
