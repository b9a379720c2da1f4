//! Grabs, openings and looks that are written as usual are answered past hyper and the router. Whatever is
//! asked, the answer is the same to the last byte as to a request that hyper reads, because
//! it has one header more, which changes nothing.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::common::FAST_PATH_OF_TESTS;
use crate::rehearsal_installation::Installation;
use crate::support::{Service, TOKEN_SECRET, User, connect, lucky, seconds_from_now, sign, text, wait_until};

const SOON: Duration = Duration::from_secs(15);
/// A header that no answer depends on, and that only hyper reads.
const FOR_HYPER: &str = "x-read-by: hyper\r\n";
/// An id of no envelope.
const NEVER_MADE: &str = "0199c0de-0000-7000-8000-000000000001";
/// An answer begins so.
const HEAD: &[u8] = b"HTTP/1.1 ";

fn token(user: &str) -> String {
    sign(&json!({ "sub": user, "exp": seconds_from_now(3_600) }), TOKEN_SECRET)
}

/// All that is answered to these bytes, so many answers unless the connection ends before.
fn answers(address: SocketAddr, bytes: &[u8], count: usize) -> String {
    let mut stream = connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    let mut all = Vec::new();
    let mut some = [0; 4_096];
    let heads = |all: &[u8]| all.windows(HEAD.len()).filter(|window| *window == HEAD).count();
    // The sending side stays open until the last answer is there: who closes it has gone.
    while heads(&all) < count || !all.ends_with(b"}") {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&some[..read]),
        }
    }
    // A reset is an answer, too.
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

/// Without what differs from one answer to the next: ids, places, times, tickets, and how
/// long to wait, which follows from the request's id.
fn shown(answer: &str) -> String {
    let mut shown = String::new();
    for line in answer.split("\r\n") {
        let line = match line.split_once(": ") {
            Some((name @ ("x-request-id" | "x-hongbao-accepted" | "date" | "retry-after" | "content-length"), _)) => {
                name
            }
            _ => line,
        };
        let mut line = line.to_owned();
        for field in ["request_id", "ticket", "ticket_expires_at", "opened_at"] {
            let start = format!("\"{field}\":\"");
            if let Some((before, rest)) = line.clone().split_once(&start) {
                let (_, after) = rest.split_once('"').unwrap();
                line = format!("{before}{start}{after}");
            }
        }
        shown += &line;
        shown.push('\n');
    }
    // The ids of requests have as many digits as they need.
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = format!("content-length: {}", body.len());
    assert!(head.lines().any(|line| line == length) || body.contains("HTTP/1.1 "), "{answer}");
    shown
}

