//! Where the service is open and to whom: the calls of development, tokens for
//! others, what a client can do to the log, and settings that keep it from starting.

use std::io::{BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hongbao_core::limits::LOG_LINES_PER_S_MAX;
use serde_json::{Value, json};

use crate::support::{
    Answer, Folder, Service, TICKET_SECRET, TOKEN_SECRET, User, command_in, connect, hongbao, seconds_from_now, sign,
    text, text_of, wait_until,
};

/// Asks for a dev token with these headers; the status.
fn dev_token(address: SocketAddr, headers: &str) -> u16 {
    let body = json!({ "user_id": "li", "role": "operator" }).to_string();
    let head = format!("POST /v1/dev/token HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    Answer::read(&mut BufReader::new(stream)).unwrap().status
}

#[test]
fn off_loopback_nobody_is_given_tokens_or_money() {
    let folder = Folder::new();
    let mut command = command_in(&folder, "");
    // The last one counts. Any address of this machine leads there, loopback too.
    command.args(["--listen", "0.0.0.0:0"]);
    let command = without_first_listen(&command);
    let service = Service::try_run(&folder, command).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], service.address().port()));
    assert_eq!(dev_token(address, &format!("host: {address}\r\n")), 404);
    let li = service.user("li").at(address);
    li.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": uuid::Uuid::nil() })).problem(404, "not_found");
    assert_eq!(li.balance(), 0);
    assert!(service.log().contains("no calls of development"), "{}", service.log());

    let mut command = command_in(&folder, "dev_calls = true");
    command.args(["--listen", "0.0.0.0:0"]);
    let refused = Service::try_run(&folder, without_first_listen(&command)).err().expect("it is refused");
    assert!(refused.contains("dev_calls make money out of nothing, and 0.0.0.0:0 can be reached"), "{refused}");
}

/// [`command_in`] names an address already.
fn without_first_listen(command: &Command) -> Command {
    let arguments: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
    let at = arguments.iter().position(|word| *word == "--listen").unwrap();
    hongbao(&[&arguments[..at], &arguments[at + 2..]].concat())
}

#[test]
fn on_loopback_the_calls_of_development_are_for_programs_and_not_for_web_pages() {
    let service = Service::start("");
    let address = service.address();
    let port = address.port();
    let page = format!("host: localhost:{port}\r\norigin: ");
    for (headers, status) in [
        (format!("host: {address}\r\n"), 200),
        (format!("host: localhost:{port}\r\n"), 200),
        ("host: [::1]\r\ncontent-type: application/x-www-form-urlencoded\r\n".to_owned(), 200),
        (format!("{page}http://localhost:{port}\r\nsec-fetch-site: same-origin\r\n"), 200),
        (format!("host: evil.example:{port}\r\n"), 403),
        (format!("host: evil.example:{port}\r\norigin: http://evil.example:{port}\r\n"), 403),
        (format!("{page}http://evil.example\r\ncontent-type: text/plain\r\n"), 403),
        (format!("{page}null\r\ncontent-type: text/plain\r\n"), 403),
        (format!("{page}http://localhost:3000\r\n"), 403),
        (format!("{page}https://localhost:{port}\r\n"), 403),
        (format!("host: localhost:{port}\r\nsec-fetch-site: cross-site\r\n"), 403),
    ] {
        assert_eq!(dev_token(address, &headers), status, "{headers}");
    }
    let li = service.user("li");
    let top_up = json!({ "amount_fen": 1, "id": uuid::Uuid::nil() });
    let page = li.with_header("origin", "http://evil.example");
    page.post("/v1/dev/top-up", &top_up).problem(403, "forbidden");
    assert_eq!(page.balance(), 0, "what asks for a token is not concerned: no page has one");
    li.post("/v1/dev/top-up", &top_up).ok(200);
    service.check();
}

#[test]
fn where_they_are_switched_off_there_are_no_calls_of_development() {
    let service = Service::start("dev_calls = false");
    service.nobody().post("/v1/dev/token", &json!({ "user_id": "li" })).problem(404, "not_found");
    let top_up = json!({ "amount_fen": 1, "id": uuid::Uuid::nil() });
    service.user("li").post("/v1/dev/top-up", &top_up).problem(404, "not_found");
    service.check();
}

