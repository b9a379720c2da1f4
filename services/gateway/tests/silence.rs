//! Servers that do not answer: a process that stands still, a link that loses every
//! packet, a connection that died by itself, and servers that are only slow.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Backend, Front, OVER_LINKS, id, quick, topology};
use hongbao_core::EnvelopeId;
use hongbao_core::routing::owner;
use hongbao_gateway::GatewayOptions;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Tells the next test to be a server, in a process of its own.
const BE_A_SERVER: &str = "HONGBAO_GATEWAY_TEST_SERVER";
/// What an envelope of a silent server may lack service for.
const GOAL: Duration = Duration::from_millis(1_500);
/// Stops; the machine may be busy with something else during some of them.
const STOPS: usize = 3;

/// Run by others in a process of its own, which is stopped.
#[test]
fn a_server_that_is_stopped_by_another_test() {
    if std::env::var_os(BE_A_SERVER).is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let backend = runtime.block_on(Backend::start("a1"));
    println!("listening on {}", backend.address);
    // Until whoever started it is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The instruction of a socket filter that says how many bytes of a packet to keep.
const BPF_RETURN: u16 = 0x06;

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start() -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["a_server_that_is_stopped_by_another_test", "--nocapture"]).env(BE_A_SERVER, "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("listening on ")?.1.parse().ok());
        Process { child, address: address.expect("it says where") }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Its listener and all of its connections.
    fn sockets(&self) -> Vec<OwnedFd> {
        let handle = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let fds = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().map(|entry| entry.unwrap());
        // One that is closed meanwhile needs nothing.
        let sockets = fds
            .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|what| what.to_string_lossy().starts_with("socket:")));
        let numbers = sockets.map(|fd| fd.file_name().to_str().unwrap().parse().unwrap());
        numbers.filter_map(|fd| pidfd_getfd(&handle, fd, PidfdGetfdFlags::empty()).ok()).collect()
    }

    /// The kernel drops every packet that comes for it, also those of new connections,
    /// and acknowledges none.
    fn cut_link(&self) {
        let drop_all = [SockFilter::new(BPF_RETURN, 0, 0, 0)];
        self.sockets().iter().for_each(|socket| SockRef::from(socket).attach_filter(&drop_all).unwrap());
    }

    fn mend_link(&self) {
        for socket in self.sockets() {
            // It fails where there is none, as on one that was opened since.
            let _ = SockRef::from(&socket).detach_filter();
        }
    }

    /// Stops it; on return it does not run any more.
    fn stop(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.child.id());
        let is_stopped = || std::fs::read_to_string(&stat).unwrap().rsplit_once(')').unwrap().1.starts_with(" T");
        while !is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owned_by_a1() -> EnvelopeId {
    (0..).map(id).find(|id| owner(*id, ["a1", "a2"]) == Some("a1")).expect("every server owns some")
}

/// Asks again and again, each time without waiting for those before, from a moment
/// on: how long it takes until somebody who came after it is answered by `server`.
async fn until_answered(front: &Arc<Front>, path: &str, server: &str) -> Duration {
    let began = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    loop {
        let (front, path) = (front.clone(), path.to_owned());
        asked.spawn(async move { front.post(&path, "{}").await });
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(25)) => {}
            Some(reply) = asked.join_next() => {
                let reply = reply.unwrap();
                if reply.status == 200 && reply.server() == server {
                    return began.elapsed();
                }
            }
        }
        assert!(began.elapsed() < common::PATIENCE, "nobody is answered");
    }
}

