//! The store on MariaDB: every behaviour that SQLite has too, and what only a
//! database in another process can do to it.

mod common;
mod session;

hongbao_store::store_behaviours!(common::empty);
