//! What a client can do wrong, and what it is told.

mod common;

use std::time::Duration;

use common::{Wire, patient, quick, router, start};
use hongbao_core::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use hongbao_http::problem::NO_SUCH_CALL;

#[tokio::test]
async fn an_unknown_route_and_a_wrong_method_are_problems() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/nowhere").await.problem(404, "not_found")["detail"], NO_SUCH_CALL);
    let wrong_method = wire.get("/greet").await;
    wrong_method.problem(405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_refusal_of_the_framework_is_a_problem_too() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/number/7").await.body, "7");
    wire.get("/number/seven").await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_and_the_connection_goes_on() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    for (body, field) in [
        ("", None),
        ("not json", None),
        ("{\"name\":\"a\"} trailing", None),
        ("[\"a\"]", None),
        ("{\"name\":5}", Some("name")),
        ("{}", Some("name")),
        ("{\"name\":\"a\",\"times\":256}", Some("times")),
        ("{\"name\":\"a\",\"times\":-1}", Some("times")),
        ("{\"name\":\"a\",\"nom\":1}", Some("nom")),
    ] {
        let problem = wire.post("/greet", body).await.problem(422, "invalid_request");
        assert_eq!(problem.get("field").and_then(|field| field.as_str()), field, "{body}");
    }
    assert_eq!(wire.post("/greet", "{\"name\":\"a\"}").await.body, "hello a x1");
}

