//! Buckets that are not the archive, and an S3 server that answers wrongly, late, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hongbao_archive::{FileArchive, Location};
use hongbao_core::limits::{EXPORT_ANSWER_WITHIN, EXPORT_THREADS_MAX, S3_RETRIES_MAX};
use hongbao_core::manifest::Manifest;
use hongbao_store::{Archive, ArchivedFile, StoreError};
use hongbao_testkit::s3::{bucket_at, new_bucket};
use object_store::ObjectStoreExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::common::{MARK, World, damage, made, manifest_of, opened_in_vain, rows};

fn archive_of(location: Location, id: &str) -> Arc<dyn Archive> {
    Arc::new(FileArchive::new(location, Some(id), "a", ""))
}

fn unavailable(outcome: Result<impl Sized, StoreError>) -> String {
    match outcome.map(|_| ()) {
        Err(StoreError::Unavailable(reason)) => {
            assert!(!reason.contains("sEcReT"), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_marked_as_the_archive_takes_nothing_and_says_nothing_of_what_is_there() {
    let (bucket, rows) = (new_bucket(), rows([3, 0, 5]));
    let (files, manifest) = (bucket.store(), manifest_of(&rows, 1));
    let archive = archive_of(Location::Bucket(bucket.clone()), "any");
    let new = async || made(&archive, &manifest, &rows).await;
    let file = archive.put(&manifest, new().await).await.unwrap();
    archive.check(&file).await.unwrap();
    let sound = files.get(&(&*file.path).into()).await.unwrap().bytes().await.unwrap();
    files.delete(&(&*file.path).into()).await.unwrap();
    assert!(damage(archive.open(&file, manifest.hash()).await).contains("it is not there"));

    for (mark, reason) in [(None, "no file hongbao-archive"), (Some("an"), "\"an\""), (Some("any2"), "\"any2\"")] {
        match mark {
            None => files.delete(&MARK.into()).await.unwrap(),
            Some(id) => _ = files.put(&MARK.into(), id.into()).await.unwrap(),
        }
        for outcome in [
            archive.put(&manifest, new().await).await.map(|_| ()),
            archive.put_manifest(&manifest, &file).await,
            archive.put_chain(7, &[]).await,
            archive.check(&file).await,
            archive.open(&file, manifest.hash()).await.map(|_| ()),
        ] {
            let said = unavailable(outcome);
            assert!(said.contains(reason) && said.contains(bucket.url()), "{said}");
        }
        let there = files.head(&(&*file.path).into()).await;
        assert!(matches!(there, Err(object_store::Error::NotFound { .. })), "{there:?}");
    }
    files.put(&MARK.into(), "any".into()).await.unwrap();
    files.put(&(&*file.path).into(), sound.into()).await.unwrap();
    archive.check(&file).await.unwrap();
}

/// What a server does with a request.
enum Answer {
    /// It says this, and closes the connection.
    Say(Vec<u8>),
    /// It says nothing.
    Silence,
}

/// An answer with headers of its own.
fn say(status: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Fri, 27 Nov 2026 06:00:00 GMT\r\nETag: \"e\"\r\n\
         Connection: close\r\n{headers}\r\n",
        body.len()
    );
    Answer::Say([head.as_bytes(), body].concat())
}

/// Some bytes of an object, as a request with a range asks for them.
fn some(request: &str, object: &[u8]) -> Answer {
    let range =
        request.split_once("range: bytes=").and_then(|(_, rest)| rest.split_once("\r\n")).expect("of a range").0;
    let (from, last) = range.split_once('-').expect("it has ends");
    let (from, last) = (from.parse::<usize>().unwrap(), last.parse::<usize>().unwrap().min(object.len() - 1));
    let part = &object[from..=last];
    say("206 Partial Content", &format!("Content-Range: bytes {from}-{last}/{}\r\n", object.len()), part)
}

/// An error that repeats what no log may have.
fn error(status: &str, code: &str) -> Answer {
    say(status, "", format!("<Error><Code>{code}</Code><Token-0>sEcReT</Token-0></Error>").as_bytes())
}

/// An S3 server with the mark of the archive `main`, that answers other requests as it is made to.
struct Server {
    archive: Arc<dyn Archive>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let (answer, counted) = (Arc::new(answer), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), counted.clone()));
            }
        });
        let bucket = bucket_at(&format!("s3://port-{port}"), port);
        Server { archive: archive_of(Location::Bucket(bucket), "main"), requests }
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Answer>, requests: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let answer = match request.contains(MARK) {
        true => some(&request, b"main\n"),
        false => {
            requests.fetch_add(1, Ordering::Relaxed);
            answer(&request)
        }
    };
    match answer {
        Answer::Say(bytes) => {
            _ = stream.write_all(&bytes).await;
            _ = stream.shutdown().await;
            // A body that was not read yet would reset the connection.
            _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Answer::Silence => std::future::pending().await,
    }
}

/// A file, its manifest, and its bytes.
async fn file() -> (ArchivedFile, Manifest, Vec<u8>) {
    let (world, rows) = (World::in_folder(), rows([3, 0, 5]));
    let manifest = manifest_of(&rows, 1);
    let file = world.put(&manifest, &rows).await;
    let bytes = world.bytes(&file.path).await;
    (file, manifest, bytes)
}

