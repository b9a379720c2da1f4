//! What is promised is read again while it runs.
//!
//! The server's settings and its databases were checked at the start; an
//! operator, a script or a restored configuration may change them a minute later,
//! and commits that were acknowledged since would be gone after a crash. So once a
//! second the settings are read again, on the connection that asks whether the
//! server lives, and each few seconds some of the databases are looked at, in turn. What breaks a promise is
//! refused until it keeps it again; see [`HealthState`](super::health::HealthState).
//!
//! The same task notices that a server that did not answer answers again, tells it
//! to those who wait, and closes connections that lay idle for long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hongbao_core::limits::{PROMISE_EVERY, PROMISE_ROUND, PROMISES_READ_MS, RECONNECT_MS};
use tokio::time::sleep;

use super::connection::Connections;
use super::promise::{Promise, Unkept};

/// Between two looks at least, however much the server is doubted.
const LOOK_GAP: Duration = Duration::from_millis(20);

impl Connections {
    /// Reads again and again, as long as these connections are used, what the
    /// server's commits promise, and whether its databases keep these.
    pub fn watch(self: &Arc<Self>, promises: Vec<Arc<dyn Promise>>) {
        let watcher = Watcher { connections: Arc::downgrade(self), promises, next: 0, looks: 0 };
        tokio::spawn(watcher.run());
    }
}

struct Watcher {
    connections: Weak<Connections>,
    promises: Vec<Arc<dyn Promise>>,
    /// The promise whose turn it is.
    next: usize,
    /// Looks since the last one that had a turn.
    looks: usize,
}

impl Watcher {
    async fn run(mut self) {
        while let Some(connections) = self.connections.upgrade() {
            self.look(&connections).await;
            let health = connections.health();
            drop(connections);
            if health.is_away() {
                // One that answers, but breaks a promise, costs it a connection each time.
                let times = if health.is_refusing() { 5 } else { 1 };
                sleep(Duration::from_millis(RECONNECT_MS) * times).await;
                continue;
            }
            sleep(LOOK_GAP).await;
            tokio::select! {
                () = sleep(Duration::from_millis(PROMISES_READ_MS)) => {}
                () = health.probe_now.notified() => {}
            }
        }
    }

    async fn look(&mut self, connections: &Connections) {
        if let Err(error) = connections.ping().await {
            if !connections.health().set_away(true) {
                tracing::warn!(%error, "the database does not answer");
            }
            return;
        }
        if connections.health().set_away(false) {
            tracing::info!("the database answers again");
            connections.health().returns.tell();
        }
        connections.close_worn();
        self.looks = (self.looks + 1) % PROMISE_EVERY;
        let share = if self.looks == 1 { self.promises.len().div_ceil(PROMISE_ROUND / PROMISE_EVERY) } else { 0 };
        let turn = self.promises.iter().cycle().skip(self.next).take(share);
        self.next = (self.next + share) % self.promises.len().max(1);
        let broken = self.promises.iter().filter(|promise| connections.health().is_broken(promise.database()));
        for promise in turn.chain(broken) {
            let health = connections.health();
            match connections.look(&**promise).await {
                Some(Ok(())) => health.keeps(promise.database()),
                Some(Err(Unkept::Broken(reason))) => health.breaks(promise.database(), reason),
                // Whether it is kept is not known, and the next ping tells why.
                None => return,
                Some(Err(Unkept::Unasked(broken))) => {
                    tracing::debug!(database = promise.database(), error = %broken, "it could not be looked at");
                }
            }
        }
    }
}
