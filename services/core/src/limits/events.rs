//! Bounds of events, their streams and their webhook.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Entries of one row of a feed: a row is read as a whole.
pub const EVENT_ROW_ENTRIES_MAX: usize = 250;
/// Characters of the cursor of a page of events: two for each slot, nine bytes of a position, five of a count.
pub const EVENT_CURSOR_CHARS_MAX: usize = 2_048;
/// Rows of one database that a page of events is made of.
pub const EVENT_PAGE_ROWS_MAX: u32 = 200;
/// Pages that one call reads on where it may see nothing of the ones before.
pub const EVENT_EMPTY_PAGES_MAX: u32 = 8;
/// Feeds that one look at a database names as having something new; more are found by the next one.
pub const EVENT_FEEDS_LOOK_MAX: u32 = 2_000;
/// Milliseconds between two looks at what is new in the databases of the wallet, while a stream is open.
pub const EVENT_LOOK_EVERY_MS: u64 = 200;
/// Events that a stream reads at once.
pub const EVENT_STREAM_PAGE_MAX: u32 = 100;
/// Milliseconds between two heartbeats of a stream: a connection on which nothing comes is closed.
pub const EVENT_HEARTBEAT_MS: u64 = 15_000;
/// Milliseconds after which a client whose stream has ended opens the next one.
pub const EVENT_RETRY_MS: u64 = 1_000;
/// Milliseconds until a stream reads again after it could not.
pub const EVENT_REREAD_MS: u64 = 1_000;
/// Milliseconds before its end at which an envelope is said to expire soon, the first of these that is a quarter of its
/// life at most. A shorter life has no such moment.
pub const EXPIRING_SOON_MS: [i64; 5] = [3_600_000, 900_000, 225_000, 56_000, 14_000];
/// Days for which a configuration may have events be kept.
pub const EVENT_KEEP_DAYS: RangeInclusive<u32> = 1..=3_650;

const _: () = assert!(EVENT_HEARTBEAT_MS < super::IDLE_MS_MAX / 2, "a stream is not taken for idle");
/// Rows of one database that one request of the webhook is made of.
pub const WEBHOOK_ROWS_MAX: u32 = 500;
/// Events of one request from which on no further row is taken.
pub const WEBHOOK_EVENTS_MAX: usize = 1_000;
/// Milliseconds for which a database's events are left to the process that has taken them up.
pub const WEBHOOK_CLAIM_MS: i64 = 30_000;
/// How long the endpoint may take for an answer.
pub const WEBHOOK_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are read of its answer.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Milliseconds until a request is repeated that was not taken; twice as many after each further one.
pub const WEBHOOK_AGAIN_MS_MIN: i64 = 1_000;
/// The most of them.
pub const WEBHOOK_AGAIN_MS_MAX: i64 = 3_600_000;
/// Bytes that the secret of the webhook must have.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 32;

const _: () = assert!(WEBHOOK_ANSWER_WITHIN.as_millis() < WEBHOOK_CLAIM_MS as u128, "no other delivers meanwhile");
