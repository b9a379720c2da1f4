//! Whether a server lives: asked again and again.
//!
//! A server that is *slow* must not be taken for one that is *dead*: its
//! envelopes would move to another, twice, for nothing. So a refused connection
//! counts more than a missing answer, several of either are needed, and a
//! server that says itself that it goes is believed at once.
//!
//! Probes that have no answer yet overlap: while one waits, others are begun on
//! connections of their own, so that silence is noticed soon after the time limit of
//! a single probe, and a connection that died by itself is distinguished from a server that
//! did. None counts against a server that answers late after all, or that has
//! answered any request meanwhile.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::ServerConnector;
use crate::options::GatewayOptions;
use crate::probe_answer::{Finding, ProbeAnswer, ProbeClient, ask};
use crate::upstream::{Health, Upstream};

/// Between two probes at least, however much a server is doubted.
const PROBE_GAP: Duration = Duration::from_millis(10);
/// Between two reasons for which a dead server fails, where both are named.
const REASON_GAP: Duration = Duration::from_secs(1);
/// Time limits of a probe after which not even a late answer is waited for.
const LATE_TIMES: u32 = 3;

/// What the last probes found, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProbeStreak {
    good: u32,
    failed: u32,
    not_ready: u32,
    slow: u32,
}

impl ProbeStreak {
    /// Takes a finding in; the standing that follows from it.
    fn learn(&mut self, finding: &Finding, health: Health, options: &GatewayOptions) -> Health {
        let (failed, not_ready, slow) = (self.failed + 1, self.not_ready + 1, self.slow + 1);
        *self = match finding {
            Finding::Good => ProbeStreak { good: self.good + 1, ..ProbeStreak::default() },
            Finding::Draining => ProbeStreak::default(),
            Finding::NotReady(_) => ProbeStreak { not_ready, ..ProbeStreak::default() },
            // A slow answer between two refusals is no sign of life, and the other way round.
            Finding::Failed(_) => ProbeStreak { good: 0, not_ready: 0, failed, slow: self.slow },
            Finding::Slow => ProbeStreak { good: 0, not_ready: 0, failed: self.failed, slow },
            Finding::Alive => ProbeStreak { good: 0, slow: 0, ..*self },
        };
        match finding {
            Finding::Good if self.good >= options.back_after => Health::Up,
            Finding::Draining => Health::Draining,
            Finding::NotReady(_) if not_ready >= options.dead_after_failures => Health::NotReady,
            Finding::Failed(_) if failed >= options.dead_after_failures => Health::Dead,
            Finding::Slow if slow >= options.dead_after_timeouts => Health::Dead,
            _ => health,
        }
    }

    /// Whether the next finding may change something, so that it is wanted soon.
    fn is_undecided(&self, health: Health) -> bool {
        match health {
            Health::Up => self.good == 0,
            Health::Draining | Health::NotReady | Health::Dead => self.good > 0,
        }
    }
}

/// A probe that has no answer yet.
struct Asked {
    task: AbortHandle,
    began: Instant,
    /// How often the server had answered requests by then.
    answers: u64,
    /// Its time is over.
    is_late: bool,
}

/// Probes one server.
struct Prober {
    upstream: Arc<Upstream>,
    options: GatewayOptions,
    uri: Uri,
    /// Keeps a connection: the system says at once when the process behind it is gone.
    kept: ProbeClient,
    /// Makes a new one each time.
    fresh: ProbeClient,
    asked: Vec<Asked>,
    tasks: JoinSet<ProbeAnswer>,
    streak: ProbeStreak,
    began: Option<Instant>,
    /// A request met a fault since the last probe was begun.
    is_doubted: bool,
    /// Why a probe failed when that was named last, and when that was.
    failed: Option<(String, Instant)>,
    /// When the next probe is due if none is waiting for its answer.
    due: Instant,
}

/// Probes a server until it is aborted.
pub(crate) async fn probe_forever(upstream: Arc<Upstream>, options: GatewayOptions) {
    let mut prober = Prober::new(upstream, options);
    loop {
        prober.step().await;
    }
}

