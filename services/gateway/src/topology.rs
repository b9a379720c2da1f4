//! The topology file as a process knows it: read at the start, again on a
//! signal and whenever it changes. A bad new version is refused whole, and the
//! last good one stays.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::limits::TOPOLOGY_BYTES_MAX;
use hongbao_core::routing::Topology;
use hongbao_core::topology::TopologyFile;
use hongbao_core::{Clock as _, SystemClock, Timestamp};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two readings that requests ask for.
const REREAD_GAP: Duration = Duration::from_millis(200);

/// A topology that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The file as it was read.
    pub file: TopologyFile,
    /// What routing needs of it.
    pub routing: Topology,
}

/// Reads a topology file, checks it, and keeps what was good.
pub struct TopologyWatcher {
    path: PathBuf,
    current: watch::Sender<Arc<Known>>,
    /// One reading at a time; what the last one read.
    last: Mutex<Last>,
    refused: AtomicU64,
}

struct Last {
    /// The text of the file, or why there was none: what has been judged is not judged again.
    seen: Result<String, String>,
    /// When a request last asked for a reading.
    asked: Option<Instant>,
}

impl TopologyWatcher {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When the file cannot be read or is not good, for the operator.
    pub fn open(path: &Path) -> Result<Arc<TopologyWatcher>, String> {
        let named = |reason: String| format!("{}: {reason}", path.display());
        let text = read(path).map_err(named)?;
        let known = parse(&text, SystemClock.now()).map_err(named)?;
        Ok(Arc::new(TopologyWatcher {
            path: path.to_owned(),
            current: watch::Sender::new(Arc::new(known)),
            last: Mutex::new(Last { seen: Ok(text), asked: None }),
            refused: AtomicU64::new(0),
        }))
    }

    /// The last good version.
    pub fn current(&self) -> Arc<Known> {
        self.current.borrow().clone()
    }

    /// Tells of every new version.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Known>> {
        self.current.subscribe()
    }

    /// How many new versions were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Reads the file again: for a signal. What is refused is logged,
    /// also when it has been before. It blocks for as long as reading takes.
    pub fn reread(&self) {
        self.judge(&mut self.last.lock(), Cause::Signal);
    }

    /// Reads the file again, unless it was just done: for a request that was
    /// notified that the topology has changed.
    pub(crate) async fn reread_for_request(self: &Arc<TopologyWatcher>) {
        let watcher = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut last = watcher.last.lock();
            let now = Instant::now();
            if last.asked.is_some_and(|asked| now.duration_since(asked) < REREAD_GAP) {
                return;
            }
            last.asked = Some(now);
            watcher.judge(&mut last, Cause::Misdirected);
        });
        // Reading does not panic; without it the last good version stays.
        let _ = reading.await;
    }

    /// Looks at the file again and again, until it is aborted.
    pub async fn watch_forever(self: Arc<TopologyWatcher>, every: Duration) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let watcher = self.clone();
            let _ = tokio::task::spawn_blocking(move || watcher.judge(&mut watcher.last.lock(), Cause::Tick)).await;
        }
    }

    /// Registers the version in force and the count of refusals, as
    /// `hongbao_gateway_topology_version` and `hongbao_gateway_topology_refused_total`.
    pub fn register(self: &Arc<TopologyWatcher>, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures { watcher: self.clone() }));
    }

    /// Reads, and takes over what is new and good.
    fn judge(&self, last: &mut Last, cause: Cause) {
        let seen = read(&self.path);
        let is_logged = seen != last.seen || cause == Cause::Signal;
        if !is_logged && cause == Cause::Tick {
            return;
        }
        let now = SystemClock.now();
        let known = seen.clone().and_then(|text| parse(&text, now));
        let current = self.current();
        let known = known.and_then(|known| follows(&current, &known, now, cause != Cause::Tick).map(|()| known));
        last.seen = seen;
        match known {
            Ok(known) if known == *current => {}
            Ok(known) => {
                tracing::info!(
                    version = known.file.version,
                    version_before = current.file.version,
                    "a new topology is in force"
                );
                self.current.send_replace(Arc::new(known));
            }
            Err(_) if !is_logged => {}
            Err(reason) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let (file, version) = (self.path.display(), current.file.version);
                tracing::error!(%file, error = reason, version, "a new topology was refused; the version in force stays");
            }
        }
    }
}

/// Why the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It is read again and again.
    Tick,
    /// An operator asks for it: what is refused is said again, and maps are left to the fences.
    Signal,
    /// A server has answered that an envelope is not its own.
    Misdirected,
}

/// Whether a version may take another's place.
fn follows(current: &Known, next: &Known, now: Timestamp, is_fenced: bool) -> Result<(), String> {
    let (was, is) = (current.file.version, next.file.version);
    if is < was {
        return Err(format!("its version {is} is smaller than {was}"));
    }
    if is == was && current.file != next.file {
        return Err(format!("it differs from the one in force, and its version is {is} as well"));
    }
    next.file.check_follows(&current.file, now, is_fenced)
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(TOPOLOGY_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > TOPOLOGY_BYTES_MAX {
        return Err(format!("it is over {TOPOLOGY_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn parse(text: &str, now: Timestamp) -> Result<Known, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let file: TopologyFile = toml::from_str(text).map_err(|error| error.to_string())?;
    file.check(now)?;
    let routing = file.routing()?;
    Ok(Known { file, routing })
}

struct Figures {
    watcher: Arc<TopologyWatcher>,
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let version = ConstGauge::new(self.watcher.current().file.version);
        let (name, help) = ("hongbao_gateway_topology_version", "Version of the topology in force.");
        version.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let name = "hongbao_gateway_topology_refused";
        let help = "New versions of the topology that were refused.";
        let refused = ConstCounter::new(self.watcher.refused());
        refused.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
    }
}
