//! Where new envelopes are placed while a SET's database is gone.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::wait_until;
use crate::load::senders;
use crate::noticed::MayNotice;
use crate::trial::Trial;

/// After this long no send may fail.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);
/// How long the database is gone: its servers say within it that they are not ready.
const GONE_FOR: Duration = Duration::from_secs(8);
const SEND_EVERY: Duration = Duration::from_millis(25);
const BACK_WITHIN: Duration = Duration::from_secs(20);

pub fn a_set_whose_database_is_gone_gets_no_new_envelope_after_the_first_second(trial: &Trial) {
    let cluster = &trial.cluster;
    let takes_new = |set: &str| {
        cluster.metric(cluster.gateway(), &format!("hongbao_gateway_set_takes_new{{set=\"{set}\"}}")) == Some(1.0)
    };
    trial.under_load(MayNotice::Set("a"), |_| {
        wait_until(BACK_WITHIN, "both SETs to take new envelopes", || takes_new("a") && takes_new("b"));
        cluster.kill("a-mariadb");
        let envelope = json!({ "kind": "lucky", "total_fen": 10, "shares": 1, "expires_in_s": 1_800 });
        let (mut person, sender, began) = (trial.person(), senders().remove(0), Instant::now());
        let (mut early, mut late, mut good) = (0, Vec::new(), 0);
        while began.elapsed() < GONE_FOR {
            let at = began.elapsed();
            match person.create(&sender, &envelope) {
                Ok(id) => {
                    assert!(at < NOTICED_WITHIN || cluster.set_of(&id) == 1, "{id} was made in SET a after {at:?}");
                    good += 1;
                }
                Err(_) if at < NOTICED_WITHIN => early += 1,
                Err(trouble) => late.push((at, trouble)),
            }
            std::thread::sleep(SEND_EVERY);
        }
        println!("    sends: {good} good, {early} failed in the first second, {} later", late.len());
        assert!(late.is_empty() && good > 50, "{late:?}");
        cluster.run(&["a-mariadb"]);
        wait_until(BACK_WITHIN, "SET a to take new envelopes again", || takes_new("a"));
    });
}
