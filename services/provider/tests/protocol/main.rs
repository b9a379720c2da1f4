//! The client and the sandbox, against each other over TCP.

mod faults;
mod input;
mod notifications;
mod orders;
mod support;
mod wechat;
