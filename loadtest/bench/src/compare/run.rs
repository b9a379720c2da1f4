//! One scheme in one cell: prepare, start, drive, look at the database.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock as _, EnvelopeId, Seed, SystemClock, UserId};
use hongbao_load::child::Child;
use hongbao_load::client::Client;
use hongbao_load::generator::Generator;
use hongbao_load::http::push_request;
use hongbao_load::request_buffer::RequestBuffer;
use hongbao_load::service::{SECRET, TICKET_SECRET};
use hongbao_load::source::RequestSource;
use hongbao_load::{Fallible, machine};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::audit::{Audit, Entry, Paid};
use super::cell::{Cell, Plan};
use super::history::History;
use super::report::Sample;
use super::scheme::Scheme;
use super::testbed::Testbed;
use crate::measure::WARM_UP;
use crate::prepare::{self, REQUEST_BYTES_MAX, SHARE_FEN_MEAN, user_id};

/// How long tickets last: longer than preparing and a run take.
const TICKET_LIFE_MS: i64 = 3_600_000;
/// How long memory-first may take to tell MariaDB everything.
const PERSISTED_WITHIN: Duration = Duration::from_secs(120);

/// Runs cells, one at a time.
pub struct Runner<'a> {
    /// The servers.
    pub testbed: &'a Testbed,
    /// Where processes may write their logs.
    pub dir: &'a Path,
    /// How long a run is measured for.
    pub time: Duration,
    /// Connections that an alternative has to MariaDB.
    pub connections: u32,
}

/// A scheme that is ready for its load.
pub struct Ready {
    /// Which.
    pub scheme: Scheme,
    /// What is sent.
    pub plan: Plan,
    /// The same, as bytes.
    pub requests: RequestBuffer,
    envelopes: Vec<EnvelopeId>,
    /// The alternative; None for Hongbao, which runs in its cluster.
    pub alternative: Option<Child>,
}

impl Runner<'_> {
    /// One measured run.
    pub fn run(&self, scheme: Scheme, cell: Cell, first_user: u32) -> Fallible<Sample> {
        let ready = self.ready(scheme, cell.plan(scheme, self.seconds(), first_user))?;
        let mut history = History::new(ready.plan.openings.len());
        let mut sample = self.drive(&ready, cell, &mut history)?;
        let caught_up = self.catch_up(scheme)?;
        sample.caught_up_s = caught_up.map(|time| time.as_secs_f64());
        sample.audit = if scheme.keeps_openings() { Some(ready.audit(self.testbed, &history)?) } else { None };
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
    pub fn ready(&self, scheme: Scheme, plan: Plan) -> Fallible<Ready> {
        if let (Scheme::Hongbao, Some(cluster)) = (scheme, &self.testbed.cluster) {
            let client = Client::new(cluster.server_addr(0), SECRET);
            client.wait_until_ready()?;
            let ids = prepare::send_envelopes(&client, plan.envelopes, plan.shares)?;
            let requests = prepare::open_requests(&client, &ids, &plan.openings)?;
            let parse = |id: &String| EnvelopeId::parse(id).ok_or_else(|| format!("{id} is no envelope's id"));
            let envelopes = ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            // The workers have their part in sending, too.
            self.catch_up(scheme)?;
            return Ok(Ready { scheme, plan, requests, envelopes, alternative: None });
        }
        let mut ready = Ready::seed(self.testbed, scheme, plan)?;
        ready.alternative = Some(self.start(scheme)?);
        Ok(ready)
    }

    /// Starts an alternative on the tables that are there.
    pub fn start(&self, scheme: Scheme) -> Fallible<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["alternative", scheme.text(), "--listen", "127.0.0.1:0", "--database", &self.testbed.database()]);
        command.args(["--connections", &self.connections.to_string()]);
        if let Some(redis) = self.testbed.redis() {
            command.args(["--redis", &redis.to_string()]);
        }
        Child::start("the alternative", command, &self.dir.join(format!("{}.log", scheme.text())))
    }

    fn drive(&self, ready: &Ready, cell: Cell, history: &mut History) -> Fallible<Sample> {
        let mut source = RequestSource::once(&ready.requests);
        let addr = ready.addr(self.testbed)?;
        let mut generator = Generator::connect(addr, cell.connections() as usize)?;
        let mut errors =
            generator.drive(&mut source, Some(WARM_UP), |index, answer| history.take(index, answer))?.errors;
        let warm_up_errors: u64 = errors.values().sum();
        let opened_before = history.opened();
        let (before, started) = (Usage::read(ready, self.testbed)?, Instant::now());
        let stats = generator.drive(&mut source, Some(self.time), |index, answer| history.take(index, answer))?;
        let (used, took) = (Usage::read(ready, self.testbed)?.since(&before), started.elapsed().as_secs_f64());
        stats.errors.into_iter().for_each(|(label, count)| *errors.entry(label).or_default() += count);

        let opened = history.opened() - opened_before;
        let an_opening = |time: Duration| (opened > 0).then(|| time.as_secs_f64() * 1e6 / opened as f64);
        let quantile = |q| (!stats.latency_us.is_empty()).then(|| stats.latency_us.value_at_quantile(q) as f64);
        let failed = errors.values().sum::<u64>() - warm_up_errors;
        Ok(Sample {
            per_second: stats.counted as f64 / stats.elapsed.as_secs_f64(),
            p50_us: quantile(0.50),
            p99_us: quantile(0.99),
            sent: stats.sent,
            error_share: failed as f64 / stats.sent.max(1) as f64,
            errors,
            database_cpu_us: if ready.scheme.keeps_openings() { an_opening(used.database) } else { None },
            server_cpu_us: an_opening(used.server),
            generator_share: used.generator.as_secs_f64() / took,
            others_share: used.others().as_secs_f64() / took,
            elapsed_s: stats.elapsed.as_secs_f64(),
            used_up: stats.used_up,
            ..Sample::default()
        })
    }

    /// Waits until what the scheme does in the background is done.
    pub fn catch_up(&self, scheme: Scheme) -> Fallible<Option<Duration>> {
        if let (Scheme::Hongbao, Some(cluster)) = (scheme, &self.testbed.cluster) {
            return hongbao_load::child::wait_until_idle(0.20, || cluster.cpu_time());
        }
        self.testbed.wait_until_persisted(scheme, PERSISTED_WITHIN)
    }
}

