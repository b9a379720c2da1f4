//! The events that are sent to an installation's owner, with the consumer in `examples/` at the other end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hongbao_testbed::free_port;
use serde_json::Value;

use crate::support::{Folder, Service, lucky, text_of, wait_until};

const SOON: Duration = Duration::from_secs(20);
const SECRET: &str = "a secret that the consumer has as well";

/// The consumer, and what it has printed.
struct Consumer {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Consumer {
    fn start(port: u16) -> Consumer {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/webhook_consumer.py");
        let mut command = Command::new("python3");
        command.arg(program).args([&port.to_string(), SECRET]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let events = Arc::new(Mutex::new(Vec::new()));
        let found = events.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                found.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Consumer { child, events }
    }

    fn kinds(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|event: &Value| text_of(&event["type"]).to_owned()).collect()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(port: u16) -> String {
    format!("[webhook]\nurl = 'http://127.0.0.1:{port}'\nsecret = '{SECRET}'\n")
}

#[test]
fn the_webhook_gets_every_event_once_and_in_order_also_those_of_while_it_was_away() {
    let (folder, port) = (Folder::new(), free_port());
    let mut service = Service::start_in(&folder, &settings(port));
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    let consumer = Consumer::start(port);
    let first = li.send(&lucky(100, 1));
    wang.grab_and_open(&first);
    let whole = ["envelope.paid", "envelope.opened", "envelope.emptied"];
    wait_until(SOON, "the first envelope", || consumer.kinds() == whole);
    drop(consumer);
    // It is away, and so is the service after that.
    let second = li.send(&lucky(100, 1));
    wang.grab_and_open(&second);
    wang.wait_for_balance(200, SOON);
    service.kill();
    let consumer = Consumer::start(port);
    let service = Service::start_in(&folder, &settings(port));
    wait_until(SOON, "the second envelope", || consumer.kinds().len() >= 3);
    assert_eq!(consumer.kinds(), whole);
    for event in consumer.events.lock().unwrap().iter() {
        assert_eq!(event["envelope_id"], *second, "what was taken is not sent again");
    }
    service.check();
}

#[test]
fn the_consumer_takes_nothing_that_is_not_signed_or_is_signed_for_another_body() {
    let (folder, port) = (Folder::new(), free_port());
    // What the service would send, caught.
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let service = Service::start_in(&folder, &settings(port));
    let li = service.user("li");
    li.top_up(1_000);
    li.send(&lucky(100, 1));
    let (mut caught, _) = listener.accept().unwrap();
    drop(listener);
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    while !request.windows(2).any(|end| end == b"]}") {
        let read = caught.read(&mut buffer).unwrap();
        assert!(read > 0);
        request.extend_from_slice(&buffer[..read]);
    }
    drop(caught);
    let request = String::from_utf8(request).unwrap();
    let other = free_port();
    let _consumer = Consumer::start(other);
    let status = |request: &str| {
        wait_until(SOON, "the consumer", || std::net::TcpStream::connect(("127.0.0.1", other)).is_ok());
        let mut connection = std::net::TcpStream::connect(("127.0.0.1", other)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&request), "204");
    assert_eq!(status(&request.replace("\"li\"", "\"xi\"")), "401", "another body");
    assert_eq!(status(&request.replace("hongbao-signature", "hongbao-nothing")), "401");
    assert_eq!(status(&request.replace("t=1", "t=2")), "401", "another time");
}
