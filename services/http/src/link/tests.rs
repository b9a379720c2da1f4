//! The frames, whole, cut and wrong.

use axum::response::IntoResponse as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use hongbao_core::calls::Call;
use hongbao_core::limits::{LINK_FRAME_BYTES_MAX, LINK_REQUESTS_MAX};
use hongbao_core::{EnvelopeId, Timestamp};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::answer::{encode_answer, encode_found};
use super::frame::{Number, encode_cancel, encode_small, kind, take};
use super::{FrameError, LinkAnswer, LinkRequest, OtherAnswer, ToGateway, ToServer};
use crate::hop::ACCEPTED;
use crate::hot::Found;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    fn bytes(&mut self, most: usize) -> Bytes {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    fn maybe(&mut self, most: usize) -> Option<Bytes> {
        (self.below(2) == 1).then(|| self.bytes(most))
    }

    fn request(&mut self) -> LinkRequest<Bytes> {
        let mut random = [0; 10];
        random.fill_with(|| self.next() as u8);
        LinkRequest {
            call: if self.below(2) == 0 { Call::Open } else { Call::Grab },
            id: EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), random),
            deadline_ms: self.next() as u32,
            token: self.bytes(900),
            mark: self.maybe(300),
            request_id: self.bytes(64),
            traceparent: self.maybe(55),
            body: self.bytes(400),
        }
    }
}

fn encoded(number: Number, request: &LinkRequest<Bytes>) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(request.encode(number, &mut bytes));
    bytes
}

fn framed(payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(payload.len() as u32);
    bytes.put_slice(payload);
    bytes
}

