//! A SET is added while all serves: gateways and servers with old and new files side by side, clocks at the edge of
//! what is tolerated, and no envelope where the map does not place it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, Timestamp};
use hongbao_testbed::{Part, free_port};
use serde_json::Value;

use crate::backup_installation::{configure, run, user};
use crate::file_clock::FileClock;
use crate::rehearsal_installation::Process;
use crate::support::{Answer, Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, lucky, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// A little less than what servers tolerate of their database's clock.
const OFF_MS: i64 = 25_000;
/// Slots below this one stay in SET a.
const STAYS: u8 = 50;
/// Within this time of a clock that was set by minutes, servers read their fence anew.
const SETTLES_MS: i64 = 7_000;

struct World {
    folder: Folder,
    a: Part,
    c: Part,
    /// Of databases and of most processes.
    clock: FileClock,
    /// Of the server of the new SET, and of a gateway.
    fast: FileClock,
    slow: FileClock,
    at: BTreeMap<&'static str, SocketAddr>,
}

const NAMES: [&str; 6] = ["a1", "a-w1", "c1", "c-w1", "g-old", "g-new"];

impl World {
    fn new() -> World {
        let folder = Folder::new();
        let [clock, fast, slow] = ["clock", "fast", "slow"].map(|name| FileClock::new(&folder, name));
        let [a, c] = [(); 2].map(|()| Part::mariadb_in(&clock.environment()));
        let at = NAMES.map(|name| (name, SocketAddr::from(([127, 0, 0, 1], free_port())))).into();
        let settings = format!(
            "topology = 'old.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n"
        );
        folder.write("hongbao.toml", &settings);
        let world = World { folder, a, c, clock, fast, slow, at };
        world.folder.write("old.toml", &world.topology(1, None));
        world
    }

    fn set_clocks(&self, ahead_ms: i64) {
        self.clock.set(ahead_ms);
        self.fast.set(ahead_ms + OFF_MS);
        self.slow.set(ahead_ms - OFF_MS);
    }

    fn topology(&self, version: u64, from: Option<Timestamp>) -> String {
        let set = |name: &str, slots: &str, part: &Part| {
            let (server, worker) = (format!("{name}1"), format!("{name}-w1"));
            format!(
                "[[sets]]\nname = '{name}'\n{slots}database = ['{}']\nservers = [{{ name = '{server}', address = '{}' }}]\n\
                 workers = [{{ name = '{worker}', address = '{}' }}]\n",
                part.node(),
                self.at[&*server],
                self.at[&*worker]
            )
        };
        let mut text = format!("version = {version}\n{}", set("a", "slots = '00-99'\n", &self.a));
        if let Some(from) = from {
            text += &set("c", "", &self.c);
            text += &format!(
                "[[maps]]\nfrom = '{from}'\nsets = [{{ name = 'a', slots = '00-{:02}' }}, {{ name = 'c', slots = '{STAYS}-99' }}]\n",
                STAYS - 1
            );
        }
        text += &format!("[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n", self.a.node());
        for gateway in ["g-old", "g-new"] {
            text += &format!("[[gateways]]\nname = '{gateway}'\naddress = '{}'\n", self.at[gateway]);
        }
        text
    }

    fn start(&self, role: &str, name: &'static str, file: &str, clock: &FileClock) -> Process {
        let mut environment = clock.environment();
        environment.push(("HONGBAO_TOPOLOGY".to_owned(), file.to_owned()));
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        Process::start_as(&self.folder, role, Some(name), &environment)
    }

    fn migrate(&self, file: &str, more: &[&str]) -> (Option<i32>, String) {
        let next = self.folder.path(file);
        let mut options = vec!["--topology".as_ref(), next.as_path()];
        options.extend(more.iter().map(std::path::Path::new));
        run(&self.folder, "migrate", &options)
    }

    /// All envelopes of a database.
    fn envelopes(part: &Part) -> Vec<EnvelopeId> {
        let tables: Vec<String> =
            (1..=31).map(|day| format!("SELECT hex(id) FROM db_00.envelope_0_{day:02}")).collect();
        let ids = part.sql(&tables.join(" UNION ALL "));
        let bytes = |line: &str| u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes);
        ids.lines().filter_map(bytes).filter_map(|bytes| EnvelopeId::from_bytes(&bytes)).collect()
    }
}

/// What came of a send through a gateway.
#[derive(Debug)]
struct Sent {
    gateway: &'static str,
    began: Timestamp,
    ended: Timestamp,
    status: u16,
    code: String,
}

