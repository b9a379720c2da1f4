//! Making the databases, and refusing those that are of another kind.

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::{Slot, Traffic};
use hongbao_database::durably;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::{Creation as _, Journals as _, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{self, through};
use sqlx::Executor as _;

use crate::common::{layout_of, options, root, unavailable};

#[tokio::test]
async fn several_may_migrate_at_once_and_again_and_a_store_opens_what_it_fits() {
    let part = Part::mariadb(&[]);
    let options = options(&[part.node()]);
    let layout = layout_of(4, 1);
    let open = |layout: &Layout| MysqlStore::open(options.clone(), layout.clone());

    let reason = unavailable(open(&layout).await);
    assert!(reason.contains("run `hongbao migrate`"), "{reason}");

    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let (options, layout) = (options.clone(), layout.clone());
            tokio::spawn(async move { migrate(options, &layout, through()).await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    let store = open(&layout).await.unwrap();
    let envelope = store_suite::created(store_suite::id_at(store_suite::NOW, 0));
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    migrate(options.clone(), &layout, through()).await.unwrap();
    assert!(store.load(envelope.id).await.unwrap().is_some(), "a migration leaves what is there");

    // Where an envelope lies follows from the fold and the zone.
    for other in [layout_of(2, 1), layout_of(4, 2), Layout { zone_offset_s: 0, ..layout.clone() }] {
        for reason in [unavailable(open(&other).await), unavailable(migrate(options.clone(), &other, through()).await)]
        {
            assert!(reason.contains("db_00 was made as number 0 of 4 databases with 1 tables a day"), "{reason}");
        }
    }

    let mut root = root(&part).await;
    root.execute("UPDATE db_03.meta SET version = 0").await.unwrap();
    let reason = unavailable(open(&layout).await);
    assert!(reason.contains("db_03 is not complete: run `hongbao migrate`"), "{reason}");
    root.execute("UPDATE db_03.meta SET version = 1000").await.unwrap();
    let reason = unavailable(open(&layout).await);
    assert!(reason.contains("newer version"), "{reason}");
}

/// Version 1 had no table for the barrier.
#[tokio::test]
async fn a_database_of_the_version_before_is_completed_by_migrate() {
    let (part, layout) = (Part::mariadb(&[]), layout_of(1, 1));
    let options = options(&[part.node()]);
    migrate(options.clone(), &layout, through()).await.unwrap();
    root(&part)
        .await
        .execute(sqlx::raw_sql("DROP TABLE db_00.barrier, db_00.migration; UPDATE db_00.meta SET version = 1"))
        .await
        .unwrap();
    let reason = unavailable(MysqlStore::open(options.clone(), layout.clone()).await);
    assert!(reason.contains("db_00 is not complete: run `hongbao migrate`"), "{reason}");
    migrate(options.clone(), &layout, through()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(MysqlStore::open(options, layout).await.unwrap());
    let id = store_suite::make_active(&store, store_suite::id_at(store_suite::NOW, 0)).await.id;
    assert!(durably::<_, StoreError, _>(&*store, || store.load(id)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_table_that_is_gone_is_named_by_migrate_and_not_made_anew() {
    let (part, layout) = (Part::mariadb(&[]), layout_of(1, 1));
    let options = options(&[part.node()]);
    migrate(options.clone(), &layout, through()).await.unwrap();
    for table in ["envelope_0_05", "entry_0_06", "worker_lease"] {
        part.sql(&format!("CREATE TABLE db_00.kept LIKE db_00.{table}; DROP TABLE db_00.{table}"));
        let refused = unavailable(migrate(options.clone(), &layout, through()).await);
        assert!(refused.contains(&format!("db_00.{table} is not there")), "{refused}");
        part.sql(&format!("RENAME TABLE db_00.kept TO db_00.{table}"));
        migrate(options.clone(), &layout, through()).await.unwrap();
    }
}

/// A table that knows no transactions would keep half of a batch.
#[tokio::test]
async fn a_table_of_another_engine_is_refused_by_name() {
    let part = Part::mariadb(&["--default-storage-engine=Aria"]);
    let (options, layout) = (options(&[part.node()]), layout_of(2, 1));
    migrate(options.clone(), &layout, through()).await.unwrap();
    MysqlStore::open(options.clone(), layout.clone()).await.unwrap();
    root(&part).await.execute("ALTER TABLE db_01.entry_0_17 ENGINE=MyISAM").await.unwrap();
    for reason in [
        unavailable(MysqlStore::open(options.clone(), layout.clone()).await),
        unavailable(migrate(options, &layout, through()).await),
    ] {
        assert!(reason.contains("db_01.entry_0_17 must be of the engine InnoDB; its engine is MyISAM"), "{reason}");
    }
}

/// A SET makes and opens only the databases of its slots.
#[tokio::test]
async fn a_set_has_the_databases_of_its_slots() {
    let part = Part::mariadb(&[]);
    let options = options(&[part.node()]);
    let odd = Slot::all().filter(|slot| slot.number() % 2 == 1);
    let layout = Layout::always(odd, Fold::new(4, 1).unwrap(), 28_800, Traffic::Live);
    migrate(options.clone(), &layout, through()).await.unwrap();
    let store = MysqlStore::open(options, layout).await.unwrap();
    let databases: std::collections::BTreeSet<u8> = store.tables().iter().map(|table| table.database).collect();
    assert_eq!(databases, [1, 3].into());

    let foreign = (0..).map(|number| store_suite::id_at(store_suite::NOW, number));
    let foreign = foreign.into_iter().find(|id| store.table_of(*id).database % 2 == 0).expect("half of them are");
    unavailable(store.load(foreign).await);
    unavailable(store.create(&[store_suite::created(foreign)]).await);
}
