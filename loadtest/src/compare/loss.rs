//! What a crash costs: in the middle of the load the server is killed, with
//! Redis where the scheme keeps money in it, and what the users were told is
//! compared with what MariaDB holds.

use std::time::Duration;

use serde::Serialize;

use super::audit::Audit;
use super::cell::Cell;
use super::ground::Ground;
use super::history::History;
use super::run::Runner;
use super::scheme::Scheme;
use crate::Fallible;
use crate::generator::Generator;
use crate::load::Feed;

/// How many open at once, of how many envelopes.
const CELL: Cell = Cell { openers: 64, envelopes: 16 };
/// Load before the kill.
const LOAD: Duration = Duration::from_millis(1_000);
/// How long MariaDB may need to end the transactions of those that were killed.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// What one kill cost.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// The scheme.
    pub scheme: Scheme,
    /// What the database held afterwards.
    pub audit: Audit,
}

impl Loss {
    /// What was found.
    pub fn of(scheme: Scheme, audit: Audit) -> Loss {
        Loss { scheme, audit }
    }
}

/// Kills a rival in the middle of its load.
pub fn kill(ground: &mut Ground, runner: &RunnerParts<'_>, scheme: Scheme, first_user: u32) -> Fallible<Loss> {
    let plan = CELL.plan(scheme, LOAD.as_secs_f64() * 4.0, first_user);
    let mut history = History::new(plan.openings.len());
    let mut ready = runner.on(ground).ready(scheme, plan)?;
    let mut generator = Generator::connect(ready.addr(ground)?, CELL.connections() as usize)?;
    let rival = ready.rival.take().ok_or("only rivals are killed")?;
    std::thread::scope(|scope| {
        let kill = scope.spawn(|| {
            std::thread::sleep(LOAD);
            if scheme == Scheme::MemoryFirst {
                ground.kill_redis();
            }
            drop(rival);
        });
        // The connections break, which is what is wanted; what was told before counts.
        let _ = generator.drive(&mut Feed::once(&ready.requests), None, |index, answer| history.take(index, answer));
        kill.join()
    })
    .map_err(|_| "the kill has failed")?;
    std::thread::sleep(SETTLED_WITHIN);
    let audit = ready.audit(ground, &history)?;
    if scheme == Scheme::MemoryFirst {
        ground.restart_redis();
    }
    Ok(Loss::of(scheme, audit))
}

/// A runner without its ground, which a kill changes.
pub struct RunnerParts<'a> {
    /// Where processes may write their logs.
    pub dir: &'a std::path::Path,
    /// How long a run is measured for.
    pub time: Duration,
    /// Connections that a rival has to MariaDB.
    pub connections: u32,
}

impl RunnerParts<'_> {
    /// The runner on this ground.
    pub fn on<'g>(&'g self, ground: &'g Ground) -> Runner<'g> {
        Runner { ground, dir: self.dir, time: self.time, connections: self.connections }
    }
}

/// The losses, as lines.
pub fn table(losses: &[Loss]) -> String {
    let mut out = format!(
        "killed (SIGKILL) after {:.1} s of {} at once x {} envelopes: the server, and for memory-first its Redis\n\
         scheme        acknowledged      lost   money lost",
        LOAD.as_secs_f64(),
        CELL.openers,
        CELL.envelopes
    );
    for Loss { scheme, audit } in losses {
        let money = format!("{} fen", audit.lost_fen);
        out += &format!("\n{:<13}{:>13}{:>10}{:>13}", scheme.text(), audit.acknowledged, audit.lost, money);
        let others = audit.altered + audit.never_told + audit.envelopes_broken;
        if others > 0 {
            out += &format!("  MONEY: {audit:?}");
        }
    }
    out
}
