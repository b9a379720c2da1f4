//! One scheme in one cell: prepare, start, drive, look at the database.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock as _, EnvelopeId, Seed, SystemClock, UserId};
use hongbao_load::{
    Answer, Child, Client, Fallible, RequestBuffer, RequestSource, SECRET, TICKET_SECRET, machine, push_request,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::audit::{Audit, Paid, Stored};
use super::cell::{Cell, CellPlan};
use super::history::History;
use super::sample::Sample;
use super::scheme::Scheme;
use super::testbed::Testbed;
use crate::measure::{Driven, WARM_UP, drive, us_of_each};
use crate::prepare::{self, REQUEST_BYTES_MAX, SHARE_FEN_MEAN, user_id};

/// How long tickets last: longer than preparing and a run take.
const TICKET_LIFE_MS: i64 = 3_600_000;
/// Hongbao's server, by its name in the cluster.
pub const SERVER: &str = "a1";
/// How long memory-first may take to write everything to MariaDB.
const PERSISTED_WITHIN: Duration = Duration::from_secs(120);

/// Runs cells, one at a time.
pub struct Runner<'a> {
    /// Where processes may write their logs.
    pub dir: &'a Path,
    /// How long a run is measured for.
    pub time: Duration,
    /// Connections that an alternative has to MariaDB.
    pub connections: u32,
}

/// A scheme that is ready for its load.
pub struct Ready {
    pub scheme: Scheme,
    pub plan: CellPlan,
    pub requests: RequestBuffer,
    envelopes: Vec<EnvelopeId>,
    /// The alternative; None for Hongbao, which runs in its cluster.
    pub alternative: Option<Child>,
}

impl Runner<'_> {
    pub fn run(&self, testbed: &Testbed, scheme: Scheme, cell: Cell, first_user: u32) -> Fallible<Sample> {
        let ready = self.ready(testbed, scheme, cell.plan(scheme, self.seconds(), first_user))?;
        let mut history = History::new(ready.plan.openings.len());
        let mut sample = self.drive(testbed, &ready, cell, &mut history)?;
        let caught_up = self.catch_up(testbed, scheme)?;
        sample.load.caught_up_s = caught_up.map(|time| time.as_secs_f64());
        sample.audit = if scheme.keeps_openings() { Some(ready.audit(testbed, &history)?) } else { None };
        let openings = &ready.plan.openings;
        let fairness = history.fairness(openings);
        sample.pairs = fairness.pairs;
        sample.unfair_share = fairness.inverted as f64 / fairness.pairs.max(1) as f64;
        sample.overtaken_p99 = fairness.overtaken_p99;
        sample.envelopes_opened = history.envelopes_opened(openings);
        Ok(sample)
    }

    /// How long requests must last.
    pub fn seconds(&self) -> f64 {
        (self.time + WARM_UP).as_secs_f64()
    }

    /// Makes the envelopes and the requests, and starts the alternative.
    pub fn ready(&self, testbed: &Testbed, scheme: Scheme, plan: CellPlan) -> Fallible<Ready> {
        if scheme == Scheme::Hongbao {
            let client = Client::new(testbed.hongbao()?.server_addr(0), SECRET);
            client.wait_until_ready()?;
            let ids = prepare::send_envelopes(&client, plan.envelopes, plan.shares)?;
            let requests = prepare::open_requests(&client, &ids, &plan.openings)?;
            let parse = |id: &String| EnvelopeId::parse(id).ok_or_else(|| format!("{id} is no envelope's id"));
            let envelopes = ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            // The workers have their part in sending, too.
            self.catch_up(testbed, scheme)?;
            return Ok(Ready { scheme, plan, requests, envelopes, alternative: None });
        }
        let mut ready = Ready::seed(testbed, scheme, plan)?;
        ready.alternative = Some(self.start(testbed, scheme)?);
        Ok(ready)
    }

    /// Starts an alternative on the tables that are there.
    pub fn start(&self, testbed: &Testbed, scheme: Scheme) -> Fallible<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["alternative", scheme.text(), "--listen", "127.0.0.1:0", "--database", &testbed.database.node]);
        command.args(["--connections", &self.connections.to_string()]);
        if let Some(redis) = testbed.redis(scheme) {
            command.args(["--redis", &redis.to_string()]);
        }
        Child::start("the alternative", command, &self.dir.join(format!("{}.log", scheme.text())))
    }

    fn drive(&self, testbed: &Testbed, ready: &Ready, cell: Cell, history: &mut History) -> Fallible<Sample> {
        let cpu_times = || Ok([ready.cpu_time(testbed)?, machine::cpu_time(testbed.record_pid(ready.scheme))?]);
        let source = RequestSource::once(&ready.requests);
        let check = |index: usize, answer: &Answer<'_>| history.take(index, answer);
        let driven = drive(ready.addr(testbed)?, &cpu_times, source, cell.connections(), self.time, check)?;
        let Driven { mut sample, stats, used: [server, database] } = driven;
        let failed: u64 = stats.errors.values().sum();
        sample.sent = stats.sent;
        sample.server_cpu_us = us_of_each(server, stats.sent - failed);
        let database_cpu_us = us_of_each(database, stats.sent - failed).filter(|_| ready.scheme.keeps_openings());
        let error_share = failed as f64 / stats.sent.max(1) as f64;
        Ok(Sample { load: sample, error_share, database_cpu_us, ..Sample::default() })
    }

    /// Waits until what the scheme does in the background is done.
    pub fn catch_up(&self, testbed: &Testbed, scheme: Scheme) -> Fallible<Option<Duration>> {
        if scheme == Scheme::Hongbao {
            return testbed.hongbao()?.wait_until_idle();
        }
        testbed.wait_until_persisted(scheme, PERSISTED_WITHIN)
    }
}

