//! The two front doors, the all-in-one process and the gateway of an
//! installation, give the same answer to whatever bytes a client sends.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use hongbao_core::limits::{GROUPS_MAX, HEAD_BYTES_MAX, HEADERS_MAX, NAME_CHARS_MAX};
use serde_json::{Value, json};

use crate::rehearsal_installation::Installation;
use crate::support::{Answer, Service, TOKEN_SECRET, User, connect, lucky, seconds_from_now, sign, wait_until};

const SOON: Duration = Duration::from_secs(15);

/// Where one front door listens, and an envelope that it knows.
struct Door {
    address: SocketAddr,
    id: String,
}

impl Door {
    fn new(li: &User, address: SocketAddr) -> Door {
        li.top_up(1_000);
        Door { address, id: li.send(&lucky(100, 10)) }
    }

    /// Everything that is answered to these bytes: for each answer its status, the headers that
    /// matter and the body; then whether the connection was closed.
    fn answers(&self, request: &[u8]) -> Vec<Value> {
        let text = String::from_utf8_lossy(request).replace("{id}", &self.id);
        let encoded = format!("%{:02x}{}", self.id.as_bytes()[0], &self.id[1..]);
        let text = text.replace("{id%}", &encoded);
        let mut stream = connect(self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answers = Vec::new();
        let mut reader = BufReader::new(stream);
        let answer = Answer::read(&mut reader).unwrap_or_else(|error| panic!("{error}: {}", start_of(&text)));
        let closes = answer.header("connection") == Some("close");
        answers.push(self.shown(&answer));
        // What else was understood to be a request is answered now.
        reader.get_mut().shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // Reset is as good as closed.
        let _ = reader.read_to_end(&mut rest);
        let more = rest.windows(9).filter(|window| window.starts_with(b"HTTP/1.1 ")).count();
        answers.push(json!({ "closes": closes, "more_answers": more }));
        answers
    }

    /// Without what differs from one request to the next: ids, times, secrets.
    fn shown(&self, answer: &Answer) -> Value {
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(body) = body.as_object_mut() {
            for field in
                ["request_id", "ticket", "ticket_expires_at", "id", "created_at", "expires_at", "draw_commitment"]
            {
                if let Some(value) = body.get_mut(field) {
                    *value = json!("some");
                }
            }
            body.remove("envelope");
        }
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        let header = |name: &str| answer.header(name).map(str::to_owned);
        json!({
            "status": answer.status, "body": body, "type": header("content-type"), "allow": header("allow"),
            "authenticate": header("www-authenticate"), "retry_after": header("retry-after"),
        })
    }
}

fn start_of(text: &str) -> &str {
    &text[..text.len().min(120)]
}

fn token(groups: &[String]) -> String {
    sign(&json!({ "sub": "li", "exp": seconds_from_now(3_600), "groups": groups }), TOKEN_SECRET)
}

/// What is sent, and the status that the RFCs or the contract ask for.
fn requests() -> Vec<(String, u16)> {
    let token = token(&[]);
    let get =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nauthorization: Bearer {token}\r\n{lines}\r\n");
    let hosted = |target: &str, lines: &str| get(target, &format!("host: localhost\r\n{lines}"));
    let post = |target: &str, lines: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{lines}\r\n{body}")
    };
    let chunks = "1a\r\n{\"amount_fen\":5,\"id\":\"x\"}!\r\n0\r\n\r\n";
    let smuggled = "0\r\n\r\nGET /v1/wallet HTTP/1.1\r\nhost: x\r\n\r\n";
    let more_headers = |count: usize| "a: b\r\n".repeat(count);
    let big = "x".repeat(HEAD_BYTES_MAX);
    vec![
        // RFC 9112, 3.2
        (hosted("/v1/wallet", ""), 200),
        (get("/v1/wallet", ""), 400),
        (get("/v1/wallet", "host: a\r\nhost: a\r\n"), 400),
        (get("/v1/wallet", "host: a\r\nhost: b\r\n"), 400),
        (get("/v1/wallet", "host: a b\r\n"), 400),
        (get("/v1/wallet", "host: user@a\r\n"), 400),
        (get("/v1/wallet", "host:\r\n"), 200),
        (get("/v1/wallet", "host: [::1]:80\r\n"), 200),
        (get("/v1/wallet", "").replace("HTTP/1.1", "HTTP/1.0"), 200),
        (get("/v1/wallet", "host: a\r\nhost: b\r\n").replace("HTTP/1.1", "HTTP/1.0"), 400),
        // 3.2.2 to 3.2.4
        (hosted("http://elsewhere/v1/wallet", ""), 200),
        (hosted("*", "").replacen("GET", "OPTIONS", 1), 404),
        (hosted("/v1/wallet#part", ""), 200),
        // 2.3, 3, 5
        (hosted("/v1/wallet", "").replace("HTTP/1.1", "HTTP/1.2"), 400),
        (hosted("/v1/wallet", "").replace("GET /", "GET  /"), 400),
        (hosted("/v1/wallet", "x : y\r\n"), 400),
        (hosted("/v1/wallet", "x: y\r\n folded: z\r\n"), 400),
        (hosted("/v1/wallet", "x\r\n"), 400),
        ("\r\n".to_owned() + &hosted("/v1/wallet", ""), 200),
        // 6.1, 6.3, 7.1
        (post("/v1/dev/top-up", "transfer-encoding: chunked\r\n", chunks), 422),
        (post("/v1/dev/top-up", "transfer-encoding: gzip, chunked\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding: chunked, gzip\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding: chunked, chunked\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding: identity\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding:\r\n", chunks), 400),
        (post("/v1/dev/top-up", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", smuggled), 422),
        (post("/v1/dev/top-up", "content-length: 5\r\ntransfer-encoding: chunked\r\n", smuggled), 422),
        (post("/v1/dev/top-up", "content-length: 5\r\ncontent-length: 6\r\n", "{}   "), 400),
        (post("/v1/dev/top-up", "content-length: 5, 5\r\n", "{}   "), 400),
        (post("/v1/dev/top-up", "content-length: +5\r\n", "{}   "), 400),
        (post("/v1/dev/top-up", "content-length: 5\r\ncontent-length: 5\r\n", "{}   "), 422),
        (post("/v1/dev/top-up", "transfer-encoding: chunked\r\n", "zz\r\n{}\r\n"), 422),
        (post("/v1/dev/top-up", "transfer-encoding: chunked\r\n", chunks).replace("HTTP/1.1", "HTTP/1.0"), 400),
        (post("/v1/dev/top-up", "content-length: 16385\r\n", ""), 413),
        (hosted("/v1/wallet", "content-length: 16385\r\n"), 413),
        (hosted("/v1/wallet", "content-length: 2\r\n") + "{}", 200),
        // RFC 9110, 10.1
        (hosted("/v1/wallet", "te: gzip, chunked\r\n"), 200),
        (hosted("/v1/wallet", "connection: te\r\nte: trailers\r\n"), 200),
        (hosted("/v1/wallet", "expect: a miracle\r\n"), 200),
        (hosted("/v1/wallet", "connection: upgrade\r\nupgrade: h2c\r\n"), 200),
        (hosted("/v1/wallet", "connection: host, authorization\r\n"), 200),
        (hosted("/v1/wallet", &format!("authorization: Bearer {token}\r\n")), 401),
        // RFC 3986, 6.2.2.2
        (post("/v1/envelopes/{id}/grab", "", ""), 200),
        (post("/v1/envelopes/{id%}/grab", "", ""), 200),
        (post("/v1/envelopes/{id}/%67rab", "", ""), 200),
        (hosted("/%761/wallet", ""), 200),
        (hosted("/v1%2Fwallet", ""), 404),
        (hosted("/v1/%2577allet", ""), 404),
        (hosted("/v1/%zzwallet", ""), 404),
        (hosted("/v1/envelopes/%zz", ""), 404),
        (hosted("/v1/envelopes/{id}%20", ""), 404),
        (hosted("/v1/envelopes/{id}%2f", ""), 404),
        (hosted("/v1/envelopes/%e7%ba%a2", ""), 404),
        (hosted("/v1/./wallet", ""), 404),
        (hosted("/v1/wallet/../wallet", ""), 404),
        (hosted("/v1/wallet/%2e%2e/wallet", ""), 404),
        (hosted("//v1/wallet", ""), 404),
        (hosted("/v1/wallet/", ""), 404),
        // The contract
        (hosted("/v1/wallet?", ""), 200),
        (hosted("/v1/wallet?user_id=wang", ""), 422),
        (hosted("/v1/wallet/transfers?limit=0", ""), 422),
        (hosted("/v1/wallet/transfers?cursor=", ""), 422),
        (hosted("/v1/wallet/envelopes", ""), 422),
        (hosted("/v1/envelopes/{id}?after_seq=4294967295", ""), 200),
        (hosted("/v1/envelopes/{id}?after_seq=4294967296", ""), 422),
        (hosted("/v1/envelopes", ""), 405),
        (hosted("/v1/envelopes/{id}", "").replacen("GET", "BREW", 1), 405),
        (hosted("/v1/envelopes/{id}/close", ""), 404),
        (hosted("/v1/envelopes/00000000-0000-4000-8000-000000000000", ""), 404),
        (hosted("/v1/envelopes/0199c0de-0000-7000-8000-000000000001", ""), 404),
        (hosted("/v1/envelopes/ffffffff-ffff-7fff-bfff-ffffffffffff", ""), 404),
        (hosted("/v1/nothing", ""), 404),
        (hosted("/nothing", ""), 404),
        (post("/v1/envelopes", "", ""), 422),
        (post("/v1/envelopes?x=1", "", ""), 422),
        (post("/v1/envelopes/{id}/open", "content-length: 14\r\n", "{\"ticket\":\"x\"}"), 403),
        ("GET /v1/wallet HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 401),
        // How large a head may be: two headers are there already.
        (hosted("/v1/wallet", &more_headers(HEADERS_MAX - 2)), 200),
        (hosted("/v1/wallet", &more_headers(HEADERS_MAX - 1)), 431),
        (hosted("/v1/wallet", &format!("x: {}\r\n", &big[..HEAD_BYTES_MAX - 1_000])), 200),
        (hosted("/v1/wallet", &format!("x: {big}\r\n")), 431),
        (hosted(&format!("/{}", &big[..60_000]), ""), 404),
        (hosted(&format!("/{}", &big[..70_000]), ""), 414),
        ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
    ]
}

#[test]
fn both_front_doors_give_the_same_answer_to_whatever_is_sent() {
    let service = Service::start("");
    let installation = Installation::new();
    let (code, said) = installation.run("migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let _server = installation.start_with("server", &[("HONGBAO_DEV_CALLS", "true")]);
    let _gateway = installation.start_with("gateway", &[("HONGBAO_DEV_CALLS", "true")]);
    let li = installation.user("li");
    wait_until(SOON, "the gateway to find the server", || li.get("/v1/wallet").status == 200);
    let doors = [Door::new(&service.user("li"), service.address()), Door::new(&li, installation.gateway)];

    let mut differences = Vec::new();
    for (request, status) in requests() {
        let [one, other] = doors.each_ref().map(|door| door.answers(request.as_bytes()));
        if one != other || one[0]["status"] != status {
            differences.push(format!("{}\n  {status} expected\n  {one:?}\n  {other:?}", start_of(&request)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    // The document lists what this door has: operators ask each server by itself.
    let lists_permits = doors.each_ref().map(|door| {
        let document = User::new("", None, door.address).get("/openapi.json").ok(200);
        document["paths"]["/v1/operator/permits"].is_object()
    });
    assert_eq!(lists_permits, [true, false]);
    let shows_permits = doors.each_ref().map(|door| {
        let page = User::new("", None, door.address).get("/docs");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none';")));
        page.text().contains("id=\"getPermits\"")
    });
    assert_eq!(shows_permits, [true, false]);

    // The largest token that the contract allows.
    let groups: Vec<String> = (0..GROUPS_MAX).map(|number| format!("{number:0NAME_CHARS_MAX$}")).collect();
    for door in &doors {
        let member = User::new("li", Some(format!("Bearer {}", token(&groups))), door.address);
        assert_eq!(member.get("/v1/wallet").ok(200)["user_id"], "li");
    }
    service.check();
}
