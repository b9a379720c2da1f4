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
    // A sorted set is what no part of the service keeps there.
    let spoil = "for _, key in ipairs(redis.call('KEYS', 'hongbao:*')) do \
                 redis.call('DEL', key) redis.call('ZADD', key, 1, 'wrong') end";
    let redis = trial.cluster.cache_of("a");
    let mut connection = connect(redis).unwrap();
    trial.under_load(MayNotice::Nobody, |_| {
        let began = Instant::now();
        while began.elapsed() < FOR {
            write!(connection, "EVAL \"{spoil}\" 0\r\n").unwrap();
            let mut answer = [0; 256];
            let read = connection.read(&mut answer).unwrap();
            assert_eq!(&answer[..read], b"$-1\r\n", "{}", String::from_utf8_lossy(&answer[..read]));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}
