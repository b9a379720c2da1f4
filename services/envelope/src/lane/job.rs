//! An opening on its way through a lane, and what all lanes of a server share.

use std::sync::Arc;
use std::time::Instant;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::{Clock, Opened, Timestamp, UserId};
use hongbao_store::Store;
use hongbao_trace::Span;
use tokio::sync::oneshot;

use super::place::Place;
use crate::live::{LiveEnvelope, LiveEnvelopes};
use crate::metrics::LaneMetrics;
use crate::permits::Permits;

/// An opening that waits for its turn.
pub struct OpenJob {
    /// The envelope, as it was live when the opening was accepted.
    pub live: Arc<LiveEnvelope>,
    /// Who opens.
    pub user: UserId,
    /// When it was accepted, to measure the wait.
    pub accepted: Instant,
    /// Past this time it is dropped before the transaction.
    pub deadline: Timestamp,
    /// Where the answer goes. Nobody may be waiting any more; the opening happens all the same.
    pub answer: oneshot::Sender<OpenAnswer>,
    /// Its place in the lane, which the queue gives it; free again when the job is dropped.
    pub place: Option<Place>,
    /// The request that it answers.
    pub request: Option<Arc<Span>>,
}

/// How an opening ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenAnswer {
    /// The user has this share, durably.
    Opened {
        /// The share.
        opened: Opened,
        /// It had been opened before.
        replayed: bool,
    },
    /// Every share was opened by others.
    Empty,
    /// Too late.
    Expired,
    /// There is nothing to open under this id.
    NotFound,
    /// Refused for now; nothing happened.
    Busy,
    /// The database cannot be used; nothing happened. With the cause.
    Unavailable(String),
    /// It may have happened or not; asking again settles it. With the cause.
    Unknown(String),
}

/// What all lanes of a server share.
pub struct LaneContext {
    /// Where openings are written.
    pub store: Arc<dyn Store>,
    /// What the server remembers.
    pub live: Arc<LiveEnvelopes>,
    /// What caps the transactions of one envelope.
    pub permits: Arc<dyn Permits>,
    /// Tells the time of each opening.
    pub clock: Arc<dyn Clock>,
    /// Counts and times.
    pub metrics: LaneMetrics,
}

/// The answer that a decision comes to, once what it appends is durable.
pub(crate) fn answer_to(decision: OpenDecision) -> OpenAnswer {
    match decision {
        OpenDecision::Append(entry) => OpenAnswer::Opened {
            opened: Opened { seq: entry.seq, amount: entry.amount, at: entry.at },
            replayed: false,
        },
        OpenDecision::Replay(opened) => OpenAnswer::Opened { opened, replayed: true },
        OpenDecision::Empty => OpenAnswer::Empty,
        OpenDecision::Expired => OpenAnswer::Expired,
        OpenDecision::NotActive => OpenAnswer::NotFound,
    }
}
