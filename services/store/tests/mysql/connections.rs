//! How the database is reached: which nodes, how durable, how fast, and what
//! happens to a connection that somebody leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::Stage;
use hongbao_database::mysql::connection::{Connections, MysqlOptions, Node};
use hongbao_store::Store;
use hongbao_store::mysql::{MysqlStore, migrate};
use hongbao_testbed::{Part, free_port};
use hongbao_testkit::store_suite::{NOW, created, id_at, through, write};
use sqlx::{Executor as _, Row as _};

use crate::common::{self, entries, layout, layout_of, make_large, options, root, shared, unavailable};

/// The time that a quarter of them stay under. What else the machine does makes
/// some slower; a delay on the network makes all of them slower.
fn lower_quartile(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 4]
}

/// A MariaDB of its own, whatever the other tests run on, and its store over TCP and over its Unix socket.
async fn of_both_sockets() -> (Part, [Arc<dyn Store>; 2]) {
    let part = Part::mariadb(&[]);
    let [tcp, unix] = [[part.node()], [part.unix_node()]];
    migrate(options(&tcp), &layout(), through()).await.unwrap();
    let stores = [common::open(&tcp).await, common::open(&unix).await];
    (part, stores)
}

/// Without TCP_NODELAY the end of a long statement, and a statement that follows
/// the closing of another, waits 40 ms for an acknowledgement; on a Unix socket nothing does.
#[tokio::test]
async fn nothing_waits_for_the_network_on_tcp() {
    const LESS_THAN_AN_ACKNOWLEDGEMENT: Duration = Duration::from_millis(30);
    let (_part, stores) = of_both_sockets().await;
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..2 {
        let envelope = make_large(&stores[0], number).await;
        for batch in 0..30 {
            let batch = entries(&envelope, batch * 1_000 + 1..=(batch + 1) * 1_000, "long");
            let start = Instant::now();
            write(&stores[number as usize], &batch).await;
            times[number as usize].push(start.elapsed());
        }
    }
    let [tcp, unix] = times.map(lower_quartile);
    assert!(tcp < unix + LESS_THAN_AN_ACKNOWLEDGEMENT, "1,000 entries took {tcp:?}, on a Unix socket {unix:?}");

    let mut times = [Vec::new(), Vec::new()];
    // More statements than a connection keeps, so each one makes room by closing another.
    for table in stores[0].tables().into_iter().cycle().take(3 * 31 * 4) {
        for (store, times) in stores.iter().zip(&mut times) {
            let start = Instant::now();
            store.tail_position(table).await.unwrap();
            times.push(start.elapsed());
        }
    }
    let [tcp, unix] = times.map(|mut times| lower_quartile(times.split_off(2 * 31 * 4)));
    assert!(tcp < unix + LESS_THAN_AN_ACKNOWLEDGEMENT, "a read took {tcp:?}, on a Unix socket {unix:?}");
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let (part, [over_tcp, store]) = of_both_sockets().await;
    let connections = Connections::open(options(&[part.unix_node()])).await.unwrap();
    let mut lease = connections.lease().await.unwrap();
    let host = "SELECT host FROM information_schema.processlist WHERE id = connection_id()";
    let row = lease.connection().fetch_one(host).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "localhost", "no TCP port is involved");
    lease.give_back();

    let envelope = make_large(&store, 0).await;
    write(&store, &entries(&envelope, 1..=3, "socket")).await;
    let (_, journal) = over_tcp.load(envelope.id).await.unwrap().expect("it was created");
    assert_eq!(journal.last_seq, 3);
}

