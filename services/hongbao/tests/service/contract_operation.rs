//! What an operator sees: the document, health, metrics, the end, the configuration.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Answer, Folder, Service, TICKET_SECRET, TOKEN_SECRET, audit_of, hongbao, lucky, number_of, seconds_from_now, sign,
    text, text_of, wait_until,
};

#[test]
fn the_openapi_document_lists_every_call_with_its_schemas() {
    let service = Service::start("");
    let document = service.nobody().get("/openapi.json").ok(200);
    assert!(text_of(&document["openapi"]).starts_with("3."), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    let listed: BTreeMap<&str, Vec<&str>> = paths
        .iter()
        .map(|(path, calls)| (path.as_str(), calls.as_object().unwrap().keys().map(String::as_str).collect()))
        .collect();
    let contract = [
        ("/v1/envelopes", vec!["post"]),
        ("/v1/envelopes/{id}", vec!["get"]),
        ("/v1/envelopes/{id}/pay", vec!["post"]),
        ("/v1/envelopes/{id}/grab", vec!["post"]),
        ("/v1/envelopes/{id}/open", vec!["post"]),
        ("/v1/wallet", vec!["get"]),
        ("/v1/wallet/transfers", vec!["get"]),
        ("/v1/wallet/envelopes", vec!["get"]),
        ("/v1/events", vec!["get"]),
        ("/v1/events/stream", vec!["get"]),
        ("/v1/charges", vec!["get", "post"]),
        ("/v1/charges/{order}", vec!["get"]),
        ("/v1/payouts", vec!["get", "post"]),
        ("/v1/payouts/{order}", vec!["get"]),
        ("/v1/provider/notifications", vec!["post"]),
        ("/v1/operator/permits", vec!["get", "put"]),
        ("/v1/operator/frozen-users", vec!["get", "put"]),
        ("/v1/operator/freeze-log", vec!["get"]),
        ("/v1/dev/token", vec!["post"]),
        ("/v1/dev/top-up", vec!["post"]),
    ];
    assert_eq!(listed, contract.into_iter().collect());

    let schemas = document["components"]["schemas"].as_object().unwrap();
    for schema in ["CreateEnvelope", "EnvelopeView", "GrabAnswer", "OpenRequest", "Outcome", "Detail", "ProblemBody"] {
        assert!(schemas.contains_key(schema), "{schema}");
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    let open = &document["paths"]["/v1/envelopes/{id}/open"]["post"];
    for status in ["200", "403", "503", "504"] {
        assert!(open["responses"][status].is_object(), "{status} of {open}");
    }
    service.check();
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

#[test]
fn health_and_readiness_need_no_token() {
    let service = Service::start("");
    service.nobody().get("/healthz").ok(200);
    assert_eq!(service.nobody().get("/readyz").ok(200)["ready"], true);
    service.check();
}

#[test]
fn metrics_tell_queue_batch_commit_wait_outcomes_and_lag() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(100, 2));
    let late = service.user("late");
    let ticket = late.ticket(&id);
    for name in ["a", "b"] {
        service.user(name).grab_and_open(&id);
    }
    late.open(&id, &ticket).ok(200);
    let answer = service.nobody().get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(answer.header("x-request-id").is_some());
    let metrics = answer.text();
    assert!(
        metrics.contains(concat!("hongbao_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")),
        "{metrics}"
    );
    let value_of = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value_of("hongbao_open_queue_depth{lane=\"0\"}"), 0.0);
    assert_eq!(value_of("hongbao_open_batch_size_sum"), 2.0);
    assert!(value_of("hongbao_open_commit_seconds_count") >= 1.0);
    assert!(value_of("hongbao_open_commit_seconds_sum") > 0.0);
    assert!(value_of("hongbao_open_queue_wait_seconds_count") >= 2.0);
    assert_eq!(value_of("hongbao_open_outcomes_total{outcome=\"opened\"}"), 2.0);
    assert_eq!(value_of("hongbao_open_outcomes_total{outcome=\"empty\"}"), 1.0);
    assert!(value_of("hongbao_settled_lag_seconds") >= 0.0);
    let created = "hongbao_http_requests_total{route=\"POST /v1/envelopes\",status=\"2xx\"}";
    assert_eq!(value_of(created), 1.0);
    service.check();
}

