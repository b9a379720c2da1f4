//! Reads the feeds of a caller: its own, and those of its groups, as one sequence that can be gone on with.

use std::collections::VecDeque;

use hongbao_core::event::{EventCursor, EventPlace, EventRow, EventView, Feed};
use hongbao_core::limits::{EVENT_EMPTY_PAGES_MAX, EVENT_PAGE_ROWS_MAX};
use hongbao_core::{GroupId, Slot, Timestamp, UserId};
use hongbao_wallet::{FeedsPage, Wallet, WalletError};

/// A caller's feeds, and how far they were read.
#[derive(Clone, Debug)]
pub struct FeedReader {
    user: UserId,
    feeds: Vec<Feed>,
    cursor: EventCursor,
}

/// What a read gave.
#[derive(Debug, Default)]
pub struct Events {
    /// The events, each with the cursor that goes on behind it.
    pub events: Vec<(EventView, EventCursor)>,
    /// Events from before this time may be missing.
    pub lost_before: Option<Timestamp>,
    /// Whether there was nothing behind them when they were read.
    pub is_end: bool,
}

impl FeedReader {
    /// For a user with these groups, going on where the cursor says; where it says nothing, from the first event on
    /// that is kept.
    pub fn new(user: &UserId, groups: &[GroupId], cursor: EventCursor) -> FeedReader {
        let mut feeds: Vec<Feed> = groups.iter().cloned().map(Feed::Group).collect();
        feeds.sort_unstable();
        feeds.dedup();
        feeds.push(Feed::User(user.clone()));
        FeedReader { user: user.clone(), feeds, cursor }
    }

    /// Where it goes on.
    pub fn cursor(&self) -> &EventCursor {
        &self.cursor
    }

    /// Its feeds.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// The next events, at most so many; none at the end.
    ///
    /// # Errors
    /// If the wallet cannot be read: nothing is passed over then.
    pub async fn next(&mut self, wallet: &dyn Wallet, limit: u32) -> Result<Events, WalletError> {
        let mut given = Events::default();
        // Rows that are for others in a group's feed may fill a page.
        for _ in 0..EVENT_EMPTY_PAGES_MAX {
            let pages = wallet.read_feeds(&self.wanted(), EVENT_PAGE_ROWS_MAX.min(limit)).await?;
            let lost = pages.iter().filter(|page| self.has_lost(page)).map(|page| page.purged_before).max();
            given.lost_before = given.lost_before.max(lost);
            given.is_end = !pages.iter().any(|page| page.is_full);
            let has_rows = pages.iter().any(|page| !page.rows.is_empty());
            given.events = self.take(pages, limit as usize);
            if !given.events.is_empty() || !has_rows {
                break;
            }
        }
        given.is_end &= given.events.len() < limit as usize;
        Ok(given)
    }

    /// Passes over everything that there is.
    ///
    /// # Errors
    /// As [`FeedReader::next`].
    pub async fn skip_to_end(&mut self, wallet: &dyn Wallet) -> Result<(), WalletError> {
        for page in wallet.ends_of_feeds(&self.feeds).await? {
            let end = EventPlace { position: page.read_to, events: 0 };
            page.slots.iter().for_each(|slot| self.cursor.set(*slot, end));
        }
        Ok(())
    }

    /// The feeds, and behind which position each is to be read.
    fn wanted(&self) -> Vec<(Feed, i64)> {
        let after = |feed: &Feed| {
            let place = self.cursor.place(Slot::of_name(feed.name())).unwrap_or_default();
            // A row of which events are left is read once more.
            if place.events > 0 { place.position - 1 } else { place.position }
        };
        self.feeds.iter().map(|feed| (feed.clone(), after(feed))).collect()
    }

    /// Whether something was removed that it had not read.
    fn has_lost(&self, page: &FeedsPage) -> bool {
        let places = page.slots.iter().filter_map(|slot| self.cursor.place(*slot));
        places.into_iter().any(|place| place.position < page.purged_to)
    }

    /// Takes events from the pages of all shards, the oldest first, those of a shard in order.
    fn take(&mut self, pages: Vec<FeedsPage>, limit: usize) -> Vec<(EventView, EventCursor)> {
        let mut pages: Vec<Unread> = pages.into_iter().map(Unread::of).collect();
        let mut events = Vec::new();
        loop {
            for page in &mut pages {
                page.fill(&self.user, &mut self.cursor);
            }
            let next = pages.iter_mut().filter(|page| !page.events.is_empty()).min_by_key(|page| page.events[0].0.at);
            let Some((event, place)) = next.filter(|_| events.len() < limit).and_then(|page| {
                let (event, place) = page.events.pop_front()?;
                page.slots.iter().for_each(|slot| self.cursor.set(*slot, place));
                Some((event, place))
            }) else {
                return events;
            };
            debug_assert!(place.position > 0);
            events.push((event, self.cursor.clone()));
        }
    }
}

/// The rest of a shard's page.
struct Unread {
    slots: Vec<Slot>,
    rows: VecDeque<EventRow>,
    read_to: i64,
    /// Of the row that was taken up last: what is left, each with the place behind it.
    events: VecDeque<(EventView, EventPlace)>,
}

impl Unread {
    fn of(page: FeedsPage) -> Unread {
        Unread { slots: page.slots, rows: page.rows.into(), read_to: page.read_to, events: VecDeque::new() }
    }

    /// Takes up rows until there is an event or no row; moves the cursor over what says nothing to the reader.
    fn fill(&mut self, user: &UserId, cursor: &mut EventCursor) {
        while self.events.is_empty() {
            let Some(row) = self.rows.pop_front() else {
                for slot in &self.slots {
                    let place = cursor.place(*slot).unwrap_or_default();
                    if place.position < self.read_to {
                        cursor.set(*slot, EventPlace { position: self.read_to, events: 0 });
                    }
                }
                return;
            };
            let position = row.position;
            let read = cursor.place(Slot::of_name(row.feed.name())).filter(|place| place.position == position);
            let read = read.map_or(0, |place| place.events as usize);
            let events = row.events(Some(user));
            let count = events.len();
            let place = |number: usize| {
                let events = if number + 1 == count { 0 } else { number as u32 + 1 };
                EventPlace { position, events }
            };
            self.events = events.into_iter().enumerate().skip(read).map(|(n, event)| (event, place(n))).collect();
            if self.events.is_empty() {
                self.slots.iter().for_each(|slot| cursor.set(*slot, EventPlace { position, events: 0 }));
            }
        }
    }
}