#[tokio::test]
async fn weak_durability_is_refused_unless_it_is_allowed_and_then_it_shows_i3() {
    let part = Part::mariadb(&["--log-bin", "--sync-binlog=0"]);
    let strict = options(&[part.node()]);
    let lax = MysqlOptions { allow_weak_durability: true, ..strict.clone() };
    let mut root = root(&part).await;

    let reason = unavailable(Connections::open(strict.clone()).await);
    assert!(reason.contains("sync_binlog=0") && reason.contains("allow_weak_durability"), "{reason}");
    root.execute("SET GLOBAL sync_binlog = 1").await.unwrap();
    assert!(Connections::open(strict.clone()).await.unwrap().durability().full);

    root.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.unwrap();
    let reason = unavailable(Connections::open(strict).await);
    assert!(reason.contains("innodb_flush_log_at_trx_commit=2"), "{reason}");
    let weak = Connections::open(lax.clone()).await.unwrap().durability();
    assert!(!weak.full && weak.settings.contains("innodb_flush_log_at_trx_commit=2"), "{weak:?}");
    root.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await.unwrap();
    assert!(Connections::open(lax).await.unwrap().durability().full, "it is read, not assumed");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_shown() {
    let wrong = MysqlOptions { password: "a-secret".to_owned(), ..options(&[shared().node()]) };
    assert!(!format!("{wrong:?}").contains("a-secret"));
    let reason = unavailable(Connections::open(wrong).await);
    assert!(reason.contains("Access denied") && reason.contains(&shared().node()), "{reason}");
    assert!(!reason.contains("a-secret"));
}

#[tokio::test]
async fn the_next_node_serves_when_the_first_is_gone_or_hangs() {
    let hangs = Part::redis();
    hangs.pause();
    for first in [format!("127.0.0.1:{}", free_port()), hangs.node()] {
        let nodes = [first.clone(), shared().node()];
        let options = MysqlOptions { connect_timeout: Duration::from_millis(500), ..options(&nodes) };
        let connections = Connections::open(options.clone()).await.unwrap();
        // Now that the second is known to serve nobody waits for the first again.
        let start = Instant::now();
        let (one, two) = (connections.lease().await.unwrap(), connections.lease().await.unwrap());
        assert!(start.elapsed() < Duration::from_millis(450));
        one.give_back();
        two.give_back();
        assert!(connections.ping().await.is_ok());

        let nobody = MysqlOptions { nodes: vec![first.parse().unwrap()], ..options };
        let reason = unavailable(Connections::open(nobody).await);
        assert!(reason.contains(&first), "{reason}");
    }
}

#[tokio::test]
async fn a_node_that_can_be_written_to_is_preferred_to_one_that_cannot() {
    let (old, new) = (Part::mariadb(&[]), Part::mariadb(&[]));
    for part in [&old, &new] {
        migrate(options(&[part.node()]), &layout_of(1, 1), through()).await.unwrap();
    }
    let nodes = [old.node(), new.node()];
    let store = MysqlStore::open(options(&nodes), layout_of(1, 1)).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    make_large(&store, 0).await;

    // As in a failover: the old writer stays up and takes no more writes.
    root(&old).await.execute("SET GLOBAL read_only = 1").await.unwrap();
    let envelope = created(id_at(NOW, 1));
    let reason = unavailable(store.create(std::slice::from_ref(&envelope)).await);
    assert!(reason.contains("read-only"), "{reason}");
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    assert!(store.load(envelope.id).await.unwrap().is_some());
    let row = root(&new).await.fetch_one("SELECT count(*) FROM db_00.envelope_0_17").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);

    // With none left to write to, what is there can be read.
    root(&new).await.execute("SET GLOBAL read_only = 1").await.unwrap();
    unavailable(store.cancel(envelope.id).await);
    assert!(store.load(envelope.id).await.unwrap().is_some());
}

/// Whoever drops a lease half way, as a cancelled future does, takes its
/// transaction and its locks with it, and nobody else's connection.
#[tokio::test]
async fn a_dropped_lease_leaves_no_transaction_behind() {
    let on = common::empty().await;
    let envelope = make_large(&on.store, 0).await;
    let connections = Connections::open(options(&common::nodes())).await.unwrap();
    let (mut left, mut kept) = (connections.lease().await.unwrap(), connections.lease().await.unwrap());
    let (_, database) = layout().databases().swap_remove(usize::from(on.store.table_of(envelope.id).database));
    let table = on.store.table_of(envelope.id).table;
    let lock = format!("START TRANSACTION; UPDATE {database}.envelope_{table}_17 SET stage = 2");
    left.connection().execute(sqlx::raw_sql(&lock)).await.unwrap();
    let who = "SELECT CAST(connection_id() AS SIGNED)";
    let kept_id: i64 = kept.connection().fetch_one(who).await.unwrap().get(0);
    kept.give_back();
    drop(left);

    let mut next = connections.lease().await.unwrap();
    assert_eq!(next.connection().fetch_one(who).await.unwrap().get::<i64, _>(0), kept_id);
    let start = Instant::now();
    let (stage, _) = on.store.activate(envelope.id, envelope.created_at).await.unwrap().expect("it was created");
    assert_eq!(stage, Stage::Active, "the change was taken back");
    assert!(start.elapsed() < Duration::from_secs(2), "nobody waits for the lock");
}

#[tokio::test]
async fn leases_are_bounded_and_whoever_finds_none_is_told_in_time() {
    let few =
        MysqlOptions { connections_max: 2, acquire_timeout: Duration::from_millis(100), ..options(&[shared().node()]) };
    let connections = Connections::open(few).await.unwrap();
    let (one, _two) = (connections.lease().await.unwrap(), connections.lease().await.unwrap());
    let reason = unavailable(connections.lease().await);
    assert!(reason.contains("in use"), "{reason}");
    assert!(connections.ping().await.is_ok(), "the question whether it lives waits for no other");
    let held = connections.dedicated().await.unwrap();
    one.give_back();
    connections.lease().await.unwrap().give_back();
    drop(held);
}

#[test]
fn a_node_is_an_address_or_a_socket() {
    for good in ["db.example:3306", "127.0.0.1:3306", "[::1]:3306", "unix:/run/mysqld.sock"] {
        assert_eq!(good.parse::<Node>().unwrap().to_string(), good);
    }
    for bad in ["", "db.example", "db.example:", "db.example:port", ":99999"] {
        assert!(bad.parse::<Node>().unwrap_err().contains("host:port"), "{bad}");
    }
}
