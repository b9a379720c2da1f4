//! The background jobs, one file each, and the one driver that runs them.
//!
//! A job takes no input: it reads the state, moves it forward by a bounded step,
//! and can be killed between any two steps, for every step may be repeated.
//! What a job keeps in memory are hints about where to look next; a job that
//! forgets everything starts again and loses nothing.
//!
//! Reading order: [`job`], [`schedule`], [`activate`], [`credit`], [`refund`],
//! [`orders`], [`purge`], [`seal`], [`seal_months`], [`export`], [`forget_keys`], [`expiring_soon`], [`purge_events`], [`webhook`], [`lease`], [`clock`], [`driver`], [`metrics`], and apart from them
//! [`mod@audit`], which changes nothing.

pub mod job;
pub mod schedule;

pub mod activate;
pub mod credit;
pub mod expiring_soon;
pub mod export;
pub mod forget_keys;
pub mod orders;
pub mod purge;
pub mod purge_events;
pub mod refund;
pub mod seal;
pub mod seal_months;
pub mod webhook;

pub mod clock;
pub mod driver;
pub mod lease;
pub mod metrics;

pub mod audit;

pub use audit::{AuditError, AuditReport, SealedRows, SetStore, audit, audit_with};
pub use clock::ClockGuard;
pub use driver::{OptionalJobs, WorkerOptions, WorkerSet};
pub use job::{Job, JobError, Ports, RunReport};
pub use lease::LeaseHolder;
pub use metrics::WorkerMetrics;
