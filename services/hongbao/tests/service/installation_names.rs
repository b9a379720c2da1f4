//! An installation whose topology has names in the place of IP addresses: what they lead to changes while it serves.

use std::net::SocketAddr;
use std::time::Duration;

use hongbao_testbed::{Part, free_port};
use rustix::process::Signal;

use crate::backup_installation::{run, user};
use crate::rehearsal_installation::Process;
use crate::support::{Folder, TICKET_SECRET, TOKEN_SECRET, hongbao, lucky, text, wait_until};

const SOON: Duration = Duration::from_secs(20);
/// Resolves names by a file that a test may write: Debian's `libnss-wrapper`.
const NSS_WRAPPER: &str = "libnss_wrapper.so";

struct Names {
    folder: Folder,
    gateway: SocketAddr,
    port: u16,
}

impl Names {
    /// Settings, and a topology in which the server is `a1.hongbao.test`.
    fn new(database: &str) -> Names {
        let folder = Folder::new();
        let settings = format!(
            "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
             [storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n"
        );
        folder.write("hongbao.toml", &settings);
        let (gateway, worker, port) = (free_port(), free_port(), free_port());
        for (file, listen) in [("topology.toml", "127.0.0.1"), ("moved.toml", "127.0.0.2")] {
            let topology = format!(
                "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\n\
                 servers = [{{ name = 'a1', address = 'A1.hongbao.test:{port}', listen = '{listen}:{port}' }}]\n\
                 workers = [{{ name = 'a-w1', address = 'localhost:{worker}' }}]\n\
                 [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
                 [[gateways]]\nname = 'g'\naddress = 'localhost:{gateway}'\n"
            );
            folder.write(file, &topology);
        }
        let names = Names { folder, gateway: SocketAddr::from(([127, 0, 0, 1], gateway)), port };
        names.lead_to("");
        names
    }

    /// From now on the server's name leads there.
    fn lead_to(&self, ip: &str) {
        let server = if ip.is_empty() { String::new() } else { format!("{ip} a1.hongbao.test\n") };
        let next = self.folder.write("hosts.next", &format!("127.0.0.1 localhost\n{server}"));
        std::fs::rename(next, self.folder.path("hosts")).unwrap();
    }

    fn start(&self, role: &str, topology: &str) -> Process {
        let hosts = self.folder.path("hosts");
        let environment = [
            ("HONGBAO_TOPOLOGY", topology),
            ("LD_PRELOAD", NSS_WRAPPER),
            ("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap()),
        ];
        Process::start_as(&self.folder, role, None, &environment)
    }

    fn gateway_status(&self) -> u16 {
        user("anyone", self.gateway).get("/readyz").status
    }

    /// Requests that the server at that address has answered so far.
    fn answered_by(&self, ip: &str) -> u64 {
        let at = format!("{ip}:{}", self.port).parse().unwrap();
        let metrics = user("anyone", at).get("/metrics").text();
        let of_calls = metrics.lines().filter(|line| {
            line.starts_with("hongbao_http_requests_total{") && line.contains("/v1/envelopes\"") && line.contains("2xx")
        });
        of_calls.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Makes an envelope through the gateway.
    fn send(&self) {
        user("sender", self.gateway).post("/v1/envelopes", &lucky(2, 1)).ok(201);
    }
}

#[test]
fn a_server_is_followed_by_its_name_wherever_that_leads() {
    let mariadb = Part::mariadb(&[]);
    let names = Names::new(&mariadb.node());
    let (code, said) = run(&names.folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");

    // A gateway starts before the name of its server leads anywhere, and says so.
    let _gateway = names.start("gateway", "topology.toml");
    assert_eq!(names.gateway_status(), 503);
    let mut before = names.start("server", "topology.toml");
    names.lead_to("127.0.0.1");
    wait_until(SOON, "the name to be resolved", || names.gateway_status() == 200);
    names.send();
    assert!(names.answered_by("127.0.0.1") > 0);

    // The name leads elsewhere, and the process before still lives: kept connections to it are given up.
    let mut after = names.start("server", "moved.toml");
    names.lead_to("127.0.0.2");
    wait_until(SOON, "requests at the new address", || {
        names.send();
        names.answered_by("127.0.0.2") > 0
    });
    let count = names.answered_by("127.0.0.1");
    names.send();
    assert_eq!(names.answered_by("127.0.0.1"), count);
    before.end(Signal::KILL);
    names.send();

    // It dies there, and comes back under the first address.
    after.end(Signal::KILL);
    wait_until(SOON, "the gateway to notice", || names.gateway_status() == 503);
    let _back = names.start("server", "topology.toml");
    names.lead_to("127.0.0.1");
    wait_until(SOON, "it to be found again", || names.gateway_status() == 200);
    names.send();
    let log = std::fs::read_to_string(names.folder.path("log")).unwrap();
    assert!(log.contains("a server's name was not resolved") && log.contains("leads to another IP address"), "{log}");
}

#[test]
fn a_name_that_leads_nowhere_cannot_be_listened_on_and_the_message_names_the_way_out() {
    let names = Names::new("127.0.0.1:1");
    let config = names.folder.path("hongbao.toml");
    let topology = std::fs::read_to_string(names.folder.path("topology.toml")).unwrap();
    names.folder.write("topology.toml", &topology.replace("'localhost:", "'gateway.invalid:"));
    let done = hongbao(&["gateway", "--config", config.to_str().unwrap()]).output().unwrap();
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot listen on gateway.invalid:") && said.contains("`listen` beside `address`"), "{said}");
}
