//! What a session promises to the others.

use std::time::Instant;

use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_store::mysql::migrate;
use hongbao_testkit::store_suite::through;
use sqlx::Executor as _;

use crate::common::{layout, options, shared};

#[tokio::test]
async fn a_transaction_whose_client_stands_still_ends_before_those_who_wait_give_up() {
    let options = MysqlOptions { row_lock_wait_s: 3, ..options(&[shared().node()]) };
    migrate(options.clone(), &layout(), through()).await.unwrap();
    let connections = Connections::open(options).await.unwrap();
    let (mut still, mut waiting) = (connections.lease().await.unwrap(), connections.lease().await.unwrap());
    let table = "CREATE TABLE IF NOT EXISTS db_00.held (id INT PRIMARY KEY); REPLACE INTO db_00.held VALUES (1)";
    still.connection().execute(sqlx::raw_sql(table)).await.unwrap();
    let lock = "BEGIN; SELECT id FROM db_00.held WHERE id = 1 FOR UPDATE";
    still.connection().execute(sqlx::raw_sql(lock)).await.unwrap();

    let began = Instant::now();
    let locked = waiting.connection().execute(sqlx::raw_sql(lock)).await;
    assert!(locked.is_ok(), "it gave up after {:?}: {locked:?}", began.elapsed());
    let late = still.connection().execute(sqlx::raw_sql("COMMIT")).await;
    assert!(late.is_err(), "who stood still learns that its transaction is over");
    waiting.connection().execute(sqlx::raw_sql("COMMIT; DROP TABLE db_00.held")).await.unwrap();
}