#[test]
fn requests_come_out_as_they_went_in_however_the_bytes_arrive() {
    let mut numbers = Numbers(1);
    for round in 0..200 {
        let sent: Vec<_> = (0..5).map(|place| (Number::new(place, round), numbers.request())).collect();
        let mut bytes = Vec::new();
        for (number, request) in &sent {
            bytes.extend(encoded(*number, request));
            encode_cancel(*number, &mut bytes);
        }
        let (mut buffer, mut received) = (BytesMut::new(), Vec::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + numbers.below(rest.len().min(700)));
            buffer.extend_from_slice(piece);
            rest = after;
            while let Some(frame) = take(&mut buffer).unwrap() {
                received.push(ToServer::decode(frame).unwrap());
            }
        }
        let expected = sent
            .into_iter()
            .flat_map(|(number, request)| [ToServer::Request(number, request), ToServer::Cancel(number)]);
        assert_eq!(received, expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_frame_that_is_cut_at_any_byte_is_waited_for_or_is_wrong_and_never_another_request() {
    let mut numbers = Numbers(2);
    let request = numbers.request();
    let whole = encoded(Number::new(3, 4), &request);
    let body_at = whole.len() - request.body.len();
    for end in 0..whole.len() {
        let mut cut = BytesMut::from(&whole[..end]);
        assert_eq!(take(&mut cut), Ok(None), "{end}");
        // The same with a length that says that this is all of it.
        if let Some(payload) = whole[..end].get(4..).filter(|payload| !payload.is_empty()) {
            let frame = take(&mut framed(payload)).unwrap().unwrap();
            match ToServer::decode(frame) {
                Ok(ToServer::Request(_, cut)) => {
                    assert!(end >= body_at, "{end}");
                    assert_eq!(cut, LinkRequest { body: request.body.slice(..end - body_at), ..request.clone() });
                }
                other => assert!(matches!(other, Err(FrameError::Field(_))) && end < body_at, "{end}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_by_its_length_alone_and_is_not_made() {
    for length in [0, LINK_FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
        assert_eq!(take(&mut buffer), Err(FrameError::Length(length)));
    }
    let mut request = Numbers(3).request();
    let beside = encoded(Number::new(0, 0), &request).len() - 4 - request.body.len();
    for (body, fits) in [(LINK_FRAME_BYTES_MAX - beside, true), (LINK_FRAME_BYTES_MAX - beside + 1, false)] {
        request.body = vec![b'x'; body].into();
        let mut bytes = vec![7];
        assert_eq!(request.encode(Number::new(0, 0), &mut bytes), fits);
        assert_eq!(bytes.len() > 1, fits, "nothing is left of what does not fit");
        if fits {
            let frame = take(&mut BytesMut::from(&bytes[1..])).unwrap().unwrap();
            assert!(ToServer::decode(frame).is_ok());
        }
    }
}

#[test]
fn what_is_of_no_kind_or_of_the_other_side_s_is_refused() {
    for of in 0..=u8::MAX {
        let frame = Bytes::copy_from_slice(&[of]);
        if !matches!(of, kind::REQUEST | kind::CANCEL) {
            assert_eq!(ToServer::decode(frame.clone()), Err(FrameError::Kind(of)));
        }
        if !matches!(of, kind::ANSWER | kind::LOST | kind::LEAVING) {
            assert_eq!(ToGateway::decode(frame), Err(FrameError::Kind(of)));
        }
    }
    assert_eq!(ToGateway::decode(Bytes::from_static(&[kind::LEAVING, 0])), Err(FrameError::Field("end")));
    assert_eq!(ToServer::decode(Bytes::from_static(&[kind::CANCEL, 0, 0, 0, 1, 9])), Err(FrameError::Field("end")));
}

#[test]
fn answers_come_out_with_what_a_client_gets_and_without_what_concerns_one_hop() {
    let mut response = Response::new(()).into_parts().0;
    response.status = StatusCode::SERVICE_UNAVAILABLE;
    let other = HeaderName::from_static("x-other");
    let kept = [(CONTENT_TYPE, "application/problem+json"), (RETRY_AFTER, "3"), (other.clone(), "a"), (other, "b")];
    let of_one_hop = [(CONTENT_LENGTH, "4"), (DATE, "today"), (CONNECTION, "close")];
    for (name, value) in kept.iter().chain(&of_one_hop) {
        response.headers.append(name, HeaderValue::from_static(value));
    }
    let mut bytes = Vec::new();
    assert!(encode_answer(Number::new(5, 9), &response, b"body", &mut bytes));
    encode_small(kind::LOST, Some(Number::new(6, 1)), &mut bytes);
    encode_small(kind::LEAVING, None, &mut bytes);
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut next = || ToGateway::decode(take(&mut buffer).unwrap().unwrap()).unwrap();
    for (name, _) in of_one_hop {
        response.headers.remove(name);
    }
    let (status, headers) = (response.status, response.headers);
    let answer = OtherAnswer { status, headers, body: Bytes::from_static(b"body") };
    assert_eq!(next(), ToGateway::Answer(Number::new(5, 9), LinkAnswer::Other(answer)));
    assert_eq!(next(), ToGateway::Lost(Number::new(6, 1)));
    assert_eq!(next(), ToGateway::Leaving);
    assert!(!encode_answer(
        Number::new(5, 9),
        &Response::new(()).into_parts().0,
        &[0; LINK_FRAME_BYTES_MAX],
        &mut bytes
    ));
}

fn decoded(bytes: &[u8]) -> Result<LinkAnswer, FrameError> {
    match ToGateway::decode(take(&mut BytesMut::from(bytes)).unwrap().unwrap())? {
        ToGateway::Answer(_, answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_usual_answer_is_the_frame_of_its_response_and_comes_out_as_it_went_in() {
    let (number, id) = (Number::new(5, 9), RequestId::parse(b"id-1").unwrap());
    for accepted in [None, Some("1f-a".to_owned())] {
        let found = Found { body: b"{\"type\":\"opened\"}".to_vec(), accepted };
        let mut frame = Vec::new();
        assert!(encode_found(number, &found, &id, &mut frame));
        assert_eq!(decoded(&frame), Ok(LinkAnswer::Found(found.clone())));

        let mut response = found.clone().into_response();
        response.headers_mut().insert(X_REQUEST_ID, id.to_header());
        let mut of_response = Vec::new();
        assert!(encode_answer(number, &response.into_parts().0, &found.body, &mut of_response));
        assert_eq!(frame, of_response);
    }
    let too_long = Found { body: vec![b' '; LINK_FRAME_BYTES_MAX], accepted: None };
    assert!(!encode_found(number, &too_long, &id, &mut Vec::new()));
}

#[test]
fn an_answer_that_has_anything_unusual_keeps_its_headers() {
    let usual = [(CONTENT_TYPE, "application/json"), (ACCEPTED, "1f-a"), (X_REQUEST_ID, "id-1")];
    let of = |status, headers: &[(HeaderName, &str)]| {
        let mut head = Response::new(()).into_parts().0;
        head.status = status;
        for (name, value) in headers {
            head.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut frame = Vec::new();
        assert!(encode_answer(Number::new(5, 9), &head, b"{}", &mut frame));
        (decoded(&frame).unwrap(), OtherAnswer { status, headers: head.headers, body: Bytes::from_static(b"{}") })
    };
    assert!(matches!(of(StatusCode::OK, &usual).0, LinkAnswer::Found(_)));
    let mut unusual = vec![of(StatusCode::CREATED, &usual)];
    for left_out in [0, 2] {
        let rest = usual.iter().enumerate().filter(|(place, _)| *place != left_out).map(|(_, one)| one.clone());
        unusual.push(of(StatusCode::OK, &rest.collect::<Vec<_>>()));
    }
    let more =
        [(RETRY_AFTER, "1"), (HeaderName::from_static("x-other"), "a"), (ACCEPTED, "2-b"), (CONTENT_TYPE, "a/b")];
    for more in more {
        unusual.push(of(StatusCode::OK, &[&usual[..], &[more]].concat()));
    }
    unusual.push(of(StatusCode::OK, &[(CONTENT_TYPE, "application/json; a=b"), (X_REQUEST_ID, "id-1")]));
    unusual.push(of(StatusCode::OK, &[usual[0].clone(), usual[2].clone(), (ACCEPTED, "\u{e9}")]));
    for (answer, expected) in unusual {
        assert_eq!(answer, LinkAnswer::Other(expected));
    }
}

#[test]
fn a_header_that_ends_the_head_is_no_header_of_the_usual_answer() {
    let found = Found { body: b"{}".to_vec(), accepted: Some("1\r\nx: y".to_owned()) };
    let mut frame = Vec::new();
    assert!(encode_found(Number::new(5, 9), &found, &RequestId::parse(b"id-1").unwrap(), &mut frame));
    assert_eq!(decoded(&frame), Err(FrameError::Field("header's value")));
}

#[test]
fn garbage_is_refused_or_is_a_frame_and_never_a_panic() {
    let mut numbers = Numbers(4);
    let response = Response::builder().header("x-a", "b").header(CONTENT_TYPE, "c").body(()).unwrap().into_parts().0;
    let mut answer = Vec::new();
    assert!(encode_answer(Number::new(5, 9), &response, b"body", &mut answer));
    for _ in 0..20_000 {
        let mut garbage = match numbers.below(3) {
            0 => numbers.bytes(200).to_vec(),
            1 => encoded(Number::new(1, 1), &numbers.request()),
            _ => answer.clone(),
        };
        for _ in 0..numbers.below(4) {
            let at = numbers.below(garbage.len().max(1));
            garbage.iter_mut().skip(at).take(1).for_each(|byte| *byte = numbers.next() as u8);
        }
        let payload = Bytes::copy_from_slice(garbage.get(4..).unwrap_or(&garbage));
        let _ = (ToServer::decode(payload.clone()), ToGateway::decode(payload));
        let mut buffer = BytesMut::from(&garbage[..]);
        while let Ok(Some(_)) = take(&mut buffer) {}
    }
}

#[test]
fn a_number_has_its_place_and_is_another_one_at_its_next_use() {
    for uses in [0, 1, 77, u32::MAX / LINK_REQUESTS_MAX as u32, u32::MAX] {
        for place in 0..LINK_REQUESTS_MAX {
            assert_eq!(Number::new(place, uses).place(), place);
            assert_ne!(Number::new(place, uses), Number::new(place, uses.wrapping_add(1)));
        }
    }
}
