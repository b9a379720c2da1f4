//! A SET leaves the topology under load: two months after it lost its slots its tables are in the archive, its processes
//! and its database are gone, and its envelopes are answered as ever.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, Timestamp};
use hongbao_testbed::{Part, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::file_clock::FileClock;
use crate::installation_leaving_load::{Known, Load, Target, metric};
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, hongbao, lucky, seconds_from_now, sign, text, wait_until,
};

const LATER_MS: i64 = 60 * 86_400_000;
const SOON: Duration = Duration::from_secs(120);
/// Slots from this one on are those of SET b at first.
const OF_B: u8 = 50;
/// The topology file of most hosts, and that of the host of another gateway.
const FILE: &str = "topology.toml";
const LATE_FILE: &str = "late.toml";
/// How long the load goes on where gateways of two files are side by side, and after the last step.
const GOES_ON: Duration = Duration::from_secs(2);
const NAMES: [&str; 7] = ["a1", "a2", "a-w1", "b1", "b-w1", "g", "g-late"];

type Processes = BTreeMap<&'static str, Process>;

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
        let at = NAMES.map(|name| (name, SocketAddr::from(([127, 0, 0, 1], free_port()))));
        std::fs::create_dir(folder.path("archive")).unwrap();
        let id = uuid::Uuid::from_bytes(fresh_bytes());
        folder.write("archive/hongbao-archive", &id.to_string());
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n[rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n\
             [workers]\nidle_ms = 20\nseal_after_days = 45\n\
             [archive]\nurl = 'file://{}'\nid = '{id}'\nafter_days = 45\n",
            folder.path("archive").display()
        );
        folder.write("hongbao.toml", &settings);
        World { folder, a, b, clock, at: at.into() }
    }

    /// SET b holds the upper slots until `from`. It is among the others, or it `has_left`.
    fn topology(&self, version: u64, from: Option<Timestamp>, has_left: bool) -> String {
        let entries = |names: &[&str]| -> String {
            let entries = names.iter().map(|name| format!("{{ name = '{name}', address = '{}' }},", self.at[name]));
            entries.collect()
        };
        let set = |name: &str, slots: &str, part: &Part, servers: &[&str], worker: &str| {
            let (servers, workers) = (entries(servers), entries(&[worker]));
            format!(
                "[[sets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['{}']\nservers = [{servers}]\nworkers = [{workers}]\n",
                part.node()
            )
        };
        let (low, high) = (format!("00-{:02}", OF_B - 1), format!("{OF_B}-99"));
        let mut text = format!("version = {version}\ngateways = [{}]\n", entries(&["g", "g-late"]));
        text += &set("a", &low, &self.a, &["a1", "a2"], "a-w1");
        text += &match has_left {
            true => format!("[[left]]\nname = 'b'\nslots = '{high}'\n"),
            false => set("b", &high, &self.b, &["b1"], "b-w1"),
        };
        if let Some(from) = from {
            text += &format!("[[maps]]\nfrom = '{from}'\nsets = [{{ name = 'a', slots = '00-99' }}]\n");
        }
        text + &format!("[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n", self.a.node())
    }

    /// Puts a file in the place of another, as an operator does on its host.
    fn put(&self, file: &Path, place: &str) {
        let next = self.folder.path("next");
        std::fs::copy(file, &next).unwrap();
        std::fs::rename(next, self.folder.path(place)).unwrap();
    }

    fn start(&self, name: &'static str, file: &str) -> Process {
        let role = match name {
            "g" | "g-late" => "gateway",
            "a-w1" | "b-w1" => "worker",
            _ => "server",
        };
        let mut environment = self.clock.environment();
        environment.push(("HONGBAO_TOPOLOGY".to_owned(), file.to_owned()));
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        Process::start_as(&self.folder, role, Some(name), &environment)
    }

    /// Starts the processes of these SETs, and the gateways.
    fn start_all(&self, sets: &[&str]) -> Processes {
        let is_one = |name: &&str| name.starts_with('g') || sets.contains(&&name[..1]);
        let file = |name| if name == "g-late" { LATE_FILE } else { FILE };
        NAMES.into_iter().filter(is_one).map(|name| (name, self.start(name, file(name)))).collect()
    }

    /// Starts a server anew with another file, and waits until both gateways know that it is back.
    fn start_anew(&self, processes: &mut Processes, name: &'static str, file: &str) {
        processes.get_mut(name).unwrap().end(Signal::TERM);
        let is_up = format!("hongbao_gateway_server_up{{set=\"a\",server=\"{name}\"}}");
        let all_say = |up: f64| ["g", "g-late"].iter().all(|gateway| metric(self.at[gateway], &is_up) == up);
        wait_until(SOON, "the gateways to know that it is gone", || all_say(0.0));
        processes.insert(name, self.start(name, file));
        wait_until(SOON, "the gateways to know that it is back", || all_say(1.0));
    }

    /// Waits until a gateway has taken a version over.
    fn wait_for_version(&self, gateway: &str, version: f64) {
        let is_in_force = || metric(self.at[gateway], "hongbao_gateway_topology_version ") == version;
        wait_until(SOON, "a gateway to take the file over", is_in_force);
    }

    /// Runs a command that ends, by the clock of the installation.
    fn run(&self, command: &str, more: &[&str]) -> (Option<i32>, String) {
        self.run_with(FILE, command, more)
    }

    /// The same with another topology file.
    fn run_with(&self, file: &str, command: &str, more: &[&str]) -> (Option<i32>, String) {
        let config = self.folder.path("hongbao.toml");
        let mut run = hongbao(&[command, "--config", config.to_str().unwrap()]);
        run.args(more).envs(self.clock.environment()).env("HONGBAO_TOPOLOGY", file);
        let done = run.output().unwrap();
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    }

    /// The same, and it has to succeed.
    fn succeed(&self, file: &str, command: &str, more: &[&str]) {
        let (code, said) = self.run_with(file, command, more);
        assert_eq!(code, Some(0), "{command} {more:?}: {said}");
    }

    fn migrate(&self, next: &Path) -> (Option<i32>, String) {
        self.run("migrate", &["--topology", next.to_str().unwrap()])
    }

    fn user(&self, name: &str) -> User {
        let exp = seconds_from_now(2 * LATER_MS / 1_000);
        let token = sign(&json!({ "sub": name, "exp": exp }), TOKEN_SECRET);
        User::new(name, Some(format!("Bearer {token}")), self.at["g"])
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
    fn answers(&self, sent: &[String]) -> Vec<Known> {
        let li = self.user("li");
        sent.iter().map(|id| (id.clone(), li.detail(id), li.grab_and_open(id))).collect()
    }
}

