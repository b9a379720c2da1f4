//! Bounds of events, their streams and their webhook.

/// Entries of one row of a feed: a row is read as a whole.
pub const EVENT_ROW_ENTRIES_MAX: usize = 250;
/// Characters of the cursor of a page of events: two for each slot, nine bytes of a position, five of a count.
pub const EVENT_CURSOR_CHARS_MAX: usize = 2_048;
/// Rows of one database that a page of events is made of.
pub const EVENT_PAGE_ROWS_MAX: u32 = 200;
/// Pages that one call reads on where it may see nothing of the ones before.
pub const EVENT_EMPTY_PAGES_MAX: u32 = 8;
