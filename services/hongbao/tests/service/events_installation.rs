//! A client that follows its events through a gateway sees all of them, whatever is killed meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hongbao_testbed::{Part, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::backup_installation::run;
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, connect, lucky, seconds_from_now, sign, text_of, wait_until, with,
};

const SOON: Duration = Duration::from_secs(40);
/// Processes are killed after so many envelopes each.
const ENVELOPES: usize = 8;

/// A SET of two servers and a worker, and a gateway.
struct World {
    folder: Folder,
    _mariadb: Part,
    gateway: SocketAddr,
}

impl World {
    fn new() -> World {
        let (mariadb, folder) = (Part::mariadb(&[]), Folder::new());
        let [a1, a2, worker, gateway] = [(); 4].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 2\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n"
        );
        folder.write("hongbao.toml", &settings);
        let database = mariadb.node();
        let topology = format!(
            "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\n\
             servers = [{{ name = 'a1', address = '{a1}' }}, {{ name = 'a2', address = '{a2}' }}]\n\
             workers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
             [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
             [[gateways]]\nname = 'g'\naddress = '{gateway}'\n"
        );
        folder.write("topology.toml", &topology);
        World { folder, _mariadb: mariadb, gateway }
    }

    fn start(&self, role: &str, name: &str) -> Process {
        Process::start_as(&self.folder, role, Some(name), &[])
    }

    fn user(&self, name: &str) -> User {
        let claims = json!({ "sub": name, "exp": seconds_from_now(3_600), "groups": ["family"] });
        User::new(name, Some(format!("Bearer {}", sign(&claims, TOKEN_SECRET))), self.gateway)
    }
}

/// Follows a user's events and goes on from the last one whenever the stream breaks off.
fn follow(user: &User, at: SocketAddr, is_over: &AtomicBool, seen: &Mutex<Vec<Value>>) -> usize {
    let (mut last_id, mut connections) = (None::<String>, 0);
    while !is_over.load(Ordering::Relaxed) {
        connections += 1;
        let named = last_id.as_ref().map_or_else(|| user.at(at), |id| user.at(at).with_header("Last-Event-ID", id));
        let Ok(mut stream) = connect(at) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        if stream.write_all(&named.request("GET", "/v1/events/stream", None)).is_err() {
            continue;
        }
        let mut lines = BufReader::new(stream);
        let (mut line, mut id) = (String::new(), None);
        while !is_over.load(Ordering::Relaxed) {
            match lines.read_line(&mut line) {
                Ok(0) => break,
                // What has come of a line stays in it.
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    continue;
                }
                Err(_) => break,
                Ok(_) => {}
            }
            if let Some(text) = line.trim().strip_prefix("id: ") {
                id = Some(text.to_owned());
            } else if let Some(text) = line.trim().strip_prefix("data: ") {
                seen.lock().unwrap().push(serde_json::from_str(text).unwrap());
                last_id = id.take();
            }
            line.clear();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    connections
}

/// Repeats a call until it succeeds: what it asks for may have been done already.
fn until_ok(user: &User, method: &str, path: &str, body: &Value) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        if let Ok(answer) = user.try_call(method, path, Some(body.to_string().as_bytes()))
            && answer.status < 300
        {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "{method} {path}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn all_events(user: &User) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = until_ok(user, "GET", &format!("/v1/events?limit=7{cursor}"), &Value::Null);
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
        cursor = format!("&cursor={}", text_of(&page["next_cursor"]));
    }
}

fn ids_of(events: &[Value]) -> Vec<&str> {
    let mut ids: Vec<&str> = events.iter().map(|event| text_of(&event["id"])).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn a_client_that_reconnects_through_kills_sees_every_event_in_order_of_each_envelope() {
    let world = World::new();
    run(&world.folder, "migrate", &[]);
    let mut parts: Vec<(&str, &str, Process)> =
        [("server", "a1"), ("server", "a2"), ("worker", "a-w1"), ("gateway", "g")]
            .map(|(role, name)| (role, name, world.start(role, name)))
            .into();
    let [li, wang] = ["li", "wang"].map(|name| world.user(name));
    let top_up = json!({ "amount_fen": 1_000_000, "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    until_ok(&li, "POST", "/v1/dev/top-up", &top_up);
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (all, connections) = std::thread::scope(|scope| {
        let following = scope.spawn(|| follow(&wang, world.gateway, &is_over, &seen));
        for number in 0..ENVELOPES {
            let envelope = with(lucky(300, 2), "audience", json!({ "type": "group", "id": "family" }));
            let id = text_of(&until_ok(&li, "POST", "/v1/envelopes", &envelope)["id"]).to_owned();
            let place = number % parts.len();
            parts[place].2.end(Signal::KILL);
            let (role, name) = (parts[place].0, parts[place].1);
            parts[place].2 = world.start(role, name);
            until_ok(&li, "POST", &format!("/v1/envelopes/{id}/pay"), &json!({}));
            for user in [&wang, &li] {
                let ready = until_ok(user, "POST", &format!("/v1/envelopes/{id}/grab"), &Value::Null);
                if let Some(ticket) = ready["ticket"].as_str() {
                    until_ok(user, "POST", &format!("/v1/envelopes/{id}/open"), &json!({ "ticket": ticket }));
                }
            }
        }
        let mut all = Vec::new();
        wait_until(SOON, "the events of all envelopes", || {
            all = all_events(&wang);
            all.len() == ENVELOPES * 4
        });
        wait_until(SOON, "the stream to have seen them", || ids_of(&seen.lock().unwrap()).len() == all.len());
        is_over.store(true, Ordering::Relaxed);
        (all, following.join().unwrap())
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(ids_of(&seen), ids_of(&all));
    assert_eq!(ids_of(&all).len(), all.len(), "each is in the feed once");
    assert!(connections > 2, "{connections} connections: the stream was cut off");
    for events in [&all, &seen] {
        for of in all.iter().map(|event| &event["envelope_id"]) {
            let mut places: Vec<(&Value, &str)> = Vec::new();
            for event in events.iter().filter(|event| event["envelope_id"] == *of) {
                let place = (&event["seq"], text_of(&event["type"]));
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            let kinds: Vec<&str> = places.iter().map(|(_, kind)| *kind).collect();
            assert_eq!(kinds, ["envelope.paid", "envelope.opened", "envelope.opened", "envelope.emptied"]);
            assert!(places.iter().map(|(seq, _)| seq.as_u64()).is_sorted(), "{places:?}");
        }
    }
}
