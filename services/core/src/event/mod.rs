//! Events: what happened to money, for those who are to know of it.
//!
//! An event is written into a *feed*: that of a user or of a group. Those of an envelope go to its sender's, and as a
//! copy to the feed of its audience; who opens an envelope that has only a link gets its own opening. A reader of
//! several feeds passes over the copies of what it has in its own, so that all events of an envelope come to it from
//! one feed, in the order of `seq`.
//!
//! Rows are written in transactions that are made anyway, one for all that happened to an envelope at once, and
//! exactly once: a [`Note`] says what is to be written, and is cut by what stands there already.

mod body;
mod cursor;
mod feed;
mod note;
mod row;
mod subject;
mod view;

pub use self::body::{EventBody, EventEntry, OrderOutcome};
pub use self::cursor::{EventCursor, EventPlace};
pub use self::feed::Feed;
pub use self::note::{Note, NoteWhen};
pub use self::row::EventRow;
pub use self::subject::{Series, Subject};
pub use self::view::{EventType, EventView, EventsPage};
