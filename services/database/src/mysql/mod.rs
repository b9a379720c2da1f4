//! The MySQL protocol: MariaDB, Galera, MySQL, and what speaks like them.

pub mod connection;
pub mod failure;
pub mod freeze;
pub mod migration;
pub mod promise;
pub mod row;
pub mod schema;

mod barrier;
mod barrier_queue;
mod clock_read;
mod health;
mod idle;
mod options;
pub mod session;
mod tls;
mod watch;
