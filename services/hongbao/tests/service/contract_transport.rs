//! The connection itself: too large, too slow, too many, too often, nowhere.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use hongbao_http::problem::{NO_SUCH_CALL, NO_SUCH_ENVELOPE};
use serde_json::json;

use crate::support::{Answer, Service, TOKEN_SECRET, lucky, seconds_from_now, sign, text_of, wait_until};

const BODY_BYTES_MAX: usize = 16 * 1024;

/// The head of a `POST` by `li`, up to the headers that say how long the body is.
fn head(path: &str, length: &str) -> String {
    let token = sign(&json!({ "sub": "li", "exp": seconds_from_now(3_600) }), TOKEN_SECRET);
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{length}\r\n\r\n")
}

/// A body that is good but for its length.
fn padded(bytes: usize) -> String {
    let body = lucky(100, 10).to_string();
    let padding = " ".repeat(bytes - body.len());
    body + &padding
}

fn chunked(body: &str) -> String {
    let chunks = body
        .as_bytes()
        .chunks(5_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).expect("the body is ASCII")));
    chunks.collect::<String>() + "0\r\n\r\n"
}

/// Whether the other side closes without another byte.
fn is_cut(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[test]
fn a_body_over_16_kib_is_refused_however_it_comes() {
    let service = Service::start("");
    let li = service.user("li");
    li.post_text("/v1/envelopes", &padded(BODY_BYTES_MAX)).ok(201);
    li.post_text("/v1/envelopes", &padded(BODY_BYTES_MAX + 1)).problem(413, "body_too_large");
    li.post_text("/v1/envelopes", &padded(4 * 1024 * 1024)).problem(413, "body_too_large");
    // Also where nobody would read the body.
    li.call("GET", "/v1/wallet", Some(padded(BODY_BYTES_MAX + 1).as_bytes())).problem(413, "body_too_large");

    // It is enough to announce it.
    for length in ["16385", "9223372036854775807"] {
        let announced = head("/v1/envelopes", &format!("content-length: {length}"));
        service.raw(announced.as_bytes()).problem(413, "body_too_large");
    }
    let chunks = |bytes| head("/v1/envelopes", "transfer-encoding: chunked") + &chunked(&padded(bytes));
    service.raw(chunks(BODY_BYTES_MAX).as_bytes()).ok(201);
    service.raw(chunks(BODY_BYTES_MAX + 1).as_bytes()).problem(413, "body_too_large");
    service.raw(chunks(1024 * 1024).as_bytes()).problem(413, "body_too_large");
    service.check();
}

#[test]
fn what_is_no_http_is_answered_or_cut_and_hurts_nobody() {
    let service = Service::start("");
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/wallet HTTP/1.1\r\nhost hongbao\r\n\r\n",
        b"POST /v1/envelopes HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/envelopes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST /v1/dev/token HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = service.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer, too.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let huge = format!("GET /v1/wallet HTTP/1.1\r\nhost: localhost\r\nx-large: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = service.connect();
    // It may be cut while it is being sent.
    let _ = stream.write_all(huge.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = Answer::read(&mut BufReader::new(&answer[..])).unwrap();
    answer.problem(431, "head_too_large");
    service.check();
}

#[test]
fn who_sends_a_head_too_slowly_is_cut() {
    let service = Service::start("[http]\nhead_timeout_ms = 500");
    let begun = Instant::now();
    let mut silent = service.connect();
    let mut halfway = service.connect();
    halfway.write_all(b"GET /healthz HTTP/1.1\r\nhost: hong").unwrap();
    let mut by_the_byte = service.connect();
    by_the_byte.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let head =
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let ended = head.iter().any(|byte| {
        let sent = by_the_byte.write_all(&[*byte]);
        let received = by_the_byte.read(&mut [0; 1]);
        sent.is_err() || matches!(received, Ok(0)) || received.is_err_and(|error| !is_timeout(&error))
    });
    assert!(ended, "bytes that keep coming do not stretch the time");
    assert!(is_cut(&mut silent));
    assert!(is_cut(&mut halfway));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    service.check();
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn who_sends_a_body_too_slowly_is_told_so() {
    let service = Service::start("[http]\nbody_timeout_ms = 300");
    let body = lucky(100, 10).to_string();
    let whole = head("/v1/envelopes", &format!("content-length: {}", body.len())) + &body;
    let answer = service.raw(&whole.as_bytes()[..whole.len() - 1]);
    answer.problem(408, "request_timeout");
    let chunks = head("/v1/envelopes", "transfer-encoding: chunked") + "5\r\n{\"kin";
    service.raw(chunks.as_bytes()).problem(408, "request_timeout");
    service.check();
}

#[test]
fn a_request_that_is_broken_off_does_nothing() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(100, 10));
    let ticket = li.ticket(&id);
    let open = json!({ "ticket": ticket }).to_string();
    let whole = head(&format!("/v1/envelopes/{id}/open"), &format!("content-length: {}", open.len())) + &open;
    for cut in [1, 10, open.len(), open.len() + 1, open.len() + 40] {
        let mut stream = service.connect();
        stream.write_all(&whole.as_bytes()[..whole.len() - cut]).unwrap();
        drop(stream);
    }
    assert_eq!(li.detail(&id)["opens"], json!([]));
    assert_eq!(li.open(&id, &ticket).ok(200)["outcome"], "opened");
    service.check();
}

#[test]
fn connections_over_the_limit_are_told_so_and_served_once_there_is_room() {
    let service = Service::start("[http]\nconnections_max = 3");
    let mut held: Vec<_> = (0..3).map(|number| service.user(&format!("u{number}"))).collect();
    for user in &held {
        user.get("/v1/wallet").ok(200);
    }
    let late = service.user("late");
    // Before a word was said, and also after a whole request.
    Answer::read(&mut BufReader::new(service.connect())).unwrap().problem(503, "busy");
    let refused = late.get("/v1/wallet");
    refused.problem(503, "busy");
    let wait_s: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait_s), "{wait_s}");
    for user in &held {
        user.get("/v1/wallet").ok(200);
    }
    drop(held.pop());
    wait_until(Duration::from_secs(5), "room", || late.get("/v1/wallet").status == 200);
    drop(held);
    drop(late);
    wait_until(Duration::from_secs(5), "room", || service.nobody().get("/healthz").status == 200);
    let metrics = service.nobody().get("/metrics").text();
    assert!(metrics.contains("hongbao_http_connections_refused_total"), "{metrics}");
    service.check();
}