#[test]
fn a_stop_answers_what_was_accepted_and_exits_with_0() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(1_000, 20));
    let ticket = li.ticket(&id);
    let idle = service.user("idle");
    idle.get("/v1/wallet").ok(200);

    // An opening whose body is still on its way when the signal comes: `100` says
    // that its handler waits for it.
    let token = sign(&json!({ "sub": "li", "exp": seconds_from_now(60) }), TOKEN_SECRET);
    let body = json!({ "ticket": ticket }).to_string();
    let head = format!(
        "POST /v1/envelopes/{id}/open HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = service.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(text(&interim), "HTTP/1.1 100 Continue\r\n\r\n");
    service.terminate();
    let closed = || idle.try_call("GET", "/v1/wallet", None).is_err();
    wait_until(Duration::from_secs(5), "the idle connection to be closed", closed);
    assert!(closed(), "no new connection is taken");
    stream.write_all(body.as_bytes()).unwrap();
    let opened = Answer::read(&mut BufReader::new(stream)).unwrap().ok(200);
    assert_eq!(opened["outcome"], "opened");
    assert_eq!(service.wait().code(), Some(0), "{}", service.log());
    assert_eq!(audit_of(&folder.data()).status.code(), Some(0));

    let service = Service::start_in(&folder, "");
    let li = service.user("li");
    assert_eq!(li.grab(&id).ok(200)["amount_fen"], opened["amount_fen"]);
    li.wait_for_balance(number_of(&opened["amount_fen"]), Duration::from_secs(10));
    service.check();
}

#[test]
fn a_stop_may_come_as_soon_as_the_address_is_printed() {
    let folder = Folder::new();
    for _ in 0..3 {
        let mut service = Service::start_in(&folder, "");
        service.terminate();
        assert_eq!(service.wait().code(), Some(0), "{}", service.log());
    }
}