#[test]
fn tokens_are_for_this_service_and_from_its_issuer() {
    let service = Service::start(&format!(
        "[auth]\nhs256_secret = '{TOKEN_SECRET}'\naudience = 'hongbao'\nissuer = 'bank'\n[rehearsal]\nenabled = true"
    ));
    let signed = |more: Value| {
        let mut claims = json!({ "sub": "li", "exp": seconds_from_now(60), "role": "operator" });
        more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        sign(&claims, TOKEN_SECRET)
    };
    let good = signed(json!({ "aud": ["shop", "hongbao"], "iss": "bank" }));
    let bad = [json!({}), json!({ "aud": "hongbao" }), json!({ "aud": "shop", "iss": "bank" })].map(signed);
    let li = service.bearer("li", &good);
    li.get("/v1/wallet").ok(200);
    li.get("/v1/operator/permits").ok(200);
    li.with_header("x-hongbao-rehearsal", &good).get("/v1/wallet").ok(200);
    for token in &bad {
        let refused = service.bearer("li", token);
        refused.get("/v1/wallet").problem(401, "unauthorized");
        refused.get("/v1/operator/permits").problem(401, "unauthorized");
        li.with_header("x-hongbao-rehearsal", token).get("/v1/wallet").problem(403, "rehearsal_refused");
    }
    // Those of development are for this service.
    let token = service.nobody().post("/v1/dev/token", &json!({ "user_id": "wang" })).ok(200);
    service.bearer("wang", text_of(&token["token"])).get("/v1/wallet").ok(200);
    service.check();
}

#[test]
fn a_token_for_somebody_else_is_refused_where_we_have_no_name() {
    let service = Service::start("");
    let claims = json!({ "sub": "li", "exp": seconds_from_now(60), "aud": "shop" });
    let problem = service.bearer("li", &sign(&claims, TOKEN_SECRET)).get("/v1/wallet").problem(401, "unauthorized");
    assert!(text_of(&problem["detail"]).contains("this service has none"), "{problem}");
    let claims = json!({ "sub": "li", "exp": seconds_from_now(60), "iss": "anybody" });
    service.bearer("li", &sign(&claims, TOKEN_SECRET)).get("/v1/wallet").ok(200);
}

/// An installation whose gateway leads to nobody.
fn gateway_alone(folder: &Folder, address: SocketAddr) {
    let settings = format!(
        "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
         [database]\nuser = 'u'\npassword = 'p'\n"
    );
    folder.write("hongbao.toml", &settings);
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['127.0.0.1:1']\n\
         servers = [{{ name = 'a1', address = '127.0.0.1:2' }}]\nworkers = [{{ name = 'w1', address = '127.0.0.1:3' }}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['127.0.0.1:1']\n\
         [[gateways]]\nname = 'g'\naddress = '{address}'\n"
    );
    folder.write("topology.toml", &topology);
}

#[test]
fn what_a_client_sends_writes_no_more_lines_than_the_log_takes() {
    const REQUESTS: usize = 3_000;
    let folder = Folder::new();
    let address = SocketAddr::from(([127, 0, 0, 1], hongbao_testbed::free_port()));
    gateway_alone(&folder, address);
    let settings = folder.path("hongbao.toml");
    let gateway = Service::try_run(&folder, hongbao(&["gateway", "--config", settings.to_str().unwrap()])).unwrap();
    let dead = "a server's standing has changed";
    wait_until(Duration::from_secs(10), "it to see that there is no server", || gateway.log().contains(dead));
    let before = gateway.log().lines().count();
    // What is refused here writes nothing, however odd it is.
    for line in
        ["CONNECT /openapi.json", "CONNECT http://h/openapi.json", "CONNECT h:80", "OPTIONS *", "BREW /v1/wallet"]
    {
        for _ in 0..20 {
            let answer = gateway.raw(format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes());
            assert!([401, 404, 405].contains(&answer.status), "{line}: {}", answer.status);
        }
    }
    assert_eq!(gateway.log().lines().count(), before, "{}", gateway.log());

    // That no server is there is a failure of ours, and told as often as the log takes it.
    let begun = Instant::now();
    let request = "GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n";
    let flood = || {
        let mut stream = connect(address).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let reading =
            std::thread::spawn(move || (0..REQUESTS).all(|_| Answer::read(&mut answers).unwrap().status == 503));
        stream.write_all(request.repeat(REQUESTS).as_bytes()).unwrap();
        assert!(reading.join().unwrap());
    };
    // More than one connection, for each thread of a gateway counts what it complains of.
    std::thread::scope(|threads| (0..4).for_each(|_| drop(threads.spawn(flood))));
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let lines = gateway.log().lines().count() - before;
    assert!(lines >= LOG_LINES_PER_S_MAX as usize, "{lines}");
    assert!(lines <= seconds * (LOG_LINES_PER_S_MAX as usize + 2), "{lines} lines in {seconds} s");
}

