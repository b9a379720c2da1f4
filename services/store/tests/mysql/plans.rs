//! What a read costs does not grow with what it need not look at.

use std::time::Duration;

use hongbao_store::Settlement;
use hongbao_testkit::store_suite::{DAY_MS, NOW, created, id_at, user, write};
use sqlx::{Executor as _, MySqlConnection, Row as _};

use crate::common::{entries, make_large, own, root};

/// Rows that the database has looked at since it was started.
async fn rows_read(root: &mut MySqlConnection) -> i64 {
    let status = root.fetch_all("SHOW GLOBAL STATUS LIKE 'Handler_read%'").await.unwrap();
    status.iter().map(|row| row.get::<String, _>(1).parse::<i64>().unwrap()).sum()
}

/// An envelope of 5,000 openings among 2,000 with three each.
#[tokio::test]
async fn reads_look_at_few_rows_however_long_a_journal_is() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    write(&store, &entries(&envelope, 1..=5_000, "opener")).await;
    let settlement = Settlement { envelope_id: envelope.id, settled_seq: 4_990, ended: false };
    store.settle(&[settlement]).await.unwrap();
    let others: Vec<_> = (1..2_001).map(|number| created(id_at(NOW, number))).collect();
    store.create(&others).await.unwrap();
    for some in others.chunks(250) {
        let threes: Vec<_> = some.iter().flat_map(|other| entries(other, 1..=3, "opener")).collect();
        write(&store, &threes).await;
    }
    let mut root = root(&part).await;
    root.execute(sqlx::raw_sql("ANALYZE TABLE db_00.envelope_0_17, db_00.entry_0_17")).await.unwrap();
    let table = store.table_of(envelope.id);

    let mut before = rows_read(&mut root).await;
    let mut cost = Vec::new();
    let mut note = async |name: &'static str| {
        let now = rows_read(&mut root).await;
        cost.push((name, now - before));
        before = rows_read(&mut root).await;
    };
    note("nothing").await;
    store.load(envelope.id).await.unwrap();
    note("load").await;
    store.load_for(envelope.id, &user("opener_2500")).await.unwrap();
    note("load_for").await;
    store.entries(envelope.id, 4_000, 10).await.unwrap();
    note("entries").await;
    store.tail(table, 4_000, 10).await.unwrap();
    note("tail").await;
    store.tail_position(table).await.unwrap();
    note("tail_position").await;
    store.waiting(&[table]).await.unwrap();
    note("waiting").await;
    store.unsettled(table, None, i64::MAX, 10).await.unwrap();
    store.unsettled(table, None, 4_000, 10).await.unwrap();
    note("unsettled").await;
    store.unpaid(table, NOW.plus_millis(1), None, 10).await.unwrap();
    note("unpaid").await;
    store.cancel(others[1_000].id).await.unwrap();
    note("cancel").await;
    assert_eq!(store.cancelled(table, NOW.plus_millis(1), None, 10).await.unwrap(), [others[1_000].id]);
    note("cancelled").await;
    assert_eq!(store.purge(table, &[envelope.id, others[500].id, others[1_000].id]).await.unwrap(), 0);
    note("purge").await;
    assert_eq!(store.expired(table, NOW.plus_millis(2 * DAY_MS), None, 10).await.unwrap().len(), 1);
    note("expired").await;
    assert_eq!(store.scan(table, None, 5).await.unwrap().len(), 5);
    note("scan").await;
    assert_eq!(store.scan_entries(table, None, id_at(NOW.plus_millis(1), 0), 10).await.unwrap().len(), 10);
    note("scan_entries").await;
    let behind = envelope.id;
    store.scan_entries(table, Some(behind), id_at(NOW.plus_millis(1), 0), 10).await.unwrap();
    note("scan_entries behind the long one").await;
    println!("{cost:?}");
    // Asking for the figures costs as much as the first of them.
    let (_, asking) = cost[0];
    for (name, cost) in &cost {
        assert!(cost - asking < 30, "{name} looked at {} rows", cost - asking);
    }
}
