//! Workers on a real MariaDB.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod databases;
mod durable;
mod export;
mod leases;
mod months;
mod processes;
