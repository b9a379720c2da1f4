//! `hongbao sandbox` as a process that is killed: what it did is in its books, and nothing else is.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::order::Answer;
use hongbao_core::{Clock as _, Date, Fen, Order, OrderId, OrderKind, SystemClock, UserId};
use hongbao_provider::bill::{Expected, plain};
use hongbao_provider::{HttpOptions, HttpProvider, Provider as _, ProviderError, ProviderMetrics};
use prometheus_client::registry::Registry;

use crate::support::{Folder, hongbao, text};

/// The secret that sandboxes of tests sign with.
pub const PROVIDER_SECRET: &str = "a secret of the provider in tests";

/// `hongbao sandbox` as a child process; killed when it is dropped.
pub struct SandboxProcess {
    child: Child,
    pub address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl SandboxProcess {
    /// The command over a folder, and more arguments.
    pub fn command(folder: &Folder, listen: &str, more: &[&str]) -> Command {
        let secret = folder.write("provider-secret", PROVIDER_SECRET);
        let mut command = hongbao(&["sandbox", "--listen", listen]);
        command.args(["--data".as_ref(), folder.path("sandbox").as_os_str()]);
        command.args(["--secret-file".as_ref(), secret.as_os_str()]).args(more);
        command
    }

    /// Starts one.
    pub fn start(folder: &Folder, listen: &str, more: &[&str]) -> SandboxProcess {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path("sandbox.log")).unwrap();
        let mut command = SandboxProcess::command(folder, listen, more);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect("it says where").parse().unwrap();
        SandboxProcess { child, address, _stdout: stdout }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn client_of(address: SocketAddr) -> HttpProvider {
    let options = HttpOptions {
        url: format!("http://{address}"),
        key_id: "hongbao".to_owned(),
        secret: PROVIDER_SECRET.into(),
        timeout: Duration::from_millis(500),
        ca_file: None,
    };
    HttpProvider::new(&options, Arc::new(SystemClock), ProviderMetrics::register(&mut Registry::default())).unwrap()
}

fn order(number: u8) -> Order {
    let now = SystemClock.now();
    let kind = if number.is_multiple_of(2) { OrderKind::Charge } else { OrderKind::Payout };
    let (id, amount) = (OrderId::mint(now, [number; 10]), Fen::new(100 + i64::from(number)).unwrap());
    Order::new(id, kind, UserId::parse("ann").unwrap(), amount, now)
}

/// Sends an order until it has an outcome, through a process that is killed; every outcome that is answered is the same.
async fn driven(address: SocketAddr, mut order: Order) -> (Order, Answer) {
    let mut client = client_of(address);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut outcome = None;
    while Instant::now() < deadline {
        order.sent_at = Some(SystemClock.now());
        match (client.send(&order).await, &outcome) {
            (Ok(Answer::Pending { .. }), None) => {}
            (Ok(answer), None) => outcome = Some(answer),
            (Ok(answer), Some(before)) => {
                assert_eq!(answer, *before, "one outcome");
                return (order, answer);
            }
            // A worker waits until the circuit closes; here is another one.
            (Err(ProviderError::NotSent(_)), _) => client = client_of(address),
            (Err(_), _) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no outcome of {order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_is_killed_again_and_again_has_one_outcome_for_each_number() {
    let folder = Folder::new();
    let faults =
        ["--confirm-ms", "30", "--hour-ms", "36000", "--faults", "timeout_done=50,cut=50,error_500=50,refusal=50"];
    let mut sandbox = SandboxProcess::start(&folder, "127.0.0.1:0", &faults);
    let address = sandbox.address;
    let driving: Vec<_> =
        (0..40).map(|number| tokio::spawn(async move { driven(address, order(number)).await })).collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        sandbox.kill();
        // Half a line is what a process leaves that is killed while it writes.
        let mut books = std::fs::OpenOptions::new().append(true).open(folder.path("sandbox/books.jsonl")).unwrap();
        std::io::Write::write_all(&mut books, b"{\"line\":\"happened\",\"number\":\"01").unwrap();
        drop(books);
        sandbox = SandboxProcess::start(&folder, &address.to_string(), &faults);
    }
    let mut happened = Vec::new();
    for driving in driving {
        let (order, answer) = driving.await.unwrap();
        if let Answer::Succeeded(said) = answer {
            assert_eq!(said.amount, order.amount);
            happened.push((order.id.number(), said.amount.get()));
        }
    }
    assert!(happened.len() > 20, "{}", happened.len());
    happened.sort_unstable();
    assert_eq!(billed(address).await, happened);
}

/// What today's bill of a sandbox says: numbers and amounts, in order.
pub async fn billed(address: SocketAddr) -> Vec<(String, i64)> {
    let date = Date::of(SystemClock.now(), 28_800);
    let bill = client_of(address).bill(date).await.unwrap();
    let bill = plain::read(&bill, Expected { date, zone_offset_s: 28_800 }).unwrap();
    let mut billed: Vec<_> = bill.lines.into_iter().map(|line| (line.number, line.amount_fen)).collect();
    billed.sort_unstable();
    billed
}

#[test]
fn what_keeps_a_sandbox_from_starting_is_said() {
    let folder = Folder::new();
    let _first = SandboxProcess::start(&folder, "127.0.0.1:0", &[]);
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        text(&output.stderr)
    };
    let second = refused(&mut SandboxProcess::command(&folder, "127.0.0.1:0", &[]));
    assert!(second.contains("another process has it"), "{second}");
    let other = Folder::new();
    for (more, reason) in [
        (["--faults", "gremlins=5"], "is no fault; there are slow, timeout_done"),
        (["--faults", "cut=1001"], "of a thousand requests"),
        (["--notify-url", "http://example.com/"], "notify-url must be like https://"),
        (["--hour-ms", "0"], "1..=3600000"),
        (["--zone-offset-s", "99999"], "zone_offset_s must lie within 14 hours"),
    ] {
        let said = refused(&mut SandboxProcess::command(&other, "127.0.0.1:0", &more));
        assert!(said.contains(reason), "{more:?}: {said}");
    }
    std::fs::create_dir_all(other.path("sandbox")).unwrap();
    std::fs::write(other.path("sandbox/books.jsonl"), "{\"line\":\"gift\"}\n").unwrap();
    let damaged = refused(&mut SandboxProcess::command(&other, "127.0.0.1:0", &[]));
    assert!(damaged.contains("books.jsonl: line 1: unknown variant"), "{damaged}");
    let mut short = SandboxProcess::command(&Folder::new(), "127.0.0.1:0", &[]);
    let secret = folder.write("short", "short");
    let said = refused(short.args(["--secret-file".as_ref(), secret.as_os_str()]));
    assert!(said.contains("cannot be used multiple times"), "{said}");
}
