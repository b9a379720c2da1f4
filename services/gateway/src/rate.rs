//! How often one user may call.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hongbao_core::UserId;
use serde::{Deserialize, Serialize};

/// How often users whose tokens are remembered are looked through.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// Requests of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Requests a second, in the long run.
    pub user_per_s: NonZeroU32,
    /// Requests that may come at once.
    pub user_burst: NonZeroU32,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        const { RateLimits { user_per_s: NonZeroU32::new(20).unwrap(), user_burst: NonZeroU32::new(60).unwrap() } }
    }
}

impl RateLimits {
    /// Says what does not fit together, in words for an operator.
    pub fn check(&self) -> Result<(), String> {
        if self.user_burst < self.user_per_s {
            return Err("rate_limit: user_burst must be at least user_per_s".to_owned());
        }
        Ok(())
    }
}

/// Counts the requests of each user. Memory is bounded by the users of the last
/// burst's time: who has been quiet that long is forgotten.
pub struct UserRates {
    limiter: DefaultKeyedRateLimiter<UserId>,
    clock: DefaultClock,
}

impl UserRates {
    /// Counts against `limits`.
    pub fn new(limits: &RateLimits) -> UserRates {
        let quota = Quota::per_second(limits.user_per_s).allow_burst(limits.user_burst);
        UserRates { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// Lets the request pass, or says after how many seconds the next one may.
    pub fn admit(&self, user: &UserId) -> Result<(), u32> {
        self.limiter.check_key(user).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            // Rounded up: a client that waits that long gets through.
            u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
        })
    }

    /// Users that are remembered.
    pub fn len(&self) -> usize {
        self.limiter.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.limiter.is_empty()
    }

    /// Forgets who has been quiet.
    pub fn forget_quiet(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Keeps forgetting who has been quiet, until it is aborted.
pub async fn forget_quiet_forever(rates: std::sync::Arc<UserRates>) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    loop {
        tick.tick().await;
        rates.forget_quiet();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_user_waits_while_others_do_not() {
        let limits = RateLimits { user_per_s: NonZeroU32::new(1).unwrap(), user_burst: NonZeroU32::new(3).unwrap() };
        let rates = UserRates::new(&limits);
        let (li, wang) = (UserId::parse("li").unwrap(), UserId::parse("wang").unwrap());
        for _ in 0..3 {
            assert_eq!(rates.admit(&li), Ok(()));
        }
        assert_eq!(rates.admit(&li), Err(1));
        assert_eq!(rates.admit(&wang), Ok(()));
    }

    #[test]
    fn who_has_been_quiet_is_forgotten() {
        let limits =
            RateLimits { user_per_s: NonZeroU32::new(1_000).unwrap(), user_burst: NonZeroU32::new(1_000).unwrap() };
        let rates = UserRates::new(&limits);
        for number in 0..100 {
            rates.admit(&UserId::parse(&format!("u{number}")).unwrap()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        rates.forget_quiet();
        assert!(rates.is_empty(), "{} are still remembered", rates.len());
    }
}
