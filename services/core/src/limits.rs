//! Every bound in one place (invariant I8), with how they relate.
//!
//! Those that an operator configures are [`Limits`](crate::Limits) and the settings. A bound that is missing here
//! is a defect; `--test domain bounds` finds it.

mod archive;
mod databases;
mod events;
mod gateway;
mod jobs;
mod orders;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use self::archive::*;
pub use self::databases::*;
pub use self::events::*;
pub use self::gateway::*;
pub use self::jobs::*;
pub use self::orders::*;

/// Bytes of a request body at most.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request's head at most, its path and all headers included. A server behind a gateway takes
/// [`HOP_HEAD_BYTES_MAX`] more.
pub const HEAD_BYTES_MAX: usize = 96 * 1024;
/// Bytes that a head has room for beside the largest token, at least: the path, the other headers, an ordinary
/// second token that marks a rehearsal.
pub const HEAD_BESIDE_TOKEN_BYTES_MIN: usize = 7 * 1024;
/// Headers of a request at most. A server behind a gateway takes [`HOP_HEADERS_MAX`] more.
pub const HEADERS_MAX: usize = 90;
/// Headers that a gateway may add to a request.
pub const HOP_HEADERS_MAX: usize = 10;
/// Bytes that these headers may take.
pub const HOP_HEAD_BYTES_MAX: usize = 1024;
/// Threads that a process may be configured with.
pub const THREADS_MAX: usize = 1_024;
/// Bytes of a grab, an opening or a look that is answered past hyper; a larger one is hyper's.
pub const HOT_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Headers of such a request.
pub const HOT_REQUEST_HEADERS_MAX: usize = 16;
/// Digits of its `Content-Length`: no body of a call that is answered past hyper needs more.
pub const HOT_REQUEST_LENGTH_DIGITS_MAX: usize = 4;
/// Lines of the log in a second, in each process, about links that break.
pub const LINK_LINES_PER_S_MAX: u64 = 1;
/// Milliseconds that the head of a request may take to arrive.
pub const HEAD_READ_MS_MAX: u64 = 10_000;
/// Milliseconds that the body of a request may take to arrive.
pub const BODY_READ_MS_MAX: u64 = 10_000;
/// Milliseconds after which the database is asked what an envelope in memory lacks before it is shown, unless
/// this server has written to it since: another server may have owned it for a while.
pub const DETAIL_AGE_MS_MAX: i64 = 1_000;
/// Milliseconds without a request after which a server may have been taken for dead, while another one
/// owned its envelopes.
pub const SILENCE_MS_MAX: i64 = 1_000;
/// Milliseconds that a detail waits for another one that asks the database for the same, before it is busy.
pub const CATCH_UP_WAIT_MS_MAX: u64 = 2_000;
/// Entries of a journal that a server reads in one statement: no envelope may take longer than a statement is given.
pub const JOURNAL_PAGE_MAX: u32 = 10_000;
/// Milliseconds that a connection may be open without a request.
pub const IDLE_MS_MAX: u64 = 75_000;
/// Milliseconds that a closed connection is still read, so that the client gets its answer.
pub const LINGER_MS_MAX: u64 = 1_000;
/// Milliseconds that a server still accepts after the signal to end: what was sent
/// before may stand in the queues of the machine.
pub const LAST_CALL_MS: u64 = 200;
/// Milliseconds that requests may take to finish after the signal to end.
pub const DRAIN_MS_MAX: u64 = 30_000;
/// Connections of one server at the same time.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections over that limit that are refused with an answer at the same time.
pub const REFUSALS_MAX: usize = 64;
/// Bytes of verified tokens that are remembered.
pub const TOKEN_CACHE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Characters of a client's text that a problem repeats.
pub const PROBLEM_TEXT_CHARS_MAX: usize = 200;
/// Lines that one place of the program writes into the log in a second, details (`debug`) excepted.
pub const LOG_LINES_PER_S_MAX: u64 = 100;
/// A request that takes longer is logged, in milliseconds.
pub const SLOW_REQUEST_MS: u64 = 1_000;
/// Requests that the lines about a batch name; what is exported of it links to all.
pub const LOG_BATCH_REQUESTS_MAX: usize = 16;
/// Spans that wait to be sent to a collector; more are lost.
pub const OTLP_QUEUE_MAX: usize = 2_048;
/// Spans that are sent to a collector at once.
pub const OTLP_BATCH_MAX: usize = 512;
/// Links of one span to the requests of a batch, of those that are recorded.
pub const OTLP_LINKS_MAX: usize = 128;
/// Milliseconds between two exports to a collector.
pub const OTLP_EXPORT_EVERY_MS: u64 = 5_000;
/// Milliseconds that a collector may take for an export, connecting included: less than the
/// 5 s in which the SDK ends.
pub const OTLP_EXPORT_MS_MAX: u64 = 3_000;
/// Bytes of a collector's answer at most.
pub const OTLP_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Items of one page of a list, at most and by default.
pub const PAGE_MAX: u32 = 500;
/// See [`PAGE_MAX`].
pub const PAGE_DEFAULT: u32 = 100;
/// Milliseconds for which the key of a request is kept, at least: two days.
pub const REQUEST_KEYS_KEPT_MS: i64 = 2 * 86_400_000;
/// Characters of an operator's reason for freezing a user.
pub const FREEZE_REASON_CHARS_MAX: usize = 500;
/// Users of one database of the wallet who are frozen at the same time, as far as servers read them.
pub const FROZEN_USERS_MAX: u32 = 100_000;
/// Changes of one user's freeze that are shown.
pub const FREEZE_LOG_SHOWN_MAX: u32 = 100;
/// How often a server reads who is frozen: an opening by somebody who is frozen is refused after this and one reading.
pub const FROZEN_READ_EVERY: Duration = Duration::from_secs(1);
/// How long a database of the wallet may take to say whether that has changed, before it is asked again.
pub const FROZEN_ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Digits of the cursor of a page.
pub const CURSOR_DIGITS_MAX: usize = 18;
/// Fen that one top-up may bring: ten million yuan.
pub const TOP_UP_FEN_MAX: i64 = 1_000_000_000;
/// Bytes that a token secret must have: as many as SHA-256 gives (RFC 7518, 3.2).
pub const TOKEN_SECRET_BYTES_MIN: usize = 32;
/// Keys that tokens are checked with at the same time.
pub const TOKEN_KEYS_MAX: usize = 32;
/// Characters of a token key's name, its `kid`: as many as the URI of a thumbprint by SHA-256 has (RFC 9278).
pub const TOKEN_KID_CHARS_MAX: usize = 88;
/// Bytes of a file of token keys (JWKS).
pub const TOKEN_KEY_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Milliseconds between two looks at that file.
pub const TOKEN_KEY_FILE_EVERY_MS: u64 = 1_000;
/// Shortest secret that tickets may be signed with: as long as what SHA-256 gives.
pub const TICKET_SECRET_BYTES_MIN: usize = 32;
/// Years that a token may be good for: one that says more was dated in milliseconds instead of seconds.
pub const TOKEN_YEARS_MAX: i64 = 100;
/// Characters that a user or group id may hold at most.
pub const NAME_CHARS_MAX: usize = 64;
/// Groups that a token may name.
pub const GROUPS_MAX: usize = 1_000;
/// Bytes of a token's header, as JSON, that a head has room for.
pub const TOKEN_HEADER_BYTES_MAX: usize = 128;
/// Bytes of a token's claims, as JSON, that a head has room for, without the groups.
pub const TOKEN_CLAIMS_BYTES_MAX: usize = 512;
/// Bytes of a token's signature: Ed25519 makes the longest one that is accepted.
pub const TOKEN_SIGNATURE_BYTES_MAX: usize = 64;
/// Bytes of the largest token that the contract allows (RFC 7515, 3.1): as many groups as it may name, each as long
/// as it may be, in compact JSON.
pub const TOKEN_BYTES_MAX: usize = base64_len(TOKEN_HEADER_BYTES_MAX)
    + 1
    + base64_len(TOKEN_CLAIMS_BYTES_MAX + GROUPS_MAX * (NAME_CHARS_MAX + "\"\",".len()))
    + 1
    + base64_len(TOKEN_SIGNATURE_BYTES_MAX);
