//! The sandbox: a payment provider for development and tests, with books of its own.
//!
//! It keeps to its number: under one number there is one order with one outcome, whatever goes wrong, and what it did
//! is in its books before it answers. Everything that goes wrong with a provider goes wrong here on demand
//! ([`Fault`]). Reading order: [`faults`], [`plan`], [`options`],
//! [`books`], [`print`](mod@print), [`notify`], [`verbs`], [`asked`], [`direct`], [`serve`], [`page`],
//! [`wechat`].

pub mod faults;
pub mod plan;

pub mod options;

pub mod books;
mod cut;
pub mod notify;
pub mod print;
pub mod verbs;

pub mod asked;
pub mod direct;
pub mod page;
pub mod serve;
pub mod wechat;

pub use asked::Sandbox;
pub use faults::{Chances, FAULT_HEADER, Fault};
pub use options::SandboxOptions;
pub use plan::Pace;
pub use print::bill_of;
