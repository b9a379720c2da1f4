//! A backup of an installation on MariaDB, a SET on one server and the wallet on
//! another, while it is used: restored on other servers, its audit holds, and
//! the workers finish what was under way.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hongbao_testbed::{Part, free_port};
use serde_json::json;

use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, hongbao, lucky, seconds_from_now, sign, text, wait_until,
};

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 3;
const BACKUPS: usize = 3;
const TRIES_MAX: u32 = 10;

/// The settings and the topology of an installation over two database servers, with so many workers: `a-w1` and so on.
pub fn configure(folder: &Folder, set: &Part, wallet: &Part, databases: u8, workers: u8) -> SocketAddr {
    let listen = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = listen();
    let workers: Vec<String> =
        (1..=workers).map(|number| format!("{{ name = 'a-w{number}', address = '{}' }}", listen())).collect();
    let settings = format!(
        "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
         [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = {databases}\ntables = 1\nwallet_databases = 1\n\
         [database]\nuser = 'hongbao'\npassword = 'hongbao'\n"
    );
    folder.write("hongbao.toml", &settings);
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{}']\n\
         servers = [{{ name = 'a1', address = '{server}' }}]\nworkers = [{}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n",
        set.node(),
        workers.join(", "),
        wallet.node()
    );
    folder.write("topology.toml", &topology);
    server
}

