//! Whether this server should get requests, asked in the background so that
//! `/readyz` answers at once.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Clock;
use hongbao_core::limits::{CLOCK_SKEW_MS_MAX, READY_AGE_MAX, READY_ANSWER_WITHIN};
use hongbao_http::health::Check;
use hongbao_store::{Store, StoreError, clock_ahead_ms};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How often the database is asked; it is also asked when it comes back.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What the last question gave.
struct Seen {
    /// When it last answered and confirmed a commit; absent until the first time.
    answered_at: Option<Instant>,
    /// Milliseconds that our clock is ahead of the database's.
    ahead_ms: i64,
    /// Why the last question had no answer.
    failure: Option<String>,
}

/// Starts asking; gives what `/readyz` checks, and the task, to be aborted.
///
/// The wallet is not asked: openings go on without it.
pub fn watch(store: Arc<dyn Store>, clock: Arc<dyn Clock>, registry: &mut Registry) -> (Vec<Check>, JoinHandle<()>) {
    let seen = Arc::new(Mutex::new(Seen { answered_at: None, ahead_ms: 0, failure: None }));
    let ahead = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    registry.register(
        "hongbao_clock_ahead_seconds",
        "Seconds that our clock is ahead of the database's",
        ahead.clone(),
    );

    let (database, skewed, asked) = (seen.clone(), seen.clone(), store.clone());
    let checks = vec![
        Check::new("database", move || {
            let seen = database.lock();
            match (&seen.answered_at, &seen.failure) {
                (Some(at), _) if at.elapsed() <= READY_AGE_MAX => Ok(()),
                (Some(_), None) => Ok(()),
                (_, Some(reason)) => Err(reason.clone()),
                (None, None) => Err("it has not been asked yet".to_owned()),
            }
        }),
        // At once: what is not written yet can be written elsewhere.
        Check::of_new_envelopes("new_envelopes", move || match asked.is_away() {
            true => Err("the database does not answer".to_owned()),
            false => Ok(()),
        }),
        Check::new("clock", move || {
            let ahead_ms = skewed.lock().ahead_ms;
            if ahead_ms.abs() <= CLOCK_SKEW_MS_MAX {
                return Ok(());
            }
            Err(format!("our clock is {:.1} s ahead of the database's", ahead_ms as f64 / 1_000.0))
        }),
    ];
    let task = tokio::spawn(async move {
        let mut returning = store.returns();
        loop {
            returning.seen();
            let answer = timeout(READY_ANSWER_WITHIN, ask(&*store, &*clock)).await.unwrap_or_else(|_| Err(no_answer()));
            match answer {
                Ok(ahead_ms) => {
                    ahead.set(ahead_ms as f64 / 1_000.0);
                    let now = Seen { answered_at: Some(Instant::now()), ahead_ms, failure: None };
                    let was = std::mem::replace(&mut *seen.lock(), now);
                    note_clock(was.ahead_ms, ahead_ms);
                }
                Err(error) => {
                    // The store's own watch has logged it.
                    seen.lock().failure = Some(error.to_string());
                }
            }
            tokio::select! {
                () = sleep(ASK_EVERY) => {}
                () = returning.next() => {}
            }
        }
    });
    (checks, task)
}

/// Asks the database for its clock and for a commit, for one whose log stalls still
/// answers questions; gives by how many milliseconds our clock is ahead.
async fn ask(store: &dyn Store, clock: &dyn Clock) -> Result<i64, StoreError> {
    let ahead_ms = clock_ahead_ms(store, clock).await?;
    // Whether its generation moved does not matter: nothing was read.
    store.barrier(&store.generations()).await?;
    Ok(ahead_ms)
}

fn no_answer() -> StoreError {
    StoreError::Unavailable(format!("it did not answer and confirm a commit within {READY_ANSWER_WITHIN:?}"))
}

/// Logs when the clock becomes wrong, and when it is right again.
fn note_clock(before_ms: i64, ahead_ms: i64) {
    match (before_ms.abs() > CLOCK_SKEW_MS_MAX, ahead_ms.abs() > CLOCK_SKEW_MS_MAX) {
        (false, true) => tracing::error!(ahead_ms, "our clock is far from the database's: not ready until it is right"),
        (true, false) => tracing::info!(ahead_ms, "our clock is right again"),
        _ => {}
    }
}
