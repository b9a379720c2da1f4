//! TLS from clients to gateways, with HTTP/2, and from gateways to servers, with certificates of both: the client is
//! curl.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hongbao_testbed::{CertificateAuthority, CertificateFiles, Part, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::backup_installation::run;
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, fresh_bytes, hongbao, lucky, number_of, seconds_from_now, sign, text, text_of,
    wait_until,
};

const SOON: Duration = Duration::from_secs(30);

struct Installation {
    folder: Folder,
    authority: CertificateAuthority,
    /// What clients see, what gateways see, and what servers see.
    of_gateway: CertificateFiles,
    of_server: CertificateFiles,
    of_client: CertificateFiles,
    server: u16,
    gateway: u16,
    _mariadb: Part,
}

/// What curl got.
struct Got {
    version: String,
    status: u16,
    body: Value,
}

impl Installation {
    fn new() -> Installation {
        let (mariadb, folder, authority) = (Part::mariadb(&[]), Folder::new(), CertificateAuthority::new());
        let of_gateway = authority.server("gateway", &["localhost", "127.0.0.1"]);
        let of_server = authority.server("server", &["localhost"]);
        let of_client = authority.client("client");
        let (server, worker, gateway) = (free_port(), free_port(), free_port());
        let path = |path: &std::path::Path| path.display().to_string();
        let ca = path(authority.file());
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
             [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [cors]\norigins = ['https://app.example']\n\
             [tls.gateways]\ncertificate_file = '{}'\nkey_file = '{}'\n\
             [tls.servers]\ncertificate_file = '{}'\nkey_file = '{}'\nca_file = '{ca}'\nclient_ca_file = '{ca}'\n\
             client_certificate_file = '{}'\nclient_key_file = '{}'\n",
            path(&of_gateway.certificate),
            path(&of_gateway.key),
            path(&of_server.certificate),
            path(&of_server.key),
            path(&of_client.certificate),
            path(&of_client.key),
        );
        folder.write("hongbao.toml", &settings);
        let database = mariadb.node();
        let topology = format!(
            "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\n\
             servers = [{{ name = 'a1', address = 'localhost:{server}' }}]\n\
             workers = [{{ name = 'a-w1', address = '127.0.0.1:{worker}' }}]\n\
             [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
             [[gateways]]\nname = 'g'\naddress = '127.0.0.1:{gateway}'\n"
        );
        folder.write("topology.toml", &topology);
        let (code, said) = run(&folder, "migrate", &[]);
        assert_eq!(code, Some(0), "{said}");
        Installation { folder, authority, of_gateway, of_server, of_client, server, gateway, _mariadb: mariadb }
    }