/// Shares that no configuration may exceed; it keeps every product within 64 bits.
pub const SHARES_CEILING: u32 = 10_000_000;
/// An envelope id may be this far ahead of the clock. Beyond it, the clock may have been stepped back: whether there
/// is such an envelope is not known yet.
pub const ID_AHEAD_MS_MAX: i64 = 60_000;
/// Days ahead of the clock from which on an id is taken for made up: no clock that serves is wrong by so much.
pub const ID_AHEAD_DAYS_MAX: i64 = 366;
/// `Retry-After` for an id that is ahead of the clock, in seconds, at most.
pub const ID_AHEAD_RETRY_S_MAX: u32 = 60;
/// Days for which a SET that has left held no slot: by then no id of it is accepted any more, whatever gateways and
/// machines were stopped meanwhile.
pub const LEFT_AFTER_DAYS_MIN: i64 = 45;
/// SETs that a topology file names as having left.
pub const SETS_LEFT_MAX: usize = 100;
/// A process takes over a topology file if its new slot map lies at least this far ahead: by then no clock that serves
/// may have minted an id of that time.
pub const MAP_AHEAD_MS_MIN: i64 = ID_AHEAD_MS_MAX;
/// `hongbao migrate` takes slots from a SET only for ids of a time that lies at least this far ahead of the clock of
/// its database.
pub const FENCE_AHEAD_MS_MIN: i64 = 5 * 60_000;
/// Ids of up to this time after a fence was read are where it says. The rest, a minute, is for the commit that changes
/// it: it can be read by others only after the time was taken by which it was checked.
pub const FENCE_KNOWN_MS: i64 = FENCE_AHEAD_MS_MIN - 60_000;
/// A SET from which a map has taken the last slots is not drained before: requests for its last envelopes may be under
/// way, sent by a gateway whose clock is behind.
pub const DRAINED_AFTER_MS_MIN: i64 = 10 * 60_000;
/// Characters of the reason for which a SET is left out.
pub const LEFT_OUT_REASON_CHARS_MAX: usize = 200;
/// Between two readings of the fence, at least.
pub const FENCE_READ_GAP: Duration = Duration::from_millis(100);
/// How often a server reads the fence of its databases.
pub const FENCE_READ_EVERY_MAX: Duration = Duration::from_secs(20);
/// Days after which an envelope is not paid any more, counted from its id.
pub const ID_AGE_DAYS_MAX: i64 = 30;
/// Days ahead of the clock up to which workers make day tables.
pub const ROTATION_AHEAD_DAYS: i32 = 3;
/// The same for servers, which do it only where no worker has.
pub const ROTATION_AHEAD_DAYS_MIN: i32 = 1;
/// Days that a date lies at least before the last one that has a day table, if its own table may have been
/// renamed: the days of February, less five for a process that has not looked since.
pub const RENAMED_AFTER_DAYS_MIN: i32 = 28 - 5;
/// Days before the date of its day table up to which a date may just have got a table of its own, by a late create:
/// two months.
pub const YOUNG_DAYS_MAX: i32 = 62;
/// How long a rename waits for the statements that use the table, before it is left to the next rotation. Later
/// statements on the table wait behind it.
pub const RENAME_WAIT_S_MAX: u32 = 1;
/// Reads of dated tables by id that one process has under way at the same time: they must leave the database to openings.
pub const OLD_READS_MAX: usize = 4;
/// How long such a read waits for its turn, before it is refused as busy.
pub const OLD_READ_WAIT: Duration = Duration::from_millis(500);
/// How long a process may rotate before another may, from the last table or part of a table on.
pub const ROTATION_LEASE: Duration = Duration::from_secs(30);
/// Envelopes that are moved to the table of their date in one transaction, with their entries.
pub const SORTED_AT_ONCE_MAX: u32 = 200;
/// The last millisecond that an id can name: a UUIDv7 has 48 bits for it.
pub const ID_MS_MAX: i64 = (1 << 48) - 1;
/// Days after which no new envelope is made under an id.
pub const NEW_ID_AGE_DAYS_MAX: i64 = 1;
/// How often a start tries to rotate day tables that are in use, once a second.
pub const ROTATION_TRIES_AT_START: u32 = 60;
/// How often one table is looked at before it is said to lack a key.
pub const KEY_LOOKS_MAX: u32 = 5;
/// How many times as long as others a statement of a rotation may take: it makes tables, or sorts rows.
pub const ROTATION_STATEMENT_TIMES: u32 = 12;
/// Fen that no configuration may let one share hold.
pub const SHARE_FEN_CEILING: i64 = 1_000_000_000;
/// Characters that no configuration may let a greeting have.
pub const GREETING_CHARS_CEILING: usize = 1_000;
/// Milliseconds that a configuration may let a ticket be good for.
pub const TICKET_LIFE_MS: RangeInclusive<i64> = 1_000..=3_600_000;
/// Seconds that a configuration may give for a payment.
pub const PAY_WITHIN_S: RangeInclusive<u32> = 1..=86_400;
/// Seconds that no configuration may let an envelope be open for: day tables go round.
pub const LIFETIME_S_CEILING: u32 = 7 * 86_400;
/// Milliseconds by which times of an envelope's rows may contradict each other before the audit names them: the
/// clocks of two machines differ, and a clock is set right.
pub const AUDIT_CLOCKS_APART_MS_MAX: i64 = 600_000;
/// Retries of one opening that lost the fence, before it is refused as busy.
pub const FENCE_RETRIES_MAX: u32 = 16;
/// Seconds that an opening waits for a row which another transaction has locked: less than it may take in all, so
/// that its neighbours can still be written without it.
pub const ROW_LOCK_WAIT_S: u32 = 1;
/// Seconds that a transaction of the wallet waits for a shard's ledger, for which those of all processes queue.
pub const WALLET_ROW_LOCK_WAIT_S: u32 = 3;
/// Envelopes whose openings are written alone at the same time, after a batch that failed.
pub const ALONE_AT_ONCE: usize = 4;
/// Connections on which a process appends openings to the databases of a SET, each to some of them; a server has one
/// lane for each. On Galera each database has its own.
pub const WRITERS_OF_A_SET_MAX: usize = 4;
/// Openings that one transaction may write.
pub const OPEN_BATCH_SIZE_MAX: usize = 1_024;
/// Milliseconds that the quickest quarter of a lane's openings may take beyond their time without a queue: so long
/// waits a batch at most for the one before it, and takes itself, which makes twice this for the slowest.
pub const LANE_WAIT_MS_GOAL: u64 = 50;
/// Openings that a lane lets in however slow it is.
pub const LANE_ADMITS_MIN: usize = 32;
/// Openings that a lane lets in before it knows how fast it is: one batch that is written, and one that gathers.
pub const LANE_ADMITS_AT_FIRST: usize = 2 * OPEN_BATCH_SIZE_MAX;
/// Milliseconds over which the time of answers is looked at before what may be under way is changed. Not shorter
/// than the period of a processor quota, which Linux sets to 100 ms: its pauses are no queue.
pub const ADMISSION_WINDOW_MS: u64 = 100;
/// Answers that such a look needs, unless it lasts ten times as long.
pub const ADMISSION_ANSWERS_MIN: u32 = 16;
/// Goals up to which the time without a queue is believed.
pub const ADMISSION_UNLOADED_GOALS_MAX: u32 = 8;
/// Requests that a process remembers to have refused.
pub const REFUSED_REMEMBERED_MAX: usize = 65_536;
/// Requests that wait at the same time because they came too early: three quarters of the connections, so that
/// the others serve requests that come in time.
pub const EARLY_WAITING_MAX: usize = CONNECTIONS_MAX / 4 * 3;
/// Milliseconds without many refusals after which none is remembered: there is room for all.
pub const REFUSED_REMEMBERED_MS: u64 = 1_000;
/// `Retry-After` of a refusal in seconds, at most: each client gets another one.
pub const RETRY_AFTER_S_MAX: u32 = 4;
/// Envelopes that a lane reads at the same time after a batch that failed.
pub const RELOADS_AT_ONCE: usize = 16;
/// Envelopes that a server reads with one statement, as many as the usual `loads_max`.
pub const LOAD_BATCH_MAX: usize = 256;
/// Batches of envelopes that a server reads at the same time; what is asked for meanwhile makes the next one.
pub const LOAD_BATCHES_AT_ONCE: usize = 2;
/// The longest journal that is read together with others.
pub const LOAD_TOGETHER_ENTRIES_MAX: u32 = 1_000;
/// How long a batch of envelopes may take to be read before each of them is read alone.
pub const LOAD_BATCH_WITHIN: Duration = Duration::from_secs(2);
/// Transactions of one envelope that an operator may let into the database at once.
pub const PERMIT_CAP_MAX: u32 = 10_000;
/// Envelopes of which a process holds entry permits at the same time.
pub const PERMITS_HELD_MAX: usize = 262_144;
/// Milliseconds that an opening waits for memcached to take its permits, all together.
pub const PERMIT_WAIT_MS_MAX: u64 = 250;
/// Counts that a process gives back or renews at a time.
pub const PERMIT_WRITES_MAX: usize = 1_024;
/// Times that one count is tried again because another process wrote it.
pub const PERMIT_TRIES_MAX: u32 = 16;
/// Bytes of one count in memcached.
pub const PERMIT_VALUE_BYTES_MAX: usize = 1_024;
/// Bytes of one line that memcached may answer.
pub const PERMIT_LINE_BYTES_MAX: usize = 512;
/// Readings that may wait for one commit of a database's barrier.
pub const BARRIER_WAITING_MAX: usize = 8_192;
/// Milliseconds that a connection to a database may lie idle before it is lent unasked.
pub const CONNECTION_UNASKED_MS_MAX: u64 = 500;
/// Milliseconds that one which is asked whether it lives may take to answer.
pub const CONNECTION_ANSWER_MS_MAX: u64 = 1_000;
/// Milliseconds of idleness after which it is closed: less than any firewall forgets after.
pub const CONNECTION_IDLE_MS_MAX: u64 = 30_000;
/// Milliseconds after which it is closed in any case, as soon as it is idle.
pub const CONNECTION_AGE_MS_MAX: u64 = 1_800_000;
/// Milliseconds between two readings of the settings that a database's promises rest on.
pub const PROMISES_READ_MS: u64 = 1_000;
/// Such readings after which the tables of all databases of a server have been looked at again.
pub const PROMISE_ROUND: usize = 16;
/// Some of these tables are looked at in one of so many readings: a look takes several statements.
pub const PROMISE_EVERY: usize = 4;
/// Milliseconds for which it is known what a database's clock shows. It is read with the settings.
pub const CLOCK_KNOWN_MS_MAX: u64 = 1_500;
/// Milliseconds between two attempts to reach a database that does not answer.
pub const RECONNECT_MS: u64 = 100;
/// Transfers that one wallet transaction may write.
pub const TRANSFER_BATCH_SIZE_MAX: usize = 2_048;
/// Wallet calls that may wait for the next transaction.
pub const WALLET_QUEUE_MAX: usize = 4_096;
/// Rounds in which a move of slots copies what was written during the round before, until few
/// transfers are left for the time in which their users are refused.
pub const MOVE_ROUNDS_MAX: u32 = 16;
/// Milliseconds that a process's clock may differ from its database's; beyond
/// that its workers do not run, for they would end envelopes at the wrong time.
pub const CLOCK_SKEW_MS_MAX: i64 = 30_000;
/// Rows that a worker handles in one run at most.
pub const WORKER_BATCH_SIZE_MAX: u32 = 2_000;
/// Rows that it handles unless it is configured. Where a database and servers share processors, a transaction of twice
/// as many rows makes the slowest openings slower (`docs/benchmarks.md`).
pub const WORKER_BATCH_SIZE_DEFAULT: u32 = 1_000;
/// How often the files of TLS certificates and keys are looked at.
pub const TLS_FILES_READ_EVERY: Duration = Duration::from_secs(2);
/// Requests of one connection of HTTP/2 at the same time.
pub const HTTP2_STREAMS_MAX: u32 = 100;
/// How long a connection of HTTP/2 is silent before its client is asked whether it lives.
pub const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to answer that.
pub const HTTP2_PING_WAIT_MAX: Duration = Duration::from_secs(10);
/// The largest weight of a SET, and any other decimal number of the topology file.
pub const DECIMAL_MAX: u32 = 1_000_000;
/// Bytes of one shared snapshot at most; an envelope with more openers has none.
pub const SNAPSHOT_BYTES_MAX: usize = 64 * 1024;
/// Envelopes that wait for their snapshot to be written.
pub const SNAPSHOTS_WAITING_MAX: usize = 16_384;
/// Milliseconds from one round of snapshots to the next, and so from one of an envelope to its next.
pub const SNAPSHOT_ROUND_MS: u64 = 200;
/// Snapshots of one round at most.
pub const SNAPSHOTS_PER_ROUND_MAX: usize = 512;
/// Bytes of one round at most, but for the last snapshot of the round.
pub const SNAPSHOT_BYTES_PER_ROUND_MAX: usize = 512 * 1024;
/// Milliseconds that a snapshot is kept in Redis.
pub const SNAPSHOT_LIFE_MS: u64 = 600_000;
/// Milliseconds that snapshots are not written after Redis, which answers, has refused them; twice as many each time.
pub const SNAPSHOT_REFUSED_REST_MS_MIN: u64 = 1_000;
/// The most of them.
pub const SNAPSHOT_REFUSED_REST_MS_MAX: u64 = 60_000;
/// Milliseconds that a server remembers what it read from Redis.
pub const SNAPSHOT_MEMORY_MS: u64 = 1_000;
/// Bytes of snapshots that a server remembers so, as they were encoded.
pub const SNAPSHOT_MEMORY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Connections of one server to Redis.
pub const CACHE_CONNECTIONS_MAX: usize = 8;
/// Milliseconds that a request may wait for a connection to Redis, and then for the answer.
pub const CACHE_READ_MS_MAX: u64 = 30;
/// Milliseconds that a round of snapshots may take to be written.
pub const CACHE_WRITE_MS_MAX: u64 = 1_000;
/// Failures in a row after which no request asks Redis, until it answers a probe.
pub const CACHE_FAILURES_MAX: u32 = 3;
/// Milliseconds from one such probe to the next.
pub const CACHE_PROBE_MS: u64 = 500;
/// Between two looks whether the files of TLS to Redis have changed, in milliseconds.
pub const CACHE_FILES_LOOK_MS: u64 = 1_000;

