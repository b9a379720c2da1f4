//! The store on three Galera nodes: every behaviour again, with the two stores of
//! a fixture on different nodes, and what happens when the node in use dies.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hongbao_core::{Entry, Journal, Stage};
use hongbao_database::durably;
use hongbao_store::{Append, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{Fixture, NOW, created, id_at, journal_of, make_active, openings, write};
use sqlx::{Executor as _, Row as _};
use tokio::sync::{Mutex, MutexGuard};

use crate::common::{Databases, entries, layout, make_large, open, open_small, root, small_layout};
use crate::load::Load;

/// Shorter than the bound of a statement, and longer than any commit takes.
const STALL: Duration = Duration::from_millis(700);
/// How long two nodes write the same envelopes.
const CONTEST: Duration = Duration::from_secs(6);

static DATABASES: Databases = Databases::new(layout);
static SMALL: Databases = Databases::new(small_layout);

fn cluster() -> &'static Mutex<[Part; 3]> {
    static CLUSTER: OnceLock<Mutex<[Part; 3]>> = OnceLock::new();
    CLUSTER.get_or_init(|| Mutex::new(Part::galera()))
}

/// The nodes beginning with this one, as a store prefers them.
fn beginning_with(first: usize, nodes: &[Part; 3]) -> Vec<String> {
    (0..3).map(|place| nodes[(first + place) % 3].node()).collect()
}

/// Empty databases, the cluster, and a store on each of two nodes.
async fn empty_on_two_nodes() -> (Fixture, MutexGuard<'static, [Part; 3]>) {
    let cluster = cluster().lock().await;
    let guard = DATABASES.emptied(&beginning_with(0, &cluster)).await;
    let store = open(&beginning_with(0, &cluster)).await;
    let other = open(&beginning_with(1, &cluster)).await;
    (Fixture { store, other, guard: Box::new(guard) }, cluster)
}

async fn empty() -> Fixture {
    let (on, cluster) = empty_on_two_nodes().await;
    Fixture { guard: Box::new((on.guard, cluster)), ..on }
}

hongbao_testkit::store_behaviours!(empty);

async fn empty_and_small() -> Fixture {
    let cluster = cluster().lock().await;
    let guard = SMALL.emptied(&beginning_with(0, &cluster)).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(&beginning_with(0, &cluster), dir.path()).await;
    let other = open_small(&beginning_with(1, &cluster), dir.path()).await;
    Fixture { store, other, guard: Box::new((guard, cluster, dir)) }
}

hongbao_testkit::rotation_behaviours!(empty_and_small);

/// How often the nodes together have rolled something back because another node was first.
async fn conflicts(nodes: &[Part; 3]) -> i64 {
    let mut sum = 0;
    for node in nodes {
        let status = "SHOW STATUS WHERE Variable_name IN ('wsrep_local_cert_failures', 'wsrep_local_bf_aborts')";
        for row in root(node).await.fetch_all(status).await.unwrap() {
            sum += row.get::<String, _>(1).parse::<i64>().unwrap();
        }
    }
    sum
}

/// Two servers that both own an envelope, each with a node of its own: only the
/// commit finds out. The loser is told so (1213), tries again, and meets the
/// winner's key (I5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_write_one_seq_have_one_winner() {
    let (on, cluster) = empty_on_two_nodes().await;
    let before = conflicts(&cluster).await;
    let mut wins = [0, 0];
    for number in 0..100 {
        let envelope = make_active(&on.store, id_at(NOW, number)).await;
        let journal = Journal::new(envelope.total);
        let batches = ["left", "right"].map(|name| openings(&envelope, journal, [name, "both"]));
        let (left, right) = tokio::join!(on.store.append(&batches[0]), on.other.append(&batches[1]));
        let outcomes = [left.unwrap(), right.unwrap()];
        let winner = outcomes.iter().position(|outcome| *outcome == Append::Done).expect("one of them wins");
        assert_eq!(outcomes[1 - winner], Append::Fenced);
        assert_eq!(journal_of(&on.store, envelope.id).await, batches[winner]);
        assert_eq!(journal_of(&on.other, envelope.id).await, batches[winner]);
        wins[winner] += 1;
    }
    let met = conflicts(&cluster).await - before;
    println!("wins {wins:?}, {met} of them found out at the commit");
    assert!(met > 0, "the nodes never met");
}

/// A payment may be completed by a worker whose node has not yet applied what a
/// server's node has committed; it must not find an envelope unpaid or unknown.
#[tokio::test]
async fn a_change_on_one_node_sees_what_another_has_committed() {
    let (on, _cluster) = empty_on_two_nodes().await;
    let busy = make_large(&on.store, 0).await;
    for number in 0..10 {
        // The other node is at work on this when it is asked about what came after it.
        write(&on.store, &entries(&busy, number * 5_000 + 1..=(number + 1) * 5_000, "busy")).await;
        let envelope = created(id_at(NOW, u64::from(number) + 1));
        on.store.create(std::slice::from_ref(&envelope)).await.unwrap();
        assert_eq!(on.other.cancel(envelope.id).await.unwrap(), Some(Stage::Cancelled));
    }
}

