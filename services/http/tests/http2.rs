//! HTTP/2 over TLS: what a connection may do, how long it is kept, and how it ends.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::get;
use common::{PATIENCE, Server, patient, quick, router, start};
use hongbao_http::ServeOptions;
use hongbao_http::tls::{CertificateFiles, ListenerTls, ServerTls};
use hongbao_testbed::CertificateAuthority;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

struct Secured {
    server: Server,
    authority: CertificateAuthority,
}

/// A connection of a client; its task ends when the connection does.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    ended: JoinHandle<()>,
}

async fn secured(options: ServeOptions, more: axum::Router) -> Secured {
    let authority = CertificateAuthority::new();
    let files = authority.server("server", &["localhost"]);
    let own = CertificateFiles { certificate_file: files.certificate, key_file: files.key };
    let tls = ServerTls::load(ListenerTls { own, client_ca_file: None, http2: true }).unwrap();
    let server = start(router().merge(more), ServeOptions { tls: Some(tls), ..options }).await;
    Secured { server, authority }
}

impl Secured {
    async fn connect(&self) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.file()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(self.server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        let ended = tokio::spawn(async move {
            // How it ended is of no interest here, only that it did.
            let _ = connection.await;
        });
        Client { sender, ended }
    }
}

impl Client {
    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        self.ask(Request::get(format!("https://localhost{path}")).body(Full::default()).unwrap()).await
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        read(self.sender.send_request(request).await.unwrap()).await
    }

    async fn ends_within(self, time: Duration) {
        tokio::time::timeout(time, self.ended).await.expect("it is closed").unwrap();
    }
}

/// `/held` says that it has started, and answers when it may finish.
fn held(started: &Arc<Notify>, finish: &Arc<Notify>) -> axum::Router {
    let (started, finish) = (started.clone(), finish.clone());
    let held = get(move || async move {
        started.notify_one();
        finish.notified().await;
        "held"
    });
    axum::Router::new().route("/held", held)
}

async fn read(response: Response<Incoming>) -> (StatusCode, String) {
    let (head, body) = response.into_parts();
    assert!(head.headers.contains_key("x-request-id"));
    (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_any_order_and_errors_are_problems() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let one = secured(patient(), held(&started, &finish)).await;
    let mut client = one.connect().await;
    let first = client.sender.send_request(Request::get("https://localhost/held").body(Full::default()).unwrap());
    let first = tokio::spawn(first);
    started.notified().await;
    assert_eq!(client.get("/hello").await, (StatusCode::OK, "hello".to_owned()));
    finish.notify_one();
    assert_eq!(read(first.await.unwrap().unwrap()).await.1, "held");

    let post = |body: Vec<u8>| {
        let request = Request::post("https://localhost/greet").header("content-type", "application/json");
        request.body(Full::from(body)).unwrap()
    };
    assert_eq!(client.ask(post(br#"{"name":"you"}"#.to_vec())).await.1, "hello you x1");
    let (status, body) = client.ask(post(vec![b' '; 20_000])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(body.contains("\"body_too_large\""), "{body}");
    assert_eq!(client.get("/nowhere").await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/panic").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let two = Request::get("https://localhost/hello").header("host", "other").body(Full::default()).unwrap();
    let (status, body) = client.ask(two).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("more than one Host"), "{body}");
    assert_eq!(client.get("/hello").await.0, StatusCode::OK, "the connection goes on after each of them");
}

/// `/events` says something every `every`, for as long as it is listened to.
fn events(every: Duration) -> axum::Router {
    let events = get(move || async move {
        let beats = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b":\n\n")), ()))
        });
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(beats))
    });
    axum::Router::new().route("/events", events)
}

#[tokio::test]
async fn a_stream_of_events_is_kept_while_something_comes_on_it_and_no_longer() {
    let idle_timeout = Duration::from_millis(400);
    let options = ServeOptions { idle_timeout, linger_timeout: Duration::from_millis(100), ..quick() };
    for (every, is_kept) in [(idle_timeout / 4, true), (10 * idle_timeout, false)] {
        let one = secured(options.clone(), events(every)).await;
        let mut client = one.connect().await;
        let request = Request::get("https://localhost/events").body(Full::default()).unwrap();
        let mut body = client.sender.send_request(request).await.unwrap().into_body();
        let listening = async {
            for _ in 0..16 {
                body.frame().await.ok_or(())?.map_err(drop)?;
            }
            Ok::<_, ()>(())
        };
        let listened = tokio::time::timeout(PATIENCE, listening).await.expect("it is closed, or goes on");
        assert_eq!(listened.is_ok(), is_kept, "every {every:?}");
        drop(body);
        client.ends_within(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_time_and_one_with_a_request_is_not() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (head_timeout, idle_timeout) = (Duration::from_secs(2), Duration::from_millis(700));
    let options = ServeOptions { head_timeout, idle_timeout, ..quick() };
    let one = secured(options, held(&started, &finish)).await;
    let unused = one.connect().await;
    unused.ends_within(PATIENCE).await;

    let mut client = one.connect().await;
    let answer = tokio::spawn(async move {
        let answer = client.get("/held").await;
        (client, answer)
    });
    started.notified().await;
    // Longer than a connection may be idle, and than one that is closed is waited for.
    tokio::time::sleep(3 * idle_timeout).await;
    finish.notify_one();
    let (client, answer) = answer.await.unwrap();
    assert_eq!(answer.1, "held");
    client.ends_within(PATIENCE).await;
}

#[tokio::test]
async fn draining_answers_what_is_under_way_and_closes_the_rest() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let one = secured(patient(), held(&started, &finish)).await;
    let (idle, mut busy) = (one.connect().await, one.connect().await);
    let answer = tokio::spawn(async move { busy.get("/held").await });
    started.notified().await;
    one.server.stop.send(()).unwrap();
    idle.ends_within(PATIENCE / 2).await;
    assert!(!one.server.done.is_finished(), "it waits for the request under way");
    finish.notify_one();
    assert_eq!(answer.await.unwrap().1, "held");
    tokio::time::timeout(PATIENCE / 2, one.server.done).await.expect("done as soon as the last one is").unwrap();
}

#[tokio::test]
async fn who_never_shakes_hands_is_left_in_time() {
    let one = secured(quick(), axum::Router::new()).await;
    let silent = TcpStream::connect(one.server.address).await.unwrap();
    let closed = async {
        silent.readable().await.unwrap();
        silent.try_read(&mut [0; 16])
    };
    let read = tokio::time::timeout(PATIENCE / 2, closed).await.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
