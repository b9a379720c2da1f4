//! The examples do what they say, also where requests are refused and answers are lost.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Service, lucky, text, with};

const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-type: application/problem+json\r\n\
    content-length: 32\r\n\r\n{\"code\":\"busy\",\"retryable\":true}";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A proxy that loses the first answer of every path, and refuses the second request for a
/// payment and for an opening.
struct Unreliable {
    address: SocketAddr,
    /// Requests for each path, and when each came.
    seen: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
}

impl Unreliable {
    fn before(service: SocketAddr) -> Unreliable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
        let noted = seen.clone();
        // Ends with the process: a client has one connection a request, one after the other.
        std::thread::spawn(move || {
            for mut client in listener.incoming().map(Result::unwrap) {
                let request = message(&mut client);
                let path = text(&request).split(' ').nth(1).expect("a request has a path").to_owned();
                let last = path.rsplit('/').next().unwrap_or_default().to_owned();
                let times = {
                    let mut seen = noted.lock().unwrap();
                    let times = seen.entry(last.clone()).or_default();
                    times.push(Instant::now());
                    times.len()
                };
                let answer = match (times, last.as_str()) {
                    (2, "pay" | "open") => REFUSED.as_bytes().to_vec(),
                    _ => {
                        let mut server = TcpStream::connect(service).unwrap();
                        server.write_all(&request).unwrap();
                        message(&mut server)
                    }
                };
                if times > 1 {
                    client.write_all(&answer).unwrap();
                }
                client.shutdown(Shutdown::Both).unwrap();
            }
        });
        Unreliable { address, seen }
    }

    fn check(&self) {
        let seen = self.seen.lock().unwrap();
        for path in ["token", "top-up", "envelopes", "pay", "grab", "open", "wallet"] {
            let times = seen.get(path).map_or(0, Vec::len);
            let most = if path == "token" || path == "wallet" { usize::MAX } else { 3 };
            assert!((2..=most).contains(&times), "{path}: {times}");
        }
        for path in ["pay", "open"] {
            let [_, refused, repeated] = seen[path][..] else { panic!("{path} was asked for three times") };
            assert!(repeated - refused >= Duration::from_secs(2), "{path} waits for its Retry-After");
        }
    }
}

/// The bytes of a request or an answer.
fn message(from: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let head = text(&bytes).to_lowercase();
        if let Some((head, _)) = head.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
            if bytes.len() >= head.len() + 4 + length {
                return bytes;
            }
        }
        match from.read(&mut part).unwrap() {
            0 => return bytes,
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
}

/// Runs a client and holds what it says against the service.
fn runs_behind_an_unreliable_proxy(service: &Service, proxy: &Unreliable, client: &mut Command) {
    let ran = client.output().unwrap();
    assert!(ran.status.success(), "{}", said(&ran));
    let printed = text(&ran.stdout);
    let (opened, balance) = printed.trim().split_once('\n').expect("two lines");
    let opened = opened.rsplit(' ').nth(1).expect("the amount stands before the unit");
    assert_eq!(balance, format!("wang has {opened} fen"));
    assert_eq!(service.member("wang", &["family"]).balance().to_string(), opened);
    proxy.check();
    service.check();
}

#[test]
fn the_example_with_curl_repeats_what_was_refused_or_lost() {
    let service = Service::start("");
    let proxy = Unreliable::before(service.address());
    let mut client = Command::new(example("client.sh"));
    client.env("HONGBAO_URL", format!("http://{}", proxy.address));
    runs_behind_an_unreliable_proxy(&service, &proxy, &mut client);
}

#[test]
fn the_example_in_python_repeats_what_was_refused_or_lost() {
    let service = Service::start("");
    let proxy = Unreliable::before(service.address());
    let mut client = Command::new("python3");
    client.arg(example("client.py")).arg(format!("http://{}", proxy.address));
    runs_behind_an_unreliable_proxy(&service, &proxy, &mut client);
}

fn verified(detail: &Value) -> Output {
    let mut child = Command::new("python3");
    child.arg(example("verify_draw.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().expect("it is piped").write_all(detail.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_example_recomputes_a_draw_and_names_a_wrong_amount() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(20_000);
    for kind in ["lucky", "equal"] {
        let envelope = li.send(&with(lucky(9_000, 10), "kind", kind));
        for number in 0..10 {
            service.user(&format!("{kind}-{number}")).grab_and_open(&envelope);
        }
        let mut detail = li.detail(&envelope);
        let confirmed = verified(&detail);
        assert_eq!(said(&confirmed), "10 openings: every amount is what the committed seed draws\n");
        let amount = detail["opens"][6]["amount_fen"].as_i64().expect("an amount");
        detail["opens"][6]["amount_fen"] = (amount + 1).into();
        let refused = verified(&detail);
        assert!(!refused.status.success() && said(&refused).starts_with("opening 7: "), "{}", said(&refused));
    }
}

#[test]
fn the_nightly_example_keeps_backups_that_were_audited_and_fails_with_the_audits_code() {
    let service = Service::start("");
    service.user("li").top_up(7);
    let backups = service.folder().path("backups");
    let nightly = |data: &Path| {
        let mut command = Command::new(example("nightly.sh"));
        command.env("HONGBAO", env!("CARGO_BIN_EXE_hongbao")).env("KEEP", "1");
        command.arg(data).arg(&backups).output().unwrap()
    };
    let before = ["20200101T000000Z", "20200102T000000Z"].map(|name| backups.join(name));
    before.iter().for_each(|old| std::fs::create_dir_all(old).unwrap());
    let done = nightly(&service.folder().data());
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(said(&done).matches("all invariants hold").count(), 2, "{}", said(&done));
    assert!(!before[0].exists() && !before[1].exists());
    assert_eq!(backups.read_dir().unwrap().count(), 1);

    let failed = nightly(&service.folder().path("nothing"));
    assert_eq!(failed.status.code(), Some(2), "{}", said(&failed));
    assert_eq!(backups.read_dir().unwrap().count(), 1, "what was good is kept");
}
