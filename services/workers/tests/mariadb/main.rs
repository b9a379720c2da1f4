//! Workers on a real MariaDB.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod databases;
mod durable;
mod leases;
mod processes;
