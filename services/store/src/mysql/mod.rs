//! The store over the MySQL protocol: MariaDB, Galera, MySQL, and what speaks like
//! them.
//!
//! One [`MysqlStore`] is the databases of one SET. They are called `db_00` and so
//! on and lie in one database server, or in a cluster of servers that looks like
//! one. A few connections append openings, each to some of them, so
//! that a lane's commits queue behind nothing; everything else shares some more.

mod creation;
mod crediting;
mod ddl;
mod exporting;
mod fence;
mod fences;
mod journals;
mod layout;
mod lease;
mod legacy;
mod maintenance;
mod many;
mod migrate;
mod promise;
mod query;
mod rotation;
mod rotation_lease;
mod rows;
mod scans;
mod sealing;
mod statements;
mod store;
mod transaction;
mod writer;

pub use self::fences::{Fenced, Fences};
pub use self::layout::Layout;
pub use self::lease::MysqlLeases;
pub use self::migrate::{migrate, prepare};
pub use self::store::MysqlStore;
