//! Serving on several threads that share nothing.
//!
//! Each thread has a runtime, a listener and connections of its own; the system
//! spreads new connections over the listeners (`SO_REUSEPORT`). A request then
//! never wakes another thread, which matters where a request is mostly passed
//! on: a gateway gains about an eighth.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use crate::hot::Routes;
use crate::options::ServeOptions;
use crate::serve::serve;

/// Between two pulses of a thread: they are asked for less often.
const PULSE_EVERY: Duration = Duration::from_millis(500);

/// Listeners on one address, one for each thread.
pub struct Listeners {
    listeners: Vec<StdListener>,
    address: SocketAddr,
    pulses: Pulses,
}

/// Whether the threads run their tasks: each has one that does nothing but say so, twice a second.
#[derive(Clone)]
pub struct Pulses(Arc<[AtomicBool]>);

impl Pulses {
    /// Whether all threads have run that task since this was asked before. A thread that hangs in a request has not.
    pub fn beat_since_asked(&self) -> bool {
        let beaten = self.0.iter().filter(|pulse| pulse.swap(false, Ordering::Relaxed)).count();
        beaten == self.0.len()
    }

    async fn beat_forever(self, thread: usize) {
        loop {
            self.0[thread].store(true, Ordering::Relaxed);
            tokio::time::sleep(PULSE_EVERY).await;
        }
    }
}

impl Listeners {
    /// Listens on `address`, whose port may be 0; `backlog` connections may wait
    /// at each listener.
    ///
    /// # Errors
    /// Those of the system; an address that another process listens on is one.
    pub fn bind(address: SocketAddr, threads: NonZeroUsize, backlog: u32) -> io::Result<Listeners> {
        // Sockets that share a port would share it with another process, too: that it is
        // free is found out by one that does not.
        drop(listen(address, false, 1)?);
        let first = listen(address, true, backlog)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..threads.get() {
            listeners.push(listen(address, true, backlog)?);
        }
        let pulses = Pulses(listeners.iter().map(|_| AtomicBool::new(true)).collect());
        Ok(Listeners { listeners, address, pulses })
    }

    /// Where they listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pulses of the threads that will serve there.
    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }
}

fn listen(address: SocketAddr, shared: bool, backlog: u32) -> io::Result<StdListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    // As a standard one, because it will belong to another runtime.
    socket.listen(backlog)?.into_std()
}

/// Serves on a thread for each listener, as [`serve`] does, until `shutdown`
/// resolves and all of them have drained. `routes` is called once for each, and
/// each takes its part of [`ServeOptions::connections_max`].
///
/// # Errors
/// When one of the threads cannot serve, or serves no more: the others drain then.
pub async fn serve_on_threads<R: Into<Routes>>(
    listeners: Listeners,
    routes: impl Fn() -> R,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let threads = listeners.listeners.len();
    let options = ServeOptions { connections_max: options.connections_max.div_ceil(threads), ..options };
    let (stop, stopped) = watch::channel(());
    let (ended, mut ends) = mpsc::channel(threads);
    for (number, listener) in listeners.listeners.into_iter().enumerate() {
        let (routes, options, stopped) = (routes().into(), options.clone(), stopped.clone());
        let pulse = listeners.pulses.clone().beat_forever(number);
        let end = End { ended: ended.clone(), result: Err(io::Error::other("a thread that serves has panicked")) };
        std::thread::Builder::new().name(format!("http-{number}")).spawn(move || {
            end.well_or_not(serve_here(listener, routes, options, stopped, pulse));
        })?;
    }
    drop(ended);
    let mut result = tokio::select! {
        () = shutdown => Ok(()),
        Some(early) = ends.recv() => early,
    };
    drop(stop);
    while let Some(end) = ends.recv().await {
        result = result.and(end);
    }
    result
}

/// Tells how a thread ended, also if it panicked.
struct End {
    ended: mpsc::Sender<io::Result<()>>,
    result: io::Result<()>,
}

impl End {
    fn well_or_not(mut self, result: io::Result<()>) {
        self.result = result;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // There is room for each thread; who waited has gone only if the process ends.
        let _ = self.ended.try_send(std::mem::replace(&mut self.result, Ok(())));
    }
}

fn serve_here(
    listener: StdListener,
    routes: Routes,
    options: ServeOptions,
    mut stopped: watch::Receiver<()>,
    pulse: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::spawn(pulse);
        let listener = TcpListener::from_std(listener)?;
        // Nothing is ever sent: the end of the sender is the signal.
        serve(listener, routes, options, async move { while stopped.changed().await.is_ok() {} }).await;
        Ok(())
    })
}
