//! Faults inside the load: parts of a local cluster are killed, stopped, paused,
//! slowed, filled and cut off at given moments, and all of it is undone.
//!
//! [`Schedule::read`] says what is wrong with a file before anything runs;
//! [`Schedule::start`] carries it out beside the load.

mod running;
mod schedule;
mod site;

pub use running::{FaultDone, Running};
pub use schedule::{Fault, Schedule};
pub use site::Site;