#[test]
fn other_methods_and_paths_do_not_exist() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(100);
    let id = li.send(&lucky(100, 10));
    for (path, good) in [
        ("/v1/envelopes".to_owned(), "POST"),
        (format!("/v1/envelopes/{id}"), "GET"),
        (format!("/v1/envelopes/{id}/pay"), "POST"),
        (format!("/v1/envelopes/{id}/grab"), "POST"),
        (format!("/v1/envelopes/{id}/open"), "POST"),
        ("/v1/wallet".to_owned(), "GET"),
        ("/v1/wallet/transfers".to_owned(), "GET"),
        ("/v1/wallet/envelopes".to_owned(), "GET"),
        ("/v1/dev/token".to_owned(), "POST"),
        ("/v1/dev/top-up".to_owned(), "POST"),
        ("/openapi.json".to_owned(), "GET"),
        ("/healthz".to_owned(), "GET"),
        ("/readyz".to_owned(), "GET"),
        ("/metrics".to_owned(), "GET"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"].iter().filter(|one| **one != good) {
            let answer = li.call(method, &path, None);
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            answer.problem(405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|allowed| allowed.contains(good)), "{method} {path}");
        }
    }
    for path in ["/", "/v1", "/v1/", "/v2/wallet", "/v1/wallet/", "/v1/Wallet", "/v1//wallet", "/favicon.ico", "/x?y=z"]
    {
        li.get(path).problem(404, "not_found");
    }
    for path in [format!("/v1/envelopes/{id}/"), format!("/v1/envelopes/{id}/refund"), "/v1/envelopes/".to_owned()] {
        li.get(&path).problem(404, "not_found");
        li.post_empty(&path).problem(404, "not_found");
    }
    let nowhere = service.nobody().get("/nowhere").problem(404, "not_found");
    assert_eq!(nowhere["detail"], NO_SUCH_CALL);
    for path in ["/v1/else", "/v1/envelopes/1/close", "/v1/wallet/else"] {
        assert_eq!(li.get(path).problem(404, "not_found")["detail"], NO_SUCH_CALL, "{path}");
    }
    assert_eq!(li.get("/v1/envelopes/1").problem(404, "not_found")["detail"], NO_SUCH_ENVELOPE);
    service.check();
}

#[test]
fn who_asks_too_often_waits_while_others_do_not() {
    let service = Service::start("[rate_limit]\nuser_per_s = 1\nuser_burst = 3");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    let begun = Instant::now();
    let mut served = 0;
    let refused = loop {
        let answer = li.get("/v1/wallet");
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        // The burst, and one for each second that has passed.
        assert!(served <= 3 + begun.elapsed().as_secs(), "{served} in {:?}", begun.elapsed());
    };
    assert!(served >= 3, "{served}");
    refused.problem(429, "rate_limited");
    wang.get("/v1/wallet").ok(200);
    service.nobody().get("/healthz").ok(200);

    let seconds = refused.header("retry-after").unwrap().parse().unwrap();
    std::thread::sleep(Duration::from_secs(seconds));
    li.get("/v1/wallet").ok(200);
    service.check();
}

#[test]
fn rates_are_not_limited_unless_they_are_configured() {
    let service = Service::start("");
    let li = service.user("li");
    for _ in 0..200 {
        li.get("/v1/wallet").ok(200);
    }
    service.check();
}

#[test]
fn a_request_id_of_the_client_comes_back_if_it_is_plain() {
    let service = Service::start("");
    let get = |id: &str| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\n\r\n");
    let long = "x".repeat(64);
    for id in ["a", "A-b_9", &long] {
        assert_eq!(service.raw(get(id).as_bytes()).header("x-request-id"), Some(id));
    }
    let too_long = "x".repeat(65);
    for id in ["", "a b", "a\"b", "红", &too_long] {
        let answer = service.raw(get(id).as_bytes());
        let given = answer.header("x-request-id").unwrap();
        assert!(given != id && !given.is_empty(), "{given}");
    }
    let li = service.user("li");
    let ids = [(); 2].map(|()| li.get("/v1/wallet").header("x-request-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
    service.check();
}

#[test]
fn several_requests_may_be_sent_before_the_first_answer() {
    let service = Service::start("");
    let mut stream = service.connect();
    let body = json!({ "user_id": "li" }).to_string();
    let token =
        format!("POST /v1/dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all((token.repeat(3) + "GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).unwrap();
    let mut answers = BufReader::new(stream);
    for _ in 0..3 {
        assert!(!text_of(&Answer::read(&mut answers).unwrap().ok(200)["token"]).is_empty());
    }
    Answer::read(&mut answers).unwrap().problem(404, "not_found");
    service.check();
}
