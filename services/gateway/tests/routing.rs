//! Which server gets a request, and what of it.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;

use common::{Backend, Front, OVER_LINKS, exchange, id, quick, topology};
use hongbao_core::routing::owner;
use hongbao_http::problem::{NO_SUCH_CALL, NO_SUCH_ENVELOPE};

async fn two_sets() -> (Vec<Backend>, Front) {
    let mut backends = Vec::new();
    for name in ["a1", "a2", "b1", "b2"] {
        backends.push(Backend::start(name).await);
    }
    let at = |n: usize| backends[n].address;
    let text = topology(
        1,
        &[("a", "00-49", &[("a1", at(0)), ("a2", at(1))]), ("b", "50-99", &[("b1", at(2)), ("b2", at(3))])],
    );
    let front = Front::start(&text, quick()).await;
    (backends, front)
}

#[tokio::test]
async fn an_envelope_goes_to_its_owner_within_the_set_of_its_slot() {
    let (_backends, front) = two_sets().await;
    let mut seen = HashSet::new();
    for number in 0..40 {
        let id = id(number);
        let servers = if id.slot().number() < 50 { ["a1", "a2"] } else { ["b1", "b2"] };
        let expected = owner(id, servers).unwrap();
        for (method, path) in
            [("POST", format!("/v1/envelopes/{id}/open")), ("GET", format!("/v1/envelopes/{id}?limit=3"))]
        {
            let reply = front.call(method, &path, "").await;
            assert_eq!(reply.server(), expected);
            assert_eq!(reply.json()["uri"], path);
            assert_eq!(reply.json()["method"], method);
        }
        seen.insert(expected.to_owned());
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(front.metric("hongbao_gateway_requests_total{outcome=\"forwarded\"}").await, Some(80.0));
}

#[tokio::test]
async fn a_new_envelope_goes_to_the_owner_of_the_id_that_it_gets_here() {
    let (backends, front) = two_sets().await;
    for _ in 0..10 {
        let forged = [("x-hongbao-envelope-id", "0199c0de-0000-7000-8000-000000000001")];
        let reply = front.call_with("POST", "/v1/envelopes", &forged, "{\"kind\":\"lucky\"}").await;
        assert_eq!(reply.json()["body"], "{\"kind\":\"lucky\"}");
        let server = backends.iter().find(|backend| backend.script.name == reply.server()).unwrap();
        let ids = server.script.header("x-hongbao-envelope-id");
        let [text] = &ids[..] else { panic!("{ids:?}") };
        let id = hongbao_core::EnvelopeId::parse(text).unwrap();
        assert_ne!(text, forged[0].1);
        let servers = if id.slot().number() < 50 { ["a1", "a2"] } else { ["b1", "b2"] };
        assert_eq!(reply.server(), owner(id, servers).unwrap());
    }
}

#[tokio::test]
async fn the_mark_of_a_rehearsal_passes_as_it_came_and_is_counted_apart() {
    let backend = Backend::start("a1").await;
    let text = topology(1, &[("a", "00-99", &[("a1", backend.address)])]);
    let front = Front::start_rehearsing(&text, quick()).await;
    let (mark, path) = (front.operator_token(), format!("/v1/envelopes/{}/grab", id(1)));
    for connection in ["keep-alive", "close, x-hongbao-rehearsal"] {
        let headers = [("x-hongbao-rehearsal", mark.as_str()), ("connection", connection)];
        assert_eq!(front.call_with("POST", &path, &headers, "").await.server(), "a1");
        assert_eq!(backend.script.header("x-hongbao-rehearsal"), [mark.as_str()], "{connection}");
    }
    front.post(&path, "").await.server();
    assert_eq!(backend.script.header("x-hongbao-rehearsal"), [""; 0]);

    let user = front.token("li");
    for marks in [&[user.as_str()][..], &["1"], &[&mark, &mark], &[&mark, "1"]] {
        let headers: Vec<_> = marks.iter().map(|mark| ("x-hongbao-rehearsal", *mark)).collect();
        front.call_with("POST", &path, &headers, "").await.expect_problem(403, "rehearsal_refused");
    }
    assert_eq!(backend.script.count(), 3, "what is refused reaches no server");
    let requests = "hongbao_gateway_requests_total{outcome";
    assert_eq!(front.metric(&format!("rehearsal_{requests}=\"forwarded\"}}")).await, Some(2.0));
    assert_eq!(front.metric(&format!("rehearsal_{requests}=\"refused\"}}")).await, Some(4.0));
    assert_eq!(front.metric(&format!("{requests}=\"forwarded\"}}")).await, Some(1.0));
}

#[tokio::test]
async fn a_trace_goes_on_under_a_span_of_the_gateway_and_a_bad_one_is_replaced() {
    let backend = Backend::start("a1").await;
    let text = topology(1, &[("a", "00-99", &[("a1", backend.address)])]);
    let front = Front::start(&text, quick()).await;
    let (trace_id, span_id) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let good = format!("00-{trace_id}-{span_id}-01");
    let mut traces = HashSet::new();
    let bad = good.to_uppercase();
    for (sent, is_continued) in [
        (&[("traceparent", good.as_str()), ("tracestate", "v=1"), ("connection", "traceparent")][..], true),
        (&[("traceparent", &good), ("traceparent", &good), ("tracestate", "v=1")], false),
        (&[("traceparent", &bad), ("tracestate", "v=1")], false),
        (&[("traceparent", "00-0"), ("tracestate", "v=1")], false),
        (&[("tracestate", "v=1")], false),
        (&[], false),
    ] {
        assert_eq!(front.call_with("GET", "/v1/wallet", sent, "").await.server(), "a1");
        let passed_on = backend.script.header("traceparent");
        let [passed_on] = &passed_on[..] else { panic!("{passed_on:?}") };
        let parts: Vec<_> = passed_on.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { panic!("{passed_on}") };
        assert_eq!((version, trace == trace_id, flags == "01"), ("00", is_continued, is_continued), "{sent:?}");
        assert!(span != span_id && traces.insert(passed_on.clone()), "{passed_on}");
        assert_eq!(backend.script.header("tracestate").len(), usize::from(is_continued), "{sent:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_takes_no_rehearsals_passes_no_mark_on() {
    let (backends, front) = two_sets().await;
    let mark = front.operator_token();
    let reply = front.call_with("GET", "/v1/wallet", &[("x-hongbao-rehearsal", &mark)], "").await;
    reply.expect_problem(403, "rehearsal_off");
    assert!(backends.iter().all(|backend| backend.script.count() == 0));
}

#[tokio::test]
async fn a_user_s_wallet_is_asked_of_one_server_and_users_are_spread() {
    let (_backends, front) = two_sets().await;
    let first = front.get("/v1/wallet").await.server();
    for _ in 0..3 {
        assert_eq!(front.get("/v1/wallet/transfers?limit=5").await.server(), first);
    }
    let mut seen = HashSet::new();
    for user in 0..40 {
        let token = front.token(&format!("user-{user}"));
        let request = format!("GET /v1/wallet HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n");
        seen.insert(exchange(front.address, &request).await.server());
    }
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn what_a_server_needs_passes_and_what_concerns_one_connection_does_not() {
    let (backends, front) = two_sets().await;
    let headers = [
        ("connection", "keep-alive, x-private"),
        ("x-private", "secret"),
        ("te", "trailers"),
        ("x-hongbao-deadline-ms", "99999999"),
        ("x-hongbao-anything", "x"),
        ("x-request-id", "mine-1"),
        ("content-type", "application/json"),
    ];
    let id = id(1);
    let mut request = format!(
        "POST /v1/envelopes/{id}/open HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n",
        front.token("li")
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let reply = exchange(front.address, &request).await;
    assert_eq!(reply.json()["body"], "hello world");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let script = &backends.iter().find(|backend| backend.script.name == reply.server()).unwrap().script;
    let names: HashSet<String> = script.seen.lock().iter().map(|(name, _)| name.clone()).collect();
    let from_client = ["host", "authorization", "content-type", "content-length", "x-request-id"];
    let from_gateway = ["x-hongbao-deadline-ms", "traceparent"];
    assert_eq!(names, from_client.into_iter().chain(from_gateway).map(str::to_owned).collect());
    assert_eq!(script.header("x-request-id"), ["mine-1"]);
    assert_eq!(script.header("x-hongbao-deadline-ms"), ["2000"]);
}

#[tokio::test]
async fn nobody_smuggles_a_second_request_behind_two_lengths() {
    let (backends, front) = two_sets().await;
    let (path, token) = (format!("/v1/envelopes/{}/open", id(1)), front.token("li"));
    let mut passed = 0;
    for lengths in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n{lengths}\r\n\r\n");
        let smuggled = "GET /v1/operator/permits HTTP/1.1\r\nhost: h\r\n\r\n";
        let body = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        let reply = exchange(front.address, &(head + &body)).await;
        // Refused is as good.
        assert!([200, 400].contains(&reply.status), "{reply:?}");
        if reply.status == 200 {
            passed += 1;
            assert_eq!(reply.json()["body"], smuggled);
            let script = &backends.iter().find(|backend| backend.script.name == reply.server()).unwrap().script;
            // On a link there is no such header.
            let (lengths, length) = (script.header("content-length"), smuggled.len().to_string());
            assert!(lengths == [length] || (OVER_LINKS && lengths.is_empty()), "{lengths:?}");
        }
    }
    assert_eq!(backends.iter().map(|backend| backend.script.count()).sum::<u64>(), passed);
}

#[tokio::test]
async fn what_no_client_may_ask_is_answered_here() {
    let (backends, front) = two_sets().await;
    for (path, detail) in [
        ("/v1/operator/permits", NO_SUCH_CALL),
        ("/v1/else", NO_SUCH_CALL),
        ("/else", NO_SUCH_CALL),
        ("/v1/envelopes/no-id/close", NO_SUCH_CALL),
        ("/v1/wallet/else", NO_SUCH_CALL),
        ("/v1/dev/token", NO_SUCH_CALL),
        ("/v1/dev/top-up", NO_SUCH_CALL),
        ("/v1/dev/else", NO_SUCH_CALL),
        ("/v1/envelopes/no-id/open", NO_SUCH_ENVELOPE),
    ] {
        let reply = front.post(path, "{}").await;
        reply.expect_problem(404, "not_found");
        assert_eq!(reply.json()["detail"], detail, "{path}");
    }
    let request = "GET /v1/wallet HTTP/1.1\r\nhost: h\r\n\r\n";
    exchange(front.address, request).await.expect_problem(401, "unauthorized");
    let too_large = format!("/v1/envelopes/{}/open", id(1));
    front.post(&too_large, &"x".repeat(16 * 1024 + 1)).await.expect_problem(413, "body_too_large");
    assert_eq!(backends.iter().map(|backend| backend.script.count()).sum::<u64>(), 0);
    assert_eq!(front.get("/healthz").await.status, 200);
    assert_eq!(front.get("/readyz").await.status, 200);

    // What needs no token passes without one.
    for path in ["/openapi.json", "/docs"] {
        exchange(front.address, &format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await.server();
    }
}

#[tokio::test]
async fn another_method_is_answered_here_and_named() {
    let (backends, front) = two_sets().await;
    let grab = format!("/v1/envelopes/{}/grab", id(1));
    for (path, allowed) in [("/openapi.json", "GET,HEAD"), ("/v1/wallet", "GET,HEAD"), (&grab, "POST")] {
        for method in ["PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"] {
            let reply = front.call(method, path, "").await;
            reply.expect_problem(405, "method_not_allowed");
            assert_eq!(reply.header("allow"), Some(allowed), "{method} {path}");
        }
    }
    for target in ["h:80", "*", "http://h", "http://h/"] {
        for method in ["CONNECT", "GET", "OPTIONS"] {
            front.call(method, target, "").await.expect_problem(404, "not_found");
        }
    }
    assert_eq!(backends.iter().map(|backend| backend.script.count()).sum::<u64>(), 0);
    assert_eq!(front.metric("hongbao_gateway_requests_total{outcome=\"forwarded\"}").await, Some(0.0));
}

#[tokio::test]
async fn calls_of_development_are_offered_only_where_they_are_on_and_to_no_web_page() {
    let backend = Backend::start("a1").await;
    let text = topology(1, &[("a", "00-99", &[("a1", backend.address)])]);
    let body = r#"{"user_id":"li"}"#;
    let ask = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\n{headers}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let off = Front::start(&text, quick()).await;
    // Also with a mark, which makes money for a rehearsal alone.
    let marked = format!("host: localhost\r\nx-hongbao-rehearsal: {}", off.operator_token());
    for headers in ["host: localhost", "host: evil.example", &marked] {
        exchange(off.address, &ask("/v1/dev/token", headers)).await.expect_problem(404, "not_found");
    }
    exchange(off.address, &ask("/v1/dev/top-up", "host: localhost")).await.expect_problem(404, "not_found");
    assert_eq!(backend.script.count(), 0);

    let on = Front::start_for_development(&text, quick()).await;
    let token = on.token("li");
    let bearer = format!("\r\nauthorization: Bearer {token}");
    for path in ["/v1/dev/token", "/v1/dev/top-up"] {
        for headers in [
            "host: evil.example",
            "host: 10.0.0.1",
            "host: localhost\r\norigin: http://evil.example\r\ncontent-type: text/plain",
            "host: localhost\r\norigin: null",
            "host: localhost:8080\r\norigin: http://localhost:3000",
            "host: localhost\r\nsec-fetch-site: cross-site",
        ] {
            let reply = exchange(on.address, &ask(path, &(headers.to_owned() + &bearer))).await;
            reply.expect_problem(403, "forbidden");
        }
    }
    assert_eq!(backend.script.count(), 0);
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        exchange(on.address, &ask("/v1/dev/token", &format!("host: {host}"))).await.server();
    }
    assert_eq!(backend.script.count(), 3);
}

#[tokio::test]
async fn a_rehearsal_makes_its_money_where_no_calls_of_development_are_offered() {
    let backend = Backend::start("a1").await;
    let text = topology(1, &[("a", "00-99", &[("a1", backend.address)])]);
    let front = Front::start_rehearsing(&text, quick()).await;
    let mark = front.operator_token();
    let headers = [("x-hongbao-rehearsal", mark.as_str())];
    front.call_with("POST", "/v1/dev/top-up", &headers, "{}").await.server();
    front.call_with("POST", "/v1/dev/token", &headers, "{}").await.expect_problem(404, "not_found");
    front.post("/v1/dev/top-up", "{}").await.expect_problem(404, "not_found");
    assert_eq!(backend.script.count(), 1);
}

#[tokio::test]
async fn a_long_answer_streams_through_whole() {
    let (_backends, front) = two_sets().await;
    let reply = front.get("/v1/wallet/transfers?big").await;
    assert_eq!((reply.status, reply.body.len()), (200, 300_000));
    front.until_metric("hongbao_gateway_in_flight{set=\"a\",server=\"a1\"}", 0.0).await;
}

#[tokio::test]
async fn an_address_that_is_no_server_s_is_not_started_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("topology.toml");
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (text, reason) in [
        (String::new(), "empty"),
        (topology(1, &[("a", "00-98", &[("a1", nobody)])]), "slot 99"),
        (topology(1, &[("a", "00-99", &[("a1", nobody), ("a1", nobody)])]), "named twice"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = hongbao_gateway::TopologyWatcher::open(&file).err().unwrap();
        assert!(error.contains(reason) && error.contains("topology.toml"), "{error}");
    }
    assert!(hongbao_gateway::TopologyWatcher::open(&dir.path().join("none")).is_err());
}
