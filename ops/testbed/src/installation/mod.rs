//! Installations on this machine: their description, files and processes.

mod change;
mod description;
mod faults;
mod files;
mod processes;
mod relay;
mod running;
mod settings;

pub use change::TopologyChange;
pub use description::{Description, GATEWAY, PartEntry, PartKind, SETS_MAX};
pub use faults::OPTIONS_OF_FILLED;
pub use processes::{Lifetime, Processes};
pub use relay::Link;
pub use running::{Installation, forget_environment};
pub use settings::FOLD;
