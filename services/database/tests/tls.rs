//! TLS to a MariaDB that takes no connection over TCP without it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hongbao_database::mysql::connection::{Connections, MysqlOptions, TlsLevel, TlsOptions};
use hongbao_testbed::{CertificateAuthority, CertificateFiles, Part};
use sqlx::{Executor as _, Row as _};

/// A server with a certificate, and the authority that has signed it.
struct Server {
    part: Part,
    authority: CertificateAuthority,
    files: CertificateFiles,
}

impl Server {
    fn start() -> Server {
        let authority = CertificateAuthority::new();
        let files = authority.server("mariadb", &["127.0.0.1", "localhost"]);
        let option = |name: &str, file: &std::path::Path| format!("--{name}={}", file.display());
        let options = [
            option("ssl-ca", authority.file()),
            option("ssl-cert", &files.certificate),
            option("ssl-key", &files.key),
            "--require-secure-transport=ON".to_owned(),
        ];
        let part = Part::mariadb(&options.each_ref().map(String::as_str));
        Server { part, authority, files }
    }

    /// It has another certificate from now on.
    fn shows(&self, files: &CertificateFiles) {
        self.files.replace_by(files);
        self.part.sql("FLUSH SSL");
    }

    fn trusting(&self, authority: &CertificateAuthority) -> MysqlOptions {
        let tls = TlsOptions { level: TlsLevel::Verified, ca_file: Some(authority.file().to_owned()), client: None };
        self.options(tls)
    }

    fn options(&self, tls: TlsOptions) -> MysqlOptions {
        MysqlOptions {
            nodes: vec![self.part.node().parse().unwrap()],
            user: "hongbao".to_owned(),
            password: "hongbao".to_owned(),
            connect_timeout: Duration::from_secs(10),
            tls,
            ..MysqlOptions::default()
        }
    }
}

/// What the server says of how a new connection is protected; empty: not at all.
async fn cipher(options: MysqlOptions) -> String {
    let connections = Connections::open(options).await.unwrap();
    let mut lease = connections.dedicated().await.unwrap();
    cipher_of(&mut lease).await
}

async fn cipher_of(lease: &mut hongbao_database::mysql::connection::Lease) -> String {
    let row = lease.connection().fetch_one(sqlx::raw_sql("SHOW STATUS LIKE 'Ssl_cipher'")).await.unwrap();
    row.get(1)
}

/// Why it cannot be connected to.
async fn refusal(options: MysqlOptions) -> String {
    match Connections::open(options).await {
        Ok(_) => panic!("it was connected to"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_session_over_tls_serves_a_database_that_demands_it() {
    let server = Server::start();
    assert!(cipher(server.trusting(&server.authority)).await.starts_with("TLS_"), "TLS 1.3");
    let encrypted = TlsOptions { level: TlsLevel::Required, ..TlsOptions::default() };
    assert!(!cipher(server.options(encrypted)).await.is_empty());

    // What is written and read in many pieces comes whole: more than the buffers of TLS hold.
    let connections = Connections::open(server.trusting(&server.authority)).await.unwrap();
    let mut lease = connections.lease().await.unwrap();
    let long = "x".repeat(3 << 20);
    let row = sqlx::query("SELECT CONCAT(?, '!')").bind(&long).fetch_one(lease.connection()).await.unwrap();
    assert!(row.get::<String, _>(0) == long + "!");
    lease.give_back();

    // A unix socket is as good to the server, and is not encrypted.
    let socket =
        MysqlOptions { nodes: vec![server.part.unix_node().parse().unwrap()], ..server.trusting(&server.authority) };
    assert_eq!(cipher(socket).await, "");
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused_and_the_error_says_why() {
    let server = Server::start();
    let good = server.trusting(&server.authority);
    let another = CertificateAuthority::new();
    let reason = refusal(server.trusting(&another)).await;
    assert!(reason.contains("signed by no authority that database.ca_file"), "{reason}");
    assert!(reason.contains(&server.part.node()), "{reason}");

    server.shows(&server.authority.expired_server("old", &["127.0.0.1"]));
    let reason = refusal(good.clone()).await;
    assert!(reason.contains("the server's certificate has expired"), "{reason}");

    server.shows(&server.authority.server("other", &["db.example", "127.0.0.2"]));
    let reason = refusal(good.clone()).await;
    assert!(reason.contains("is for another name than the topology has"), "{reason}");
    assert!(reason.contains("db.example"), "which one: {reason}");

    // It is encrypted all the same where nothing more is asked for.
    let encrypted = TlsOptions { level: TlsLevel::Required, ..TlsOptions::default() };
    assert!(!cipher(server.options(encrypted)).await.is_empty());

    server.shows(&server.authority.server("new", &["127.0.0.1"]));
    assert!(!cipher(good).await.is_empty(), "renewed, it is good again");
}

#[tokio::test]
async fn without_tls_the_error_names_the_setting() {
    let server = Server::start();
    let reason = refusal(server.options(TlsOptions::default())).await;
    assert!(reason.contains("Access denied") && reason.contains("set database.tls"), "{reason}");

    server.part.sql("SET GLOBAL require_secure_transport = OFF; ALTER USER hongbao@'127.0.0.1' REQUIRE SSL");
    let reason = refusal(server.options(TlsOptions::default())).await;
    assert!(reason.contains("Access denied") && reason.contains("set database.tls"), "{reason}");

    let plain = Part::mariadb(&["--skip-ssl"]);
    let options = MysqlOptions { nodes: vec![plain.node().parse().unwrap()], ..server.trusting(&server.authority) };
    let reason = refusal(options).await;
    assert!(reason.contains("does not support TLS") && reason.contains("database.tls asks for it"), "{reason}");
}

/// An authority that takes the place of the old one, and a client's certificate that is renewed, are taken from their
/// files by the next connection; those that are open go on.
#[tokio::test]
async fn files_that_are_renewed_are_taken_by_the_next_connection() {
    let server = Server::start();
    server.part.sql("ALTER USER hongbao@'127.0.0.1' REQUIRE X509");
    let dir = tempfile::tempdir().unwrap();
    let ca_file: PathBuf = dir.path().join("ca.pem");
    std::fs::copy(server.authority.file(), &ca_file).unwrap();
    let client = server.authority.client("client");
    let tls = TlsOptions {
        level: TlsLevel::Verified,
        ca_file: Some(ca_file.clone()),
        client: Some((client.certificate.clone(), client.key.clone())),
    };
    let connections: Arc<Connections> = Connections::open(server.options(tls)).await.unwrap();
    let mut open = connections.dedicated().await.unwrap();

    client.replace_by(&server.authority.expired_client("expired"));
    let reason = connections.dedicated().await.err().expect("the server refuses it").to_string();
    assert!(reason.contains(&server.part.node()), "{reason}");
    client.replace_by(&server.authority.client("renewed"));
    connections.dedicated().await.unwrap();

    std::fs::copy(CertificateAuthority::new().file(), &ca_file).unwrap();
    let reason = connections.dedicated().await.err().expect("its authority is not known now").to_string();
    assert!(reason.contains("signed by no authority"), "{reason}");
    std::fs::remove_file(&ca_file).unwrap();
    let reason = connections.dedicated().await.err().expect("the file is gone").to_string();
    assert!(reason.contains("cannot be read"), "{reason}");
    std::fs::copy(server.authority.file(), &ca_file).unwrap();
    connections.dedicated().await.unwrap();
    assert!(!cipher_of(&mut open).await.is_empty(), "the open one has gone on");
}
