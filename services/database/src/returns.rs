//! Tells those who wait longer and longer after failures that a database, which
//! did not answer, answers again.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

/// What counts how often a database came back. Cheap to clone.
#[derive(Clone)]
pub struct Returns(Arc<watch::Sender<u64>>);

impl Returns {
    /// None so far.
    #[allow(clippy::new_without_default, reason = "a default would hide that clones count together")]
    pub fn new() -> Returns {
        Returns(Arc::new(watch::Sender::new(0)))
    }

    /// The database has come back.
    pub fn tell(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Waits for what comes from now on.
    pub fn awaited(&self) -> Returning {
        Returning(vec![self.0.subscribe()])
    }
}

/// Waits for the return of any of some databases.
#[derive(Clone)]
pub struct Returning(Vec<watch::Receiver<u64>>);

impl Returning {
    /// What never goes away never returns.
    pub fn never() -> Returning {
        Returning(Vec::new())
    }

    /// Waits for these too.
    #[must_use]
    pub fn and(mut self, others: Returning) -> Returning {
        self.0.extend(others.0);
        self
    }

    /// Whether one has returned since this was asked last, or waited for. To be
    /// asked before an attempt, so that a return during the attempt is noticed after it.
    pub fn seen(&mut self) -> bool {
        let has_returned = self.0.iter().any(|returns| returns.has_changed().unwrap_or(false));
        self.0.iter_mut().for_each(watch::Receiver::mark_unchanged);
        has_returned
    }

    /// Waits until one has returned since it was [`seen`](Returning::seen).
    pub async fn next(&mut self) {
        let changed = |returns| Box::pin(changed(returns)) as Pin<Box<dyn Future<Output = ()> + Send + '_>>;
        let mut any: Vec<_> = self.0.iter_mut().map(changed).collect();
        poll_fn(|context| match any.iter_mut().any(|one| one.as_mut().poll(context).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// A database that is not used any more never returns.
async fn changed(returns: &mut watch::Receiver<u64>) {
    if returns.changed().await.is_err() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_return_during_an_attempt_is_noticed_after_it_and_one_before_it_is_not() {
        let (store, wallet) = (Returns::new(), Returns::new());
        let mut returning = store.awaited().and(wallet.awaited());
        assert!(!returning.seen());
        store.tell();
        assert!(returning.seen() && !returning.seen());
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, returning.next()).await.is_err());
        for returns in [&store, &wallet] {
            returns.tell();
            tokio::time::timeout(Duration::from_secs(10), returning.next()).await.expect("it is noticed");
        }
        drop((store, wallet));
        assert!(tokio::time::timeout(soon, returning.next()).await.is_err());
        assert!(tokio::time::timeout(soon, Returning::never().next()).await.is_err());
    }
}