// Requests.

/// Seconds for which a browser may remember that a page may call: a day, and browsers remember it no longer.
pub const CORS_AGE_S_MAX: u64 = 86_400;
/// Characters that the request id of a client may have.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Connections that may wait to be accepted; the system may allow fewer.
pub const LISTEN_BACKLOG_MAX: u32 = 4_096;

// Envelope servers.

/// Openings that may fail one after the other before the rest of a failed batch
/// is refused without a try: the database is gone, not one request bad.
pub const LANE_FAILURES_IN_A_ROW_MAX: u32 = 3;
/// Ids that are minted until one has a slot of this server: even where it owns
/// a single one of the hundred, all of these miss it once in 20,000 times.
pub const MINT_TRIES_MAX: u32 = 1_000;
/// How long the database may take to answer the question of `/readyz`, so that a database that
/// hangs is noticed before its last answer is too old.
pub const READY_ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Age of the database's last answer above which `/readyz` is 503.
pub const READY_AGE_MAX: Duration = Duration::from_secs(4);
/// The least cap under which a process with lanes holds a permit of every envelope. At most half of a cap is held so.
pub const PERMIT_STANDING_CAP_MIN: u32 = 8;
/// Wait before a connection to memcached is tried again; it doubles after each failure.
pub const PERMIT_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest of these waits.
pub const PERMIT_BACKOFF_MAX: Duration = Duration::from_secs(1);

