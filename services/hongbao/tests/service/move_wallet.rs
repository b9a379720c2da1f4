//! `hongbao move-wallet` on an installation that serves: half of the users go to another
//! MariaDB, while a server and a worker with the file of before are used, and then others
//! with the next one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hongbao_core::id::stable_hash;
use hongbao_testbed::{Part, free_port};
use hongbao_wallet::mysql::Step;
use serde_json::{Value, json};

use crate::backup_installation::user;
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, hongbao, lucky, number_of, text, text_of, wait_until,
};

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 3;
const TOTAL_FEN: i64 = 300;
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// An installation with one SET, and the two files.
struct Installation {
    folder: Folder,
    _set: Part,
    new_wallet: Part,
    _old_wallet: Part,
    /// Where a1 and a2 listen.
    servers: [SocketAddr; 2],
}

impl Installation {
    fn start() -> Installation {
        let [set, old_wallet, new_wallet] = std::thread::scope(|scope| {
            [(); 3].map(|()| scope.spawn(|| Part::mariadb(&[]))).map(|part| part.join().unwrap())
        });
        let folder = Folder::new();
        let [a1, a2, worker] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n\
             [storage]\ndatabases = 1\ntables = 1\nwallet_databases = 2\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n"
        );
        folder.write("hongbao.toml", &settings);
        let file = |version: u64, wallets: &str| {
            format!(
                "version = {version}\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{}']\n\
                 servers = [{{ name = 'a1', address = '{a1}' }}, {{ name = 'a2', address = '{a2}' }}]\n\
                 workers = [{{ name = 'a-w1', address = '{worker}' }}]\n{wallets}",
                set.node()
            )
        };
        let wallet = |name: &str, slots: &str, part: &Part| {
            format!("[[wallets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['{}']\n", part.node())
        };
        folder.write("topology.toml", &file(1, &wallet("w1", "00-99", &old_wallet)));
        let next = [wallet("w1", "00-49", &old_wallet), wallet("w2", "50-99", &new_wallet)].concat();
        folder.write("next.toml", &file(2, &next));
        Installation { folder, _set: set, new_wallet, _old_wallet: old_wallet, servers: [a1, a2] }
    }

    fn path(&self, file: &str) -> String {
        self.folder.path(file).to_str().unwrap().to_owned()
    }

    /// A command of the binary, over one of the two files.
    fn command(&self, name: &str, topology: &str, more: &[&str]) -> Command {
        let mut command = hongbao(&[name, "--config", &self.path("hongbao.toml")]);
        command.args(more).env("HONGBAO_TOPOLOGY", self.path(topology));
        command
    }

    fn run(&self, name: &str, topology: &str, more: &[&str]) -> (Option<i32>, String) {
        let done = self.command(name, topology, more).output().unwrap();
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    }

    /// Starts a process over one of the two files.
    fn process(&self, role: &str, name: &str, topology: &str) -> Process {
        Process::start_as(&self.folder, role, Some(name), &[("HONGBAO_TOPOLOGY", &self.path(topology))])
    }

    fn move_wallet(&self) -> Command {
        self.command("move-wallet", "topology.toml", &["--next", &self.path("next.toml")])
    }

    /// Runs the move, and kills it as soon as it says that it begins a step.
    fn move_until(&self, step: &str) {
        let mut child = self.move_wallet().stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begins = lines.map_while(Result::ok).any(|line| line.contains(step));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(begins, "{step} never began");
    }
}

fn moves(name: &str) -> bool {
    stable_hash(name.as_bytes()) % 100 >= 50
}

/// A name that begins so, of a user who moves or stays.
fn named(begin: &str, is_moving: bool) -> String {
    (0..).map(|number| format!("{begin}_{number}")).find(|name| moves(name) == is_moving).unwrap()
}

/// What each user must have at the end.
#[derive(Default)]
struct Books(Mutex<BTreeMap<String, i64>>);

impl Books {
    fn add(&self, name: &str, fen: i64) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += fen;
    }
}

/// Asks at one server after the other until there is a success.
fn insist(at: [SocketAddr; 2], name: &str, method: &str, path: &str, body: Option<&Value>) -> Value {
    let body = body.map(Value::to_string);
    for round in 0.. {
        let answer = user(name, at[round % 2]).try_call(method, path, body.as_deref().map(str::as_bytes));
        match answer {
            Ok(answer) if [200, 201].contains(&answer.status) => return answer.json(),
            // On a slow machine a commit may be so late that the answer is `outcome_unknown`.
            Ok(answer) => assert_eq!(answer.json()["retryable"], true, "{method} {path}: {}", answer.text()),
            // It does not run.
            Err(_) => {}
        }
        std::thread::sleep(AGAIN_AFTER);
    }
    unreachable!("there is no last round")
}

