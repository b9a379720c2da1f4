//! A Redis that is reached by TLS alone.

use std::time::Duration;

use hongbao_core::Traffic;
use hongbao_envelope::shared::redis::{Link, RedisOptions, RedisTls, check_url};
use hongbao_testbed::{CertificateAuthority, CertificateFiles, Part};

use crate::common::{World, is_opened, is_ready, until};

struct Encrypted {
    redis: Part,
    authority: CertificateAuthority,
    client: CertificateFiles,
}

impl Encrypted {
    fn start(sign: impl FnOnce(&CertificateAuthority) -> CertificateFiles) -> Encrypted {
        let authority = CertificateAuthority::new();
        let (server, client) = (sign(&authority), authority.client("client"));
        Encrypted { redis: Part::redis_over_tls(&server, authority.file()), authority, client }
    }

    fn url(&self) -> String {
        format!("rediss://{}", self.redis.node())
    }

    fn tls(&self) -> RedisTls {
        let client = Some((self.client.certificate.clone(), self.client.key.clone()));
        RedisTls { ca_file: Some(self.authority.file().to_owned()), client }
    }

    async fn world(&self) -> World {
        World::at(self.url()).await.with(self.tls())
    }

    /// Why it cannot be asked, with these files.
    async fn refusal(&self, tls: RedisTls) -> String {
        let options = RedisOptions { tls, ..RedisOptions::new(self.url()) };
        let link = Link::new(options, Traffic::Live).unwrap();
        link.probe().await.expect_err("it must not be asked").to_string()
    }
}

fn good(authority: &CertificateAuthority) -> CertificateFiles {
    authority.server("redis", &["127.0.0.1"])
}

#[tokio::test]
async fn snapshots_are_shared_through_a_redis_that_asks_for_certificates() {
    let on = Encrypted::start(good);
    let world = on.world().await;
    let (first, id) = (world.node(), world.envelope(1, 3).await);
    first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;
    assert!(is_opened(&world.blind_node().grab(id, "li").await, 1), "from Redis alone");

    let another = CertificateAuthority::new();
    let reason = on.refusal(RedisTls { ca_file: Some(another.file().to_owned()), ..on.tls() }).await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    let reason = on.refusal(RedisTls { client: None, ..on.tls() }).await;
    assert!(!reason.is_empty());
    let missing = RedisTls { ca_file: Some("/nowhere/ca.pem".into()), ..on.tls() };
    let refused = Link::new(RedisOptions { tls: missing, ..RedisOptions::new(on.url()) }, Traffic::Live).err();
    assert!(refused.is_some_and(|reason| reason.contains("/nowhere/ca.pem")));
}

/// As it does when Redis is away; why it is, can be read in the log.
#[tokio::test]
async fn without_a_good_certificate_a_server_serves_without_the_shared_cache() {
    type Sign = fn(&CertificateAuthority) -> CertificateFiles;
    let cases: [(Sign, &str); 2] = [
        (|authority| authority.expired_server("redis", &["127.0.0.1"]), "expired"),
        (|authority| authority.server("redis", &["redis.example"]), "redis.example"),
    ];
    for (sign, reason) in cases {
        let on = Encrypted::start(sign);
        let refusal = on.refusal(on.tls()).await;
        assert!(refusal.contains(reason), "{refusal}");
        let world = on.world().await;
        let node = world.node();
        for number in 1..10 {
            let id = world.envelope(number, 1).await;
            assert!(is_ready(&node.grab(id, "wang").await));
        }
        until("it is away", || node.is_away()).await;
    }
}

#[tokio::test]
async fn files_that_are_renewed_are_taken_while_it_serves() {
    let on = Encrypted::start(good);
    let (tls, ca) = (on.tls(), on.authority.file().to_owned());
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::copy(CertificateAuthority::new().file(), &ca_file).unwrap();
    let world = World::at(on.url()).await.with(RedisTls { ca_file: Some(ca_file.clone()), ..tls });
    let (node, id) = (world.node(), world.envelope(1, 3).await);
    node.open(id, "li").await.unwrap();
    until("it is away, for its authority is not known", || node.is_away()).await;
    // Its length and time must be others.
    tokio::time::sleep(Duration::from_millis(10)).await;
    std::fs::copy(ca, &ca_file).unwrap();
    until("it is back", || !node.is_away()).await;
    until("the snapshot is written", || node.count("written") > 0).await;
}

#[test]
fn what_would_not_be_checked_is_refused() {
    assert!(check_url("rediss://127.0.0.1:6380").is_ok());
    let reason = check_url("rediss://:a-secret@127.0.0.1:6380/#insecure").unwrap_err();
    assert!(reason.contains("#insecure") && !reason.contains("a-secret"), "{reason}");
}
