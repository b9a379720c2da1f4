//! What a crash costs: in the middle of the load the server is killed, with
//! Redis where the scheme keeps money in it, and the answers to the users are
//! compared with what MariaDB holds. That is the loss when the machine of Redis
//! is lost. When it was only the process, Redis is started again from its file
//! and a new server goes on writing to MariaDB: so that is looked at too. Where
//! Redis is the record, as the machine of MariaDB is for the others, only what
//! it has read from its file is looked at. The power cut in between, which costs
//! what was not flushed, is not tried.

use std::time::{Duration, Instant};

use hongbao_load::{Fallible, Generator, RequestSource};
use rustix::process::Signal;
use serde::Serialize;

use super::audit::Audit;
use super::cell::Cell;
use super::history::History;
use super::run::{Runner, SERVER};
use super::scheme::Scheme;
use super::testbed::Testbed;

/// How many open at once, of how many envelopes.
const CELL: Cell = Cell { openers: 64, envelopes: 16 };
/// Load before the kill.
pub const LOAD: Duration = Duration::from_millis(1_000);
/// Seconds that the requests last: longer than the load.
const PREPARED_S: f64 = 2.0;
/// How long MariaDB may need to end the transactions of those that were killed.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// What one kill cost.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    pub scheme: Scheme,
    /// What the database held afterwards.
    pub audit: Audit,
    /// What it held when Redis had come back, with what its file held.
    pub after_restart: Option<Audit>,
}

/// A scheme whose kill did not happen, or whose money could not be checked afterwards.
#[derive(Clone, Debug, Serialize)]
pub struct NotKilled {
    pub scheme: Scheme,
    pub reason: String,
}

impl Loss {
    /// What was found by one look.
    pub fn of(scheme: Scheme, audit: Audit) -> Loss {
        Loss { scheme, audit, after_restart: None }
    }
}

/// Shares that the service must allow an envelope.
pub fn shares_max() -> u32 {
    CELL.shares_max(Scheme::Hongbao, PREPARED_S)
}

/// Kills a scheme's server in the middle of its load.
///
/// # Errors
/// Also when it was not in the middle of it, or nothing had been acknowledged: then
/// that nothing was lost would say nothing.
pub fn kill(testbed: &mut Testbed, runner: &Runner<'_>, scheme: Scheme, first_user: u32) -> Fallible<Loss> {
    let plan = CELL.plan(scheme, PREPARED_S, first_user);
    let mut history = History::new(plan.openings.len());
    let mut ready = runner.ready(testbed, scheme, plan)?;
    let mut generator = Generator::connect(ready.addr(testbed)?, CELL.connections() as usize)?;
    let alternative = ready.alternative.take();
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| -> Fallible<Instant> {
            std::thread::sleep(LOAD);
            let killed_at = Instant::now();
            testbed.kill_redis_of(scheme);
            match alternative {
                Some(alternative) => drop(alternative),
                None => testbed.hongbao()?.processes().end(SERVER, Signal::KILL)?,
            }
            Ok(killed_at)
        });
        // The connections break, which is what is wanted; what was answered before counts.
        let _ = generator
            .drive(&mut RequestSource::once(&ready.requests), None, |index, answer| history.take(index, answer));
        let ended_at = Instant::now();
        killer.join().map(|killed| killed.map(|killed_at| ended_at.checked_duration_since(killed_at)))
    });
    if killed.map_err(|_| "the kill has failed")??.is_none() {
        return Err("its load was over before it was killed".into());
    }
    if history.opened() == 0 {
        return Err("nothing was acknowledged before it was killed".into());
    }
    std::thread::sleep(SETTLED_WITHIN);
    if scheme == Scheme::RedisAlways {
        testbed.restart_redis(scheme)?;
    }
    let mut loss = Loss::of(scheme, ready.audit(testbed, &history)?);
    if scheme == Scheme::MemoryFirst {
        testbed.restart_redis(scheme)?;
        let _again = runner.start(testbed, scheme)?;
        runner.catch_up(testbed, scheme)?;
        loss.after_restart = Some(ready.audit(testbed, &history)?);
    }
    Ok(loss)
}

pub fn table(losses: &[Loss], not_killed: &[NotKilled]) -> String {
    let mut out = format!(
        "killed (SIGKILL) after {:.1} s of {} at once x {} envelopes: the server, and the Redis of memory-first\n\
         and of redis-always; lost is what was acknowledged and is not in MariaDB, of redis-always not in its Redis, started\n\
         from its file; of memory-first again after its Redis was started from its file\n\
         scheme        acknowledged      lost   money lost    lost after restart",
        LOAD.as_secs_f64(),
        CELL.openers,
        CELL.envelopes
    );
    for Loss { scheme, audit, after_restart } in losses {
        let money = format!("{} fen", audit.lost_fen);
        let again =
            after_restart.as_ref().map_or("-".into(), |audit| format!("{} ({} fen)", audit.lost, audit.lost_fen));
        out += &format!("\n{:<13}{:>13}{:>10}{:>13}{again:>22}", scheme.text(), audit.acknowledged, audit.lost, money);
        let others = audit.altered + audit.never_told + audit.envelopes_broken;
        if others > 0 {
            out += &format!("  MONEY: {audit:?}");
        }
    }
    for NotKilled { scheme, reason } in not_killed {
        out += &format!("\n{:<13}  NOT AUDITED: {reason}", scheme.text());
    }
    out
}