/// Sends and opens until it is to stop. What was begun is brought to its end.
fn work(number: usize, at: [SocketAddr; 2], stop: &AtomicBool, rounds: &AtomicUsize, books: &Books) {
    let senders = [true, false].map(|is_moving| named(&format!("sender{number}"), is_moving));
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let sender = &senders[round % 2];
        let top_up = json!({ "amount_fen": TOTAL_FEN, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
        insist(at, sender, "POST", "/v1/dev/top-up", Some(&top_up));
        let created = insist(at, sender, "POST", "/v1/envelopes", Some(&lucky(TOTAL_FEN, 2)));
        let id = text_of(&created["id"]);
        insist(at, sender, "POST", &format!("/v1/envelopes/{id}/pay"), None);
        for is_moving in [true, false] {
            let opener = named(&format!("opener{number}"), is_moving);
            let grabbed = insist(at, &opener, "POST", &format!("/v1/envelopes/{id}/grab"), None);
            let ticket = json!({ "ticket": grabbed["ticket"] });
            let opened = insist(at, &opener, "POST", &format!("/v1/envelopes/{id}/open"), Some(&ticket));
            books.add(&opener, number_of(&opened["amount_fen"]));
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// The ids of the user's transfers, page by page, from a cursor on.
fn transfers(user: &User, mut cursor: Option<String>) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let path = match &cursor {
            Some(cursor) => format!("/v1/wallet/transfers?limit=2&cursor={cursor}"),
            None => "/v1/wallet/transfers?limit=2".to_owned(),
        };
        let page = user.get(&path).ok(200);
        all.extend(page["transfers"].as_array().unwrap().iter().cloned());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return all;
        }
    }
}

#[test]
fn a_wallet_grows_under_load_with_files_of_before_and_after_side_by_side_i1_i6() {
    let one = Installation::start();
    let (code, said) = one.run("migrate", "topology.toml", &[]);
    assert_eq!(code, Some(0), "{said}");
    let mut old = vec![one.process("server", "a1", "topology.toml"), one.process("worker", "a-w1", "topology.toml")];

    // Neither a migration nor a server with the next file makes or serves an empty wallet.
    let (code, said) = one.run("migrate", "next.toml", &[]);
    assert!(code == Some(2) && said.contains("wallet_00 ") && said.contains("`hongbao move-wallet`"), "{said}");
    let (code, said) = one.run("server", "next.toml", &["--name", "a2"]);
    assert!(code == Some(2) && said.contains("wallet_00 ") && said.contains("`hongbao move-wallet`"), "{said}");
    assert_eq!(one.new_wallet.sql("SHOW DATABASES LIKE 'wallet%'"), "");

    let (stop, rounds, books) = (AtomicBool::new(false), AtomicUsize::new(0), Books::default());
    let reader = named("reader", true);
    for fen in 1..=7 {
        user(&reader, one.servers[0]).top_up(fen);
    }
    let all = transfers(&user(&reader, one.servers[0]), None);
    let first = user(&reader, one.servers[0]).get("/v1/wallet/transfers?limit=2").ok(200);
    let cursor = text_of(&first["next_cursor"]).to_owned();

    std::thread::scope(|scope| {
        let (one, stop, rounds, books) = (&one, &stop, &rounds, &books);
        let _stop = StopOnDrop(stop);
        for number in 0..CLIENTS {
            scope.spawn(move || work(number, one.servers, stop, rounds, books));
        }
        let more = |count: usize, what: &str| {
            let before = rounds.load(Ordering::Relaxed);
            wait_until(SOON, what, || rounds.load(Ordering::Relaxed) >= before + count);
        };
        more(10, "some envelopes before the move");
        for number in 1..=Step::ALL.len() {
            one.move_until(&format!(": {number}/{} ", Step::ALL.len()));
            println!("killed in step {number} after {} rounds", rounds.load(Ordering::Relaxed));
        }
        for _ in 0..2 {
            let done = one.move_wallet().output().unwrap();
            assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
            assert!(text(&done.stdout).contains("every slot is where the next topology file says"));
        }

        let (code, said) = one.run("move-wallet", "next.toml", &["--next", &one.path("next.toml")]);
        assert!(code == Some(2) && said.contains("the next one has a higher version"), "{said}");

        // The server that has the file of before serves those who stay, and no user who has moved.
        let problem = user(&reader, one.servers[0]).get("/v1/wallet").problem(503, "unavailable");
        assert!(problem["retryable"] == true, "{problem}");
        let top_up = json!({ "amount_fen": 1, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
        user(&reader, one.servers[0]).post("/v1/dev/top-up", &top_up).problem(503, "unavailable");
        user(&named("reader", false), one.servers[0]).top_up(5);
        let (code, said) = one.run("audit", "topology.toml", &[]);
        assert!(code == Some(2) && said.contains("were moved from wallet_0"), "{said}");

        let _a2 = one.process("server", "a2", "next.toml");
        let moved = user(&reader, one.servers[1]);
        moved.top_up(100);
        assert_eq!(moved.balance(), 128);
        assert_eq!(transfers(&moved, Some(cursor.clone())), all[2..], "a cursor of before goes on where it was");
        more(10, "envelopes of all users again");
        old.clear();
        let _worker = one.process("worker", "a-w1", "next.toml");
        let _a1 = one.process("server", "a1", "next.toml");
        more(10, "some more with the next file everywhere");
        stop.store(true, Ordering::Relaxed);
        let ended = rounds.load(Ordering::Relaxed);
        wait_until(SOON, "all to be credited", || {
            let books = books.0.lock().unwrap();
            books.iter().all(|(name, fen)| user(name, one.servers[1]).balance() == *fen)
        });
        println!("{ended} envelopes sent, opened and credited");
        let (code, said) = one.run("audit", "next.toml", &[]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = one.run("migrate", "next.toml", &[]);
        assert_eq!(code, Some(0), "{said}");
    });
}

#[test]
fn a_folder_of_hongbao_dev_has_no_slots_to_move_and_says_why() {
    let done = hongbao(&["move-wallet", "--data", "data"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("is one SQLite file"), "{}", text(&done.stderr));
}

/// Lets the clients end when it is dropped, by a failed test too.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
