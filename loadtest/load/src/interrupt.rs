//! Ctrl-C and SIGTERM end a bench the orderly way, so that the processes it
//! started and the data it wrote go away with it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Fallible;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen for the signals. After this, only [`check`] reacts to them.
pub fn watch() -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Fails once a signal has come. Every loop that waits asks this.
pub fn check() -> Fallible<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => Err("interrupted".into()),
        false => Ok(()),
    }
}
