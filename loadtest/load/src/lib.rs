//! What the load test and the laboratory have in common: how the service is
//! started, called, loaded and disturbed on this machine.
//!
//! Reading order: [`Service`] starts what is measured, [`Request`] writes requests and
//! [`Answer`] reads answers, [`Site`] says where they go, [`Client`] prepares, [`Generator`] loads, [`faults`] disturb.

mod service;

mod answered;
pub mod client;
mod connection;
mod generator;
mod http;
mod request_buffer;
mod site;
mod source;
mod tls;
pub mod top_up;

pub mod faults;

mod child;
pub mod machine;
pub mod metrics;

mod error;
pub mod files;
pub mod interrupt;
pub mod number;
pub mod page;

pub use answered::{Accepted, Answered};
pub use child::{Child, wait_until_idle};
pub use client::{Client, Signer, describe};
pub use connection::Connection;
pub use error::{FAILED, Fallible, complain, exit_code};
pub use faults::{FaultDone, Running, Schedule};
pub use generator::{BUSY, Generator};
pub use http::{Answer, Request, push_request};
pub use metrics::Batches;
pub use request_buffer::RequestBuffer;
pub use service::{
    Cluster, SECRET, Service, TICKET_SECRET, Wanted, ZONE_OFFSET_S, parse_set_count, zone_with_midnight_at,
    zone_with_noon_at,
};
pub use site::{Resolve, Site, Url};
pub use source::{LoadStats, RequestSource};
pub use tls::Tls;

/// Prepares this process for a command that measures: signals end it in good order, and it
/// may open as many files as the system allows.
pub fn begin() -> Fallible<()> {
    interrupt::watch()?;
    machine::raise_open_files()?;
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build, so the generator is slow");
    }
    Ok(())
}
