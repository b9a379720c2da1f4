//! A SET leaves the topology: two months after it lost its slots its tables are in the archive, its processes and its database are
//! gone, and its envelopes are answered as ever.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, Timestamp};
use hongbao_testbed::{Part, free_port};
use serde_json::{Value, json};

use crate::file_clock::FileClock;
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, hongbao, lucky, seconds_from_now, sign, text, wait_until,
};

const LATER_MS: i64 = 60 * 86_400_000;
const SOON: Duration = Duration::from_secs(120);
/// Slots from this one on are those of SET b at first.
const OF_B: u8 = 50;

struct World {
    folder: Folder,
    a: Part,
    b: Part,
    clock: FileClock,
    at: BTreeMap<&'static str, SocketAddr>,
}

impl World {
    fn new() -> World {
        let folder = Folder::new();
        let clock = FileClock::new(&folder, "clock");
        let [a, b] = [(); 2].map(|()| Part::mariadb_in(&clock.environment()));
        let at = ["a1", "a-w1", "b1", "b-w1", "g"].map(|name| (name, SocketAddr::from(([127, 0, 0, 1], free_port()))));
        std::fs::create_dir(folder.path("archive")).unwrap();
        let id = uuid::Uuid::from_bytes(fresh_bytes());
        folder.write("archive/hongbao-archive", &id.to_string());
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n[workers]\nidle_ms = 20\nseal_after_days = 45\n\
             [archive]\nurl = 'file://{}'\nid = '{id}'\nafter_days = 45\n",
            folder.path("archive").display()
        );
        folder.write("hongbao.toml", &settings);
        World { folder, a, b, clock, at: at.into() }
    }

    /// SET b holds the upper slots until `from`. It is among the others, or it `has_left`.
    fn topology(&self, version: u64, from: Option<Timestamp>, has_left: bool) -> String {
        let set = |name: &str, slots: &str, part: &Part| {
            let (server, worker) = (format!("{name}1"), format!("{name}-w1"));
            format!(
                "[[sets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['{}']\n\
                 servers = [{{ name = '{server}', address = '{}' }}]\nworkers = [{{ name = '{worker}', address = '{}' }}]\n",
                part.node(),
                self.at[&*server],
                self.at[&*worker]
            )
        };
        let (low, high) = (format!("00-{:02}", OF_B - 1), format!("{OF_B}-99"));
        let mut text = format!("version = {version}\n{}", set("a", &low, &self.a));
        text += &match has_left {
            true => format!("[[left]]\nname = 'b'\nslots = '{high}'\n"),
            false => set("b", &high, &self.b),
        };
        if let Some(from) = from {
            text += &format!("[[maps]]\nfrom = '{from}'\nsets = [{{ name = 'a', slots = '00-99' }}]\n");
        }
        text += &format!("[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n", self.a.node());
        text + &format!("[[gateways]]\nname = 'g'\naddress = '{}'\n", self.at["g"])
    }

    fn start(&self, role: &str, name: &'static str) -> Process {
        let environment = self.clock.environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        Process::start_as(&self.folder, role, Some(name), &environment)
    }

    fn start_all(&self, sets: &[&str]) -> Vec<Process> {
        let processes = [("server", "a1"), ("worker", "a-w1"), ("server", "b1"), ("worker", "b-w1")];
        let of_sets = processes.into_iter().filter(|(_, name)| sets.contains(&&name[..1]));
        let mut started: Vec<Process> = of_sets.map(|(role, name)| self.start(role, name)).collect();
        started.push(self.start("gateway", "g"));
        started
    }

    /// Runs a command that ends, by the clock of the installation.
    fn run(&self, command: &str, more: &[&str]) -> (Option<i32>, String) {
        let config = self.folder.path("hongbao.toml");
        let mut run = hongbao(&[command, "--config", config.to_str().unwrap()]);
        let done = run.args(more).envs(self.clock.environment()).output().unwrap();
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    }

    fn migrate(&self, next: &Path) -> (Option<i32>, String) {
        self.run("migrate", &["--topology", next.to_str().unwrap()])
    }

    fn user(&self, name: &str) -> User {
        let exp = seconds_from_now(2 * LATER_MS / 1_000);
        User::new(
            name,
            Some(format!("Bearer {}", sign(&json!({ "sub": name, "exp": exp }), TOKEN_SECRET))),
            self.at["g"],
        )
    }

    /// Envelopes that were opened to their end, and others of which something went back; of both SETs.
    fn send_and_open(&self) -> Vec<String> {
        let (sender, openers) = (self.user("sender"), ["li", "wang"].map(|name| self.user(name)));
        let top_up = json!({ "amount_fen": 1_000_000, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
        sender.post("/v1/dev/top-up", &top_up).ok(200);
        let mut sent = Vec::new();
        for number in 0..24 {
            let id = sender.post("/v1/envelopes", &lucky(100, 2)).ok(201)["id"].as_str().unwrap().to_owned();
            sender.pay(&id).ok(200);
            for opener in &openers[..1 + number % 2] {
                assert_eq!(opener.grab_and_open(&id)["outcome"], "opened");
            }
            sent.push(id);
        }
        let of_b = |id: &&String| EnvelopeId::parse(id).unwrap().slot().number() >= OF_B;
        let count = sent.iter().filter(of_b).count();
        assert!((1..24).contains(&count), "{count} of 24 are SET b's");
        sent
    }

    /// What an opener is answered of each envelope.
    fn answers(&self, sent: &[String]) -> Vec<(Value, Value)> {
        let li = self.user("li");
        sent.iter().map(|id| (li.detail(id), li.grab_and_open(id))).collect()
    }
}

#[test]
fn a_set_leaves_when_all_of_it_is_in_the_archive_and_its_envelopes_are_answered_as_ever() {
    let mut world = World::new();
    world.folder.write("topology.toml", &world.topology(1, None, false));
    let (code, said) = world.run("migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let started = world.start_all(&["a", "b"]);
    let sent = world.send_and_open();
    let from = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN + 60_000);
    let next = world.folder.write("next.toml", &world.topology(2, Some(from), false));
    let (code, said) = world.migrate(&next);
    assert_eq!(code, Some(0), "{said}");
    std::fs::rename(&next, world.folder.path("topology.toml")).unwrap();
    let left = world.folder.write("left.toml", &world.topology(3, Some(from), true));
    let (code, said) = world.migrate(&left);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("SET \"b\" has left, and held slots within the last 45 days"), "{said}");
    drop(started);

    world.clock.set(LATER_MS);
    // The databases take it over within a second or two.
    let (mut code, mut said) = world.migrate(&left);
    wait_until(SOON, "the databases' clocks", || {
        (code, said) = world.migrate(&left);
        !said.contains("its clock shows")
    });
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("SET \"b\" cannot leave: envelopes of database "), "{said}");
    let started = world.start_all(&["a", "b"]);
    wait_until(SOON, "the refunds", || {
        let (code, said) = world.run("sets", &["--json"]);
        let shown: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        code == Some(0) && shown["sets"].as_array().unwrap().iter().all(|set| set["oldest"].is_null())
    });
    // Workers that are started anew look at once at what was not ready to be sealed.
    drop(started);
    let started = world.start_all(&["a", "b"]);
    wait_until(SOON, "SET b to have left", || {
        let (code, said) = world.migrate(&left);
        assert!(code == Some(0) || said.contains("SET \"b\" cannot leave: envelopes of database "), "{said}");
        code == Some(0)
    });
    let before = world.answers(&sent);
    let (code, said) = world.run("audit", &["--sealed", "all"]);
    assert_eq!(code, Some(2), "the file in use is older than the fences: {said}");
    drop(started);
    world.b.kill();

    std::fs::rename(&left, world.folder.path("topology.toml")).unwrap();
    let started = world.start_all(&["a"]);
    assert_eq!(world.answers(&sent), before);
    let unknown = EnvelopeId::mint(EnvelopeId::parse(&sent[0]).unwrap().minted_at(), [0xff; 10]);
    assert_eq!(world.user("li").get(&format!("/v1/envelopes/{unknown}")).status, 404);
    let (code, said) = world.run("audit", &["--sealed", "all"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = world.run("migrate", &[]);
    assert_eq!(code, Some(0), "it may be repeated: {said}");

    // It never comes back, and what is missing of it is named.
    let back = world.folder.write("back.toml", &world.topology(4, Some(from), false));
    let (code, said) = world.migrate(&back);
    assert_eq!(code, Some(2), "{said}");
    let of_b = sent.iter().find(|id| EnvelopeId::parse(id).unwrap().slot().number() >= OF_B).unwrap();
    std::fs::rename(world.folder.path("archive/b"), world.folder.path("elsewhere")).unwrap();
    drop(started);
    let _started = world.start_all(&["a"]);
    let answer = world.user("li").get(&format!("/v1/envelopes/{of_b}"));
    assert!((500..=503).contains(&answer.status), "never 404: {} {:?}", answer.status, answer.json());
    let (code, said) = world.run("audit", &[]);
    assert_ne!(code, Some(0), "{said}");
}
