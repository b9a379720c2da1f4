//! What of a batch's notes is written: a pure fold over what stands in the feeds.

use std::collections::{HashMap, HashSet};

use hongbao_core::event::{EventBody, Note, NoteWhen};
use hongbao_core::{Transfer, TransferId, TransferOutcome};

/// Within which the last `seq` counts: a feed, the id of a subject, a series.
type Place = (String, [u8; 16], i64);

/// A row to be written.
pub(crate) struct NewEvent<'a> {
    pub position: i64,
    pub note: &'a Note,
    /// What of the note is new.
    pub body: EventBody,
}

/// The part of the feeds that a batch touches.
#[derive(Default)]
pub(crate) struct EventPlan<'a> {
    /// The last `seq` in each place that there is.
    written: HashMap<Place, u32>,
    /// Transfers that are executed now.
    executed: HashSet<TransferId>,
    last_position: i64,
    rows: Vec<NewEvent<'a>>,
}

impl<'a> EventPlan<'a> {
    /// Takes in how far the events are numbered.
    pub fn set_last_position(&mut self, position: i64) {
        self.last_position = position;
    }

    /// Takes in the last `seq` that stands in a place.
    pub fn hold(&mut self, feed: String, subject: [u8; 16], series: i64, last_seq: u32) {
        self.written.insert((feed, subject, series), last_seq);
    }

    /// Decides about notes, whose transfers ended so.
    pub fn decide(&mut self, transfers: &[&Transfer], outcomes: &[TransferOutcome], notes: &[&'a Note]) {
        let done = transfers.iter().zip(outcomes).filter(|(_, outcome)| **outcome == TransferOutcome::Done);
        self.executed.extend(done.map(|(transfer, _)| transfer.id));
        notes.iter().for_each(|note| self.add(note));
    }

    fn add(&mut self, note: &'a Note) {
        if let NoteWhen::With(transfer) = note.when
            && !self.executed.contains(&transfer)
        {
            return;
        }
        let place = (note.feed.to_string(), *note.subject.as_bytes(), note.body.series().code());
        let Some(body) = note.body.after(self.written.get(&place).copied()) else { return };
        self.written.insert(place, body.last_seq());
        let position = self.last_position + self.rows.len() as i64 + 1;
        self.rows.push(NewEvent { position, note, body });
    }

    /// What is to be written, in order.
    pub fn rows(&self) -> &[NewEvent<'a>] {
        &self.rows
    }

    /// How far the events are numbered before it, and after.
    pub fn ends(&self) -> (i64, i64) {
        (self.last_position, self.last_position + self.rows.len() as i64)
    }
}

/// The notes about whose place it has to be known what stands there: all, or those that rest on nothing else.
pub(crate) fn looked_up<'n>(notes: &[&'n Note], all: bool) -> Vec<&'n Note> {
    notes.iter().copied().filter(|note| all || note.when == NoteWhen::New).collect()
}
