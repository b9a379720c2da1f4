//! Connections that lay idle: the server has closed them, or an operator has.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Envelope;
use hongbao_database::mysql::connection::Connections;
use hongbao_store::{Append, Store};
use hongbao_testkit::store_suite::journal_of;
use sqlx::{Executor as _, MySqlConnection, Row as _};

use crate::common::{entries, make_large, options, own, root};

/// Sleeping connections of the service.
async fn sleeping(root: &mut MySqlConnection) -> Vec<i64> {
    let sql =
        "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = 'hongbao' AND command = 'Sleep'";
    root.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// As decisions are made: a fenced append is decided on again.
async fn append(store: &Arc<dyn Store>, envelope: &Envelope, seq: u32) {
    let batch = entries(envelope, seq..=seq, "next");
    let first = store.append(&batch).await.unwrap();
    if first == Append::Fenced {
        assert_eq!(store.append(&batch).await.unwrap(), Append::Done);
    }
}

#[tokio::test]
async fn the_first_use_after_a_pause_longer_than_the_servers_wait_timeout_succeeds() {
    let (_part, store) = own(&["--wait-timeout=1"], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    append(&store, &envelope, 1).await;
    for seq in 2..=4 {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        // Whichever comes first after the pause.
        match seq {
            2 => assert_eq!(store.load(envelope.id).await.unwrap().expect("it was created").1.last_seq, 1),
            3 => assert!(store.clock().await.unwrap().is_some()),
            _ => {}
        }
        append(&store, &envelope, seq).await;
    }
    assert_eq!(journal_of(&store, envelope.id).await.len(), 4);
}

#[tokio::test]
async fn connections_that_an_operator_has_killed_are_not_lent() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let mut root = root(&part).await;
    let envelope = make_large(&store, 0).await;
    for seq in 1..=3 {
        append(&store, &envelope, seq).await;
        // Longer than a connection is lent unasked for.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let victims = sleeping(&mut root).await;
        assert!(!victims.is_empty());
        for id in victims {
            // One that has just ended by itself is as good.
            let _ = root.execute(sqlx::raw_sql(&format!("KILL {id}"))).await;
        }
        assert_eq!(store.load(envelope.id).await.unwrap().expect("it was created").1.last_seq, seq);
    }
    append(&store, &envelope, 4).await;
}

#[tokio::test]
async fn under_load_nobody_asks_a_connection_whether_it_lives() {
    let (part, _store) = own(&[], Duration::from_secs(5)).await;
    let mut root = root(&part).await;
    let connections = Connections::open(options(&[part.node()])).await.unwrap();
    let mut asked = async || -> u64 {
        let row = root.fetch_one("SHOW GLOBAL STATUS LIKE 'Com_admin_commands'").await.unwrap();
        row.get::<String, _>(1).parse().unwrap()
    };
    let before = asked().await;
    for _ in 0..100 {
        let mut lease = connections.lease().await.unwrap();
        lease.connection().execute("DO 1").await.unwrap();
        lease.give_back();
    }
    let during = asked().await - before;
    assert!(during < 50, "{during} of 100 leases were asked for");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = asked().await;
    connections.lease().await.unwrap().give_back();
    assert!(asked().await > before, "one that lay for a while is asked");
}
