//! Bounds of a gateway: what it forwards, over which links, and the topology that it reads.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

/// Bytes of a topology file at most.
pub const TOPOLOGY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long the end of a link may take to be sent.
pub const LINK_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How often a gateway resolves the names of servers that are dead; those of the others in every fifth round.
pub const NAMES_RESOLVED_EVERY: Duration = Duration::from_secs(1);
/// How long it waits for the system's resolver.
pub const NAMES_WAIT_MAX: Duration = Duration::from_secs(5);
/// Seconds that the rule of a canary SET may look back at.
pub const CANARY_WINDOW_S: RangeInclusive<u32> = 1..=3_600;
/// How long a change of the topology may go unnoticed by what judges canaries.
pub const CANARY_LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Parts of that time in which a gateway measures.
pub const CANARY_STEPS: u32 = 10;
/// Ids that a gateway draws until one lies in the chosen SET, at a server of it that takes new envelopes: even a
/// SET with a single slot, of which one server in ten does, is missed by all of these once in 10^8 times.
pub const BIRTH_DRAWS_MAX: u32 = 20_000;
/// Servers that a gateway tries for one request, each after the one before refused the connection.
pub const FORWARD_ATTEMPTS_MAX: usize = 3;
/// Requests that a gateway may have at one server at the same time.
pub const FORWARDS_PER_SERVER_MAX: usize = 8_192;
/// Milliseconds that the quickest quarter of a server's answers may take, through a gateway, beyond their time
/// without a queue, before the gateway lets fewer through: half of a lane's goal, as one envelope may hold half of its
/// lane, so that a refusal costs the gateway and not the server.
pub const FORWARD_WAIT_MS_GOAL: u64 = 25;
/// Requests that a gateway lets through to a server however slow it is.
pub const FORWARDS_MIN: usize = 32;
/// Requests that a gateway lets through to a server before it knows how fast it is.
pub const FORWARDS_AT_FIRST: usize = 1_024;
/// Connections without a request that one thread of a gateway keeps to one server.
pub const FORWARD_IDLE_CONNECTIONS_MAX: usize = 1_024;
/// Milliseconds that such a connection is kept; less than [`IDLE_MS_MAX`], so that it is not the server who closes it.
pub const FORWARD_IDLE_MS_MAX: u64 = 30_000;
/// Requests without an answer on one link between a gateway and a server: of so many at most is the outcome unknown
/// when it breaks.
pub const LINK_REQUESTS_MAX: usize = 64;
/// Links that one thread of a gateway has to one server. Requests that they have no room for take connections of HTTP.
pub const LINKS_PER_SERVER_MAX: usize = 32;
/// Links of one server at the same time; a gateway that is refused one uses connections of HTTP.
pub const LINKS_MAX: usize = 1_024;
/// Bytes of one frame at most: a request as large as a gateway takes by default, or an answer.
pub const LINK_FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX;
/// Bytes of the requests without an answer on one link, and of the answers that are not sent: a server that has as
/// many of either takes no further requests.
pub const LINK_BYTES_MAX: usize = 4 * LINK_FRAME_BYTES_MAX;
/// Milliseconds until a gateway asks again for a link that the server refused: it may have been upgraded.
pub const LINK_REFUSED_MS: u64 = 5_000;
/// Milliseconds until a gateway opens the next link after one has failed; twice as many after each further failure,
/// up to [`LINK_REFUSED_MS`].
pub const LINK_FAILED_MS_MIN: u64 = 100;
/// Milliseconds in which a server confirms that a request is cancelled; a link on which it has not is given no further
/// requests until it does.
pub const LINK_CANCEL_MS_MAX: u64 = 500;
/// Milliseconds after which such a link is closed.
pub const LINK_SILENT_MS_MAX: u64 = 10_000;
/// Bytes that one read of a link may bring at least: many frames.
pub const LINK_READ_BYTES_MIN: usize = 2 * 1024;
/// Bytes of a buffer that a link reads into; a frame that is kept keeps the one that it came in.
pub const LINK_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Milliseconds from the head of a server's answer to its end, through a gateway.
pub const FORWARD_REST_MS_MAX: u64 = 30_000;
/// Bytes that a gateway reads of a server's answer to a probe.
pub const PROBE_BYTES_MAX: usize = 64 * 1024;
