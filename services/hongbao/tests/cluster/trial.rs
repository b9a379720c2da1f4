//! One installation, one history, and scenarios that are played on it.

use std::time::Instant;

use crate::check::{audit, check, check_refunds, until_settled};
use crate::cluster::Cluster;
use crate::history::History;
use crate::load::{Load, senders};
use crate::noticed::{MayNotice, Noticed};
use crate::person::Person;

/// What each sender has at the start: enough for the whole run.
const START_FEN: i64 = 500_000_000;

/// What happens to the cluster, named by a sentence.
pub struct Scenario {
    /// The name of its function.
    pub name: &'static str,
    play: Box<dyn Fn(&Trial)>,
}

impl Scenario {
    /// A function, under its own name.
    pub fn of<F: Fn(&Trial) + 'static>(play: F) -> Scenario {
        let path = std::any::type_name::<F>();
        Scenario { name: path.rsplit("::").next().unwrap_or(path), play: Box::new(play) }
    }
}

/// The running cluster and what its users know.
pub struct Trial {
    /// The processes.
    pub cluster: Cluster,
    /// What everybody was told.
    pub history: History,
}

impl Trial {
    /// Starts the cluster, and gives the senders their money.
    pub fn start() -> Trial {
        let trial = Trial { cluster: Cluster::start(), history: History::default() };
        trial.cluster.wait_until_ready(trial.cluster.gateway());
        let mut person = trial.person();
        for sender in senders() {
            until_settled("a top-up", || person.top_up(&sender, START_FEN));
            trial.history.known().topped_up_fen += START_FEN;
        }
        trial
    }

    /// A connection to the gateway.
    pub fn person(&self) -> Person {
        Person::new(self.cluster.secret(), self.cluster.gateway())
    }

    /// Plays a scenario, and says how long it took.
    pub fn play(&self, scenario: &Scenario) {
        println!("{}", scenario.name.replace('_', " "));
        let began = Instant::now();
        (scenario.play)(self);
        println!("    {:.1} s", began.elapsed().as_secs_f64());
    }

    /// Lets a fault happen under load, and checks everything afterwards.
    pub fn under_load(&self, may: MayNotice, fault: impl FnOnce(&Load<'_>)) {
        let sets = self.cluster.sets();
        let noticed = Noticed::new(sets.len());
        let load = Load::new(&self.cluster, &self.history, &noticed);
        load.around(|| fault(&load));
        println!("    went well (troubles): {}", noticed.reason(&sets));
        let unknown = check(&self.cluster, &self.history);
        println!("    {unknown} unknown at first, all settled; the audit holds");
        noticed.require(&sets, may);
    }

    /// The end of all: what had to be refunded is, and no fen came from elsewhere.
    pub fn check_the_books(&self) {
        check_refunds(&self.cluster, &self.history);
        let books = audit(&self.cluster);
        assert_eq!(books["top_ups_fen"], self.history.known().topped_up_fen, "I6: each top-up happened once: {books}");
    }
}
