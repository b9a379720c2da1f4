//! The store on MariaDB: every behaviour that SQLite has too, and what only a
//! database in another process, or several of them, can do to it.

mod barrier;
mod common;
mod connections;
mod epochs;
mod exporting;
mod faults;
mod fence;
mod galera;
mod idle;
mod layouts;
mod load;
mod plans;
mod promises;
mod rotation;
mod sealing;
mod session;
mod writers;

hongbao_testkit::store_behaviours!(common::empty);
hongbao_testkit::rotation_behaviours!(common::empty_and_small);
