//! The wallet on MariaDB: every behaviour that SQLite has too, what several
//! processes do to one ledger, and what a database in another process can do.

mod barrier;
mod common;
mod faults;
mod galera;
mod late;
mod moving;
mod promises;
mod shards;
mod sums;
mod together;

hongbao_testkit::wallet_behaviours!(common::empty);
