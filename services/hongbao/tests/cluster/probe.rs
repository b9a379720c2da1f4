//! How long an envelope is without service when its server is killed: somebody
//! opens it again and again, and looks at the clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::until_settled;
use crate::history::Sent;
use crate::load::Load;
use crate::person::fresh_name;
use crate::trial::Trial;

/// Users whom the envelope has shares for: more than come.
pub const SHARES: u64 = 500;
const SENDER: &str = "sender-0";
/// Between two openings.
const PAUSE: Duration = Duration::from_millis(2);
/// Before the fault, so that the server has the envelope in its memory.
const WARM_UP: Duration = Duration::from_millis(300);
/// After the fault.
const LOOK_FOR: Duration = Duration::from_millis(3_500);

/// An envelope of a certain server, which the load leaves alone.
pub fn envelope_of(trial: &Trial, server: &str, shares: u64) -> usize {
    let mut person = trial.person();
    let envelope = json!({ "kind": "lucky", "total_fen": shares * 10, "shares": shares, "expires_in_s": 1_800 });
    let id = loop {
        let id = until_settled("a new envelope", || person.create(SENDER, &envelope));
        if trial.cluster.owner_of(&id) == server {
            break id;
        }
    };
    until_settled("a payment", || person.pay(SENDER, &id));
    trial.history.sent_apart(Sent {
        set: trial.cluster.set_of(&id),
        id,
        sender: SENDER.to_owned(),
        total_fen: shares as i64 * 10,
        shares,
        short_lived: false,
        at: Instant::now(),
        asked: 0,
    })
}

/// Opens an envelope again and again around a fault: from then on, how long it
/// took until somebody had opened it who came after the fault.
pub fn without_service(load: &Load<'_>, envelope: usize, fault: impl FnOnce()) -> Duration {
    let stopped = AtomicBool::new(false);
    // When each opening that succeeded began and ended.
    let openings: Mutex<Vec<(Instant, Instant)>> = Mutex::default();
    let mut at = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut person = load.person();
            for _ in 0..SHARES {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                if load.open(&mut person, envelope, &fresh_name()).is_ok() {
                    openings.lock().expect("no holder of the lock panics").push((began, Instant::now()));
                }
                std::thread::sleep(PAUSE);
            }
        });
        std::thread::sleep(WARM_UP);
        at = Instant::now();
        fault();
        let served = || {
            let openings = openings.lock().expect("no holder of the lock panics");
            openings.iter().any(|(began, _)| *began >= at)
        };
        while !served() && at.elapsed() < LOOK_FOR {
            std::thread::sleep(PAUSE);
        }
        stopped.store(true, Ordering::Relaxed);
    });
    let openings = openings.into_inner().expect("no holder of the lock panics");
    assert!(openings.iter().any(|(_, ended)| *ended < at), "it was served before the fault");
    let first = openings.iter().find(|(began, _)| *began >= at);
    first.map_or(LOOK_FOR, |(_, ended)| ended.duration_since(at))
}