#[tokio::test]
async fn a_body_without_a_content_type_and_in_chunks_is_read() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in ["{\"name\"", ":\"a\",", "\"times\":3}"] {
        wire.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.reply().await.body, "hello a x3");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = start(router(), patient()).await;
    for path in ["/greet", "/ignore"] {
        let mut wire = Wire::open(&server).await;
        wire.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 16385\r\n\r\n")).await;
        let reply = wire.reply().await;
        reply.problem(413, "body_too_large");
        assert_eq!(reply.header("connection"), Some("close"));
        wire.closed().await;
    }
    let mut wire = Wire::open(&server).await;
    let full = format!("{{\"name\":\"{}\"}}", "a".repeat(16 * 1024 - 11));
    assert_eq!(full.len(), 16 * 1024);
    assert_eq!(wire.post("/greet", &full).await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_in_chunks_is_refused() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..17 {
        wire.send(format!("400\r\n{}\r\n", "a".repeat(1_024))).await;
    }
    wire.reply().await.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_body_that_is_too_large_still_gets_its_answer() {
    let server = start(router(), patient()).await;
    for _ in 0..5 {
        let mut wire = Wire::open(&server).await;
        wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n").await;
        wire.send(vec![b'a'; 2_000_000]).await;
        wire.reply().await.problem(413, "body_too_large");
        wire.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_is_refused_before_its_body_is_read_still_gets_its_answer() {
    let server = start(router(), patient()).await;
    for _ in 0..5 {
        let mut wire = Wire::open(&server).await;
        wire.send("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 16000\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        for _ in 0..16 {
            wire.send(vec![b'a'; 1_000]).await;
            tokio::task::yield_now().await;
        }
        wire.reply().await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_a_408() {
    let server = start(router(), quick()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{\"na").await;
    wire.reply().await.problem(408, "request_timeout");
    wire.closed().await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n").await;
    wire.reply().await.problem(408, "request_timeout");
}

#[tokio::test]
async fn a_body_that_drips_is_a_408_although_something_always_comes() {
    let server = start(router(), quick()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await;
    for _ in 0..30 {
        if !wire.try_send(" ").await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wire.reply().await.problem(408, "request_timeout");
}

#[tokio::test]
async fn a_body_that_comes_in_two_pieces_within_the_time_is_read() {
    let server = start(router(), quick()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{\"name").await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    wire.send("\":\"a\"}").await;
    assert_eq!(wire.reply().await.body, "hello a x1");
    assert_eq!(wire.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn a_client_that_goes_away_within_its_body_disturbs_nobody() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    wire.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{\"na").await;
    drop(wire);
    assert_eq!(Wire::open(&server).await.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn a_head_that_is_not_http_or_too_large_is_a_problem_and_ends_only_its_own_connection() {
    let server = start(router(), patient()).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let long_header = format!("GET /hello HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
    let no_end = format!("GET /hello HTTP/1.1\r\nhost: x\r\nx-long: {}", "a".repeat(2 * HEAD_BYTES_MAX));
    let headers = |count| format!("GET /hello HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    let too_many_headers = headers(HEADERS_MAX + 1);
    let cases = [
        ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "bad_request"),
        ("GET\r\n\r\n", 400, "bad_request"),
        ("GET /hello HTTP/9.9\r\n\r\n", 400, "bad_request"),
        ("GET /hello HTTP/1.1\r\nbad header\r\n\r\n", 400, "bad_request"),
        ("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400, "bad_request"),
        (&long_path, 414, "uri_too_long"),
        (&long_header, 431, "head_too_large"),
        (&no_end, 431, "head_too_large"),
        (&too_many_headers, 431, "head_too_large"),
    ];
    let mut seen = std::collections::HashSet::new();
    for (head, status, code) in cases {
        // Also on a connection that has been good before.
        for requests_before in [0, 2] {
            let mut wire = Wire::open(&server).await;
            for _ in 0..requests_before {
                assert_eq!(wire.get("/hello").await.body, "hello");
            }
            wire.send(head).await;
            let reply = wire.reply().await;
            reply.problem(status, code);
            assert_eq!(reply.header("connection"), Some("close"));
            assert!(seen.insert(reply.header("x-request-id").unwrap().to_owned()), "an id is never used twice");
            wire.closed().await;
        }
    }
    // Behind requests that were sent together with it: each answer is whole, and in its place.
    let mut wire = Wire::open(&server).await;
    let good = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3);
    let unread = "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345";
    wire.send(format!("{good}{unread}no http\r\n\r\n")).await;
    for _ in 0..3 {
        assert_eq!(wire.reply().await.body, "hello");
    }
    wire.reply().await.problem(404, "not_found");
    wire.reply().await.problem(400, "bad_request");
    wire.closed().await;

    let mut wire = Wire::open(&server).await;
    wire.send(headers(HEADERS_MAX)).await;
    assert_eq!(wire.reply().await.body, "hello");
    assert_eq!(wire.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn an_answer_in_the_words_of_hyper_s_own_is_passed_on_as_it_is() {
    let reason = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let server = start(router().route("/words", axum::routing::get(move || async move { reason })), patient()).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/words").await.body, reason);
    assert_eq!(wire.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn a_head_that_could_be_understood_in_two_ways_is_refused() {
    let server = start(router(), patient()).await;
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    for (head, status, code) in [
        ("GET /hello HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /hello HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /hello HTTP/1.1\r\nhost: x y\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            format!("POST /ignore HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n{chunked}"),
            400,
            "bad_request",
        ),
        (
            format!("POST /ignore HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n{chunked}"),
            400,
            "bad_request",
        ),
        (
            format!("POST /ignore HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, gzip\r\n\r\n{chunked}"),
            400,
            "bad_request",
        ),
    ] {
        let mut wire = Wire::open(&server).await;
        wire.send(&head).await;
        let reply = wire.reply().await;
        reply.problem(status, code);
        assert_eq!(reply.header("connection"), Some("close"), "{head}");
        wire.closed().await;
    }
    let mut wire = Wire::open(&server).await;
    wire.send("GET /hello HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.reply().await.body, "hello");
}

#[tokio::test]
async fn nothing_is_read_behind_a_body_that_has_two_lengths() {
    let server = start(router(), patient()).await;
    // To who believes the length, the body has 6 bytes, and another request follows.
    let body = "0\r\n\r\nXGET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    for lengths in
        ["content-length: 6\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 6"]
    {
        let mut wire = Wire::open(&server).await;
        wire.send(format!("POST /ignore HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n{body}")).await;
        assert_eq!(wire.reply().await.status, 204, "{lengths}");
        assert!(wire.try_reply().await.is_none(), "{lengths}");
    }
}

#[tokio::test]
async fn a_path_is_the_same_however_its_plain_characters_are_written() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/%68ell%6F").await.body, "hello");
    assert_eq!(wire.get("/number/%37").await.body, "7");
    wire.get("/number%2F7").await.problem(404, "not_found");
    wire.get("/%2568ello").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    let problem = wire.get("/panic").await.problem(500, "internal");
    assert!(!problem["detail"].as_str().unwrap().contains("as asked"), "a panic's text is not for the client");
    assert_eq!(wire.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn every_response_carries_the_client_s_request_id_or_a_new_one() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    for path in ["/id", "/nowhere", "/panic"] {
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: mine_4-2\r\n\r\n")).await;
        let reply = wire.reply().await;
        assert_eq!(reply.header("x-request-id"), Some("mine_4-2"));
        assert!(reply.body.contains("mine_4-2"));
    }
    let mut seen = std::collections::HashSet::new();
    for bad in ["", "a b", "x\"y", &"x".repeat(65), "a/../b"] {
        wire.send(format!("GET /id HTTP/1.1\r\nhost: x\r\nx-request-id: {bad}\r\n\r\n")).await;
        let reply = wire.reply().await;
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_ne!(id, bad);
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        assert!(reply.body.contains(&id), "the handler sees the same id");
        assert!(seen.insert(id), "an id is never used twice");
    }
    assert!(seen.insert(wire.get("/hello").await.header("x-request-id").unwrap().to_owned()));
    let other = Wire::open(&server).await.get("/hello").await;
    assert!(seen.insert(other.header("x-request-id").unwrap().to_owned()));
}