impl Prober {
    fn new(upstream: Arc<Upstream>, options: GatewayOptions) -> Prober {
        // How long a connection may take, says the probe's own limit.
        let late_ms = options.probe_timeout_ms * u64::from(LATE_TIMES);
        let client = |kept_max| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(kept_max)
                .build(ServerConnector::new(&upstream, late_ms))
        };
        let uri = Uri::builder().scheme("http").authority(upstream.authority.clone()).path_and_query("/readyz").build();
        Prober {
            uri: uri.expect("an authority and a path are a URI"),
            kept: client(1),
            fresh: client(0),
            asked: Vec::new(),
            tasks: JoinSet::new(),
            streak: ProbeStreak::default(),
            began: None,
            is_doubted: false,
            failed: None,
            due: Instant::now(),
            upstream,
            options,
        }
    }

    /// Waits for what comes first, and acts on it.
    async fn step(&mut self) {
        let (overdue, due) = (self.overdue_at(), self.due_at());
        // A doubt brings the next probe forward, if one may be begun at all.
        let soonest = due.map(|due| due.min(self.began.map_or(due, |began| began + PROBE_GAP)));
        tokio::select! {
            // What has come counts before what has not.
            biased;
            Some(done) = self.tasks.join_next_with_id() => {
                // One that was broken off is no finding.
                if let Ok((id, answer)) = done {
                    self.answered(id, answer);
                }
            }
            () = until(overdue) => self.count_overdue(),
            () = until(due) => self.begin(),
            () = until(soonest), if self.is_doubted => self.begin(),
            () = self.upstream.probe_now.notified(), if !self.is_doubted => self.is_doubted = true,
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.options.probe_timeout_ms)
    }

    fn waiting(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| !asked.is_late)
    }

    /// When the next probe will have had its time without an answer.
    fn overdue_at(&self) -> Option<Instant> {
        self.waiting().map(|asked| asked.began + self.limit()).min()
    }

    /// When the next probe is to begin, if it need not wait for an answer.
    fn due_at(&self) -> Option<Instant> {
        match self.waiting().count() as u32 {
            0 => Some(self.due),
            count if self.upstream.is_up() && count < self.options.dead_after_timeouts => {
                self.began.map(|began| began + Duration::from_millis(self.options.probe_every_ms))
            }
            _ => None,
        }
    }

    fn begin(&mut self) {
        // Behind one that has no answer the kept connection may be what is broken.
        let client = if self.asked.is_empty() { self.kept.clone() } else { self.fresh.clone() };
        let (uri, longest) = (self.uri.clone(), self.limit() * LATE_TIMES);
        let probe = async move { timeout(longest, ask(&client, &uri)).await.unwrap_or_else(|_| Finding::Slow.into()) };
        let (task, began) = (self.tasks.spawn(probe), Instant::now());
        (self.began, self.is_doubted) = (Some(began), false);
        self.asked.push(Asked { task, began, answers: self.upstream.answers(), is_late: false });
    }

    /// Those whose time is over count against the server, unless it has answered
    /// anything since they began.
    fn count_overdue(&mut self) {
        let (now, limit, answers) = (Instant::now(), self.limit(), self.upstream.answers());
        let is_overdue = |asked: &&mut Asked| !asked.is_late && now >= asked.began + limit;
        let overdue: Vec<bool> = self
            .asked
            .iter_mut()
            .filter(is_overdue)
            .map(|asked| {
                asked.is_late = true;
                asked.answers == answers
            })
            .collect();
        for is_silent in overdue {
            self.learn(if is_silent { Finding::Slow } else { Finding::Alive });
        }
    }

    fn answered(&mut self, id: Id, ProbeAnswer { finding, takes_new }: ProbeAnswer) {
        let Some(place) = self.asked.iter().position(|asked| asked.task.id() == id) else { return };
        let asked = self.asked.swap_remove(place);
        match (asked.is_late, &finding) {
            // It has been counted already.
            (true, Finding::Slow | Finding::Failed(_)) => {}
            (true, _) => self.learn(Finding::Alive),
            (false, Finding::Failed(_)) => self.learn(finding),
            (false, _) => {
                // What waits longer waits on a connection that is worse.
                self.asked.drain(..).for_each(|asked| asked.task.abort());
                if let Some(takes_new) = takes_new {
                    self.learn_takes_new(takes_new);
                }
                self.learn(finding);
            }
        }
    }

    /// One answer decides: new envelopes may go elsewhere at no cost, and back with the next probe.
    fn learn_takes_new(&self, takes_new: bool) {
        if takes_new != self.upstream.takes_new() {
            self.upstream.set_takes_new(takes_new);
            let (set, server, address) = (&self.upstream.set, &self.upstream.name, &self.upstream.address);
            tracing::warn!(set, server, %address, takes_new, "whether a server takes new envelopes has changed");
        }
    }

    /// Whether this is another reason than that of the failures before, of which one is named in a second.
    fn fails_otherwise(&mut self, reason: &str) -> bool {
        let is_other = |(before, since): &(String, Instant)| before != reason && since.elapsed() >= REASON_GAP;
        if !self.failed.as_ref().is_some_and(is_other) {
            return false;
        }
        self.failed = Some((reason.to_owned(), Instant::now()));
        true
    }

    fn learn(&mut self, finding: Finding) {
        let was = self.upstream.health();
        let is = self.streak.learn(&finding, was, &self.options);
        if is != was {
            self.upstream.set_health(is);
            let (set, server, address) = (&self.upstream.set, &self.upstream.name, &self.upstream.address);
            tracing::warn!(set, server, %address, ?was, ?is, ?finding, "a server's standing has changed");
        } else if is == Health::Dead
            && let Finding::Failed(reason) = &finding
            && self.fails_otherwise(reason)
        {
            let (set, server, address) = (&self.upstream.set, &self.upstream.name, &self.upstream.address);
            tracing::warn!(set, server, %address, error = reason, "a dead server fails for another reason");
        }
        match &finding {
            Finding::Failed(reason) => _ = self.failed.get_or_insert_with(|| (reason.clone(), Instant::now())),
            Finding::Good => self.failed = None,
            _ => {}
        }
        let soon = self.streak.is_undecided(is) && !matches!(finding, Finding::Slow | Finding::Alive);
        let pause_ms = if soon { self.options.probe_again_ms } else { self.options.probe_every_ms };
        self.due = Instant::now() + Duration::from_millis(pause_ms);
    }
}

