//! Connections that are old, or lay idle for long, as if the time had passed.

use hongbao_core::limits::{CONNECTION_AGE_MS_MAX, CONNECTION_IDLE_MS_MAX, CONNECTION_UNASKED_MS_MAX};
use hongbao_testbed::Part;
use sqlx::{Executor as _, Row as _};

use super::*;

const AGE_MAX: Duration = Duration::from_millis(CONNECTION_AGE_MS_MAX);
const IDLE_MAX: Duration = Duration::from_millis(CONNECTION_IDLE_MS_MAX);
const UNASKED_MAX: Duration = Duration::from_millis(CONNECTION_UNASKED_MS_MAX);
/// Longer than what is done here between making a connection older and looking at it.
const MARGIN: Duration = Duration::from_secs(10);

async fn own() -> (Part, Arc<Connections>) {
    let part = Part::mariadb(&[]);
    let options = MysqlOptions {
        nodes: vec![part.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    };
    let connections = Connections::open(options).await.unwrap();
    (part, connections)
}

/// The server's number of a connection.
async fn number_of(connection: &mut MySqlConnection) -> i64 {
    connection.fetch_one("SELECT CAST(CONNECTION_ID() AS SIGNED)").await.unwrap().get(0)
}

/// Puts a connection among those that wait, as if it had been made, and used last,
/// so long ago; gives its number.
async fn waits(connections: &Connections, made: Duration, used: Duration) -> i64 {
    let mut idle = connections.connect().await.unwrap();
    let number = number_of(&mut idle.connection).await;
    *connections.idle.lock() = vec![idle.aged(made, used)];
    number
}

/// Whether the server still has the connection of this number.
async fn is_open(connections: &Arc<Connections>, number: i64) -> bool {
    let mut lease = connections.dedicated().await.unwrap();
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}");
    lease.connection().fetch_one(sqlx::raw_sql(&sql)).await.unwrap().get::<i64, _>(0) == 1
}

async fn wait_until_closed(connections: &Arc<Connections>, number: i64) {
    let until = std::time::Instant::now() + MARGIN;
    while is_open(connections, number).await {
        assert!(std::time::Instant::now() < until, "the server was not told that it is not needed any more");
    }
}

#[tokio::test]
async fn a_connection_that_is_old_or_lay_idle_for_long_is_closed_and_not_lent() {
    let (_part, connections) = own().await;
    for (made, used, is_lent) in [
        (Duration::ZERO, Duration::ZERO, true),
        (AGE_MAX - MARGIN, Duration::ZERO, true),
        (IDLE_MAX, IDLE_MAX - MARGIN, true),
        (AGE_MAX - MARGIN, IDLE_MAX - MARGIN, true),
        (IDLE_MAX, IDLE_MAX, false),
        (AGE_MAX, Duration::ZERO, false),
        (AGE_MAX, IDLE_MAX, false),
    ] {
        let number = waits(&connections, made, used).await;
        let mut lease = connections.lease().await.unwrap();
        let lent = number_of(lease.connection()).await;
        assert_eq!(lent == number, is_lent, "made {made:?} ago, used {used:?} ago");
        if !is_lent {
            wait_until_closed(&connections, number).await;
        }
    }
}

/// Else a firewall would have forgotten it before, and its server would wait for it.
#[tokio::test]
async fn a_connection_that_nobody_asks_for_is_closed_too() {
    let (_part, connections) = own().await;
    let young = waits(&connections, Duration::ZERO, Duration::ZERO).await;
    connections.close_worn();
    assert_eq!(connections.idle.lock().len(), 1);
    let worn = waits(&connections, IDLE_MAX, IDLE_MAX).await;
    connections.watch(Vec::new());
    wait_until_closed(&connections, worn).await;
    assert!(connections.idle.lock().is_empty());
    assert_ne!(young, worn);
}

/// One that is held for good is replaced in a pause, not while it is in use.
#[tokio::test]
async fn an_old_connection_that_is_held_is_worn_out_only_while_it_rests() {
    let (_part, connections) = own().await;
    for (made, used, is_worn_out) in [
        (AGE_MAX, Duration::ZERO, false),
        (AGE_MAX, UNASKED_MAX, true),
        (AGE_MAX - MARGIN, UNASKED_MAX, false),
        (AGE_MAX - MARGIN, IDLE_MAX, false),
    ] {
        let lease = connections.dedicated().await.unwrap();
        let lease = Lease { idle: lease.idle.aged(made, used), ..lease };
        assert_eq!(lease.is_worn_out(), is_worn_out, "made {made:?} ago, used {used:?} ago");
    }
}