    fn start(&self, role: &str) -> Process {
        Process::start(&self.folder, role, &[])
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// curl, which trusts the authority alone.
    fn curl(&self, more: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--cacert",
            self.authority.file().to_str().unwrap(),
        ]);
        curl.args(more);
        curl
    }

    /// Asks the gateway as this user.
    fn ask(&self, options: &[&str], user: &str, path: &str, body: Option<&Value>) -> Got {
        let token = sign(&json!({ "sub": user, "exp": seconds_from_now(600) }), TOKEN_SECRET);
        let (token, body) = (format!("authorization: Bearer {token}"), body.map(Value::to_string));
        let url = format!("https://localhost:{}{path}", self.gateway);
        let mut curl = self.curl(options);
        curl.args(["--header", &token, "--write-out", "\n%{http_version} %{http_code}", &url]);
        if let Some(body) = &body {
            curl.args(["--header", "content-type: application/json", "--data", body]);
        }
        let done = curl.output().unwrap();
        assert!(done.status.success(), "{}{}", text(&done.stderr), self.log());
        let printed = text(&done.stdout);
        let (body, last) = printed.rsplit_once('\n').unwrap();
        let (version, status) = last.split_once(' ').unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        Got { version: version.to_owned(), status: status.parse().unwrap(), body }
    }

    /// Sends an envelope, and opens it; every answer comes in this version of HTTP.
    fn send_and_open(&self, options: &[&str], version: &str) {
        let ask = |user: &str, path: &str, body: Option<&Value>, status: u16| {
            let got = self.ask(options, user, path, Some(body.unwrap_or(&json!({}))));
            assert_eq!((&*got.version, got.status), (version, status), "{path}: {}", got.body);
            got.body
        };
        let top_up = json!({ "amount_fen": 100, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
        ask("sender", "/v1/dev/top-up", Some(&top_up), 200);
        let made = ask("sender", "/v1/envelopes", Some(&lucky(100, 1)), 201);
        let id = text_of(&made["id"]);
        ask("sender", &format!("/v1/envelopes/{id}/pay"), None, 200);
        let grabbed = ask("opener", &format!("/v1/envelopes/{id}/grab"), None, 200);
        let ticket = json!({ "ticket": grabbed["ticket"] });
        let opened = ask("opener", &format!("/v1/envelopes/{id}/open"), Some(&ticket), 200);
        assert_eq!(number_of(&opened["amount_fen"]), 100);
    }

    /// Whether the gateway shows a certificate of this name.
    fn shows(&self, name: &str) -> bool {
        let (url, to) =
            (format!("https://{name}:{}/healthz", self.gateway), format!("{name}:{}:127.0.0.1", self.gateway));
        self.curl(&["--resolve", &to, &url]).output().unwrap().status.success()
    }

    fn status(&self) -> u16 {
        self.ask(&[], "anyone", "/readyz", None).status
    }
}

#[test]
fn an_opening_over_tls_is_one_with_http_2_and_with_http_1_and_servers_ask_gateways_for_a_certificate() {
    let one = Installation::new();
    let mut server = one.start("server");
    let mut gateway = one.start("gateway");
    wait_until(SOON, "the server to be found", || one.status() == 200);
    one.send_and_open(&["--http2"], "2");
    one.send_and_open(&["--http1.1"], "1.1");
    one.send_and_open(&["--tls-max", "1.2"], "2");
    let metrics = text(&one.curl(&[&format!("https://localhost:{}/metrics", one.gateway)]).output().unwrap().stdout);
    let links = metrics.lines().find_map(|line| line.strip_prefix("hongbao_gateway_links ")).unwrap();
    assert!(links.parse::<u32>().unwrap() > 0, "openings go over links, within TLS");

    let broken = |port: u16, more: &[&str]| {
        let url = format!("https://localhost:{port}/metrics");
        let said = text(&one.curl(more).arg(&url).output().unwrap().stdout);
        let counts = said.lines().filter(|line| line.starts_with("hongbao_") && line.contains("_links_broken_total "));
        counts.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let of_client = [&one.of_client.certificate, &one.of_client.key].map(|path| path.to_str().unwrap());
    // A link that its server leaves ends well, within TLS too; and so does one whose gateway stops.
    server.end(Signal::TERM);
    server = one.start("server");
    wait_until(SOON, "the server to be back", || one.status() == 200);
    one.send_and_open(&["--http2"], "2");
    assert_eq!(broken(one.gateway, &[]), ["0", "0"]);
    gateway.end(Signal::TERM);
    gateway = one.start("gateway");
    wait_until(SOON, "the gateway to be back", || one.status() == 200);
    assert_eq!(broken(one.server, &["--cert", of_client[0], "--key", of_client[1]]), ["0"]);

    // A page of another origin asks beforehand.
    let url = format!("https://localhost:{}/v1/envelopes", one.gateway);
    let asks = ["--http2", "--request", "OPTIONS", "--dump-header", "-", "--header", "origin: https://app.example"];
    let asked = one.curl(&asks).args(["--header", "access-control-request-method: POST", &url]).output().unwrap();
    let head = text(&asked.stdout).to_lowercase();
    assert!(
        head.starts_with("http/2 204") && head.contains("access-control-allow-origin: https://app.example"),
        "{head}"
    );

    // Many requests of one connection at the same time.
    let url = format!("https://localhost:{}/v1/none?number=[1-200]", one.gateway);
    let more = ["--http2", "--parallel", "--parallel-max", "80", "--output", "/dev/null"];
    let done = one.curl(&more).args(["--write-out", "%{http_code} %{num_connects}\n", &url]).output().unwrap();
    let lines = text(&done.stdout);
    assert_eq!(lines.lines().count(), 200, "{}", text(&done.stderr));
    assert!(lines.lines().all(|line| line.starts_with("401 ")), "{lines}");
    let connects: u32 = lines.lines().map(|line| line[4..].parse::<u32>().unwrap()).sum();
    assert!(connects < 10, "{connects} connections for 200 requests");

    // Without TLS nothing is answered, and a server wants a certificate of its own authority.
    let plain = one.curl(&[&format!("http://localhost:{}/healthz", one.gateway)]).output().unwrap();
    assert!(!plain.status.success());
    let url = format!("https://localhost:{}/healthz", one.server);
    assert!(!one.curl(&[&url]).output().unwrap().status.success());
    let shown = [&one.of_client.certificate, &one.of_client.key].map(|path| path.to_str().unwrap());
    assert!(one.curl(&["--cert", shown[0], "--key", shown[1], &url]).output().unwrap().status.success());
    let other = CertificateAuthority::new().client("client");
    let shown = [&other.certificate, &other.key].map(|path| path.to_str().unwrap());
    assert!(!one.curl(&["--cert", shown[0], "--key", shown[1], &url]).output().unwrap().status.success());

    gateway.end(Signal::TERM);
    server.end(Signal::TERM);
    assert_eq!(one.log().matches("drained").count(), 4, "{}", one.log());
}

#[test]
fn certificates_are_followed_and_a_server_with_one_that_has_expired_or_is_of_another_name_gets_no_request() {
    let one = Installation::new();
    let mut server = one.start("server");
    let _gateway = one.start("gateway");
    wait_until(SOON, "the server to be found", || one.status() == 200);

    // A new certificate is taken over, and a bad one is not.
    assert!(!one.shows("pay.hongbao.test"));
    one.of_gateway.replace_by(&one.authority.server("gateway-2", &["localhost", "127.0.0.1", "pay.hongbao.test"]));
    wait_until(SOON, "the new certificate", || one.shows("pay.hongbao.test"));
    std::fs::write(&one.of_gateway.key, "no key").unwrap();
    wait_until(SOON, "the bad file to be named", || one.log().contains("new TLS certificates were refused"));
    assert!(one.shows("pay.hongbao.test"), "what was in force stays");

    for (certificate, reason) in [
        (one.authority.expired_server("old", &["localhost"]), "certificate expired"),
        (one.authority.server("other", &["a2.hongbao.test"]), "certificate not valid for name"),
        (CertificateAuthority::new().server("foreign", &["localhost"]), "UnknownIssuer"),
    ] {
        let good = one.authority.server("again", &["localhost"]);
        one.of_server.replace_by(&certificate);
        server.end(Signal::KILL);
        server = one.start("server");
        wait_until(SOON, reason, || one.log().contains(reason));
        wait_until(SOON, "the server to be left", || one.status() == 503);
        one.ask(&[], "opener", "/v1/wallet", None).problem("unavailable");
        // It follows its files without another start.
        one.of_server.replace_by(&good);
        wait_until(SOON, "the server to be back", || one.status() == 200);
    }
    one.send_and_open(&[], "2");
}

impl Got {
    fn problem(&self, code: &str) {
        assert_eq!(self.body["code"], code, "{}", self.body);
    }
}

#[test]
fn files_that_cannot_be_used_keep_a_role_from_starting_and_are_named() {
    let folder = Folder::new();
    let authority = CertificateAuthority::new();
    let (one, other) = (authority.server("one", &["localhost"]), authority.server("other", &["localhost"]));
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['127.0.0.1:1']\n\
         servers = [{{ name = 'a1', address = '{}' }}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['127.0.0.1:1']\n\
         [[gateways]]\nname = 'g'\naddress = '{}'\n",
        SocketAddr::from(([127, 0, 0, 1], free_port())),
        SocketAddr::from(([127, 0, 0, 1], free_port())),
    );
    folder.write("topology.toml", &topology);
    let empty = folder.write("empty.pem", "");
    for (certificate, key, reason) in [
        (&one.certificate, &other.key, "keys may not be consistent"),
        (&one.key, &one.key, "there is no certificate in it"),
        (&empty, &one.key, "there is no certificate in it"),
        (&one.certificate, &one.certificate, "no items found"),
        (&folder.path("nowhere.pem"), &one.key, "nowhere.pem"),
    ] {
        let settings = format!(
            "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [tls.gateways]\ncertificate_file = '{}'\nkey_file = '{}'\n",
            certificate.display(),
            key.display()
        );
        let config = folder.write("hongbao.toml", &settings);
        let done = hongbao(&["gateway", "--check", "--config", config.to_str().unwrap()]).output().unwrap();
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains("tls.gateways: ") && said.contains(reason), "{reason}: {said}");
    }
}
