//! A whole installation whose databases and caches are reached by TLS alone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hongbao_testbed::{CertificateAuthority, Part, free_port};
use serde_json::json;

use crate::backup_installation::{grant_backup, run};
use crate::rehearsal_installation::Process;
use crate::support::{Folder, TICKET_SECRET, TOKEN_SECRET, User, lucky, seconds_from_now, sign, text_of, wait_until};

const SOON: Duration = Duration::from_secs(30);
const APP: &str = "https://app.example";

fn option(name: &str, file: &Path) -> String {
    format!("--{name}={}", file.display())
}

/// From `migrate` to `audit` and `backup`: a page sends through the gateway, and a client opens. Then the certificates
/// of Redis and of the database have expired, and what is said names that.
#[test]
fn an_installation_serves_over_tls_to_its_databases_and_caches() {
    let authority = CertificateAuthority::new();
    let database = authority.server("mariadb", &["127.0.0.1"]);
    let cache = authority.server("redis", &["127.0.0.1"]);
    let client = authority.client("server");
    let options = [
        option("ssl-ca", authority.file()),
        option("ssl-cert", &database.certificate),
        option("ssl-key", &database.key),
        "--require-secure-transport=ON".to_owned(),
    ];
    let mariadb = Part::mariadb(&options.each_ref().map(String::as_str));
    let mut redis = Part::redis_over_tls(&cache, authority.file());
    let [gateway, server, worker] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let folder = Folder::new();
    // A relative path starts where the settings lie.
    std::fs::copy(authority.file(), folder.path("ca.pem")).unwrap();
    let settings = format!(
        "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
         [tickets]\nsecret = '{TICKET_SECRET}'\n[storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
         [database]\nuser = 'hongbao'\npassword = 'hongbao'\ntls = 'verified'\nca_file = 'ca.pem'\n\
         [cache]\nca_file = 'ca.pem'\ncertificate_file = '{}'\nkey_file = '{}'\n[cors]\norigins = ['{APP}']\n",
        client.certificate.display(),
        client.key.display()
    );
    folder.write("hongbao.toml", &settings);
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{node}']\ncache = 'rediss://{}'\n\
         servers = [{{ name = 'a1', address = '{server}' }}]\nworkers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{node}']\n\
         [[gateways]]\nname = 'g'\naddress = '{gateway}'\n",
        redis.node(),
        node = mariadb.node()
    );
    folder.write("topology.toml", &topology);
    let (code, said) = run(&folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let _serving = Process::start(&folder, "server", &[]);
    let _others = ["worker", "gateway"].map(|role| Process::start(&folder, role, &[]));

    let user = |name: &str| {
        let token = sign(&json!({ "sub": name, "exp": seconds_from_now(3_600) }), TOKEN_SECRET);
        User::new(name, Some(format!("Bearer {token}")), gateway)
    };
    let (li, wang) = (user("li"), user("wang"));
    wait_until(SOON, "the gateway to find the server", || li.get("/v1/wallet").status == 200);
    li.top_up(1_000);
    // As a browser does it: it asks, then sends.
    let asked = User::new("", None, gateway).with_header("origin", APP);
    let asked = asked.with_header("access-control-request-method", "POST").call("OPTIONS", "/v1/envelopes", None);
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, Some(APP)));
    let page = li.with_header("origin", APP);
    let created = page.post("/v1/envelopes", &lucky(100, 2));
    assert_eq!(created.header("access-control-allow-origin"), Some(APP), "{created:?}");
    let id = text_of(&created.ok(201)["id"]).to_owned();
    page.pay(&id).ok(200);
    assert_eq!(wang.grab_and_open(&id)["outcome"], "opened");
    let metric = |name: &str| {
        let metrics = User::new("", None, server).get("/metrics").text();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap()
    };
    let written = "hongbao_shared_snapshots_total{event=\"written\"}";
    wait_until(SOON, "a snapshot to be written", || metric(written) > 0.0);
    wait_until(SOON, "wang to be paid", || wang.balance() > 0);

    let (code, said) = run(&folder, "audit", &[]);
    assert_eq!(code, Some(0), "{said}");
    let dumps = folder.path("dumps");
    grant_backup(&mariadb);
    let (code, said) = run(&folder, "backup", &["--to".as_ref(), &dumps]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !std::fs::read_dir(&dumps).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).any(|size| size == 0)
    );

    // Without TLS the error names the setting.
    folder.write("hongbao.toml", &settings.replace("tls = 'verified'\nca_file = 'ca.pem'\n", ""));
    let (code, said) = run(&folder, "audit", &[]);
    assert!(code == Some(2) && said.contains("set database.tls"), "{said}");
    folder.write("hongbao.toml", &settings);

    // Certificates that have expired: the server serves without its cache, and says why.
    cache.replace_by(&authority.expired_server("old-redis", &["127.0.0.1"]));
    redis.restart();
    let second = li.send(&lucky(100, 2));
    assert_eq!(wang.grab_and_open(&second)["outcome"], "opened");
    let log = || std::fs::read_to_string(folder.path("log")).unwrap();
    wait_until(SOON, "redis to be away", || {
        log().lines().any(|line| line.contains("redis is away") && line.contains("expired"))
    });
    database.replace_by(&authority.expired_server("old-mariadb", &["127.0.0.1"]));
    mariadb.sql("FLUSH SSL");
    let (code, said) = run(&folder, "audit", &[]);
    assert!(code == Some(2) && said.contains("certificate has expired"), "{said}");
    database.replace_by(&authority.server("new-mariadb", &["127.0.0.1"]));
    mariadb.sql("FLUSH SSL");
    assert_eq!(run(&folder, "audit", &[]).0, Some(0));
}