fn metric(address: SocketAddr, name: &str) -> usize {
    let metrics = User::new("", None, address).get("/metrics");
    let text = String::from_utf8(metrics.body).unwrap();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn fast_requests(address: SocketAddr) -> usize {
    metric(address, "hongbao_http_requests_fast_total")
}

fn post(path: &str, token: &str, body: &str) -> String {
    let (length, host) = (body.len(), "host: localhost\r\n");
    format!("POST {path} HTTP/1.1\r\n{host}authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The requests about an envelope, with whether they are written as usual.
fn requests(id: &str, ended: &str, ticket: &str, takes_looks: bool) -> Vec<(String, bool)> {
    let (wang, zhao, li) = (token("wang"), token("zhao"), token("li"));
    let open = |token: &str, body: &str| post(&format!("/v1/envelopes/{id}/open"), token, body);
    let grab = |id: &str, token: &str| post(&format!("/v1/envelopes/{id}/grab"), token, "");
    let look = |id: &str, token: &str| {
        format!("GET /v1/envelopes/{id} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let expired = sign(&json!({ "sub": "wang", "exp": seconds_from_now(-60) }), TOKEN_SECRET);
    let foreign = sign(&json!({ "sub": "wang", "exp": seconds_from_now(60) }), "another secret that is long enough");
    let good = format!(r#"{{"ticket":"{ticket}"}}"#);
    let usual = vec![
        // What wang has opened is answered again, whatever the ticket's age.
        open(&wang, &good),
        open(&wang, &format!(" {{ \"ticket\" : \"{ticket}\" }} ")),
        open(&zhao, &good),
        open(&wang, r#"{"ticket":"x"}"#),
        open(&wang, "{}"),
        open(&wang, r#"{"ticket":1}"#),
        open(&wang, r#"{"ticket":"x","more":1}"#),
        open(&wang, "[]"),
        open(&wang, "not JSON"),
        open(&wang, ""),
        open(&expired, &good),
        open(&foreign, &good),
        open("nonsense", &good),
        grab(id, &wang),
        grab(id, &zhao),
        grab(id, &expired),
        grab(ended, &li),
        grab(ended, &wang),
        grab(NEVER_MADE, &wang),
        grab("ffffffff-ffff-7fff-bfff-ffffffffffff", &wang),
        post(&format!("/v1/envelopes/{id}/grab"), &wang, "what stands here is not looked at"),
        post(&format!("/v1/envelopes/{id}/grab"), &wang, &grab(id, &zhao)),
        // HTTP/1.1 headers have no case, and a host may be empty.
        grab(id, &wang).replace("host: localhost", "HOST:"),
        grab(id, &wang).replace("content-length", "Content-Length").replace("authorization", "Authorization"),
        grab(id, &wang).replace("\r\n\r\n", "\r\nuser-agent: a phone\r\naccept: */*\r\naccept-language: zh-CN\r\n\r\n"),
    ];
    let looks = [
        look(id, &wang),
        look(ended, &wang),
        look(id, &li),
        look(id, &expired),
        look(id, &foreign),
        look(id, "nonsense"),
        look(&id.to_uppercase(), &wang),
        look(NEVER_MADE, &wang),
        look(id, &wang).replace("\r\n\r\n", "\r\ncontent-length: 0\r\naccept: */*\r\n\r\n"),
    ];
    let smuggled = format!("\r\n\r\n{}", grab(id, &zhao));
    let other = vec![
        grab(id, &wang).replace("/grab", "/%67rab"),
        grab(id, &wang).replace("/grab", "/grab?x=1"),
        grab(id, &wang).replace("host: localhost", "host: a b"),
        grab(id, &wang).replace("host: localhost\r\n", ""),
        grab(id, &wang).replace("HTTP/1.1", "HTTP/1.0"),
        grab(id, &wang).replace("POST", "PUT"),
        grab(id, &wang).replace("Bearer ", "Basic "),
        grab(id, &wang).replace("authorization", "x"),
        grab(id, &wang).replace("authorization", "authorization: Bearer x\r\nauthorization"),
        grab("not-an-id", &wang),
        look(&format!("{id}?limit=1"), &wang),
        look(&format!("{id}?after_seq=x"), &wang),
        look(id, &wang).replacen("GET", "DELETE", 1),
        look(&format!("{id}?"), &wang),
        look(id, &wang) + &grab(id, &zhao),
        look(id, &wang).replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\n{}"),
        open(&wang, &"x".repeat(16_385)),
        open(&wang, &good).replace("content-length", "transfer-encoding: chunked\r\ncontent-length"),
        open(&wang, &good).replace("content-length", "content-length: 0\r\ncontent-length"),
        open(&wang, &good).replace("content-length: ", "content-length: +"),
        open(&wang, &good).replace("content-length: ", "content-length : "),
        grab(id, &wang).replace("\r\n\r\n", "\r\n x: folded\r\n\r\n"),
        grab(id, &wang).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
        // A second request behind the first one is one of its own, or refused with it.
        grab(id, &wang) + &grab(id, &zhao),
        grab(id, &wang)
            .replace("content-length: 0\r\n\r\n", &format!("content-length: 0\r\ntransfer-encoding: x{smuggled}")),
    ];
    let usual = usual.into_iter().map(|request| (request, true));
    let looks = looks.into_iter().map(|request| (request, takes_looks));
    usual.chain(looks).chain(other.into_iter().map(|request| (request, false))).collect()
}

fn check_same_bytes(address: SocketAddr, li: &User, wang: &User, takes_looks: bool) {
    li.top_up(10_000);
    let (id, ended) = (li.send(&lucky(100, 10)), li.send(&lucky(10, 1)));
    wang.grab_and_open(&ended);
    let ticket = wang.grab(&id).ok(200)["ticket"].as_str().unwrap().to_owned();
    wang.open(&id, &ticket).ok(200);
    for (request, is_usual) in requests(&id, &ended, &ticket, takes_looks) {
        let before = fast_requests(address);
        // A body may be another request's text.
        let count = if is_usual { 1 } else { request.matches(" HTTP/1.1\r\n").count().max(1) };
        let answered = answers(address, request.as_bytes(), count);
        let (fast, was_fast) = (shown(&answered), fast_requests(address) > before);
        assert_eq!(was_fast, is_usual, "{request}\n{answered}");
        let line_end = request.find("\r\n").unwrap() + 2;
        let for_hyper = format!("{}{FOR_HYPER}{}", &request[..line_end], &request[line_end..]);
        let by_hyper = answers(address, for_hyper.as_bytes(), count);
        assert_eq!(fast, shown(&by_hyper), "{request}");
        assert!(fast.starts_with("HTTP/1."), "{request}\n{answered}");
    }
}

#[test]
fn a_usual_request_gets_the_same_bytes_as_one_that_hyper_reads() {
    let service = Service::start("");
    check_same_bytes(service.address(), &service.user("li"), &service.user("wang"), true);
    service.check();
}

/// A migrated installation, which starts nothing.
fn migrated() -> Installation {
    let installation = Installation::new();
    let (code, said) = installation.run("migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    installation
}

#[test]
fn a_server_of_a_set_gives_the_same_bytes_on_both_paths() {
    let installation = migrated();
    let _server = installation.start_with("server", &[("HONGBAO_DEV_CALLS", "true")]);
    let [li, wang] = ["li", "wang"].map(|name| installation.user(name).at(installation.server));
    wait_until(SOON, "the server to answer", || li.get("/v1/wallet").status == 200);
    check_same_bytes(installation.server, &li, &wang, true);
}

#[test]
fn a_gateway_gives_the_same_bytes_on_both_paths() {
    let installation = migrated();
    let _server = installation.start_with("server", &[("HONGBAO_DEV_CALLS", "true")]);
    let _gateway = installation.start_with("gateway", &[("HONGBAO_DEV_CALLS", "true")]);
    let [li, wang] = ["li", "wang"].map(|name| installation.user(name));
    wait_until(SOON, "the gateway to find the server", || li.get("/v1/wallet").status == 200);
    // A thread opens its link with its first call, which itself goes over HTTP: then the lines of a head come in
    // another order.
    let threads = std::thread::available_parallelism().unwrap().get();
    let first_call = post(&format!("/v1/envelopes/{NEVER_MADE}/grab"), &token("wang"), "");
    wait_until(SOON, "each thread to have a link", || {
        answers(installation.gateway, first_call.as_bytes(), 1);
        metric(installation.gateway, "hongbao_gateway_links") >= threads
    });
    check_same_bytes(installation.gateway, &li, &wang, false);
}

#[test]
fn the_contract_holds_too_where_hyper_reads_every_request() {
    let run = |tests: &[&str]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(tests).env(FAST_PATH_OF_TESTS, "false").output().unwrap()
    };
    let contract = run(&["contract", "--skip", "contract_fast_path"]);
    let printed = text(&contract.stdout);
    assert!(contract.status.success() && !printed.contains(" 0 passed"), "{printed}{}", text(&contract.stderr));
    // Where none is answered past hyper, the test that counts those fails.
    let fast = run(&["contract_fast_path::a_usual_request"]);
    assert!(text(&fast.stdout).contains("1 failed"), "{}", text(&fast.stdout));
}

#[test]
fn where_the_fast_path_is_off_hyper_answers() {
    let service = Service::start("[http]\nfast_path = false\n");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    wang.grab_and_open(&li.send(&lucky(100, 10)));
    assert_eq!(fast_requests(service.address()), 0);
    service.check();
}
