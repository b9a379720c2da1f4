//! Links to servers that do not keep to the protocol, or do not answer on them.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use common::{Front, PATIENCE, Reply, id, quick, topology};
use hongbao_core::limits::LINK_CANCEL_MS_MAX;
use hongbao_gateway::GatewayOptions;
use hongbao_http::link::frame::take;
use hongbao_http::link::{LINK_PROTOCOL, Number, ToServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a link, each time that requests have come on it.
type OnFrames = Arc<dyn Fn(Vec<Number>) -> Vec<u8> + Send + Sync>;

/// A server that answers over HTTP, and on links with the bytes that `on_frames` makes.
async fn server(on_frames: OnFrames) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, over_http) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = over_http.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, on_frames.clone(), counted.clone()));
        }
    });
    (address, over_http)
}

async fn talk(mut stream: TcpStream, on_frames: OnFrames, over_http: Arc<AtomicU64>) {
    let mut head = vec![0; 8_192];
    while let Ok(n) = stream.read(&mut head).await
        && n > 0
    {
        if head.starts_with(b"GET /internal/link") {
            let agreed =
                format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {LINK_PROTOCOL}\r\n\r\n");
            stream.write_all(agreed.as_bytes()).await.unwrap();
            return link(stream, on_frames).await;
        }
        let is_opening = head.starts_with(b"POST");
        over_http.fetch_add(u64::from(is_opening), Ordering::SeqCst);
        let body = "{\"server\":\"a1\"}";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

async fn link(mut stream: TcpStream, on_frames: OnFrames) {
    let mut buffer = BytesMut::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
        let mut requests = Vec::new();
        while let Some(frame) = take(&mut buffer).unwrap() {
            if let ToServer::Request(number, _) = ToServer::decode(frame).unwrap() {
                requests.push(number);
            }
        }
        let bytes = on_frames(requests);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn front(server: SocketAddr) -> Front {
    let options = GatewayOptions { answer_within_ms: 400, ..quick() };
    Front::start(&topology(1, &[("a", "00-99", &[("a1", server)])]), options).await
}

async fn open(front: &Front) -> Reply {
    front.post(&format!("/v1/envelopes/{}/open", id(1)), "{}").await
}

/// Opens until the first opening that goes over a link has ended, which it gives.
async fn first_over_link(front: &Front) -> Reply {
    let sent = "hongbao_gateway_link_frames_total{direction=\"sent\"}";
    let search = async {
        loop {
            let reply = open(front).await;
            if front.metric(sent).await != Some(0.0) {
                return reply;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("a link")
}

#[tokio::test]
async fn what_is_no_frame_ends_a_link_once_and_openings_go_on_over_http() {
    let answer_to = |number: &Number, uses: u32| {
        let mut bytes = Vec::new();
        let head = http::Response::new(()).into_parts().0;
        assert!(hongbao_http::link::answer::encode_answer(Number::new(number.place(), uses), &head, b"{}", &mut bytes));
        bytes
    };
    let garbage: Vec<OnFrames> = vec![
        Arc::new(|_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        Arc::new(|_| vec![0xff; 4]),
        Arc::new(|_| vec![0, 0, 0, 0]),
        Arc::new(|_| vec![0, 0, 0, 1, 1]),
        Arc::new(|_| vec![0, 0, 0, 3, 3, 0, 0]),
        // Answers to what was not asked.
        Arc::new(move |asked| answer_to(&asked[0], 7)),
        Arc::new(move |asked| answer_to(&Number::new(asked[0].place() + 1, 1), 1)),
    ];
    for (number, garbage) in garbage.into_iter().enumerate() {
        let (address, over_http) = server(garbage).await;
        let front = front(address).await;
        first_over_link(&front).await.expect_problem(504, "outcome_unknown");
        let before = over_http.load(Ordering::SeqCst);
        assert_eq!(open(&front).await.server(), "a1", "{number}");
        assert_eq!(over_http.load(Ordering::SeqCst), before + 1);
        assert_eq!(front.metric("hongbao_gateway_links_broken_total").await, Some(1.0));
    }
}

#[tokio::test]
async fn a_second_answer_to_one_opening_ends_the_link_and_is_no_one_s() {
    let (address, _) = server(Arc::new(|asked| {
        let mut bytes = Vec::new();
        let head = http::Response::new(()).into_parts().0;
        for number in asked.iter().chain(&asked) {
            let body = b"{\"server\":\"a1\"}";
            assert!(hongbao_http::link::answer::encode_answer(*number, &head, body, &mut bytes));
        }
        bytes
    }))
    .await;
    let front = front(address).await;
    assert_eq!(first_over_link(&front).await.server(), "a1");
    front.until_metric("hongbao_gateway_links_broken_total", 1.0).await;
}

#[tokio::test]
async fn a_link_on_which_nothing_is_answered_is_given_no_more() {
    let (address, over_http) = server(Arc::new(|_| Vec::new())).await;
    let front = front(address).await;
    first_over_link(&front).await.expect_problem(504, "outcome_unknown");
    // Its cancel is not confirmed either.
    tokio::time::sleep(Duration::from_millis(LINK_CANCEL_MS_MAX + 50)).await;
    let before = over_http.load(Ordering::SeqCst);
    assert_eq!(open(&front).await.server(), "a1");
    assert_eq!(over_http.load(Ordering::SeqCst), before + 1);
    front.until_metric("hongbao_gateway_in_flight{set=\"a\",server=\"a1\"}", 0.0).await;
}
