//! What the load test and the laboratory have in common: how the service is
//! started, asked, loaded and disturbed on this machine.
//!
//! Reading order: [`service`] starts what is measured, [`http`] writes requests and
//! reads answers, [`client`] prepares, [`generator`] loads, [`faults`] disturb.

pub mod service;
pub mod set_count;

pub mod answered;
pub mod client;
pub mod connection;
pub mod generator;
pub mod http;
pub mod request_buffer;
pub mod source;
pub mod top_up;

pub mod faults;

pub mod child;
pub mod machine;
pub mod metrics;

pub mod error;
pub mod files;
pub mod interrupt;
pub mod number;
pub mod page;

pub use error::{FAILED, Fallible};