// Folders and backups.

/// How long a backup may stop commits: statements of the service end after four seconds.
pub const BACKUP_FROZEN_MAX: Duration = Duration::from_secs(3);
/// Tries to read the marks of a folder: a service that starts meanwhile changes one after the other.
pub const FOLDER_READ_TRIES: u32 = 5;
/// How long the disk may take to answer before it counts as one that does not.
pub const DISK_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Free bytes below which a disk counts as full: some commits, and the logs' index.
pub const DISK_FREE_BYTES_MIN: u64 = 1 << 20;

const _: () = assert!(FORWARD_IDLE_MS_MAX < IDLE_MS_MAX, "a server must not close what a gateway is about to use");
const _: () = assert!(LINK_FRAME_BYTES_MAX <= LINK_BYTES_MAX, "the largest request is read");
const _: () = assert!(LINKS_MAX <= CONNECTIONS_MAX / 2, "a link is a connection");
const _: () = assert!(SQLITE_LOCKS_HELD_MAX.as_millis() < SQLITE_BUSY_TIMEOUT.as_millis(), "a backup fails no writer");
const _: () = assert!(READY_ANSWER_WITHIN.as_millis() < READY_AGE_MAX.as_millis());
const _: () = assert!(CACHE_READ_MS_MAX < CACHE_WRITE_MS_MAX);
const _: () = assert!(CONNECTION_UNASKED_MS_MAX < CONNECTION_IDLE_MS_MAX);
const _: () = assert!(CONNECTION_IDLE_MS_MAX < CONNECTION_AGE_MS_MAX);
const _: () = assert!(PROMISES_READ_MS * PROMISE_ROUND as u64 <= CONNECTION_IDLE_MS_MAX, "a round keeps what is held");
const _: () = assert!(PROMISE_ROUND.is_multiple_of(PROMISE_EVERY) && PROMISE_EVERY > 1, "a round is whole");
const _: () = assert!(CLOCK_KNOWN_MS_MAX > PROMISES_READ_MS);
const _: () = assert!(SNAPSHOT_BYTES_MAX <= SNAPSHOT_BYTES_PER_ROUND_MAX);
const _: () = assert!(
    r#"{"alg":"HS256","typ":"JWT","kid":""}"#.len() + TOKEN_KID_CHARS_MAX <= TOKEN_HEADER_BYTES_MAX,
    "a head has room for the longest name of a key"
);
const _: () = assert!(SNAPSHOT_MEMORY_MS < SNAPSHOT_LIFE_MS);
const _: () = assert!(SNAPSHOT_ROUND_MS < SNAPSHOT_REFUSED_REST_MS_MIN);
const _: () = assert!(SNAPSHOT_REFUSED_REST_MS_MIN < SNAPSHOT_REFUSED_REST_MS_MAX);
const _: () = assert!(HEAD_BYTES_MAX >= 8 * 1024, "hyper needs that much to read a head");
const _: () = assert!(
    TOKEN_BYTES_MAX + HEAD_BESIDE_TOKEN_BYTES_MIN <= HEAD_BYTES_MAX,
    "a head holds the largest token that the contract allows"
);
// What may still be opened, paid or refunded lies in a day table.
const _: () = assert!(
    (LIFETIME_S_CEILING + *PAY_WITHIN_S.end()) / 86_400 + NEW_ID_AGE_DAYS_MAX as u32 + 2
        < (RENAMED_AFTER_DAYS_MIN - ROTATION_AHEAD_DAYS) as u32
);
// What may still be paid, be opened for its longest life, and then be refunded is not sealed.
const _: () = assert!(
    ID_AGE_DAYS_MAX as u32 + (LIFETIME_S_CEILING + *PAY_WITHIN_S.end()) / 86_400 + 2 < *SEAL_AFTER_DAYS.start()
);
const _: () = assert!(EXPORT_ANSWER_WITHIN.as_secs() < EXPORT_READ_WITHIN.as_secs());
const _: () = assert!(EXPORT_READ_WITHIN.as_secs() < EXPORT_FILE_WITHIN.as_secs());
const _: () = assert!(*EXPORT_AFTER_DAYS.start() >= *SEAL_AFTER_DAYS.start(), "only what is sealed is exported");
const _: () = assert!(REQUEST_KEYS_KEPT_MS > NEW_ID_AGE_DAYS_MAX * 86_400_000, "what is made under a key keeps its id");
const _: () =
    assert!(FROZEN_READ_EVERY.as_millis() + 2 * FROZEN_ANSWER_WITHIN.as_millis() <= 2_000, "no opening 2 s later");
const _: () = assert!(LEFT_AFTER_DAYS_MIN > NEW_ID_AGE_DAYS_MAX + 1);
const _: () = assert!(ID_AHEAD_MS_MAX < ID_AHEAD_DAYS_MAX * 86_400_000);
const _: () = assert!(HEAD_READ_MS_MAX <= IDLE_MS_MAX, "a head that began must not outlast an idle connection");
const _: () = assert!(AUDIT_CLOCKS_APART_MS_MAX >= 2 * CLOCK_SKEW_MS_MAX, "workers run as long as their clocks are so");
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
const _: () = assert!(10_i64.checked_pow(CURSOR_DIGITS_MAX as u32).is_some(), "every cursor is an i64");
const _: () = assert!(JOURNAL_PAGE_MAX > 1, "a page may begin with an entry that is known already");
const _: () = assert!(WORKER_BATCH_SIZE_MAX as usize <= TRANSFER_BATCH_SIZE_MAX);
const _: () = assert!(SHARES_CEILING as i64 <= i64::MAX / 1_000_000_000, "totals fit with room to spare");

/// Characters that so many bytes take in base64, padded or not.
const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
