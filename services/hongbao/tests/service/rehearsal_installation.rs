//! A rehearsal on an installation that serves: MariaDB, memcached and Redis, a
//! gateway, a server and a worker, and everything that might carry rehearsed
//! money into a real balance. Real rows must not change by a fen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use hongbao_testbed::{Part, free_port, spawn_command};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};

use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, hongbao, lucky, seconds_from_now, sign, text, text_of, wait_until, with,
};

const MARK: &str = "x-hongbao-rehearsal";
const SOON: Duration = Duration::from_secs(15);

/// A process of the installation; killed when it is dropped.
pub struct Process {
    child: Child,
    /// Held open, so that it can print.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one over the settings in the folder.
    pub fn start(folder: &Folder, role: &str, environment: &[(&str, &str)]) -> Process {
        Process::start_as(folder, role, None, environment)
    }

    /// The one of that name, where the topology has several.
    pub fn start_as(folder: &Folder, role: &str, name: Option<&str>, environment: &[(&str, &str)]) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path("log")).unwrap();
        let config = folder.path("hongbao.toml");
        let mut command = hongbao(&[role, "--config", config.to_str().unwrap()]);
        command.args(name.map(|name| ["--name", name]).into_iter().flatten());
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = spawn_command(command).unwrap();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(folder.path("log")).unwrap();
        assert!(line.starts_with("listening on "), "{role}: {line}{}", log());
        Process { child, _stdout: stdout }
    }

    /// Sends a signal that ends it, and waits until it has.
    pub fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).expect("a process has an id"), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Installation {
    mariadb: Part,
    _memcached: Part,
    _redis: Part,
    folder: Folder,
    pub server: SocketAddr,
    pub worker: SocketAddr,
    pub gateway: SocketAddr,
}

impl Installation {
    pub fn new() -> Installation {
        Installation::of("hongbao", "hongbao", "")
    }

    /// One whose database has a user with this password, and whose Redis is sent one that it does not want.
    pub fn with_passwords(database: &str, redis: &str) -> Installation {
        let installation = Installation::of("secretive", database, &format!(":{redis}@"));
        installation
            .mariadb
            .sql(&format!("CREATE USER secretive@'%' IDENTIFIED BY '{database}'; GRANT ALL ON *.* TO secretive@'%'"));
        installation
    }

    /// `password` is that of the database's `user`, and `login` stands before the address of Redis.
    fn of(user: &str, password: &str, login: &str) -> Installation {
        let (mariadb, memcached, redis) = (Part::mariadb(&[]), Part::memcached(), Part::redis());
        let [server, worker, gateway] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let folder = Folder::new();
        let (database, memcached_at, cache) = (mariadb.node(), memcached.node(), redis.node());
        let settings = format!(
            "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
             [storage]\ndatabases = 2\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = '{user}'\npassword = '{password}'\n[limits]\nexpires_in_s_min = 1\n\
             [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n[rehearsal]\nenabled = true\n"
        );
        folder.write("hongbao.toml", &settings);
        let topology = format!(
            "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\n\
             cache = 'redis://{login}{cache}'\n\
             servers = [{{ name = 'a1', address = '{server}', memcached = '{memcached_at}' }}]\n\
             workers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
             [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
             [[gateways]]\nname = 'g'\naddress = '{gateway}'\n"
        );
        folder.write("topology.toml", &topology);
        Installation { mariadb, _memcached: memcached, _redis: redis, folder, server, worker, gateway }
    }

    /// Runs a command that ends; its exit code and what it printed.
    pub fn run(&self, command: &str, options: &[&str]) -> (Option<i32>, String) {
        self.run_with(command, options, &[])
    }

    /// The same with these variables in its environment.
    pub fn run_with(&self, command: &str, options: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let config = self.folder.path("hongbao.toml");
        let mut arguments = vec![command, "--config", config.to_str().unwrap()];
        arguments.extend(options);
        let done = hongbao(&arguments).envs(environment.iter().copied()).output().unwrap();
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    }

    fn start(&self, role: &str) -> Process {
        self.start_with(role, &[])
    }

    pub fn start_with(&self, role: &str, environment: &[(&str, &str)]) -> Process {
        Process::start(&self.folder, role, environment)
    }

    /// What all processes have logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// SIGKILL for MariaDB.
    pub fn kill_database(&mut self) {
        self.mariadb.kill();
    }

    pub fn user(&self, name: &str) -> User {
        let token = sign(&json!({ "sub": name, "exp": seconds_from_now(3_600) }), TOKEN_SECRET);
        User::new(name, Some(format!("Bearer {token}")), self.gateway)
    }

    /// Every row of every table of money whose database's name ends so, or not.
    fn rows(&self, of_rehearsal: bool) -> BTreeMap<String, Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = self.mariadb.address();
            let options = MySqlConnectOptions::new().host("127.0.0.1").port(address.port()).username("hongbao");
            let mut raw = options.password("hongbao").ssl_mode(MySqlSslMode::Disabled).connect().await.unwrap();
            let tables = raw
                .fetch_all(
                    "SELECT CAST(CONCAT(table_schema, '.', table_name) AS CHAR), CAST(table_schema AS CHAR) \
                     FROM information_schema.tables WHERE (table_schema LIKE 'db\\_%' OR table_schema LIKE 'wallet\\_%') \
                     AND table_type = 'BASE TABLE' AND table_name NOT IN ('worker_lease', 'barrier') ORDER BY 1",
                )
                .await
                .unwrap();
            let mut all = BTreeMap::new();
            for table in tables {
                let (name, schema): (String, String) = (table.get(0), table.get(1));
                if schema.ends_with("_shadow") == of_rehearsal {
                    let rows = rows_of(&mut raw, &name).await;
                    all.insert(name, rows);
                }
            }
            assert!(all.len() > 100, "two databases of 31 days, and a wallet: {:?}", all.keys());
            all
        })
    }
}

