//! What a run has found out: one value, which the terminal, the JSON file and
//! the HTML page each show in their way.

mod calls;
mod data;
mod html;
mod json;
mod live;
mod measured;
mod show;
mod slo;
mod text;
mod wrap;

#[cfg(test)]
pub mod tests;

pub use calls::name as call_name;
pub use data::{
    Check, FaultDone, Generator, Latency, Machine, Outcome, Phase, SLOW_CLIENTS, Second, Totals, WITHOUT_ENVELOPE,
    answered,
};
pub use live::Live;
pub use measured::Measured;
pub use show::{ShowArgs, show};
pub use slo::{Slo, all as all_slos, judge};
