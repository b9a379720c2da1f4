//! What the service says of itself while it is under load: read from the
//! metrics of all its processes by a thread of its own, so that one that does
//! not answer holds nothing up.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hongbao_load::metrics::{sum, sum_of};
use hongbao_load::{Batches, Site};

use super::recorder::Gauges;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long one process may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// Bytes of metrics that are read.
const METRICS_BYTES_MAX: u64 = 4 << 20;

/// Looks at the metrics again and again. It ends with its value.
pub struct GaugeWatch {
    read: Arc<Mutex<Readings>>,
    /// Dropped, it ends the thread, which is joined then.
    end: Option<SyncSender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// What was read so far.
#[derive(Default)]
struct Readings {
    settled: f64,
    queue_depth: Option<f64>,
    batches: Batches,
    /// As they were when the last second was shown.
    shown: Batches,
}

/// Counters of one process: they begin anew when it does.
#[derive(Default)]
struct Process {
    seen: bool,
    settled: f64,
    batches: Batches,
}

impl GaugeWatch {
    /// Looks at the processes at these places: at their measures of
    /// marked requests, or of all others.
    pub fn start(sites: Vec<Site>, marked: bool) -> GaugeWatch {
        let read = Arc::new(Mutex::new(Readings::default()));
        let (to, (end, ended)) = (read.clone(), sync_channel(0));
        let thread = std::thread::spawn(move || {
            let mut processes: Vec<Process> = sites.iter().map(|_| Process::default()).collect();
            loop {
                look(&sites, marked, &mut processes, &to);
                if ended.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        GaugeWatch { read, end: Some(end), thread: Some(thread) }
    }

    /// What is known now; a mean batch is that since the last call.
    pub fn gauges(&self) -> Gauges {
        let mut read = self.read.lock().expect("no holder of the lock panics");
        let batch_mean = read.batches.mean_since(read.shown);
        read.shown = read.batches;
        Gauges { settled: read.settled as u64, queue_depth: read.queue_depth, batch_mean }
    }

    /// Commits and openings in them since the watch began.
    pub fn batches(&self) -> Batches {
        self.read.lock().expect("no holder of the lock panics").batches
    }
}

impl Drop for GaugeWatch {
    fn drop(&mut self) {
        self.end = None;
        // That it panicked changes no reading.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn look(sites: &[Site], marked: bool, processes: &mut [Process], to: &Mutex<Readings>) {
    let (mut depth, mut settled, mut batches) = (None, 0.0, Batches::default());
    for (site, process) in sites.iter().zip(processes) {
        let Ok(text) = fetch_metrics(site) else { continue };
        let text = if marked { of_rehearsals(&text) } else { text };
        let now = sum_of(&text, "hongbao_worker_rows_total", r#"worker_job="credit""#);
        let all = Batches::read(&text);
        // What a process has done before the first look is not of this run.
        if process.seen {
            settled += if now >= process.settled { now - process.settled } else { now };
            batches = batches + all.since(process.batches);
        }
        (process.seen, process.settled, process.batches) = (true, now, all);
        if text.contains("hongbao_open_queue_depth") {
            *depth.get_or_insert(0.0) += sum(&text, "hongbao_open_queue_depth");
        }
    }
    let mut read = to.lock().expect("no holder of the lock panics");
    read.settled += settled;
    read.batches = read.batches + batches;
    read.queue_depth = depth;
}

/// Those lines that are about marked requests, under the names that all others have.
fn of_rehearsals(text: &str) -> String {
    text.lines().filter_map(|line| line.strip_prefix("rehearsal_")).map(|line| format!("{line}\n")).collect()
}

/// The metrics of one process, as text.
pub fn fetch_metrics(site: &Site) -> std::io::Result<String> {
    let stream = TcpStream::connect_timeout(&site.addr(0), ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    match site.tls() {
        None => ask_for_metrics(stream, site),
        Some(client) => ask_for_metrics(client.stream(stream)?, site),
    }
}

fn ask_for_metrics(mut stream: impl Read + Write, site: &Site) -> std::io::Result<String> {
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", site.authority());
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut text = String::new();
    stream.take(METRICS_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    /// Answers one look after the other with these counters.
    fn process(counters: Vec<u32>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for count in counters {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 512];
                let _ = stream.read(&mut head).unwrap();
                let text = format!(
                    "HTTP/1.1 200 OK\r\n\r\nhongbao_worker_rows_total{{worker_job=\"credit\"}} {count}\n\
                     hongbao_worker_rows_total{{worker_job=\"refund\"}} 99\nhongbao_open_queue_depth{{lane=\"0\"}} 4\n"
                );
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        addr
    }

    #[test]
    fn what_is_marked_is_told_apart_by_its_name() {
        let text = "hongbao_open_queue_depth 3\nrehearsal_hongbao_open_queue_depth 5\n# HELP rehearsal_x\n";
        assert_eq!(of_rehearsals(text), "hongbao_open_queue_depth 5\n");
    }

    #[test]
    fn counters_are_added_up_also_when_a_process_begins_anew() {
        let sites = [process(vec![100, 110, 3]), process(vec![0, 5])].map(Site::from);
        let (mut processes, to) = ([Process::default(), Process::default()], Mutex::new(Readings::default()));
        for expected in [0.0, 15.0, 18.0] {
            look(&sites, false, &mut processes, &to);
            assert_eq!(to.lock().unwrap().settled, expected, "the second process has ended by the third look");
        }
        assert_eq!(to.lock().unwrap().queue_depth, Some(4.0));
    }
}
