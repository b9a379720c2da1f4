//! An installation behind HAProxy, with the sample of its configuration: names, TLS and `Host` are those that users
//! send, and the audit at the end of a run says that nothing was lost on the way.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Dev, Run, SECRET, assert_refused, operator_token};
use hongbao_load::{Client, Signer, Tls, Url};
use hongbao_testbed::CertificateAuthority;

/// The name that the sample has.
const NAME: &str = "pay.example";
/// For HAProxy to listen, on a busy machine.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// HAProxy before a service that makes no money but for rehearsals, as an installation does.
struct Front {
    haproxy: Child,
    dev: Dev,
    port: u16,
    authority: CertificateAuthority,
    dir: tempfile::TempDir,
}

impl Front {
    fn start() -> Front {
        let settings = format!(
            "dev_calls = false\n[auth]\nhs256_secret = \"{SECRET}\"\n\
             [tickets]\nsecret = \"another secret that guards nothing but a test\"\n[rehearsal]\nenabled = true\n"
        );
        let (dev, dir) = (Dev::start_as(&settings), tempfile::tempdir().unwrap());
        let path = |name: &str| dir.path().join(name);
        let authority = CertificateAuthority::new();
        let files = authority.server("front", &[NAME]);
        let [certificate, key] = [&files.certificate, &files.key].map(|file| std::fs::read_to_string(file).unwrap());
        std::fs::write(path("front.pem"), certificate + &key).unwrap();
        std::fs::write(path("secret"), SECRET).unwrap();
        std::fs::write(path("operator"), operator_token()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = sample(&[
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/hongbao/tls/pay.example.pem", path("front.pem").to_str().unwrap()),
            ("server gateway-1 10.0.1.5:8080", &format!("server gateway-1 {}", dev.addr)),
            ("    server gateway-2 10.0.1.6:8080\n", ""),
        ]);
        std::fs::write(path("haproxy.cfg"), config).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f"]).arg(path("haproxy.cfg")).stdout(Stdio::null());
        let haproxy = haproxy.spawn().expect("`ops/install.sh` installs it");
        let front = Front { haproxy, dev, port, authority, dir };
        let (addr, until) = (SocketAddr::from(([127, 0, 0, 1], port)), Instant::now() + LISTENS_WITHIN);
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < until, "HAProxy does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        front
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// What leads a run to it by this name.
    fn target(&self, name: &str) -> [String; 4] {
        let port = self.port;
        ["--target".into(), format!("https://{name}:{port}"), "--resolve".into(), format!("{name}:{port}:127.0.0.1")]
    }

    fn run(&self, name: &str, more: &[&str]) -> Run {
        let target = self.target(name);
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        Run::of(&[&["groups", "--rate", "60"][..], &target, more].concat())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

/// The sample with these replacements, each of which it has once.
fn sample(replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/front/haproxy.cfg");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replacements {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn a_run_by_name_over_tls_through_a_front_proxy_ends_in_an_audit_that_holds() {
    let front = Front::start();
    let (ca, secret, operator) =
        (front.authority.file().display().to_string(), front.path("secret"), front.path("operator"));
    let run = front.run(NAME, &["--ca", &ca, "--secret-file", &secret, "--rehearsal-token-file", &operator]);
    let run = run.exits_with(0);
    let outcome = run.outcome();
    assert!(outcome["totals"]["committed"].as_u64().unwrap() > 5, "{}", outcome["totals"]);
    assert_eq!(outcome["totals"]["unknown"], 0);
    for rule in ["acknowledged as paid", "(I1)", "(I2)", "I1 over the system", "every balance"] {
        let (checked, broken) = run.checked(rule);
        assert!(checked > 0 && broken == 0, "{rule}: {checked} {broken}");
    }

    // Who is not trusted, or has no certificate, is said at once, and so is what is not there.
    let started = Instant::now();
    assert_refused(&front.run(NAME, &[]), "is not ready: GET /readyz: TLS: invalid peer certificate: UnknownIssuer");
    assert_refused(&front.run("other.example", &["--ca", &ca]), "is not ready: GET /readyz: TLS: received fatal alert");
    assert_refused(&front.run(NAME, &["--ca", "/no/such/file"]), "--ca /no/such/file: ");
    assert!(started.elapsed() < Duration::from_secs(9), "three of them took {:?}", started.elapsed());
}

#[test]
fn the_largest_token_passes_the_front_proxy_and_browsers_get_http_2() {
    let front = Front::start();
    let (port, ca) = (front.port, front.authority.file().display().to_string());
    let url: Url = format!("https://{NAME}:{port}").parse().unwrap();
    let resolve = [format!("{NAME}:{port}:127.0.0.1").parse().unwrap()];
    let site = url.reach(&resolve, &Tls { authorities: vec![ca.clone().into()] }, Duration::from_secs(2)).unwrap();
    let groups: Vec<String> = (0..1_000).map(|number| format!("{number:064}")).collect();
    let token = Signer::new(SECRET, None, None).token("wang", &groups);
    assert!(token.len() > 85_000, "{}", token.len());
    let client = Client::new(&site, SECRET);
    client.wait_until_ready().unwrap();
    let wallet = client.one_with(&token, "GET", "/v1/wallet", "").unwrap();
    assert!(wallet.contains("\"balance_fen\":0"), "{wallet}");

    let asked = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--http2",
            "--cacert",
            &ca,
            "--resolve",
            &format!("{NAME}:{port}:127.0.0.1"),
        ])
        .args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"])
        .arg(format!("https://{NAME}:{port}/readyz"))
        .output()
        .unwrap();
    let said = [asked.stdout, asked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(said, ["2 200", ""]);
    assert!(TcpStream::connect(front.dev.addr).is_ok(), "the service lives");
}
