//! memcached and Redis: gone, silent, or full of nonsense. They only throttle
//! and remember, so nobody may notice.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::client::connect;
use crate::noticed::MayNotice;
use crate::trial::Trial;

/// How long each fault lasts.
const FOR: Duration = Duration::from_secs(2);

pub fn a_killed_memcached_is_noticed_by_nobody(trial: &Trial) {
    trial.under_load(MayNotice::Nobody, |_| {
        trial.cluster.kill("a1-memcached");
        std::thread::sleep(FOR);
        trial.cluster.run(&["a1-memcached"]);
    });
}

pub fn a_memcached_that_does_not_answer_is_noticed_by_nobody(trial: &Trial) {
    trial.under_load(MayNotice::Nobody, |_| {
        trial.cluster.signal("a1-memcached", Signal::STOP);
        std::thread::sleep(FOR);
        trial.cluster.signal("a1-memcached", Signal::CONT);
    });
}

pub fn a_killed_redis_is_noticed_by_nobody(trial: &Trial) {
    trial.under_load(MayNotice::Nobody, |_| {
        trial.cluster.kill("a-redis");
        std::thread::sleep(FOR);
        trial.cluster.run(&["a-redis"]);
    });
}

pub fn a_redis_full_of_wrong_types_is_noticed_by_nobody(trial: &Trial) {
    // A sorted set is what no part of the service keeps there. The answer counts what was spoilt anew.
    let spoil = "local spoilt = 0 for _, key in ipairs(redis.call('KEYS', 'hongbao:*')) do \
                 if redis.call('TYPE', key).ok ~= 'zset' then spoilt = spoilt + 1 \
                 redis.call('DEL', key) redis.call('ZADD', key, 1, 'wrong') end end return spoilt";
    let redis = trial.cluster.address_of("a-redis");
    let mut connection = connect(redis).unwrap();
    trial.under_load(MayNotice::Nobody, |_| {
        let began = Instant::now();
        let mut spoilt = 0;
        while began.elapsed() < FOR {
            write!(connection, "EVAL \"{spoil}\" 0\r\n").unwrap();
            let mut answer = [0; 256];
            let read = connection.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            let count = answer.strip_prefix(':').and_then(|count| count.trim().parse::<u32>().ok());
            spoilt += count.unwrap_or_else(|| panic!("Redis says {answer}"));
            std::thread::sleep(Duration::from_millis(10));
        }
        // More than once each: what is spoilt is written again.
        assert!(spoilt > 20, "only {spoilt} snapshots were there to be spoilt");
    });
}
