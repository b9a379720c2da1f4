//! What becomes of the requests of a link when it ends.

use std::sync::Arc;

use bytes::BytesMut;
use hongbao_core::calls::Call;
use hongbao_core::limits::LINK_REQUESTS_MAX;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_http::hot::Found;
use hongbao_http::link::frame::take;
use hongbao_http::link::{LinkAnswer, LinkRequest, Number, ToGateway, ToServer};

use super::link::{Asked, End, Link, Next};

fn ask(link: &Arc<Link>) -> Option<Asked> {
    link.ask(&LinkRequest {
        call: Call::Open,
        id: EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), [7; 10]),
        deadline_ms: 1_000,
        token: b"Bearer t",
        mark: None,
        request_id: b"r",
        traceparent: None,
        body: b"{}",
    })
}

/// What the task would write next.
fn written(link: &Link) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(matches!(link.next(&mut bytes), Next::Write(_)));
    bytes
}

fn frames(bytes: &[u8]) -> Vec<ToServer> {
    let mut buffer = BytesMut::from(bytes);
    std::iter::from_fn(|| take(&mut buffer).unwrap()).map(|frame| ToServer::decode(frame).unwrap()).collect()
}

fn numbers(bytes: &[u8]) -> Vec<Number> {
    let number = |frame| match frame {
        ToServer::Request(number, _) | ToServer::Cancel(number) => number,
    };
    frames(bytes).into_iter().map(number).collect()
}

fn answer(number: Number) -> ToGateway {
    ToGateway::Answer(number, LinkAnswer::Found(Found { body: b"{}".to_vec(), accepted: None }))
}

#[tokio::test]
async fn of_a_link_that_breaks_what_was_written_even_in_part_is_unknown_and_the_rest_was_not_sent() {
    let link = Arc::new(Link::new());
    let first_batch = [ask(&link).unwrap(), ask(&link).unwrap(), ask(&link).unwrap()];
    let bytes = written(&link);
    let later = ask(&link).unwrap();
    // All of the first, and a byte of the second.
    link.wrote(bytes.len() / 3 + 1);
    assert_eq!(link.end("it broke"), 2);
    let [first, second, third] = first_batch;
    for sent in [first, second] {
        assert!(matches!(sent.end().await, End::Broken(reason) if reason == "it broke"));
    }
    for unsent in [third, later] {
        assert!(matches!(unsent.end().await, End::NotSent));
    }
    assert!(ask(&link).is_none());
}

#[tokio::test]
async fn a_link_takes_so_many_requests_and_one_more_for_each_that_is_answered() {
    let link = Arc::new(Link::new());
    let asked: Vec<_> = (0..LINK_REQUESTS_MAX).map(|_| ask(&link).unwrap()).collect();
    assert!(ask(&link).is_none());
    let numbers = numbers(&written(&link));
    assert_eq!(numbers.len(), LINK_REQUESTS_MAX);
    for number in numbers.iter().rev() {
        link.deliver(answer(*number)).unwrap();
    }
    for asked in asked {
        assert!(matches!(asked.end().await, End::Answered(_)));
    }
    let again = ask(&link).unwrap();
    assert!(link.deliver(answer(numbers[0])).is_err() || link.deliver(answer(numbers[63])).is_err());
    drop(again);
}

#[tokio::test]
async fn the_place_of_a_cancelled_request_is_free_when_the_server_has_confirmed_it() {
    let link = Arc::new(Link::new());
    let mut asked: Vec<_> = (0..LINK_REQUESTS_MAX).map(|_| ask(&link).unwrap()).collect();
    let cancelled = numbers(&written(&link))[63];
    asked.pop();
    assert_eq!(frames(&written(&link)), [ToServer::Cancel(cancelled)]);
    assert!(ask(&link).is_none());
    link.deliver(ToGateway::Lost(cancelled)).unwrap();
    assert!(ask(&link).is_some());
    assert!(link.deliver(ToGateway::Lost(cancelled)).is_err(), "once");
}

#[tokio::test]
async fn a_link_that_leaves_ends_when_all_is_answered_and_nothing_new_is_asked_on_it() {
    let link = Arc::new(Link::new());
    let asked = ask(&link).unwrap();
    link.deliver(ToGateway::Leaving).unwrap();
    assert!(ask(&link).is_none());
    let numbers = numbers(&written(&link));
    assert!(matches!(link.next(&mut Vec::new()), Next::Wait));
    link.deliver(answer(numbers[0])).unwrap();
    assert!(matches!(link.next(&mut Vec::new()), Next::End));
    assert!(matches!(asked.end().await, End::Answered(_)));
}
