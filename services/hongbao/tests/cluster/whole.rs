//! All at once.

use crate::noticed::MayNotice;
use crate::trial::Trial;

pub fn everything_is_there_after_a_restart_of_everything(trial: &Trial) {
    trial.under_load(MayNotice::Everybody, |_| {
        trial.cluster.stop();
        trial.cluster.start_again();
    });
    // From the very first envelope on.
    {
        let mut known = trial.history.known();
        let all = 0..known.envelopes.len();
        known.touched.extend(all);
    }
    crate::check::check(&trial.cluster, &trial.history);
}