/// Runs a command of the binary that ends; its exit code and words.
pub fn run(folder: &Folder, command: &str, more: &[&Path]) -> (Option<i32>, String) {
    let config = folder.path("hongbao.toml");
    let mut run = hongbao(&[command, "--config", config.to_str().unwrap()]);
    let done = run.args(more).envs(as_backup(command == "backup")).output().unwrap();
    (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
}

/// Backs up. On a busy machine the dumps may begin too late, and then it has to be asked again.
fn backup(folder: &Folder, copy: &Path) -> String {
    for _ in 0..TRIES_MAX {
        let (code, said) = run(folder, "backup", &["--to".as_ref(), copy]);
        if code == Some(0) {
            return said;
        }
        assert!(said.contains("within 3s") || said.contains("1205"), "{said}");
        assert!(!copy.exists(), "what is not whole is not left behind");
    }
    panic!("the dumps never begin in time");
}

fn as_backup(is_backup: bool) -> Vec<(&'static str, &'static str)> {
    let settings = [("HONGBAO_DATABASE__USER", "backup"), ("HONGBAO_DATABASE__PASSWORD", "copies")];
    if is_backup { settings.to_vec() } else { Vec::new() }
}

/// The user who backs up, with the rights that the handbook names and no other.
pub fn grant_backup(part: &Part) {
    part.sql(
        "CREATE USER backup@'127.0.0.1' IDENTIFIED BY 'copies'; \
         GRANT RELOAD, SELECT, SHOW VIEW, TRIGGER ON *.* TO backup@'127.0.0.1'",
    );
}

fn client(part: &Part) -> Command {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
    client.arg(format!("--socket={}", part.dir().join("mysqld.sock").display()));
    client
}

pub fn restore(part: &Part, dump: &Path) {
    let done = client(part).stdin(std::fs::File::open(dump).unwrap()).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
}

fn number_in(part: &Part, sql: &str) -> u64 {
    let done = client(part).args(["--execute", sql]).output().unwrap();
    text(&done.stdout).trim().parse().unwrap_or_else(|_| panic!("{sql}: {}", text(&done.stderr)))
}

fn credits(wallet: &Part) -> u64 {
    number_in(wallet, "SELECT count(*) FROM wallet_00.transfer WHERE kind = 3")
}

fn entries(set: &Part) -> u64 {
    let tables = [0, 1].into_iter().flat_map(|database| (1..=31).map(move |day| (database, day)));
    let counts: Vec<_> = tables.map(|(xx, dd)| format!("(SELECT count(*) FROM db_{xx:02}.entry_0_{dd:02})")).collect();
    number_in(set, &format!("SELECT {}", counts.join(" + ")))
}

pub fn user(name: &str, at: SocketAddr) -> User {
    let token = sign(&json!({ "sub": name, "exp": seconds_from_now(3_600) }), TOKEN_SECRET);
    User::new(name, Some(format!("Bearer {token}")), at)
}

fn id_header() -> String {
    hongbao_core::EnvelopeId::mint(hongbao_core::Clock::now(&hongbao_core::SystemClock), {
        let bytes = fresh_bytes();
        std::array::from_fn(|place| bytes[place])
    })
    .to_string()
}

/// Sends and opens until it is told to stop.
fn work(number: usize, at: SocketAddr, stop: &AtomicBool, opened: &AtomicUsize) {
    let sender = user(&format!("sender_{number}"), at);
    while !stop.load(Ordering::Relaxed) {
        sender
            .post("/v1/dev/top-up", &json!({ "amount_fen": 300, "id": uuid::Uuid::from_bytes(fresh_bytes()) }))
            .ok(200);
        let id = id_header();
        sender.with_header("x-hongbao-envelope-id", &id).post("/v1/envelopes", &lucky(300, 3)).ok(201);
        sender.pay(&id).ok(200);
        for opener in 0..3 {
            user(&format!("opener_{number}_{opener}"), at).grab_and_open(&id);
            opened.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn every_backup_under_load_is_of_one_moment_over_sets_and_wallet_and_can_be_restored_i1_i6() {
    let (set, wallet) = (Part::mariadb(&[]), Part::mariadb(&[]));
    [&set, &wallet].into_iter().for_each(grant_backup);
    let folder = Folder::new();
    let server_at = configure(&folder, &set, &wallet, 2, 1);
    let (code, said) = run(&folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let (server, worker) = (Process::start(&folder, "server", &[]), Process::start(&folder, "worker", &[]));
    let (stop, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    let copies: Vec<_> = (0..BACKUPS).map(|number| folder.path(&format!("copy-{number}"))).collect();
    std::thread::scope(|scope| {
        let (stop, opened) = (&stop, &opened);
        let _stop = StopOnDrop(stop);
        for number in 0..CLIENTS {
            scope.spawn(move || work(number, server_at, stop, opened));
        }
        for copy in &copies {
            let before = opened.load(Ordering::Relaxed);
            wait_until(SOON, "some openings more", || opened.load(Ordering::Relaxed) > before + 30);
            let said = backup(&folder, copy);
            assert!(said.contains("2 dumps of one moment"), "{said}");
            println!("{} openings, {said}", opened.load(Ordering::Relaxed));
        }
    });
    drop((server, worker));

    let (other_set, other_wallet) = (Part::mariadb(&[]), Part::mariadb(&[]));
    let restored = Folder::new();
    let restored_at = configure(&restored, &other_set, &other_wallet, 2, 1);
    for copy in &copies {
        restore(&other_set, &copy.join("set-a.sql"));
        restore(&other_wallet, &copy.join("wallet-w.sql"));
        let (code, said) = run(&restored, "audit", &[]);
        assert_eq!(code, Some(0), "{}: {said}", copy.display());
    }

    // It serves from there, and what was opened and not yet credited is credited.
    let (server, worker) = (Process::start(&restored, "server", &[]), Process::start(&restored, "worker", &[]));
    let (stop, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (stop, opened) = (&stop, &opened);
        let _stop = StopOnDrop(stop);
        scope.spawn(move || work(CLIENTS, restored_at, stop, opened));
        wait_until(SOON, "openings after the restore", || opened.load(Ordering::Relaxed) > 30);
    });
    wait_until(SOON, "all to be credited", || credits(&other_wallet) == entries(&other_set));
    let (code, said) = run(&restored, "audit", &[]);
    assert_eq!(code, Some(0), "{said}");
    drop((server, worker));
}

/// Lets the clients end when it is dropped, by a failed test too.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