#[tokio::test]
async fn what_a_server_says_is_taken_for_damage_only_if_it_is_of_the_file() {
    let (file, manifest, bytes) = file().await;
    type Said = fn(&str, &[u8]) -> Answer;
    let cut_off: Said = |request, bytes| match some(request, bytes) {
        Answer::Say(mut said) => {
            said.pop();
            Answer::Say(said)
        }
        silence @ Answer::Silence => silence,
    };
    let retried = 1 + S3_RETRIES_MAX;
    let absent: [(Said, &str, usize); 7] = [
        (
            |_, _| error("500 Internal Server Error", "InternalError"),
            "500 Internal Server Error: InternalError",
            retried,
        ),
        (|_, _| error("503 Service Unavailable", "SlowDown"), "SlowDown", retried),
        (|_, _| error("403 Forbidden", "AccessDenied"), "AccessDenied", 1),
        (|_, _| error("400 Bad Request", "ExpiredToken"), "ExpiredToken", 1),
        (|_, _| say("200 OK", "", b"all of it"), "s3://port-", 1),
        (|_, _| Answer::Say(Vec::new()), "s3://port-", retried),
        (cut_off, "s3://port-", retried),
    ];
    for (number, (said, reason, requests)) in absent.into_iter().enumerate() {
        let bytes = bytes.clone();
        let server = Server::start(move |request| said(request, &bytes)).await;
        let found = unavailable(server.archive.open(&file, manifest.hash()).await);
        assert!(found.contains(reason), "{number}: {found}");
        assert_eq!(server.requests.load(Ordering::Relaxed), requests, "{number}: {found}");
    }
    let damaged: [(Said, &str); 3] = [
        (|request, bytes| some(request, &vec![0; bytes.len()]), "its footer has the SHA-256"),
        (|_, _| error("416 Range Not Satisfiable", "InvalidRange"), "it is shorter"),
        (|_, _| error("404 Not Found", "NoSuchKey"), "it is not there"),
    ];
    for (said, reason) in damaged {
        let bytes = bytes.clone();
        let server = Server::start(move |request| said(request, &bytes)).await;
        let found = damage(server.archive.open(&file, manifest.hash()).await);
        assert!(found.contains(reason), "{found}");
    }
}

#[tokio::test]
async fn a_file_is_put_on_condition_that_there_is_none() {
    let (file, manifest, bytes) = file().await;
    for (status, code, is_there) in [
        ("412 Precondition Failed", "PreconditionFailed", true),
        ("409 Conflict", "ConditionalRequestConflict", true),
        ("409 Conflict", "ConditionalRequestConflict", false),
    ] {
        let server = Server::start(move |request| match request.split_once(' ') {
            Some(("PUT", head)) if head.contains("if-none-match: *\r\n") => error(status, code),
            Some(("HEAD", _)) if is_there => say("200 OK", "", b""),
            Some(("HEAD", _)) => say("404 Not Found", "", b""),
            _ => error("501 Not Implemented", "NotImplemented"),
        })
        .await;
        let outcome = server.archive.put(&manifest, bytes.clone()).await;
        match is_there {
            true => assert_eq!(outcome.unwrap(), file),
            false => assert!(unavailable(outcome).contains(code)),
        }
    }
}

/// S3 says 409 to any request that meets another one, also to one that puts a file in the place of one that is there.
#[tokio::test]
async fn a_conflict_is_no_sign_that_a_file_was_replaced() {
    let server = Server::start(|request| match request.split_once(' ') {
        Some(("PUT", _)) => error("409 Conflict", "OperationAborted"),
        // A chain of nothing is there, and stays what is read of it.
        Some(("HEAD", _)) => say("200 OK", "", b"[]"),
        Some((_, place)) if place.contains(MARK) => some(request, b"any"),
        _ => some(request, b"[]"),
    })
    .await;
    assert!(unavailable(server.archive.put_chain(7, &[]).await).contains("OperationAborted"));
}

/// The runtime of this test has one thread.
#[tokio::test]
async fn a_server_that_hangs_holds_up_few_requests_and_for_a_short_time() {
    let (file, manifest, _) = file().await;
    let server = Server::start(|_| Answer::Silence).await;
    let began = Instant::now();
    let archives = [server.archive.clone()];
    let mut most = 0;
    let outcomes = opened_in_vain(&archives, 2 * EXPORT_THREADS_MAX, &file, &manifest, |_| {
        // Before the first of them are over.
        if began.elapsed() < EXPORT_ANSWER_WITHIN * 3 / 4 {
            most = most.max(server.requests.load(Ordering::Relaxed));
        }
    });
    for outcome in outcomes.await {
        assert!(unavailable(outcome).contains("does not answer"));
    }
    assert_eq!(most, EXPORT_THREADS_MAX, "the others wait for their turn");
    assert!(began.elapsed() < 2 * EXPORT_ANSWER_WITHIN, "{:?}", began.elapsed());
}