#[test]
fn a_setting_that_keeps_it_from_starting_is_refused_by_check_in_the_same_words() {
    let folder = Folder::new();
    let a_file = folder.write("a-file", "not a folder");
    let a_file = a_file.to_str().unwrap();
    let no_key = folder.write("no-key.pem", "not a key");
    let no_key = format!("[auth]\neddsa_public_key_file = {:?}", no_key.to_str().unwrap());
    let key = format!("[[auth.keys]]\nkid = 'a'\nhs256_secret = '{TOKEN_SECRET}'\n");
    let two_keys = key.repeat(2);
    for (settings, reason) in [
        ("[log]\nlevel = 'wran'", "log: level \"wran\""),
        ("[log]\nlevel = 'info,=x='", "log: level"),
        ("[log]\nlevel = 'hongbao=loud'", "log: level"),
        ("[log]\nformat = 'xml'", "format"),
        ("[auth]\nhs256_secret = 'short'", "auth: hs256_secret"),
        ("[auth]\neddsa_public_key_file = '/nowhere/key.pem'", "/nowhere/key.pem: No such file"),
        ("[auth]\neddsa_public_key_file = '/dev/null'", "the token key cannot be used"),
        (&no_key, "the token key cannot be used"),
        ("[auth]\njwks_file = '/nowhere/jwks.json'", "auth: jwks_file /nowhere/jwks.json: No such file"),
        ("[auth]\njwks_file = '/dev/null'", "auth: jwks_file /dev/null: it is not JSON"),
        ("[[auth.keys]]\nkid = 'a'", "auth: key \"a\" must have either hs256_secret or eddsa_public_key_file"),
        (
            "[[auth.keys]]\nkid = 'a'\nhs256_secret = 'short'",
            "the token key \"a\" cannot be used: the secret has 5 bytes",
        ),
        (
            "[[auth.keys]]\nkid = 'a'\neddsa_public_key_file = '/dev/null'",
            "auth: keys: eddsa_public_key_file /dev/null: the token key \"a\" cannot be used",
        ),
        (&two_keys, "the token key \"a\" cannot be used: there is another key of that `kid`"),
        ("[auth]\naudience = ''", "auth: audience"),
        ("[auth]\nissuer = ''", "auth: issuer"),
        ("[tickets]\nsecret = 'short'", "tickets: secret"),
        ("[tickets]\nalso_accepted_secret = 'short'", "tickets: also_accepted_secret must have at least 32 bytes"),
        ("listen = 'everywhere'", "listen"),
        (&format!("data = {a_file:?}"), "is not a folder"),
        ("[limits]\nshares_max = 0", "shares_max"),
        ("[server]\npermit_cap = 0", "permit_cap"),
        ("[http]\nidle_timeout_ms = 0", "http: idle_timeout_ms must be 1 to 3600000, not 0"),
        ("[rate_limit]\nuser_burst = 1", "user_burst"),
        ("[rehearsal]\nglobal_per_s = 5", "rehearsal: global_per_s"),
        ("[workers]\nduty_percent = 0", "duty_percent"),
        ("[storage]\ntables = 3", "tables"),
        ("zone_offset_s = 99999", "zone_offset_s"),
        ("colour = 'red'", "colour"),
    ] {
        let command = command_in(&folder, settings);
        let mut arguments: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        // A flag would be the last word.
        for flag in ["--listen", "--data"].iter().filter(|flag| settings.starts_with(&flag[2..])) {
            let at = arguments.iter().position(|word| word == flag).unwrap();
            arguments.drain(at..at + 2);
        }
        let checked = ends(&mut hongbao(&[&arguments[..], &["--check"]].concat()));
        let started = ends(&mut hongbao(&arguments));
        assert_eq!(checked.0, Some(2), "{settings} is taken by --check");
        assert!(checked.1.contains(reason), "{settings}: {}", checked.1);
        assert_eq!(checked, started, "{settings}");
    }
    assert!(!folder.data().exists(), "nothing was made");
}

