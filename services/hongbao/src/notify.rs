//! What the service manager is informed of (`Type=notify` of systemd): that a role serves, that it stops, and
//! that it still runs its tasks. Without `NOTIFY_SOCKET` in the environment nothing is sent.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;

/// So many signs of life fit into the time after which the manager restarts a process.
const SIGNS_OF_LIFE: u32 = 4;

/// A role listens. From now on a task of this runtime gives a sign of life several times within the time that
/// the manager has set (`WATCHDOG_USEC`), each time when `lives` says that all else does run.
pub fn ready(address: SocketAddr, lives: impl Fn() -> bool + Send + 'static) {
    send(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        tokio::spawn(give_signs_of_life(timeout, lives));
    }
}

/// A signal has come: what was accepted is finished.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("finishing what was accepted")]);
}

async fn give_signs_of_life(timeout: Duration, lives: impl Fn() -> bool) {
    let mut turns = tokio::time::interval(timeout / SIGNS_OF_LIFE);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if lives() {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager is not to be reached");
    }
}
