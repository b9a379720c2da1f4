//! Buckets of a real S3 server: moto, which `ops/s3/install.sh` installs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hongbao_archive::Bucket;

/// The server of this process. It ends when its input does, and so with the process.
struct Server {
    port: u16,
    _process: Child,
}

/// Starts it when the first bucket is asked for.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("target/s3/bin/python"));
    command.arg(root.join("ops/s3/serve.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().expect("ops/s3/install.sh has installed it");
    let mut port = String::new();
    BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut port).expect("it prints its port");
    Server { port: port.trim().parse().expect("it prints its port"), _process: process }
});

/// What is below a prefix in a bucket: nothing but the mark of an archive, `any`.
pub fn new_bucket() -> Bucket {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("bucket-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    put(&format!("/{name}"), "");
    put(&format!("/{name}/of/test/hongbao-archive"), "any\n");
    bucket_at(&format!("s3://{name}/of/test"), SERVER.port)
}

/// Puts something without a signature, which this server takes.
fn put(path: &str, body: &str) {
    let mut server = TcpStream::connect(("127.0.0.1", SERVER.port)).expect("it listens");
    let length = body.len();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: s3\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    server.write_all((head + body).as_bytes()).expect("it listens");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A bucket of the server that listens on this port of loopback.
pub fn bucket_at(url: &str, port: u16) -> Bucket {
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "sEcReT".to_owned()),
    ];
    Bucket::new(url, variables.map(|(name, value)| (name.to_owned(), value))).expect("they are all that is needed")
}