#[test]
fn a_file_of_an_installation_that_keeps_a_role_from_starting_is_refused_by_check_in_the_same_words() {
    let folder = Folder::new();
    gateway_alone(&folder, SocketAddr::from(([127, 0, 0, 1], 4)));
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    let (settings, topology) = (read("hongbao.toml"), read("topology.toml"));
    let change = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let in_settings = |from: &str, to: &str| (change(&settings, from, to), topology.clone());
    let in_topology = |from: &str, to: &str| (settings.clone(), change(&topology, from, to));
    let and = |more: &str| (format!("{settings}{more}"), topology.clone());
    for ((settings, topology), reason) in [
        (and("[log]\nlevel = 'wran'\n"), "log: level"),
        (and("[gateway]\nprobe_every_ms = 0\n"), "probe_every_ms"),
        (and("[server]\npermit_cap = 32\n"), "permit_cap (32) must be less"),
        (and("[storage]\nwallet_databases = 3\n"), "wallet_databases"),
        (in_settings("[auth]\n", "[auth]\neddsa_public_key_file = '/dev/null'\n"), "the token key cannot be used"),
        (in_settings(TOKEN_SECRET, "replace-me-by-32-random-bytes-or-more"), "auth.hs256_secret must be set"),
        (in_settings("password = 'p'", "password = 'replace-me'"), "database.password must be set"),
        (in_settings("topology.toml", "nowhere.toml"), "nowhere.toml: No such file"),
        (
            in_topology(
                "slots = '00-99'\ndatabase = ['127.0.0.1:1']\nservers",
                "slots = '00-98'\ndatabase = ['127.0.0.1:1']\nservers",
            ),
            "slot 99",
        ),
        (
            in_topology("database = ['127.0.0.1:1']\nservers", "database = ['nowhere']\nservers"),
            "neither host:port nor unix:/path",
        ),
        (
            in_topology(
                "database = ['127.0.0.1:1']\nservers",
                "database = ['127.0.0.1:1']\ncache = 'http://127.0.0.1'\nservers",
            ),
            "SET \"a\": cache: no URL of a Redis",
        ),
        (
            in_topology("address = '127.0.0.1:2' }", "address = '127.0.0.1:2', memcached = 'nowhere' }"),
            "memcached \"nowhere\" is not host:port",
        ),
        (in_topology("address = '127.0.0.1:2' }", "address = 'a1' }"), "not a name or an IP address with a port"),
        (in_topology("address = '127.0.0.1:3'", "address = '127.0.0.1:2'"), "is used twice"),
        (
            (format!("dev_calls = true\n{}", settings), change(&topology, "127.0.0.1:2", "10.0.0.1:2")),
            "dev_calls make money",
        ),
    ] {
        let file = folder.write("hongbao.toml", &settings);
        folder.write("topology.toml", &topology);
        for role in ["gateway", "server", "worker"] {
            let start = [role, "--config", file.to_str().unwrap()];
            let checked = ends(&mut hongbao(&[&start[..], &["--check"]].concat()));
            assert_eq!(checked.0, Some(2), "{role} --check takes it: {reason}");
            assert!(checked.1.contains(reason), "{role}: {}", checked.1);
            assert_eq!(checked, ends(&mut hongbao(&start)), "{role}: {reason}");
        }
    }
}

/// Runs what must end at once; its exit code and its complaint.
fn ends(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ended = None;
    let until = Instant::now() + Duration::from_secs(30);
    while ended.is_none() && Instant::now() < until {
        ended = child.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that has started after all would not end.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    (ended.and_then(|status| status.code()), text(&output.stderr))
}

#[test]
fn a_gateway_asks_for_the_same_parties_as_its_servers() {
    let folder = Folder::new();
    let address = SocketAddr::from(([127, 0, 0, 1], hongbao_testbed::free_port()));
    gateway_alone(&folder, address);
    let mut command = hongbao(&["gateway", "--config", folder.path("hongbao.toml").to_str().unwrap()]);
    command.env("HONGBAO_AUTH__AUDIENCE", "hongbao");
    let _gateway = Service::try_run(&folder, command).unwrap();
    let as_user = |claims: Value| User::new("li", Some(format!("Bearer {}", sign(&claims, TOKEN_SECRET))), address);
    let exp = seconds_from_now(60);
    as_user(json!({ "sub": "li", "exp": exp })).get("/v1/wallet").problem(401, "unauthorized");
    as_user(json!({ "sub": "li", "exp": exp, "aud": "shop" })).get("/v1/wallet").problem(401, "unauthorized");
    let ours = as_user(json!({ "sub": "li", "exp": exp, "aud": "hongbao" }));
    ours.get("/v1/wallet").problem(503, "unavailable");
    // The calls of development are not offered, to nobody and without a server being asked.
    let nobody = User::new("", None, address);
    nobody.post("/v1/dev/token", &json!({ "user_id": "li" })).problem(404, "not_found");
    ours.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": uuid::Uuid::nil() })).problem(404, "not_found");
    let forwarded = || {
        let metrics = nobody.get("/metrics").text();
        metrics.lines().any(|line| line == "hongbao_gateway_requests_total{outcome=\"forwarded\"} 0")
    };
    wait_until(Duration::from_secs(5), "nothing to have been passed on", forwarded);
}
