//! The queue of the readings that wait for the barrier of a server.

use std::sync::OnceLock;

use tokio::sync::{mpsc, oneshot};

use crate::DatabaseError;

/// The queue; the task behind it begins with the first call.
#[derive(Default)]
pub(super) struct BarrierQueue {
    /// Which table the task writes to; the first database of the server that is opened says.
    pub database: OnceLock<String>,
    pub calls: OnceLock<mpsc::Sender<PendingRead>>,
}

/// A reading that waits for a commit.
pub(super) struct PendingRead {
    /// The generation before it read.
    pub since: u64,
    pub answer: oneshot::Sender<Result<bool, DatabaseError>>,
}