/// How long the envelopes of a server lack service while `silence` lasts, until `end`.
async fn without_service(silence: fn(&Process), end: fn(&Process)) {
    let (one, two) = (Process::start(), Backend::start("a2").await);
    let text = topology(1, &[("a", "00-99", &[("a1", one.address), ("a2", two.address)])]);
    let front = Arc::new(Front::start(&text, GatewayOptions { links: OVER_LINKS, ..GatewayOptions::default() }).await);
    let (open, grab) =
        (format!("/v1/envelopes/{}/open", owned_by_a1()), format!("/v1/envelopes/{}/grab", owned_by_a1()));
    let mut took = Vec::new();
    for _ in 0..STOPS {
        until_answered(&front, &open, "a1").await;
        silence(&one);
        // What changes nothing is asked of the other as soon as the first is given up.
        let (opening, grabbing) = tokio::join!(until_answered(&front, &open, "a2"), front.post(&grab, "{}"));
        assert_eq!(grabbing.server(), "a2");
        took.push(opening);
        end(&one);
        front.until_up("a", "a1", true).await;
    }
    println!("without service: {took:?}");
    assert!(took.iter().any(|took| *took < GOAL), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stands_still_costs_its_envelopes_less_than_a_second_and_a_half() {
    without_service(Process::stop, |process| process.signal("CONT")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_costs_its_envelopes_less_than_a_second_and_a_half() {
    without_service(Process::cut_link, Process::mend_link).await;
}

#[tokio::test]
async fn a_server_that_always_answers_a_little_too_late_is_slow_and_not_dead() {
    let (one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let text = topology(1, &[("a", "00-99", &[("a1", one.address), ("a2", two.address)])]);
    let options = GatewayOptions { probe_timeout_ms: 500, probe_every_ms: 100, ..quick() };
    let front = Front::start(&text, options).await;
    front.until_up("a", "a1", true).await;
    // The third of three probes that overlap has had its time after 700 ms.
    one.script.slow_ms.store(550, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(3_000)).await;
    let changes = front.metric("hongbao_gateway_server_changes_total{set=\"a\",server=\"a1\"}").await;
    assert_eq!(changes, Some(0.0));
}

/// What a made-up server does with probes.
async fn answering(probe: impl Fn(u64) -> bool + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let probe = Arc::new(probe);
    tokio::spawn(async move {
        let connections = AtomicU64::new(0);
        while let Ok((mut stream, _)) = listener.accept().await {
            let (number, probe) = (connections.fetch_add(1, Ordering::SeqCst), probe.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 8_192];
                while let Ok(n) = stream.read(&mut head).await
                    && n > 0
                {
                    let body = "{\"server\":\"a1\"}";
                    if !head.starts_with(b"GET /readyz") || probe(number) {
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_probe_s_connection_that_dies_by_itself_is_not_taken_for_the_server() {
    let (is_cut, two) = (Arc::new(AtomicBool::new(false)), Backend::start("a2").await);
    let cut = is_cut.clone();
    // The first connection is the one that the probe keeps.
    let one = answering(move |connection| connection > 0 || !cut.load(Ordering::SeqCst)).await;
    let text = topology(1, &[("a", "00-99", &[("a1", one), ("a2", two.address)])]);
    let options = GatewayOptions { probe_timeout_ms: 500, ..quick() };
    let front = Front::start(&text, options).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_cut.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    let changes = front.metric("hongbao_gateway_server_changes_total{set=\"a\",server=\"a1\"}").await;
    assert_eq!(changes, Some(0.0), "the second probe, on a connection of its own, was answered");
}

#[tokio::test]
async fn a_server_that_answers_requests_is_not_dead_however_its_probes_fare() {
    let (is_silent, two) = (Arc::new(AtomicBool::new(false)), Backend::start("a2").await);
    let silent = is_silent.clone();
    let one = answering(move |_| !silent.load(Ordering::SeqCst)).await;
    let text = topology(1, &[("a", "00-99", &[("a1", one), ("a2", two.address)])]);
    let options = GatewayOptions { probe_timeout_ms: 300, ..quick() };
    let front = Front::start(&text, options).await;
    is_silent.store(true, Ordering::SeqCst);
    let open = format!("/v1/envelopes/{}/open", owned_by_a1());
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(front.post(&open, "{}").await.server(), "a1");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // When no more requests come nothing tells that it lives.
    front.until_up("a", "a1", false).await;
    assert_eq!(front.post(&open, "{}").await.server(), "a2");
}
