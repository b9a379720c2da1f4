//! Rows of feeds.

use super::body::EventBody;
use super::feed::Feed;
use super::subject::Subject;
use super::view::EventView;
use crate::user::UserId;

/// A row of a feed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its place in its database, in the order of commits.
    pub position: i64,
    /// Where it stands.
    pub feed: Feed,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub body: EventBody,
}

impl EventRow {
    /// Its events in order, as `reader` sees them: none of what it has in its own feed. `None` reads for the
    /// installation.
    pub fn events(&self, reader: Option<&UserId>) -> Vec<EventView> {
        let is_own = |user: &UserId| self.feed == Feed::User(user.clone());
        match reader {
            Some(user) if !is_own(user) && self.body.sender() == user => Vec::new(),
            _ => self.body.events(self.subject),
        }
    }
}
