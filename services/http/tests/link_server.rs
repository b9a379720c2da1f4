//! A link at the server: frames in, frames out, and what ends it.

mod common;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use common::link::{Link, asking, opening};
use common::{PATIENCE, Server, Wire, patient, quick, start};
use hongbao_core::calls::Call;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_http::link::frame::{encode_cancel, take};
use hongbao_http::link::{LINK_PROTOCOL, LinkAnswer, LinkRequest, Number, OtherAnswer, ToGateway};
use hongbao_http::{Code, Problem, ServeOptions};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A role whose openings do what their body says.
fn role() -> Router {
    let handler = |request: Request| async move { answer(request).await };
    Router::new().route("/v1/envelopes/{id}/open", post(handler)).route("/v1/envelopes/{id}/grab", post(handler))
}

async fn answer(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = hongbao_http::read_body(body).await.unwrap();
    match &body[..] {
        b"panic" => panic!("as asked"),
        b"stuck" => std::future::pending().await,
        b"slow" => tokio::time::sleep(Duration::from_millis(300)).await,
        b"busy" => return Problem::new(Code::Busy, "too much").retry_after_s(7).into_response(),
        b"big" => return "x".repeat(300_000).into_response(),
        b"large" => return "x".repeat(50_000).into_response(),
        _ => {}
    }
    let seen = parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let text = format!("{} {}\n{}\n", parts.method, parts.uri, seen.collect::<Vec<_>>().join("\n"));
    (text + std::str::from_utf8(&body).unwrap()).into_response()
}

fn linked(options: ServeOptions) -> ServeOptions {
    ServeOptions { links_max: 2, ..options }
}

fn text(answer: &OtherAnswer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[tokio::test]
async fn frames_that_follow_the_request_for_the_link_at_once_are_answered() {
    let server = start(role(), linked(patient())).await;
    let number = Number::new(3, 7);
    let mut link = Link::open(&server, &opening(number, "hello")).await;
    let (answered, answer) = link.answer().await;
    assert_eq!((answered, answer.status), (number, StatusCode::OK));
    let id = EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), [1; 10]);
    assert!(text(&answer).starts_with(&format!("POST /v1/envelopes/{id}/open\n")), "{}", text(&answer));
    for seen in ["authorization: Bearer t", "x-request-id: id-1", "x-hongbao-deadline-ms: 1234", "hello"] {
        assert!(text(&answer).lines().any(|line| line == seen), "{seen}");
    }
    assert_eq!(answer.headers["x-request-id"], "id-1");
}

#[tokio::test]
async fn a_refusal_has_the_headers_that_a_client_must_get() {
    let server = start(role(), linked(patient())).await;
    let mut link = Link::open(&server, &opening(Number::new(0, 1), "busy")).await;
    let OtherAnswer { status, headers, body } = link.answer().await.1;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let mut expected = HeaderMap::new();
    for (name, value) in [("content-type", "application/problem+json"), ("retry-after", "7"), ("x-request-id", "id-1")]
    {
        expected.insert(name, value.parse().unwrap());
    }
    assert_eq!(headers, expected);
    assert!(body.starts_with(b"{"));
}

#[tokio::test]
async fn a_request_that_panics_hangs_or_answers_too_much_concerns_no_other() {
    let server = start(role(), linked(patient())).await;
    let mut link = Link::open(&server, &[]).await;
    let mut bytes = Vec::new();
    for (place, body) in ["stuck", "panic", "big", "large", "hello"].into_iter().enumerate() {
        bytes.extend(opening(Number::new(place, 1), body));
    }
    link.send(&bytes).await;
    let mut ends = std::collections::HashMap::new();
    for _ in 0..4 {
        let (number, status) = match link.next().await.unwrap() {
            ToGateway::Answer(number, LinkAnswer::Other(answer)) => (number, Some(answer.status.as_u16())),
            ToGateway::Lost(number) => (number, None),
            other => panic!("{other:?}"),
        };
        ends.insert(number.place(), status);
    }
    assert_eq!(ends, [(1, Some(500)), (2, None), (3, Some(200)), (4, Some(200))].into());
    let mut cancel = Vec::new();
    encode_cancel(Number::new(0, 2), &mut cancel);
    encode_cancel(Number::new(4, 1), &mut cancel);
    encode_cancel(Number::new(0, 1), &mut cancel);
    link.send(&cancel).await;
    assert_eq!(link.next().await, Some(ToGateway::Lost(Number::new(0, 1))), "and the others change nothing");
    link.send(&opening(Number::new(0, 2), "hello")).await;
    assert_eq!(link.answer().await.0, Number::new(0, 2), "its place is free");
}

