//! `hongbao migrate`, step by step: what it does in one transaction is one step here, and it dies before or after any.

use std::sync::Arc;

use hongbao_core::fence::{Accepted, FenceRefusal, State, Version, difference, in_force};
use hongbao_testkit::faults::{StoreFaults as _, StoreVerb};

use super::clock::ShiftedClock;
use super::databases::{Fences, SetDatabases};
use super::files::{File, SETS};
use crate::crash::Fuse;

/// One that runs: what it has read, and what it has still to do.
pub struct Migration {
    file: Arc<File>,
    in_force: Option<Version>,
    todo: Vec<Step>,
    clock: ShiftedClock,
    fences: Fences,
    pub fuse: Fuse,
}

#[derive(Clone, Copy)]
enum Step {
    Narrow(usize, u8),
    CheckNarrowed,
    Widen(usize, u8),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// There are more.
    On,
    /// It was the last one.
    Done,
    /// A fence has refused it, or the process has died.
    Ended,
}

impl Migration {
    /// Everything is read and checked, databases are made; nothing is changed unless everything can be.
    ///
    /// # Errors
    /// Why the fences cannot come to this file.
    pub fn begin(
        file: &Arc<File>,
        sets: &[Arc<SetDatabases>],
        clock: &ShiftedClock,
        fences: Fences,
    ) -> Result<Migration, FenceRefusal> {
        let of_file = || (0..SETS.len()).filter_map(|set| Some((set, file.held(set)?)));
        let read: Vec<(usize, u8, State)> = of_file()
            .flat_map(|(set, _)| sets[set].read(clock).into_iter().map(move |(number, state)| (set, number, state)))
            .collect();
        let states: Vec<&State> = read.iter().map(|(.., state)| state).collect();
        let in_force = in_force(states.iter().copied()).cloned();
        if fences != Fences::TakeAtOnce {
            file.version.check(states.iter().copied())?;
            for (set, number, state) in &read {
                let own = by(in_force.as_ref(), *set, *number);
                state.narrow(&file.version, &wanted(file, *set, *number), own.as_deref())?;
            }
        }
        let (mut lose, mut get) = (Vec::new(), Vec::new());
        for (set, held) in of_file() {
            sets[set].prepare(held.databases());
            for (number, _) in sets[set].read(clock) {
                lose.push(Step::Narrow(set, number));
                get.push(Step::Widen(set, number));
            }
        }
        let steps = match fences {
            Fences::Hold | Fences::Open | Fences::TakeAtOnce => [lose, vec![Step::CheckNarrowed], get].concat(),
            Fences::WidenFirst => [get, lose].concat(),
        };
        let todo = steps.into_iter().rev().collect();
        Ok(Migration { file: file.clone(), in_force, todo, clock: clock.clone(), fences, fuse: Fuse::default() })
    }

    /// Does the next step.
    pub async fn step(&mut self, sets: &[Arc<SetDatabases>]) -> Stepped {
        let Some(step) = self.todo.pop() else { return Stepped::Done };
        let lives = self.fuse.before(StoreVerb::Fence).await.is_ok();
        let goes_on = lives && self.execute(step, sets).is_ok() && self.fuse.after(StoreVerb::Fence).await.is_ok();
        match goes_on {
            false => Stepped::Ended,
            true if self.todo.is_empty() => Stepped::Done,
            true => Stepped::On,
        }
    }

    fn execute(&self, step: Step, sets: &[Arc<SetDatabases>]) -> Result<(), FenceRefusal> {
        let (next, clock) = (&self.file.version, &self.clock);
        match step {
            Step::Narrow(set, number) => {
                let wanted = wanted(&self.file, set, number);
                let own = by(self.in_force.as_ref(), set, number);
                sets[set].change(number, clock, |state| {
                    // What may have been minted the core takes from none.
                    let lost = match self.fences {
                        Fences::TakeAtOnce => difference(&state.rows, &wanted),
                        _ => state.narrow(next, &wanted, own.as_deref())?,
                    };
                    (state.rows, state.narrowed) = (difference(&state.rows, &lost), Some(next.clone()));
                    Ok(())
                })
            }
            Step::CheckNarrowed => {
                let of_file = (0..SETS.len()).filter(|set| self.file.held(*set).is_some());
                let read: Vec<(u8, State)> = of_file.flat_map(|set| sets[set].read(clock)).collect();
                next.check_narrowed(read.iter().map(|(_, state)| state))
            }
            Step::Widen(set, number) => {
                let wanted = wanted(&self.file, set, number);
                sets[set].change(number, clock, |state| {
                    // The core refuses to give before all have lost.
                    let new = match self.fences {
                        Fences::WidenFirst => difference(&wanted, &state.rows),
                        Fences::Hold | Fences::Open | Fences::TakeAtOnce => state.widen(next, &wanted)?,
                    };
                    state.rows.extend(new);
                    state.widened = Some(next.clone());
                    Ok(())
                })
            }
        }
    }
}

fn wanted(file: &File, set: usize, number: u8) -> Vec<Accepted> {
    file.held(set).expect("the SET is in the file").accepted_in(number)
}

/// What a database accepts by the topology in force.
fn by(version: Option<&Version>, set: usize, number: u8) -> Option<Vec<Accepted>> {
    version.map(|version| version.maps.held_by(SETS[set].0).accepted_in(number))
}
