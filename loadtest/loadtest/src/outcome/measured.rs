//! What a plan needs to know of a measured run: the object `capacity` in its JSON.

use serde::{Deserialize, Serialize};

/// Figures of one run on one machine. Processor time is in microseconds and in
/// user and kernel mode together; rates are of the whole run's installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// SETs that committed openings, with one database each. The run may have had more: one
    /// envelope keeps one SET busy.
    pub sets: u32,
    /// Databases of the wallet that the run had.
    pub wallets: u32,
    /// Processors of the machine, which all of it shared.
    pub cores: f64,
    /// Openings a second that were acknowledged, over the part of the run with the full load.
    pub opens_per_s: f64,
    /// Grabs a second in the same time.
    pub grabs_per_s: f64,
    /// Views a second in the same time.
    pub views_per_s: f64,
    /// Processor time of the servers for one opening.
    pub cpu_us_per_open: f64,
    /// Processor time of the servers for one grab. Without it, it counts as an opening.
    pub cpu_us_per_grab: Option<f64>,
    /// Processor time of the servers for one view. Without it, it counts as an opening.
    pub cpu_us_per_view: Option<f64>,
    /// Processor time of the servers for one envelope made and paid for. Without it, it is left out.
    pub cpu_us_per_send: Option<f64>,
    /// Processor time of the gateways for one request. Without it, no gateways are planned.
    pub gateway_cpu_us_per_request: Option<f64>,
    /// Processor time of the SETs' databases for one opening, with all that they did for it.
    pub db_cpu_us_per_open: f64,
    /// The same for one envelope made and paid for. Without it, it is left out.
    pub db_cpu_us_per_send: Option<f64>,
    /// Commits of openings a second, in all SETs.
    pub commits_per_s: f64,
    /// Openings in one commit, on average, repeats among them.
    pub batch_mean: f64,
    /// Bytes of one request, headers included, as the generator sent it, on average.
    pub bytes_in_per_request: f64,
    /// Bytes of its answer, likewise.
    pub bytes_out_per_request: f64,
    /// Openings and refunds credited a second, over the time from the first opening to the last credit.
    pub credits_settled_per_s: f64,
}

impl Measured {
    /// Refuses figures that nothing can be divided by.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("sets", f64::from(self.sets)),
            ("wallets", f64::from(self.wallets)),
            ("cores", self.cores),
            ("opens_per_s", self.opens_per_s),
            ("cpu_us_per_open", self.cpu_us_per_open),
            ("db_cpu_us_per_open", self.db_cpu_us_per_open),
            ("commits_per_s", self.commits_per_s),
            ("batch_mean", self.batch_mean),
            ("bytes_in_per_request", self.bytes_in_per_request),
            ("bytes_out_per_request", self.bytes_out_per_request),
            ("credits_settled_per_s", self.credits_settled_per_s),
        ];
        let optional = [
            ("cpu_us_per_grab", self.cpu_us_per_grab),
            ("cpu_us_per_view", self.cpu_us_per_view),
            ("cpu_us_per_send", self.cpu_us_per_send),
            ("gateway_cpu_us_per_request", self.gateway_cpu_us_per_request),
            ("db_cpu_us_per_send", self.db_cpu_us_per_send),
        ];
        let known = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        match positive.into_iter().chain(known).find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((name, value)) => Err(format!("capacity.{name} = {value}: a plan needs more than nothing")),
            None => Ok(()),
        }
    }
}