async fn rows_of(raw: &mut MySqlConnection, table: &str) -> Vec<String> {
    let (schema, name) = table.split_once('.').unwrap();
    let columns = format!(
        "SELECT CAST(GROUP_CONCAT(CONCAT('COALESCE(HEX(`', column_name, '`), ''NULL'')') ORDER BY ordinal_position) \
         AS CHAR) FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name = '{name}'"
    );
    let columns: String = raw.fetch_one(columns.as_str()).await.unwrap().get(0);
    let rows = format!("SELECT CONCAT_WS('|', {columns}) AS shown FROM {table} ORDER BY 1");
    raw.fetch_all(rows.as_str()).await.unwrap().into_iter().map(|row| row.get(0)).collect()
}

pub fn rehearsing(user: &User) -> User {
    let operator = json!({ "sub": "op", "exp": seconds_from_now(3_600), "role": "operator" });
    user.with_header(MARK, &sign(&operator, TOKEN_SECRET))
}

pub fn top_up_of(amount_fen: i64, id: u128) -> serde_json::Value {
    json!({ "amount_fen": amount_fen, "id": uuid::Uuid::from_u128(id) })
}

#[test]
fn nothing_that_is_rehearsed_moves_a_real_row_by_a_fen() {
    let installation = Installation::new();
    let (code, said) = installation.run("migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let [li, wang, zhao] = ["li", "wang", "zhao"].map(|name| installation.user(name));

    // Real money, an open envelope and an opening that has been credited.
    let mut server = installation.start_with("server", &[("HONGBAO_DEV_CALLS", "true")]);
    let mut worker = installation.start("worker");
    let gateway = installation.start("gateway");
    for (user, fen) in [(&li, 10_000), (&wang, 500)] {
        // The gateway does not offer what the server alone does.
        let top_up = top_up_of(fen, fen as u128);
        user.post("/v1/dev/top-up", &top_up).problem(404, "not_found");
        user.at(installation.server).post("/v1/dev/top-up", &top_up).ok(200);
    }
    let real = li.send(&lucky(4_000, 4));
    let opened = wang.grab_and_open(&real)["amount_fen"].as_i64().unwrap();
    wang.wait_for_balance(500 + opened, SOON);
    let unpaid = text_of(&li.post("/v1/envelopes", &lucky(77, 1)).ok(201)["id"]).to_owned();
    let real_ticket = zhao.ticket(&real);
    // From now on no real money can be made.
    server.end(Signal::TERM);
    server = installation.start("server");
    let ready = || zhao.try_call("POST", &format!("/v1/envelopes/{real}/grab"), None).is_ok_and(|a| a.status == 200);
    wait_until(SOON, "the gateway to find the server", ready);
    let before = settled_rows(&installation);

    // The same people rehearse.
    let [m_li, m_wang, m_zhao] = [&li, &wang, &zhao].map(rehearsing);
    li.post("/v1/dev/top-up", &top_up_of(1, 1)).problem(404, "not_found");
    assert_eq!([&m_li, &m_wang, &m_zhao].map(User::balance), [0; 3]);
    for (user, fen) in [(&m_li, 10_000), (&m_wang, 500)] {
        // With the ids of real top-ups, which are other transfers here.
        user.post("/v1/dev/top-up", &top_up_of(fen + 90_000, fen as u128)).ok(200);
    }

    // What does not exist is called the same by the server and by the gateway.
    for path in ["/else", "/v1/else", "/v1/wallet/else", "/v1/envelopes/1", "/v1/envelopes/1/close"] {
        let [at_gateway, at_server] =
            [&li, &li.at(installation.server)].map(|li| li.get(path).problem(404, "not_found")["detail"].clone());
        assert_eq!(at_gateway, at_server, "{path}");
    }

    // Real envelopes with the mark, and with real tickets.
    for id in [&real, &unpaid] {
        m_li.pay(id).problem(404, "not_found");
        m_zhao.grab(id).problem(404, "not_found");
        m_li.get(&format!("/v1/envelopes/{id}")).problem(404, "not_found");
        m_zhao.open(id, &real_ticket).problem(403, "ticket_invalid");
    }

    // Rehearsed envelopes and tickets without the mark.
    let rehearsed = m_li.send(&lucky(40_000, 3));
    let rehearsed_ticket = m_zhao.ticket(&rehearsed);
    zhao.grab(&rehearsed).problem(404, "not_found");
    li.pay(&rehearsed).problem(404, "not_found");
    li.get(&format!("/v1/envelopes/{rehearsed}")).problem(404, "not_found");
    for id in [&rehearsed, &real] {
        zhao.open(id, &rehearsed_ticket).problem(403, "ticket_invalid");
    }
    m_zhao.open(&rehearsed, &real_ticket).problem(403, "ticket_invalid");

    // A mark that the connection's own header tries to take off on the way.
    let tricky = m_li.with_header("connection", "keep-alive, X-Hongbao-Rehearsal");
    let made = text_of(&tricky.post("/v1/envelopes", &lucky(100, 1)).ok(201)["id"]).to_owned();
    li.get(&format!("/v1/envelopes/{made}")).problem(404, "not_found");
    m_li.get(&format!("/v1/envelopes/{made}")).ok(200);

    // Past the gateway, an envelope under the very id of the real one: what it pays,
    // opens and gives back concerns the rehearsal alone, caches and permits included.
    let past = |user: &User| user.at(installation.server);
    let twin = with(lucky(30_000, 3), "expires_in_s", 2);
    past(&m_li).with_header("x-hongbao-envelope-id", &real).post("/v1/envelopes", &twin).ok(201);
    past(&m_li).pay(&real).ok(200);
    let twin_ticket = past(&m_zhao).ticket(&real);
    zhao.open(&real, &twin_ticket).problem(403, "ticket_invalid");
    let twin_opened = past(&m_zhao).open(&real, &twin_ticket).ok(200)["amount_fen"].as_i64().unwrap();

    // The worker dies with work before it, the server with openings in it.
    worker.end(Signal::KILL);
    let m_opened = m_zhao.open(&rehearsed, &rehearsed_ticket).ok(200)["amount_fen"].as_i64().unwrap();
    m_wang.grab_and_open(&rehearsed);
    server.end(Signal::KILL);
    server = installation.start("server");
    worker = installation.start("worker");
    wait_until(SOON, "the gateway to find the server", ready);
    m_zhao.wait_for_balance(twin_opened + m_opened, SOON);
    // The new server remembers nothing, and Redis has shown both envelopes of that id.
    let replayed = past(&m_zhao).grab(&real).ok(200);
    assert_eq!((&replayed["outcome"], &replayed["amount_fen"]), (&json!("opened"), &json!(twin_opened)));
    assert_eq!(past(&m_li).detail(&real)["envelope"]["total_fen"], 30_000);
    assert_eq!(zhao.detail(&real)["envelope"]["total_fen"], 4_000);
    assert_eq!(zhao.grab(&real).ok(200)["outcome"], "ready");
    m_li.wait_for_balance(100_000 - 40_000 - 30_000 + (30_000 - twin_opened), SOON);

    let (code, said) = installation.run("audit", &["--shadow"]);
    assert_eq!(code, Some(0), "{said}");
    let shadow = installation.rows(true);
    let rehearsed_rows = |kind: &str| -> usize {
        shadow.iter().filter(|(table, _)| table.contains(kind)).map(|(_, rows)| rows.len()).sum()
    };
    assert_eq!(rehearsed_rows(".envelope_"), 3);
    assert_eq!(rehearsed_rows(".entry_"), 4, "three openings and a refund");

    // Not a byte of what is real has moved, and it goes on where it was.
    assert_eq!(settled_rows(&installation), before);
    let (code, said) = installation.run("audit", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!([&li, &wang, &zhao].map(User::balance), [6_000, 500 + opened, 0]);
    let share = zhao.grab_and_open(&real)["amount_fen"].as_i64().unwrap();
    zhao.wait_for_balance(share, SOON);
    let metrics = past(&li).get("/metrics").text();
    assert!(metrics.contains("\nhongbao_open_outcomes_total{outcome=\"opened\"} 1\n"), "{metrics}");
    wait_until(SOON, "a grab to go over a link", || {
        zhao.grab(&real).ok(200);
        !past(&li).get("/metrics").text().contains("\nhongbao_http_link_frames_total{direction=\"received\"} 0\n")
    });
    drop((gateway, worker, server));
}

/// The real rows once the credits have been marked as settled: the last thing
/// that a worker writes, after the balance has moved.
fn settled_rows(installation: &Installation) -> BTreeMap<String, Vec<String>> {
    let mut rows = installation.rows(false);
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let again = installation.rows(false);
        if again == rows {
            return rows;
        }
        rows = again;
    }
}
