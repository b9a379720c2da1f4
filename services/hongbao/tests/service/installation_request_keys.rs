//! Keys of requests over two SETs and two gateways: the gateway that mints an id, and the server that it asks first, know
//! nothing of what was made before, and yet there is one envelope for each key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_testbed::{Part, free_port};
use rustix::process::Signal;
use serde_json::json;

use crate::backup_installation::{run, user};
use crate::rehearsal_installation::Process;
use crate::support::{Folder, TICKET_SECRET, TOKEN_SECRET, User, lucky, text_of, wait_until, with};

const SOON: Duration = Duration::from_secs(60);
const NAMES: [&str; 4] = ["a1", "b1", "g1", "g2"];
const REPEATS: usize = 100;

struct World {
    folder: Folder,
    sets: [Part; 2],
    at: BTreeMap<&'static str, SocketAddr>,
    processes: BTreeMap<&'static str, Process>,
}

impl World {
    fn new() -> World {
        let (folder, sets) = (Folder::new(), [(); 2].map(|()| Part::mariadb(&[])));
        let at: BTreeMap<_, _> = NAMES.map(|name| (name, SocketAddr::from(([127, 0, 0, 1], free_port())))).into();
        folder.write(
            "hongbao.toml",
            &format!(
                "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
                 [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
                 [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
                 [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n"
            ),
        );
        let set = |name: &str, slots: &str, part: &Part| {
            let server = format!("{name}1");
            format!(
                "[[sets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['{}']\n\
                 servers = [{{ name = '{server}', address = '{}' }}]\n",
                part.node(),
                at[&*server]
            )
        };
        let gateway = |name: &str| format!("{{ name = '{name}', address = '{}' }}, ", at[name]);
        let topology = format!(
            "version = 1\ngateways = [{}{}]\n{}{}[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n",
            gateway("g1"),
            gateway("g2"),
            set("a", "00-49", &sets[0]),
            set("b", "50-99", &sets[1]),
            sets[0].node()
        );
        folder.write("topology.toml", &topology);
        let (code, said) = run(&folder, "migrate", &[]);
        assert_eq!(code, Some(0), "{said}");
        let mut world = World { folder, sets, at, processes: BTreeMap::new() };
        NAMES.into_iter().for_each(|name| world.start(name));
        world
    }

    fn start(&mut self, name: &'static str) {
        let role = if name.starts_with('g') { "gateway" } else { "server" };
        self.processes.insert(name, Process::start_as(&self.folder, role, Some(name), &[]));
    }

    fn kill(&mut self, name: &str) {
        self.processes.get_mut(name).unwrap().end(Signal::KILL);
    }

    /// A user with this key, who asks through the gateways by turns.
    fn keyed(&self, turn: usize, key: &str) -> User {
        user("li", self.at[["g1", "g2"][turn % 2]]).with_header("idempotency-key", key)
    }

    /// The ids of all envelopes of a SET.
    fn envelopes(&self, set: usize) -> BTreeSet<EnvelopeId> {
        let tables: Vec<String> =
            (1..=31).map(|day| format!("SELECT hex(id) FROM db_00.envelope_0_{day:02}")).collect();
        let ids = self.sets[set].sql(&tables.join(" UNION ALL "));
        let bytes = |line: &str| u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes);
        ids.lines().filter_map(bytes).filter_map(|bytes| EnvelopeId::from_bytes(&bytes)).collect()
    }
}

fn id_of(answer: &serde_json::Value) -> EnvelopeId {
    EnvelopeId::parse(text_of(&answer["id"])).unwrap()
}

#[test]
fn a_hundred_concurrent_repeats_through_two_gateways_make_one_envelope_and_a_set_that_is_down_makes_no_other() {
    let mut world = World::new();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |number| {
            let user = world.keyed(number, "hundred");
            scope.spawn(move || user.post("/v1/envelopes", &lucky(500, 5)).ok(201))
        };
        let asked: Vec<_> = (0..REPEATS).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(world.envelopes(0).len() + world.envelopes(1).len(), 1);
    assert!(world.envelopes(usize::from(id_of(&answers[0]).slot().number() >= 50)).contains(&id_of(&answers[0])));

    // What a body says decides, and not how; and nothing of it is stored where the request is refused.
    let li = world.keyed(0, "hundred");
    li.post_text("/v1/envelopes", r#"{ "shares": 5, "total_fen": 5e2, "kind": "lucky" }"#).ok(201);
    li.post("/v1/envelopes", &lucky(501, 5)).problem(409, "idempotency_conflict");
    for bad in ["", "a b", "红包", "\"quoted\"", &"x".repeat(65)] {
        world.keyed(0, bad).post("/v1/envelopes", &lucky(500, 5)).invalid(Some("Idempotency-Key"));
    }
    let twice = world.keyed(0, "one").with_header("idempotency-key", "other");
    twice.post("/v1/envelopes", &lucky(500, 5)).invalid(Some("Idempotency-Key"));
    world.keyed(1, "late").post("/v1/envelopes", &lucky(0, 5)).invalid(Some("total_fen"));
    world.keyed(1, "late").post("/v1/envelopes", &lucky(5, 5)).ok(201);

    // Of a hundred keys some stand for envelopes of either SET. One SET goes.
    let key = |number: usize| format!("k{number}");
    let made: Vec<_> = (0..16)
        .map(|number| id_of(&world.keyed(number, &key(number)).post("/v1/envelopes", &lucky(5, 5)).ok(201)))
        .collect();
    let is_of_b = |id: &EnvelopeId| id.slot().number() >= 50;
    assert!(made.iter().any(is_of_b) && !made.iter().all(is_of_b), "two SETs get their parts: {made:?}");
    world.kill("b1");
    for (number, id) in made.iter().enumerate() {
        let ask = || world.keyed(number + 1, &key(number)).post("/v1/envelopes", &lucky(5, 5));
        if is_of_b(id) {
            // Minting knows only after the first probes that a SET is gone.
            wait_until(SOON, "the SET to be unavailable", || {
                let answer = ask();
                assert_ne!(answer.status, 201, "{}", answer.text());
                answer.status == 503
            });
        } else {
            let mut answer = ask();
            wait_until(SOON, "the other SET to answer", || {
                answer = ask();
                answer.status == 201
            });
            assert_eq!(id_of(&answer.json()), *id);
        }
    }
    world.start("b1");
    for (number, id) in made.iter().enumerate() {
        let mut answer = world.keyed(number, &key(number)).post("/v1/envelopes", &lucky(5, 5));
        wait_until(SOON, "the SET to be back", || {
            answer = world.keyed(number, &key(number)).post("/v1/envelopes", &lucky(5, 5));
            answer.status == 201
        });
        assert_eq!(id_of(&answer.json()), *id);
    }
    assert_eq!(world.envelopes(0).len() + world.envelopes(1).len(), 18, "one for each key");
}

#[test]
fn servers_and_gateways_are_killed_and_each_key_has_one_envelope() {
    let mut world = World::new();
    let until = Instant::now() + Duration::from_secs(5);
    let at = [world.at["g1"], world.at["g2"]];
    let seen: Vec<Vec<(String, BTreeSet<EnvelopeId>)>> = std::thread::scope(|scope| {
        let work = |worker: usize| {
            scope.spawn(move || {
                let mut seen = Vec::new();
                for number in 0.. {
                    if Instant::now() > until {
                        break;
                    }
                    let (key, mut ids) = (format!("w{worker}-{number}"), BTreeSet::new());
                    let (mut turn, body) = (0, with(lucky(5, 5), "greeting", key.clone()));
                    // Twice through each gateway, however often that takes.
                    while turn < 4 {
                        let user = user("li", at[turn % 2]).with_header("idempotency-key", &key);
                        match user.try_call("POST", "/v1/envelopes", Some(body.to_string().as_bytes())) {
                            Ok(answer) if answer.status == 201 => {
                                ids.insert(id_of(&answer.json()));
                                turn += 1;
                            }
                            Ok(answer) => {
                                assert!([503, 504].contains(&answer.status), "{}", answer.text());
                                std::thread::sleep(Duration::from_millis(10));
                            }
                            // The gateway was killed.
                            Err(_) => std::thread::sleep(Duration::from_millis(10)),
                        }
                    }
                    seen.push((key, ids));
                }
                seen
            })
        };
        let working: Vec<_> = (0..4).map(work).collect();
        let mut turn = 0;
        while Instant::now() < until {
            let name = ["a1", "g1", "b1", "g2"][turn % 4];
            std::thread::sleep(Duration::from_millis(150));
            world.kill(name);
            world.start(name);
            turn += 1;
        }
        assert!(turn > 8, "{turn} kills");
        working.into_iter().map(|working| working.join().unwrap()).collect()
    });
    let seen: Vec<_> = seen.into_iter().flatten().collect();
    let mut all = BTreeSet::new();
    for (key, ids) in &seen {
        assert_eq!(ids.len(), 1, "{key}: {ids:?}");
        all.extend(ids);
    }
    let stored: BTreeSet<EnvelopeId> = world.envelopes(0).union(&world.envelopes(1)).copied().collect();
    assert_eq!(stored, all, "none that has no key");
    println!("{} keys", json!(seen.len()));
    assert!(seen.len() > 20, "{}", seen.len());
}