#[tokio::test]
async fn requests_of_one_link_are_served_at_the_same_time_and_large_ones_in_turn() {
    let server = start(role(), linked(patient())).await;
    let mut link = Link::open(&server, &[]).await;
    let began = Instant::now();
    let all: Vec<u8> = (0..64).flat_map(|place| opening(Number::new(place, 1), "slow")).collect();
    link.send(&all).await;
    for _ in 0..64 {
        link.answer().await;
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // More bytes than the server takes at once.
    let large: &'static str = String::leak("y".repeat(16 * 1024));
    for uses in 2..6 {
        let all: Vec<u8> = (0..64).flat_map(|place| opening(Number::new(place, uses), large)).collect();
        let (mut reader, mut writer) = link.stream.split();
        let send = async { writer.write_all(&all).await.unwrap() };
        let receive = async {
            let mut answers = 0;
            while answers < 64 {
                while let Some(frame) = take(&mut link.buffer).unwrap() {
                    assert!(matches!(ToGateway::decode(frame).unwrap(), ToGateway::Answer(..)));
                    answers += 1;
                }
                if answers < 64 {
                    assert!(reader.read_buf(&mut link.buffer).await.unwrap() > 0);
                }
            }
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(send, receive) }).await.expect("in time");
    }
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link() {
    let server = start(role(), linked(patient())).await;
    let twice = [opening(Number::new(1, 1), "stuck"), opening(Number::new(1, 2), "hello")].concat();
    let mut wrong_call = opening(Number::new(1, 1), "hello");
    wrong_call[9] = 3;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"[..],
        &[0, 0, 0, 0],
        &[0xff; 4],
        &[0, 0, 0, 1, 9],
        &[0, 0, 0, 1, 3],
        &wrong_call,
        &twice,
    ] {
        let mut link = Link::open(&server, &[]).await;
        link.send(garbage).await;
        assert_eq!(link.next().await, None, "{garbage:?}");
    }
    assert_eq!(Wire::open(&server).await.get("/else").await.status, 404, "the server serves on");
}

#[tokio::test]
async fn a_gateway_that_sends_too_slowly_or_does_not_read_or_is_idle_is_left() {
    let server = start(role(), linked(quick())).await;
    // A frame in part.
    let mut link = Link::open(&server, &[]).await;
    link.send(&opening(Number::new(0, 1), "hello")[..20]).await;
    let began = Instant::now();
    assert_eq!(link.next().await, None);
    assert!((100..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    // Nothing at all.
    let mut link = Link::open(&server, &[]).await;
    let began = Instant::now();
    assert_eq!(link.next().await, None);
    assert!((500..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    // Answers that are not read: the server stops reading, and gives up.
    let mut link = Link::open(&server, &[]).await;
    let flood = async {
        for uses in 1.. {
            for place in 0..64 {
                link.stream.write_all(&opening(Number::new(place, uses), "large")).await?;
            }
            // Without the answers these are the numbers of requests that may be under way.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::io::Result::Ok(())
    };
    let flooded = tokio::time::timeout(PATIENCE, flood).await.expect("it is cut");
    assert!(flooded.is_err());
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_still_comes_until_the_gateway_closes() {
    let server = start(role(), linked(patient())).await;
    let mut link = Link::open(&server, &opening(Number::new(0, 1), "slow")).await;
    let idle = Link::open(&server, &[]).await;
    server.stop.send(()).unwrap();
    let mut seen = vec![link.next().await.unwrap()];
    if !matches!(seen[0], ToGateway::Leaving) {
        seen.push(link.next().await.unwrap());
    }
    assert!(seen.contains(&ToGateway::Leaving), "{seen:?}");
    link.send(&opening(Number::new(1, 1), "late")).await;
    while seen.len() < 3 {
        seen.push(link.next().await.unwrap());
    }
    let answers = seen.iter().filter(|frame| matches!(frame, ToGateway::Answer(..))).count();
    assert_eq!(answers, 2, "{seen:?}");
    drop((link, idle));
    tokio::time::timeout(Duration::from_secs(5), server.done).await.expect("it has ended").unwrap();
}

#[tokio::test]
async fn who_asks_otherwise_or_for_too_many_links_gets_none() {
    let server = start(role(), linked(patient())).await;
    let _links = (Link::open(&server, &[]).await, Link::open(&server, &[]).await);
    let ask = async |server: &Server, request: String| {
        let mut wire = Wire::open(server).await;
        wire.send(request).await;
        wire.reply().await.status
    };
    assert_eq!(ask(&server, asking(LINK_PROTOCOL)).await, 503, "there are two");
    assert_eq!(ask(&server, asking("hongbao-link/2")).await, 404);
    assert_eq!(ask(&server, asking("websocket")).await, 404);
    let front_door = start(role(), patient()).await;
    assert_eq!(ask(&front_door, asking(LINK_PROTOCOL)).await, 404, "only a server behind gateways has links");
}

#[test]
fn a_body_of_a_frame_is_at_most_what_a_request_has() {
    // So that no request that a gateway takes by default needs HTTP because of its size.
    let (token, body) =
        (vec![b't'; hongbao_core::limits::TOKEN_BYTES_MAX], vec![b'b'; hongbao_core::limits::BODY_BYTES_MAX]);
    let id = EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), [1; 10]);
    let request = LinkRequest {
        call: Call::Open,
        id,
        deadline_ms: 1,
        token: Bytes::from(token),
        mark: Some(Bytes::from(vec![b'm'; 4_096])),
        request_id: Bytes::from(vec![b'r'; 64]),
        traceparent: Some(Bytes::from(vec![b'0'; 55])),
        body: Bytes::from(body),
    };
    assert!(request.encode(Number::new(0, 0), &mut Vec::new()));
}