/// Sends and opens through a gateway until it is to stop.
fn work(world: &World, gateway: &'static str, stop: &AtomicBool, sent: &Mutex<Vec<Sent>>) {
    let (sender, opener) = (user("sender", world.at[gateway]), user(&format!("opener_{gateway}"), world.at[gateway]));
    while !stop.load(Ordering::Relaxed) {
        let began = SystemClock.now();
        let made = sender.post("/v1/envelopes", &lucky(2, 1));
        let ended = SystemClock.now();
        if made.status == 201 {
            let id = made.json()["id"].as_str().unwrap().to_owned();
            settled(|| sender.pay(&id));
            let opened = settled(|| opener.try_grab_and_open(&id).unwrap());
            assert_eq!(opened["outcome"], "opened");
        }
        let code = made.json()["code"].as_str().unwrap_or_default().to_owned();
        sent.lock().unwrap().push(Sent { gateway, began, ended, status: made.status, code });
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The answer of a request, which is repeated where a clock was set by minutes meanwhile: the fence has to be read
/// anew, and a ticket of before has expired.
fn settled(ask: impl Fn() -> Answer) -> Value {
    loop {
        let answer = ask();
        if answer.status == 200 || !["unavailable", "ticket_invalid"].contains(&answer.json()["code"].as_str().unwrap())
        {
            return answer.ok(200);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn top_up(user: &User, at: SocketAddr) {
    let body = serde_json::json!({ "amount_fen": 1_000_000, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
    user.at(at).post("/v1/dev/top-up", &body).ok(200);
}

#[test]
fn a_set_is_added_while_gateways_of_old_and_new_files_serve_and_no_envelope_is_stranded_i5() {
    let world = World::new();
    world.set_clocks(0);
    let (code, said) = world.migrate("old.toml", &[]);
    assert_eq!(code, Some(0), "{said}");
    let near = SystemClock.now().plus_millis(60_000);
    world.folder.write("near.toml", &world.topology(2, Some(near)));
    let (code, said) = world.migrate("near.toml", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("version 1, to which fences have come: its map from {near} is too near")), "{said}");

    let _a = (
        world.start("server", "a1", "old.toml", &world.clock),
        world.start("worker", "a-w1", "old.toml", &world.clock),
    );
    let from = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN + 20_000);
    world.folder.write("new.toml", &world.topology(2, Some(from)));
    let (code, said) = world.migrate("new.toml", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("SET \"a\" no longer holds ids from {from} on of slots 50, 51")), "{said}");
    assert!(said.contains(&format!("SET \"c\" holds ids from {from} on of slots 50, 51")), "{said}");
    let (code, said) = world.migrate("old.toml", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("a fence is that of version 2 of the topology, not 1"), "{said}");
    // The new SET's server is ahead of all others, and a gateway without the new file is behind.
    let _c =
        (world.start("server", "c1", "new.toml", &world.fast), world.start("worker", "c-w1", "new.toml", &world.clock));
    world.folder.write("late.toml", &world.topology(1, None));
    let _gateways = (
        world.start("gateway", "g-old", "late.toml", &world.slow),
        world.start("gateway", "g-new", "new.toml", &world.fast),
    );
    top_up(&user("sender", world.at["a1"]), world.at["a1"]);

    let (stop, sent, mut jumps) = (AtomicBool::new(false), Mutex::new(Vec::new()), Vec::new());
    std::thread::scope(|scope| {
        for gateway in ["g-old", "g-new"] {
            let (world, stop, sent) = (&world, &stop, &sent);
            scope.spawn(move || work(world, gateway, stop, sent));
        }
        std::thread::sleep(Duration::from_secs(3));
        // Nine seconds before the map is in force by the databases' clock.
        let jump = from.millis() - SystemClock.now().millis() - 9_000;
        jumps.push(SystemClock.now());
        world.set_clocks(jump);
        std::thread::sleep(Duration::from_secs(8));
        // The slow gateway passes it here, and learns of it later.
        jumps.push(SystemClock.now());
        world.set_clocks(jump + OFF_MS + 10_000);
        std::thread::sleep(Duration::from_secs(6));
        let refused = sent.lock().unwrap().iter().filter(|sent| sent.status == 503).count();
        assert!(refused > 10, "the old file places new envelopes where they are refused: {refused}");
        world.folder.write("late.toml", &world.topology(2, Some(from)));
        let settled_from = SystemClock.now().plus_millis(SETTLES_MS);
        std::thread::sleep(Duration::from_secs(11));
        stop.store(true, Ordering::Relaxed);
        let sent = sent.lock().unwrap();
        let later = sent.iter().filter(|sent| sent.began >= settled_from);
        assert!(later.clone().count() > 50);
        let failed: Vec<&Sent> = later.filter(|sent| sent.status != 201).take(3).collect();
        assert!(failed.is_empty(), "it has the new file: {failed:?}");
    });

    let sent = sent.into_inner().unwrap();
    let is_allowed = |sent: &Sent| {
        let is_settling = jumps.iter().any(|jump| *jump <= sent.ended && sent.began < jump.plus_millis(SETTLES_MS));
        sent.status == 201 || (sent.code == "unavailable" && (sent.gateway == "g-old" || is_settling))
    };
    let bad: Vec<&Sent> = sent.iter().filter(|sent| !is_allowed(sent)).take(3).collect();
    assert!(bad.is_empty(), "{bad:?}, where clocks were set at {jumps:?}");
    let made = sent.iter().filter(|sent| sent.status == 201).count();
    let (in_a, in_c) = (World::envelopes(&world.a), World::envelopes(&world.c));
    assert_eq!(in_a.len() + in_c.len(), made);
    assert!(in_c.len() > 100, "{} of {made} are in the new SET", in_c.len());
    let places = |id: &EnvelopeId| id.slot().number() >= STAYS && id.minted_at() >= from;
    assert_eq!(in_a.iter().filter(|id| places(id)).count(), 0, "SET a has one that is not its own");
    assert_eq!(in_c.iter().filter(|id| !places(id)).count(), 0, "SET c has one that is not its own");
    assert!(in_a.iter().any(|id| id.minted_at() >= from), "SET a goes on with its other slots");

    // All of them are found through either gateway, by the file of after.
    let everything = [&in_a[..], &in_c[..]].concat();
    for gateway in ["g-old", "g-new"] {
        let opener = user(&format!("opener_{gateway}"), world.at[gateway]);
        for id in everything.iter().step_by(17) {
            opener.detail(&id.to_string());
        }
    }
    std::fs::copy(world.folder.path("new.toml"), world.folder.path("old.toml")).unwrap();
    wait_until(SOON, "the credits", || {
        let (code, said) = run(&world.folder, "sets", &["--json".as_ref()]);
        let shown: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        code == Some(0) && shown["sets"].as_array().unwrap().iter().all(|set| set["uncredited"] == 0)
    });
    let (code, said) = run(&world.folder, "audit", &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_set_whose_database_is_gone_loses_slots_only_where_it_is_left_out_by_name() {
    let (mut gone, stays, folder) = (Part::mariadb(&[]), Part::mariadb(&[]), Folder::new());
    configure(&folder, &gone, &stays, 1, 1);
    let (code, said) = run(&folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let from = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN + 60_000);
    let text = std::fs::read_to_string(folder.path("topology.toml")).unwrap().replace("version = 1", "version = 2");
    let addresses = [(); 2].map(|()| free_port());
    let next = format!(
        "{text}[[sets]]\nname = 'b'\ndatabase = ['{}']\nservers = [{{ name = 'b1', address = '127.0.0.1:{}' }}]\n\
         workers = [{{ name = 'b-w1', address = '127.0.0.1:{}' }}]\n\
         [[maps]]\nfrom = '{from}'\nsets = [{{ name = 'b', slots = '00-99' }}]\n",
        stays.node(),
        addresses[0],
        addresses[1]
    );
    let next = folder.write("next.toml", &next);
    gone.kill();
    let migrate = |more: &[&str]| {
        let mut options = vec!["--topology", next.to_str().unwrap()];
        options.extend(more);
        run(&folder, "migrate", &options.iter().map(std::path::Path::new).collect::<Vec<_>>())
    };
    let (code, said) = migrate(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("SET \"a\""), "{said}");
    assert_eq!(stays.sql("SHOW DATABASES LIKE 'db%'"), "", "nothing was changed");
    assert_ne!(migrate(&["--leave-out", "a"]).0, Some(0), "without a reason");
    let (code, said) = migrate(&["--leave-out", "a", "--reason", "its rack burnt down"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fences were not changed"), "{said}");
    let kept = stays.sql("SELECT forced FROM db_00.slot_fence_version");
    assert_eq!(kept.trim(), "SET a was left out: its rack burnt down");

    // It is back: what is in force says that the ids are another's, now or when they have come.
    gone.restart();
    let (code, said) = migrate(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("SET \"a\" no longer holds ids from {from} on")), "{said}");
    let (code, said) = run(&folder, "sets", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("come to version 2 of the topology, and the file is version 1"), "{said}");
    assert_eq!(stays.sql("SELECT forced FROM db_00.slot_fence_version").trim(), kept.trim(), "the reason stays");
}