impl Ready {
    /// Makes an alternative's envelopes and its requests.
    pub fn seed(testbed: &Testbed, scheme: Scheme, plan: CellPlan) -> Fallible<Ready> {
        let envelopes = mint(&plan);
        if scheme.keeps_openings() {
            testbed.seed(scheme, &envelopes, plan.shares, total_fen(&plan))?;
        }
        let envelopes: Vec<EnvelopeId> = envelopes.into_iter().map(|(id, _)| id).collect();
        let requests = requests(&plan, &envelopes)?;
        Ok(Ready { scheme, plan, requests, envelopes, alternative: None })
    }

    /// What the scheme's record holds.
    pub fn stored(&self, testbed: &Testbed) -> Fallible<Stored> {
        testbed.stored(self.scheme, &self.envelopes)
    }

    /// Compares that with the answers.
    pub fn audit(&self, testbed: &Testbed, history: &History) -> Fallible<Audit> {
        let paid = Paid { shares: self.plan.shares, total_fen: total_fen(&self.plan) };
        Ok(Audit::of(self.scheme, history, &self.plan.openings, &self.stored(testbed)?, paid))
    }

    /// The envelopes, in the plan's order.
    #[cfg(test)]
    pub fn envelopes(&self) -> &[EnvelopeId] {
        &self.envelopes
    }

    pub fn addr(&self, testbed: &Testbed) -> Fallible<std::net::SocketAddr> {
        match &self.alternative {
            Some(alternative) => Ok(alternative.addr()),
            None => Ok(testbed.hongbao()?.server_addr(0)),
        }
    }

    fn cpu_time(&self, testbed: &Testbed) -> Fallible<Duration> {
        match &self.alternative {
            Some(alternative) => alternative.cpu_time(),
            None => machine::cpu_time(testbed.hongbao()?.pid(SERVER)?),
        }
    }
}

/// The money of each envelope of a plan.
fn total_fen(plan: &CellPlan) -> i64 {
    i64::from(plan.shares) * SHARE_FEN_MEAN
}

/// Fresh ids and seeds for an alternative's envelopes.
fn mint(plan: &CellPlan) -> Vec<(EnvelopeId, Seed)> {
    // What they are is of no concern; that they are the same for every alternative is.
    let mut random = StdRng::seed_from_u64(plan.openings.first().map_or(0, |opening| u64::from(opening.user)));
    let now = SystemClock.now();
    (0..plan.envelopes).map(|_| (EnvelopeId::mint(now, random.random()), Seed::new(random.random()))).collect()
}

/// The bytes that open, with tokens and tickets like the service's.
fn requests(plan: &CellPlan, envelopes: &[EnvelopeId]) -> Fallible<RequestBuffer> {
    let client = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), SECRET);
    let tickets = TicketKey::new(TICKET_SECRET.as_bytes());
    let expires_at = SystemClock.now().plus_millis(TICKET_LIFE_MS);
    let mut requests = RequestBuffer::default();
    for opening in &plan.openings {
        // The run then ends early, and says so.
        if requests.bytes_len() > REQUEST_BYTES_MAX {
            break;
        }
        let user = UserId::parse(&user_id(opening.user)).ok_or("a user's number makes a name")?;
        let envelope = envelopes[opening.envelope as usize];
        let body = format!(r#"{{"ticket":"{}"}}"#, tickets.issue(envelope, &user, expires_at));
        let path = format!("/v1/envelopes/{envelope}/open");
        push_request(&mut requests, "POST", &path, &client.token(user.as_str()), &body);
    }
    Ok(requests)
}