#[test]
fn a_set_leaves_under_load_when_all_of_it_is_in_the_archive_and_its_envelopes_are_answered_as_ever() {
    let mut world = World::new();
    for file in [FILE, LATE_FILE] {
        world.folder.write(file, &world.topology(1, None, false));
    }
    world.succeed(FILE, "migrate", &[]);
    let started = world.start_all(&["a", "b"]);
    let sent = world.send_and_open();
    let from = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN + 60_000);
    let next = world.folder.write("maps.toml", &world.topology(2, Some(from), false));
    world.succeed(FILE, "migrate", &["--topology", next.to_str().unwrap()]);
    for file in [FILE, LATE_FILE] {
        world.put(&next, file);
    }
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
    let mut processes = world.start_all(&["a", "b"]);
    let before = world.answers(&sent);
    leave_under_load(&mut world, &mut processes, &left, &before);

    assert_eq!(world.answers(&sent), before);
    let unknown = EnvelopeId::mint(EnvelopeId::parse(&sent[0]).unwrap().minted_at(), [0xff; 10]);
    assert_eq!(world.user("li").get(&format!("/v1/envelopes/{unknown}")).status, 404);
    // It may be repeated.
    world.succeed(FILE, "migrate", &[]);

    // It never comes back, and what is missing of it is named.
    let back = world.folder.write("back.toml", &world.topology(4, Some(from), false));
    let (code, said) = world.migrate(&back);
    assert_eq!(code, Some(2), "{said}");
    let of_b = sent.iter().find(|id| EnvelopeId::parse(id).unwrap().slot().number() >= OF_B).unwrap();
    std::fs::rename(world.folder.path("archive/b"), world.folder.path("elsewhere")).unwrap();
    drop(processes);
    let _started = world.start_all(&["a"]);
    let answer = world.user("li").get(&format!("/v1/envelopes/{of_b}"));
    assert!((500..=503).contains(&answer.status), "never 404: {} {:?}", answer.status, answer.json());
    let (code, said) = world.run("audit", &[]);
    assert_ne!(code, Some(0), "{said}");
}

/// SET b leaves in the order of the handbook, while the load test and readers go through both gateways.
fn leave_under_load(world: &mut World, processes: &mut Processes, left: &Path, before: &[Known]) {
    let target = Target {
        folder: world.folder.clone(),
        environment: world.clock.environment(),
        ahead_ms: LATER_MS,
        gateway: world.at["g"],
        servers: vec![world.at["a1"], world.at["a2"]],
    };
    let readers = ["g", "g-late"].map(|gateway| (gateway, world.user("li").at(world.at[gateway])));
    Load::around(&target, &readers, before, |load| {
        load.step("migrate", || {
            wait_until(SOON, "SET b to have left", || {
                let (code, said) = world.migrate(left);
                let is_early = said.contains("SET \"b\" cannot leave: envelopes of database ");
                assert!(code == Some(0) || is_early, "{said}");
                code == Some(0)
            });
        });
        let (code, said) = world.run("audit", &[]);
        assert_eq!(code, Some(2), "the file in use is older than the fences: {said}");
        world.succeed("left.toml", "audit", &[]);
        load.step("a1 with the new file", || world.start_anew(processes, "a1", "left.toml"));
        load.step("a2 with the new file", || world.start_anew(processes, "a2", "left.toml"));
        world.succeed("left.toml", "audit", &[]);
        load.step("a gateway with the new file", || {
            world.put(left, FILE);
            world.wait_for_version("g", 3.0);
        });
        world.succeed(FILE, "audit", &[]);
        std::thread::sleep(GOES_ON);
        assert_eq!(metric(world.at["g-late"], "hongbao_gateway_topology_version "), 2.0);
        load.step("the other gateway with the new file", || {
            world.put(left, LATE_FILE);
            world.wait_for_version("g-late", 3.0);
        });
        world.succeed(FILE, "audit", &[]);
        load.step("the end of the processes of SET b", || {
            for name in ["b1", "b-w1"] {
                processes.remove(name).unwrap().end(Signal::TERM);
            }
        });
        load.step("the end of its database", || world.b.kill());
        std::thread::sleep(GOES_ON);
        world.succeed(FILE, "audit", &["--sealed", "all"]);
    });
}
