//! Bad input at the sandbox: each field, and what is signed for something else.

use std::net::SocketAddr;

use hongbao_core::Timestamp;
use hongbao_provider::sandbox::{FAULT_HEADER, Fault};
use hongbao_provider::signature::{SIGNATURE, Signed, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Running, SECRET, charge, now, options};

/// Sends bytes over a connection of their own; what is answered, as far as it comes within a while.
pub async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Posts a body that is signed at a time, perhaps for another path or body.
async fn post(address: SocketAddr, path: &str, body: &str, signed: (&str, &str, Timestamp)) -> String {
    let what = Signed::Request { method: "POST", path: signed.0 };
    let (signature, _) = SigningKey::new("test", SECRET).sign(what, signed.2, signed.1.as_bytes());
    let length = body.len();
    raw(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{SIGNATURE}: {signature}\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    )
    .await
}

fn body() -> Value {
    let order = charge(500);
    json!({ "number": order.id.number(), "amount_fen": 500, "currency": "CNY", "user": "ann",
        "expires_at": order.close_at })
}

#[tokio::test]
async fn each_field_is_checked() {
    let running = Running::start(options()).await;
    for (field, value) in [
        ("number", json!("17")),
        ("number", json!("00000000000000000000000000000000")),
        ("number", Value::Null),
        ("amount_fen", json!(0)),
        ("amount_fen", json!(-5)),
        ("amount_fen", json!(1.5)),
        ("amount_fen", json!("500")),
        ("currency", json!("USD")),
        ("user", json!("")),
        ("user", json!("a b")),
        ("expires_at", json!("soon")),
        ("of", json!("0")),
        ("colour", json!("red")),
    ] {
        let mut body = body();
        body[field] = value.clone();
        let text = body.to_string();
        let answer = post(running.address, "/v1/charges", &text, ("/v1/charges", &text, now())).await;
        assert!(answer.starts_with("HTTP/1.1 422"), "{field} {value}: {answer}");
        assert!(answer.contains("invalid_request") && answer.contains(field), "{field} {value}: {answer}");
        assert!(answer.contains(SIGNATURE), "refusals are signed, too: {answer}");
    }
    let text = body().to_string();
    let refund = post(running.address, "/v1/refunds", &text, ("/v1/refunds", &text, now())).await;
    assert!(refund.contains("a refund names its charge"), "{refund}");
    let gifts = post(running.address, "/v1/gifts", &text, ("/v1/gifts", &text, now())).await;
    assert!(gifts.starts_with("HTTP/1.1 404"), "{gifts}");
    let good = post(running.address, "/v1/charges", &text, ("/v1/charges", &text, now())).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("\"pending\""), "{good}");
}

#[tokio::test]
async fn what_was_signed_for_something_else_or_long_ago_is_refused() {
    let running = Running::start(options()).await;
    let (text, other) = (body().to_string(), body().to_string());
    let path = "/v1/payouts";
    for signed in [
        ("/v1/charges", &*text, now()),
        (path, &*other, now()),
        (path, &*text, now().plus_millis(-301_000)),
        (path, &*text, now().plus_millis(62_000)),
    ] {
        let answer = post(running.address, path, &text, signed).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"signature\""), "{signed:?}: {answer}");
    }
    let without = raw(
        running.address,
        &format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
    )
    .await;
    assert!(without.starts_with("HTTP/1.1 401"), "{without}");
    assert!(std::fs::read_to_string(running.folder.path().join("books.jsonl")).unwrap().is_empty());
}

#[tokio::test]
async fn a_header_asks_for_a_fault() {
    let running = Running::start(options()).await;
    let text = body().to_string();
    let (signature, _) = SigningKey::new("test", SECRET).sign(
        Signed::Request { method: "POST", path: "/v1/charges" },
        now(),
        text.as_bytes(),
    );
    for (fault, answers) in [
        (Fault::Error500.name(), "HTTP/1.1 500"),
        (Fault::RateLimited.name(), "HTTP/1.1 429"),
        ("gremlins", "HTTP/1.1 422"),
        (Fault::Down.name(), "HTTP/1.1 503"),
    ] {
        let head = format!("host: a\r\n{SIGNATURE}: {signature}\r\n{FAULT_HEADER}: {fault}");
        let length = text.len();
        let request = format!("POST /v1/charges HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{text}");
        let answer = raw(running.address, &request).await;
        assert!(answer.starts_with(answers), "{fault}: {answer}");
    }
}
