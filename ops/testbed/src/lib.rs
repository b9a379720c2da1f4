//! The real servers that Hongbao stands on, and whole installations of it on one
//! machine: for tests, benches, and hands (`hongbao-testbed`).
//!
//! A [`Part`] is one private server on a free port of loopback, with a folder of its
//! own, gone when its value is dropped or when this process ends, however it ends. An
//! [`Installation`] has its parts by name under one folder.

mod backend;
mod certificates;
mod folder;
mod galera;
mod install;
mod installation;
mod mariadb;
mod part;
mod ports;
mod spawn;
mod stall;
mod stat;

pub use certificates::{CertificateAuthority, CertificateFiles};
pub use install::{Fallible, install, ops_dir};
pub use installation::{
    Description, FOLD, GATEWAY, Installation, Lifetime, Link, OPTIONS_OF_FILLED, PartEntry, PartKind, Processes,
    SETS_MAX, TopologyChange, forget_environment,
};
pub use part::Part;
pub use ports::{free_port, free_ports};
pub use spawn::{bound, spawn_command, write_executable};
pub use stall::LogStall;
pub use stat::{cpu_time, cpu_time_of, started_at};
