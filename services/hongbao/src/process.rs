//! What every role does alike: listen, log, stop.

use std::net::{SocketAddr, ToSocketAddrs as _};

use hongbao_core::Traffic;
use hongbao_core::limits::LISTEN_BACKLOG_MAX;
use hongbao_core::topology::Address;
use hongbao_http::Health;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Log, Otlp};
use crate::otlp::Process;
use crate::process_metrics::ProcessMetrics;
use crate::{log, notify, otlp};

/// What the names of the rehearsal's measures begin with: `rehearsal_hongbao_open_outcomes_total`.
const REHEARSAL_PREFIX: &str = "rehearsal";

/// Measures of a process, which begin with the version that it is of and what the kernel says of it.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("hongbao_build", "The version that runs", version);
    registry.register_collector(Box::new(ProcessMetrics));
    registry
}

/// Threads that run a server or a worker: those that are configured, or one for each processor.
pub fn role_threads(configured: usize) -> Result<usize, String> {
    if configured > 0 { Ok(configured) } else { processors() }
}

/// The processors that this process may use.
pub fn processors() -> Result<usize, String> {
    std::thread::available_parallelism().map(usize::from).map_err(|error| error.to_string())
}

/// Runs a role on so many threads until it ends. An error is one that kept it from starting.
pub fn run(
    log: &Log,
    otlp: &Otlp,
    process: &Process,
    threads: usize,
    role: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let log = log::start(log, process.set.as_deref())?;
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        many => tokio::runtime::Builder::new_multi_thread().worker_threads(many).enable_all().build(),
    };
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.spawn(log.tell_forever());
    let exporting = otlp::start(otlp, process, runtime.handle().clone())?;
    let ended = runtime.block_on(async {
        let ended = role.await;
        // It blocks, and what it sends needs the runtime. It does not panic.
        let _ = tokio::task::spawn_blocking(|| exporting.stop()).await;
        ended
    });
    // A resolver of names that hangs would hold up the end.
    runtime.shutdown_background();
    ended
}

/// Runs a command that ends.
pub fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

/// Where a role of the topology listens, a name resolved: to the first IPv4 address that it has, or to an IPv6 one.
///
/// # Errors
/// When the name leads nowhere, for the operator.
pub fn resolve(address: &Address) -> Result<SocketAddr, String> {
    if let Some(address) = address.socket_address() {
        return Ok(address);
    }
    let found = (address.host(), address.port()).to_socket_addrs().map(|found| found.min());
    let named = |reason: String| {
        format!(
            "cannot listen on {address}: {reason}; its entry in the topology file may say `listen` beside `address`"
        )
    };
    found.map_err(|error| named(error.to_string()))?.ok_or_else(|| named("its name has no IP address".to_owned()))
}

/// Binds the address; gives the one in force, with its port. `set_by` says where
/// another one can be chosen.
///
/// When everybody connects in the same second, who finds the queue of new
/// connections full waits a second for the next try: so it is a long one.
pub fn listen(address: SocketAddr, set_by: &str) -> Result<(TcpListener, SocketAddr), String> {
    let bound = bind(address).and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| cannot_listen(address, set_by, &error))
}

/// Why nothing can be served there, and what to do, for the operator.
pub fn cannot_listen(address: SocketAddr, set_by: &str, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return format!("cannot listen on {address}: {error}; another address is chosen by {set_by}");
    }
    let port = address.port();
    format!("{address}: port {port} is in use by another process: end that one, or choose another address by {set_by}")
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG_MAX)
}

/// Where the measures of a kind of traffic are made known: those of the rehearsal have a
/// prefix, so that no sum and no alert over the real ones takes them in.
pub fn measures(registry: &mut Registry, traffic: Traffic) -> &mut Registry {
    match traffic {
        Traffic::Live => registry,
        Traffic::Shadow => registry.sub_registry_with_prefix(REHEARSAL_PREFIX),
    }
}

/// Takes SIGTERM and SIGINT from now on; resolves on either, after telling who
/// asks that we are going.
pub fn stop_signal(health: Health) -> Result<impl Future<Output = ()> + Send, String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing what was accepted");
        notify::stopping();
        health.drain();
    })
}