impl Ready {
    /// Makes an alternative's envelopes and its requests.
    pub fn seed(testbed: &Testbed, scheme: Scheme, plan: Plan) -> Fallible<Ready> {
        let envelopes = mint(&plan);
        if scheme.keeps_openings() {
            testbed.seed(scheme, &envelopes, plan.shares, total_fen(&plan))?;
        }
        let envelopes: Vec<EnvelopeId> = envelopes.into_iter().map(|(id, _)| id).collect();
        let requests = requests(&plan, &envelopes)?;
        Ok(Ready { scheme, plan, requests, envelopes, alternative: None })
    }

    /// What the database holds.
    pub fn entries(&self, testbed: &Testbed) -> Fallible<Vec<Entry>> {
        testbed.entries(self.scheme, &self.envelopes)
    }

    /// Compares the database with what was told.
    pub fn audit(&self, testbed: &Testbed, history: &History) -> Fallible<Audit> {
        let paid = Paid { shares: self.plan.shares, total_fen: total_fen(&self.plan) };
        Ok(Audit::of(self.scheme, history, &self.plan.openings, &self.entries(testbed)?, paid))
    }

    /// The envelopes, in the plan's order.
    #[cfg(test)]
    pub fn envelopes(&self) -> &[EnvelopeId] {
        &self.envelopes
    }

    /// Where it listens.
    pub fn addr(&self, testbed: &Testbed) -> Fallible<std::net::SocketAddr> {
        match (&self.alternative, &testbed.cluster) {
            (Some(alternative), _) => Ok(alternative.addr()),
            (None, Some(cluster)) => Ok(cluster.server_addr(0)),
            (None, None) => Err("Hongbao needs a cluster".into()),
        }
    }

    fn cpu_time(&self, testbed: &Testbed) -> Fallible<Duration> {
        match (&self.alternative, &testbed.cluster) {
            (Some(alternative), _) => alternative.cpu_time(),
            (None, Some(cluster)) => machine::cpu_time(cluster.pid("a1")?),
            (None, None) => Err("Hongbao needs a cluster".into()),
        }
    }
}

/// The money of each envelope of a plan.
fn total_fen(plan: &Plan) -> i64 {
    i64::from(plan.shares) * SHARE_FEN_MEAN
}

/// Fresh ids and seeds for an alternative's envelopes.
fn mint(plan: &Plan) -> Vec<(EnvelopeId, Seed)> {
    // What they are is of no concern; that they are the same for every alternative is.
    let mut random = StdRng::seed_from_u64(plan.openings.first().map_or(0, |opening| u64::from(opening.user)));
    let now = SystemClock.now();
    (0..plan.envelopes).map(|_| (EnvelopeId::mint(now, random.random()), Seed::new(random.random()))).collect()
}

/// The bytes that open, with tokens and tickets like the service's.
fn requests(plan: &Plan, envelopes: &[EnvelopeId]) -> Fallible<RequestBuffer> {
    let client = Client::new(([127, 0, 0, 1], 0).into(), SECRET);
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

/// Processor time by who used it.
struct Usage {
    server: Duration,
    database: Duration,
    generator: Duration,
    all: Duration,
}

impl Usage {
    fn read(ready: &Ready, testbed: &Testbed) -> Fallible<Usage> {
        Ok(Usage {
            server: ready.cpu_time(testbed)?,
            database: testbed.database_cpu_time()?,
            generator: machine::cpu_time(std::process::id())?,
            all: machine::busy_time()?,
        })
    }

    fn since(&self, before: &Usage) -> Usage {
        Usage {
            server: self.server.saturating_sub(before.server),
            database: self.database.saturating_sub(before.database),
            generator: self.generator.saturating_sub(before.generator),
            all: self.all.saturating_sub(before.all),
        }
    }

    fn others(&self) -> Duration {
        self.all.saturating_sub(self.server + self.database + self.generator)
    }
}