/// Waits for this moment; for ever if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Health, findings: &[Finding]) -> Vec<Health> {
        let options = GatewayOptions::default();
        let mut streak = ProbeStreak::default();
        let mut health = start;
        let mut learn = |finding| {
            health = streak.learn(finding, health, &options);
            health
        };
        findings.iter().map(&mut learn).collect()
    }

    fn failed() -> Finding {
        Finding::Failed("refused".to_owned())
    }

    fn not_ready() -> Finding {
        Finding::NotReady("database: gone".to_owned())
    }

    #[test]
    fn a_server_is_dead_after_three_failures_in_a_row_and_back_after_two_good_probes() {
        use Health::{Dead, Up};
        assert_eq!(after(Up, &[failed(), failed(), failed()]), [Up, Up, Dead]);
        assert_eq!(after(Up, &[failed(), failed(), Finding::Good, failed(), failed()]), [Up; 5]);
        assert_eq!(after(Dead, &[Finding::Good, failed(), Finding::Good, Finding::Good]), [Dead, Dead, Dead, Up]);
    }

    #[test]
    fn one_slow_answer_kills_nobody_and_three_do() {
        use Health::{Dead, Up};
        assert_eq!(after(Up, &[Finding::Slow, Finding::Slow, Finding::Good, Finding::Slow, Finding::Slow]), [Up; 5]);
        assert_eq!(after(Up, &[Finding::Slow, Finding::Slow, Finding::Slow]), [Up, Up, Dead]);
        assert_eq!(after(Up, &[Finding::Slow, Finding::Slow, Finding::Alive, Finding::Slow, Finding::Slow]), [Up; 5]);
        assert_eq!(after(Dead, &[Finding::Alive, Finding::Alive]), [Dead, Dead], "it has to answer in time");
    }

    #[test]
    fn a_server_that_goes_is_believed_at_once() {
        use Health::{Draining, Up};
        assert_eq!(after(Up, &[Finding::Draining]), [Draining]);
        assert_eq!(after(Draining, &[Finding::Good, Finding::Good]), [Draining, Up], "it is another process now");
        assert_eq!(after(Draining, &[failed(), failed(), failed()])[2], Health::Dead);
    }

    #[test]
    fn a_server_that_says_no_is_out_when_it_says_it_repeatedly() {
        use Health::{NotReady, Up};
        assert_eq!(after(Up, &[not_ready(), not_ready(), Finding::Good, not_ready()]), [Up; 4]);
        assert_eq!(after(Up, &[not_ready(), not_ready(), not_ready()]), [Up, Up, NotReady]);
    }
}