#[test]
fn a_stop_under_load_loses_no_acknowledged_opening() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "[limits]\nshares_max = 100000");
    let li = service.user("li");
    li.top_up(1_000_000);
    let id = li.send(&lucky(1_000_000, 100_000));
    let count = AtomicUsize::new(0);
    let acknowledged: Vec<(String, Value)> = std::thread::scope(|threads| {
        let (service, id, count) = (&service, &id, &count);
        let open = |thread: usize| {
            let mut opened = Vec::new();
            for number in 0.. {
                let user = service.user(&format!("u{thread}-{number}"));
                let Ok(answer) = user.try_grab_and_open(id) else { break };
                opened.push((user.name.clone(), answer.ok(200)));
                count.fetch_add(1, Ordering::Relaxed);
            }
            opened
        };
        let running: Vec<_> = (0..8).map(|thread| threads.spawn(move || open(thread))).collect();
        wait_until(Duration::from_secs(10), "100 openings", || count.load(Ordering::Relaxed) >= 100);
        service.terminate();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(service.wait().code(), Some(0), "{}", service.log());
    assert_eq!(audit_of(&folder.data()).status.code(), Some(0));

    let service = Service::start_in(&folder, "");
    for (name, opened) in &acknowledged {
        assert_eq!(service.user(name).grab(&id).ok(200)["amount_fen"], opened["amount_fen"], "{name}");
    }
    service.check();
}

/// Runs `hongbao dev` with what must make it end at once.
fn ends(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_prints_the_settings_in_force_with_secrets_masked() {
    let folder = Folder::new();
    let secret = "the-secret-that-must-not-be-shown-anywhere";
    let settings = format!(
        "listen = '127.0.0.1:1'\n[auth]\nhs256_secret = '{secret}'\n[tickets]\nsecret = '{secret}'\n[limits]\nshares_max = 7"
    );
    let file = folder.write("hongbao.toml", &settings);
    let (code, printed, _) = ends(
        hongbao(&["dev", "--check", "--listen", "127.0.0.1:3", "--config"])
            .arg(file)
            .env("HONGBAO_LISTEN", "127.0.0.1:2")
            .env("HONGBAO_LIMITS__SHARES_MAX", "9")
            .env("HONGBAO_RATE_LIMIT__USER_PER_S", "5"),
    );
    assert_eq!(code, Some(0));
    assert!(!printed.contains(secret), "{printed}");
    let printed: toml::Table = printed.parse().unwrap();
    assert_eq!(printed["listen"].as_str(), Some("127.0.0.1:3"), "a flag is the last word");
    assert_eq!(printed["limits"]["shares_max"].as_integer(), Some(9), "then the environment");
    assert_eq!(printed["rate_limit"]["user_per_s"].as_integer(), Some(5));
    assert_eq!(printed["limits"]["share_fen_max"].as_integer(), Some(20_000));
    assert_eq!(printed["auth"]["hs256_secret"].as_str(), Some("********"));
    assert_eq!(printed["tickets"]["secret"].as_str(), Some("********"));
    assert!(!folder.data().exists(), "a check makes nothing");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_in_words() {
    let folder = Folder::new();
    for (settings, reason) in [
        ("colour = 'red'", "colour"),
        ("[limits]\nshare_max = 5", "share_max"),
        ("[server.lane]\nqueue = 5", "lane"),
        ("[limitz]\nshares_max = 5", "limitz"),
        ("[limits]\nshares_max = 'many'", "shares_max"),
        ("[limits]\nshares_max = 0", "shares_max"),
        ("[server]\nlanes = 1", "lanes"),
        ("[http]\nconnections_max = 0", "connections_max"),
        ("[rate_limit]\nuser_per_s = 0", "user_per_s"),
        ("[storage]\ndatabases = 3", "databases"),
        ("listen = 'everywhere'", "listen"),
        ("[auth]\nhs256_secret = 'short'", "secret"),
        ("[auth]\neddsa_public_key_file = '/nowhere/key.pem'", "auth: eddsa_public_key_file /nowhere/key.pem: No such"),
        ("[auth]\neddsa_public_key_file = '/dev/null'", "auth: eddsa_public_key_file /dev/null: the token key cannot"),
    ] {
        let error = Service::try_start_in(&folder, settings).err().unwrap_or_else(|| panic!("{settings} was taken"));
        assert!(error.contains("exit status: 2") && error.contains(reason), "{settings}: {error}");
        std::fs::remove_file(folder.path("log")).unwrap();
    }
    let (code, _, error) = ends(hongbao(&["dev", "--check"]).env("HONGBAO_LIMITS__SHARES", "5"));
    assert!(code == Some(2) && error.contains("shares"), "{error}");
    let (code, _, error) = ends(&mut hongbao(&["dev", "--check", "--listen", "0.0.0.0:0"]));
    assert!(code == Some(2) && error.contains("hs256_secret"), "secrets that everybody knows: {error}");
    let no_toml = folder.write("no.toml", "this is no TOML");
    let (code, _, error) = ends(hongbao(&["dev", "--config"]).arg(no_toml));
    assert!(code == Some(2) && error.contains("no.toml"), "{error}");
    let (code, _, error) = ends(&mut hongbao(&["dev", "--config", "/nowhere/hongbao.toml"]));
    assert!(code == Some(2) && error.contains("--config /nowhere/hongbao.toml: No such file"), "{error}");
    for arguments in [&["dev", "--colour"][..], &["serve"], &["dev", "--listen", "here"], &[]] {
        let (code, _, error) = ends(&mut hongbao(arguments));
        assert!(code == Some(2) && !error.is_empty(), "{arguments:?}: {error}");
    }
}

#[test]
fn a_file_of_an_installation_that_cannot_be_read_is_named_with_its_flag_or_key() {
    let folder = Folder::new();
    let settings = folder.write("hongbao.toml", "topology = 'gone.toml'\n[database]\nuser = 'u'\n");
    let settings = settings.to_str().unwrap();
    let gone = folder.path("gone.toml");
    for command in ["gateway", "server", "worker", "migrate", "audit"] {
        let (code, _, error) = ends(
            hongbao(&[command, "--config", settings])
                .env("HONGBAO_AUTH__HS256_SECRET", TOKEN_SECRET)
                .env("HONGBAO_TICKETS__SECRET", TICKET_SECRET)
                .env("HONGBAO_DATABASE__PASSWORD", "p"),
        );
        let reason = format!("topology: {}: No such file", gone.display());
        assert!(code == Some(2) && error.contains(&reason), "{command}: {error}");
        let (code, _, error) = ends(&mut hongbao(&[command, "--config", gone.to_str().unwrap()]));
        let reason = format!("--config {}: No such file", gone.display());
        assert!(code == Some(2) && error.contains(&reason), "{command}: {error}");
    }
    // A folder is no file.
    let (code, _, error) = ends(&mut hongbao(&["dev", "--config", "/tmp"]));
    assert!(code == Some(2) && error.contains("--config /tmp: Is a directory"), "{error}");
}

#[test]
fn what_keeps_it_from_starting_is_said_at_once() {
    let folder = Folder::new();
    let file = folder.write("file", "not a folder");
    let file = file.to_str().unwrap();
    let (code, printed, error) = ends(&mut hongbao(&["dev", "--listen", "127.0.0.1:0", "--data", file]));
    assert_eq!(code, Some(2), "{error}");
    assert!(printed.is_empty() && error.contains("data: ") && error.contains(file), "{printed}{error}");
    assert!(!error.contains("panicked"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (taken.local_addr().unwrap().to_string(), taken.local_addr().unwrap().port());
    let data = folder.data();
    let (code, _, error) = ends(&mut hongbao(&["dev", "--listen", &address, "--data", data.to_str().unwrap()]));
    let reason = format!(
        "hongbao: {address}: port {port} is in use by another process: end that one, \
         or choose another address by --listen, HONGBAO_LISTEN or `listen` in the settings file\n"
    );
    assert!(code == Some(2) && error.ends_with(&reason), "{error}");
    assert!(!data.exists(), "nothing was made");

    let service = Service::start_in(&folder, "[storage]\ndatabases = 2");
    drop(service);
    let error = Service::try_start_in(&folder, "[storage]\ndatabases = 5").err().expect("its databases are fixed");
    assert!(error.contains("exit status: 2") && error.contains("database 0 of 2"), "{error}");
}

#[test]
fn an_audit_of_nothing_says_that_it_could_not_check() {
    let folder = Folder::new();
    let output = audit_of(&folder.data());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--data: "), "{}", text(&output.stderr));
    assert!(!folder.data().exists(), "an audit makes nothing");
}