/// The other nodes have what a node commits before it is on that node's disk, and
/// all of them may die at once: a barrier waits for the log of its own node.
#[tokio::test]
async fn what_was_read_on_a_node_is_durable_when_its_own_log_has_reached_the_disk() {
    let (on, cluster) = empty_on_two_nodes().await;
    let envelope = make_active(&on.store, id_at(NOW, 1)).await;
    let id = envelope.id;
    let store = on.store.clone();
    let durable_seq = async move || {
        let read = durably::<_, StoreError, _>(&*store, || store.load(id)).await;
        read.map(|found| found.expect("it exists").into_inner().1.last_seq)
    };
    assert_eq!(durable_seq().await.unwrap(), 0, "the barrier's connection is there");

    let writer = open(&beginning_with(0, &cluster)).await;
    let stall = cluster[0].stall_log();
    let opening = entries(&envelope, 1..=1, "opener");
    let commit = tokio::spawn(async move { writer.append(&opening).await });
    while on.other.entries(id, 0, 10).await.unwrap().is_empty() {}
    let read = tokio::spawn(async move { durable_seq().await });
    tokio::time::sleep(STALL).await;
    assert!(!read.is_finished(), "it was read on another node, and is not on the disk of this one");
    drop(stall);
    assert_eq!(read.await.unwrap().unwrap(), 1);
    assert_eq!(commit.await.unwrap().unwrap(), Append::Done);
}

/// The node in use dies under load, and later the one that took over: nothing
/// that was acknowledged is missing (I3), nothing that was refused is there, and
/// the store finds the next node by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_in_use_dies_and_the_next_one_serves() {
    let (on, mut cluster) = empty_on_two_nodes().await;
    let mut envelopes = Vec::new();
    for number in 0..4 {
        envelopes.push(make_large(&on.store, number).await);
    }
    let last = envelopes[0].clone();
    let load = Load::start(&on.store, envelopes);
    for node in 0..2 {
        load.goes_on_for(50).await;
        cluster[node].kill();
        let start = Instant::now();
        load.goes_on_for(1).await;
        println!("node {} was killed; the next acknowledgement came {:?} later", node + 1, start.elapsed());
        load.goes_on_for(50).await;
        cluster[node].restart();
    }
    let witness = open(&beginning_with(2, &cluster)).await;
    let gap = load.end(&witness).await;
    println!("longest time without an acknowledgement: {gap:?}");
    assert!(gap < Duration::from_secs(20));

    // The first node is back and knows it all.
    let back = open(&beginning_with(0, &cluster)[..1]).await;
    let (_, journal) = back.load(last.id).await.unwrap().expect("it was created");
    let seq = journal.last_seq + 1;
    write(&back, &entries(&last, seq..=seq, "back")).await;
    assert_eq!(journal_of(&witness, last.id).await.len(), seq as usize);
}

/// A batch over several tables is one transaction, of which a node may take back what it has run when it gets the
/// next statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_nodes_append_to_several_tables_and_say_is_done_is_there() {
    let (on, _cluster) = empty_on_two_nodes().await;
    let home = on.store.table_of(id_at(NOW, 0));
    let is_beside = |number: &u64| {
        let table = on.store.table_of(id_at(NOW, *number));
        table.database == home.database && table != home
    };
    let numbers = [0, (1..).find(is_beside).unwrap()];
    let envelopes = [make_large(&on.store, numbers[0]).await, make_large(&on.store, numbers[1]).await];
    let (began, rounds) = (Instant::now(), AtomicU32::new(0));
    let write = async |store: &Arc<dyn Store>, name: &str| {
        let mut acknowledged = Vec::new();
        while began.elapsed() < CONTEST {
            let round = rounds.fetch_add(1, Ordering::Relaxed);
            let mut batch = Vec::new();
            for envelope in &envelopes {
                let (_, journal) = store.load(envelope.id).await.unwrap().unwrap();
                let seq = journal.last_seq + 1;
                batch.extend(entries(envelope, seq..=seq, &format!("{name}_{round}")));
            }
            match store.append(&batch).await {
                Ok(Append::Done) => acknowledged.extend(batch),
                Ok(Append::Fenced) | Err(StoreError::Unknown(_) | StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        acknowledged
    };
    let (one, two) = tokio::join!(write(&on.store, "one"), write(&on.other, "two"));
    let stored = [journal_of(&on.store, envelopes[0].id).await, journal_of(&on.store, envelopes[1].id).await];
    let is_lost = |entry: &&Entry| !stored.iter().any(|journal| journal.contains(entry));
    let lost: Vec<&Entry> = one.iter().chain(&two).filter(is_lost).collect();
    assert!(lost.is_empty(), "{} of {} and {} are lost: {:?}", lost.len(), one.len(), two.len(), lost.first());
    let [first, second] = stored.map(|journal| journal.into_iter().map(|entry| entry.kind).collect::<Vec<_>>());
    assert_eq!(first, second, "each batch is whole or not there");
    assert!(one.len() > 20 && two.len() > 20, "{} {}", one.len(), two.len());
}
