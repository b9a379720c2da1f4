//! Idle connections, and when one of them may still be lent.
//!
//! A connection that lies idle is forgotten by others without a word: the server
//! closes it after its `wait_timeout`, an operator kills it, a firewall drops its
//! state. Its next user then fails at the first statement. So one that lay for longer
//! than a moment is asked whether it lives before it is lent, and one that lay for
//! long, or is old, is closed instead. Under load none lies for longer than a
//! moment, and nothing of this costs a round trip.
//!
//! TCP's own keepalive would tell the same, but sqlx 0.8 gives no access to its
//! sockets; the database keeps its side of them alive.

use std::time::{Duration, Instant};

use hongbao_core::limits::{
    CONNECTION_AGE_MS_MAX, CONNECTION_ANSWER_MS_MAX, CONNECTION_CLOSE_WITHIN, CONNECTION_IDLE_MS_MAX,
    CONNECTION_UNASKED_MS_MAX,
};
use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;

use super::session::ServerStart;

/// A connection that is clean, and where it leads.
pub struct Idle {
    pub node: usize,
    /// Which start of which server it belongs to.
    pub start: ServerStart,
    pub is_of_galera: bool,
    pub connection: MySqlConnection,
    made_at: Instant,
    /// When it was used last.
    used_at: Instant,
}

impl Idle {
    pub fn new(node: usize, start: ServerStart, is_of_galera: bool, connection: MySqlConnection) -> Idle {
        let now = Instant::now();
        Idle { node, start, is_of_galera, connection, made_at: now, used_at: now }
    }

    /// It has just been used.
    pub fn used(mut self) -> Idle {
        self.used_at = Instant::now();
        self
    }

    /// It lay for so long, or is so old, that it is not to be lent any more.
    pub fn is_worn(&self) -> bool {
        self.used_at.elapsed() > Duration::from_millis(CONNECTION_IDLE_MS_MAX) || self.is_old()
    }

    /// It has reached its greatest age.
    pub fn is_old(&self) -> bool {
        self.made_at.elapsed() > Duration::from_millis(CONNECTION_AGE_MS_MAX)
    }

    /// It lay for longer than a moment.
    pub fn has_rested(&self) -> bool {
        self.used_at.elapsed() > Duration::from_millis(CONNECTION_UNASKED_MS_MAX)
    }

    /// Gives it back if its server still answers on it; one that was used a
    /// moment ago is not asked.
    pub async fn if_it_lives(mut self) -> Option<Idle> {
        if !self.has_rested() {
            return Some(self);
        }
        let limit = Duration::from_millis(CONNECTION_ANSWER_MS_MAX);
        match tokio::time::timeout(limit, self.connection.ping()).await {
            Ok(Ok(())) => Some(self.used()),
            _ => None,
        }
    }

    /// Closes it and says so, which the server would else log as a client that was lost.
    pub fn retire(self) {
        tokio::spawn(async move {
            // Nothing depends on it.
            let _ = tokio::time::timeout(CONNECTION_CLOSE_WITHIN, self.connection.close()).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Idle {
        /// As if it had been made, and used last, so long ago.
        pub(in crate::mysql) fn aged(mut self, made: Duration, used: Duration) -> Idle {
            let before = |ago| Instant::now().checked_sub(ago).expect("clocks began earlier");
            (self.made_at, self.used_at) = (before(made), before(used));
            self
        }
    }
}
