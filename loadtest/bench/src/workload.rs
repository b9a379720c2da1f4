//! The workloads: which requests a round sends, and what their answers must be.

use clap::ValueEnum;
use hongbao_load::{Answer, Client, Fallible, RequestBuffer, describe};
use memchr::memmem;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::prepare::{Look, Opening, open_requests, repeated, send_envelopes, user_id};

/// Requests a second that are prepared: more than two cores answer.
const REQUESTS_PER_S: u32 = 120_000;
/// Openings that one envelope can have at most by the service's own limits.
const SHARES_CEILING: u32 = 10_000_000;
/// Users who open the spread envelopes, each many of them.
const SPREAD_USERS_MIN: u32 = 20_000;
/// Users who find the empty envelope empty.
const MEMORY_USERS: u32 = 100_000;
/// The connections of the second spread line.
const MANY_CONNECTIONS: u32 = 1_024;

/// A workload by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// All users open the same envelope
    Hot,
    /// Openings of many envelopes, in random order
    Spread,
    /// Grabs on an empty envelope, answered from memory
    Memory,
    /// Views of an opened envelope, answered from memory
    View,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: Name,
    pub connections: u32,
    /// The least ratio to the bare route, if one is asked for.
    pub goal: Option<f64>,
}

impl Name {
    /// The name as it is typed and printed.
    pub fn text(self) -> &'static str {
        match self {
            Name::Hot => "hot",
            Name::Spread => "spread",
            Name::Memory => "memory",
            Name::View => "view",
        }
    }

    /// Whether each request is good only once.
    pub fn consumes(self) -> bool {
        matches!(self, Name::Hot | Name::Spread)
    }

    /// What the service must answer.
    pub fn expect(self) -> Expect {
        match self {
            Name::Hot | Name::Spread => Expect::Opened,
            Name::Memory => Expect::Empty,
            Name::View => Expect::Shown,
        }
    }
}

/// The lines to measure: those of `names`, or all when there are none. A SET
/// with a database in a process of its own has higher goals.
pub fn lines(names: &[Name], connections: u32, cluster: bool) -> Vec<Workload> {
    let (hot, spread) = if cluster { (0.50, 0.40) } else { (0.40, 0.30) };
    let line = |name, connections, goal| Workload { name, connections, goal };
    let mut all = vec![
        line(Name::Hot, connections, Some(hot)),
        line(Name::Spread, connections, Some(spread)),
        line(Name::Spread, MANY_CONNECTIONS, None),
        line(Name::Memory, connections, Some(0.75)),
        line(Name::View, connections, Some(0.75)),
    ];
    all.retain(|line| names.is_empty() || names.contains(&line.name));
    all
}

/// The one right answer to a workload's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Opened, and for the first time.
    Opened,
    Empty,
    /// Something to open, with a ticket for it.
    Ready,
    /// The envelope, with one opening.
    Shown,
}

impl Expect {
    /// Refuses any other answer by what it is. Searches for text only: parsing
    /// each answer would cost the generator more than sending the request.
    pub fn check(self, answer: &Answer<'_>) -> Result<(), String> {
        let holds = |text: &str| memmem::find(answer.body, text.as_bytes()).is_some();
        let right = match self {
            Expect::Opened => holds(r#""outcome":"opened""#) && holds(r#""replayed":false"#),
            Expect::Empty => holds(r#""outcome":"empty""#),
            Expect::Ready => holds(r#""outcome":"ready""#),
            Expect::Shown => holds(r#""seq":1,"#) && holds(r#""state":"#),
        };
        if answer.status == 200 && right { Ok(()) } else { Err(describe(answer)) }
    }
}

/// How much a bench needs, known before the service starts.
pub struct Extent {
    requests_per_round: u32,
    hot_shares: u32,
    spread_envelopes: u32,
    openings_per_round: u32,
    spread_shares: u32,
}

impl Extent {
    /// For `rounds` rounds of each line, each sending for at most `seconds`.
    pub fn new(lines: &[Workload], rounds: u32, seconds: f64, envelopes: u32) -> Fallible<Extent> {
        let requests_per_round = (seconds * f64::from(REQUESTS_PER_S)).ceil() as u32;
        let rounds_of = |name| rounds * lines.iter().filter(|line| line.name == name).count() as u32;
        let openings_per_round = requests_per_round.div_ceil(envelopes);
        let shares = |count: u32, rounds: u32| match count.checked_mul(rounds.max(1)) {
            Some(shares) if shares <= SHARES_CEILING => Ok(shares),
            _ => Err(format!(
                "an envelope would need more than {SHARES_CEILING} shares: ask for less time or fewer rounds"
            )),
        };
        Ok(Extent {
            requests_per_round,
            hot_shares: shares(requests_per_round, rounds_of(Name::Hot))?,
            spread_envelopes: envelopes,
            openings_per_round,
            spread_shares: shares(openings_per_round, rounds_of(Name::Spread))?,
        })
    }

    /// The shares that the service must allow an envelope.
    pub fn shares_max(&self) -> u32 {
        self.hot_shares.max(self.spread_shares)
    }
}

/// The envelopes of a workload, and how far they are used.
pub struct PreparedWorkload {
    name: Name,
    envelopes: Vec<String>,
    rounds: u32,
}

impl PreparedWorkload {
    /// Sends what the workload needs.
    pub fn set(name: Name, client: &Client, extent: &Extent) -> Fallible<PreparedWorkload> {
        let envelopes = match name {
            Name::Hot => send_envelopes(client, 1, extent.hot_shares)?,
            Name::Spread => send_envelopes(client, extent.spread_envelopes, extent.spread_shares)?,
            Name::Memory | Name::View => empty_envelope(client)?,
        };
        Ok(PreparedWorkload { name, envelopes, rounds: 0 })
    }

    /// What it is of.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The requests of the next round. No opening comes twice in all rounds.
    pub fn requests(&mut self, client: &Client, extent: &Extent) -> Fallible<RequestBuffer> {
        let round = self.rounds;
        self.rounds += 1;
        match self.name {
            Name::Hot => open_requests(client, &self.envelopes, &hot_openings(extent, round)),
            Name::Spread => open_requests(client, &self.envelopes, &spread_openings(extent, round)),
            Name::Memory => Ok(repeated(client, Look::Grab, &self.envelopes[0], 1..MEMORY_USERS + 1)),
            Name::View => Ok(repeated(client, Look::View, &self.envelopes[0], 1..MEMORY_USERS + 1)),
        }
    }
}

/// An envelope of one share, which user 0 has opened.
fn empty_envelope(client: &Client) -> Fallible<Vec<String>> {
    let envelopes = send_envelopes(client, 1, 1)?;
    let opening = open_requests(client, &envelopes, &[Opening { user: 0, envelope: 0 }])?;
    client.all(&opening, |_, body| Expect::Opened.check(&Answer::of(200, body)))?;
    // From here on the service must know that there is nothing left.
    let grab = client.one("POST", &format!("/v1/envelopes/{}/grab", envelopes[0]), &user_id(1), "")?;
    Expect::Empty.check(&Answer::of(200, grab.as_bytes()))?;
    Ok(envelopes)
}

fn hot_openings(extent: &Extent, round: u32) -> Vec<Opening> {
    let first = round * extent.requests_per_round;
    (first..first + extent.requests_per_round).map(|user| Opening { user, envelope: 0 }).collect()
}

/// Every envelope equally often, in random order. The openers of one envelope
/// follow one another in the list of users, from a place of its own.
fn spread_openings(extent: &Extent, round: u32) -> Vec<Opening> {
    let users = SPREAD_USERS_MIN.max(extent.spread_shares);
    let ranks = round * extent.openings_per_round..(round + 1) * extent.openings_per_round;
    let user = |envelope: u32, rank: u32| ((u64::from(envelope) * 7_919 + u64::from(rank)) % u64::from(users)) as u32;
    let mut openings: Vec<Opening> = ranks
        .flat_map(|rank| {
            (0..extent.spread_envelopes).map(move |envelope| Opening { user: user(envelope, rank), envelope })
        })
        .collect();
    openings.shuffle(&mut SmallRng::seed_from_u64(u64::from(round)));
    openings
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn extent(rounds: u32, envelopes: u32) -> Extent {
        Extent::new(&lines(&[], 256, false), rounds, 0.01, envelopes).unwrap()
    }

    #[test]
    fn no_opening_comes_twice_and_every_envelope_has_shares_for_all() {
        for envelopes in [1, 7, 1_000] {
            let extent = extent(3, envelopes);
            for openings in [hot_openings, spread_openings] {
                let all: Vec<Opening> = (0..3).flat_map(|round| openings(&extent, round)).collect();
                assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
                assert!(all.len() >= 3 * extent.requests_per_round as usize);
            }
            let of_first = (0..6).flat_map(|round| spread_openings(&extent, round)).filter(|o| o.envelope == 0);
            assert_eq!(of_first.count() as u32, extent.spread_shares, "two lines of three rounds");
        }
    }

    #[test]
    fn more_shares_than_the_service_allows_are_refused_before_anything_starts() {
        assert!(Extent::new(&lines(&[], 256, false), 20, 60.0, 10_000).is_err());
        assert!(Extent::new(&lines(&[Name::Spread], 256, false), 20, 60.0, 1).is_err());
    }

    #[test]
    fn only_the_named_workloads_are_measured() {
        assert_eq!(lines(&[], 256, false).len(), 5);
        let spread = lines(&[Name::Spread], 64, false);
        assert_eq!(spread.iter().map(|line| line.connections).collect::<Vec<_>>(), [64, 1_024]);
    }

    #[test]
    fn only_the_one_right_answer_is_right() {
        let check = |expect: Expect, status, body: &str| expect.check(&Answer::of(status, body.as_bytes()));
        let fresh = r#"{"outcome":"opened","amount_fen":1,"seq":1,"replayed":false}"#;
        assert_eq!(check(Expect::Opened, 200, fresh), Ok(()));
        assert_eq!(check(Expect::Opened, 200, &fresh.replace("false", "true")), Err("200 opened replayed".into()));
        assert_eq!(check(Expect::Opened, 200, r#"{"outcome":"empty"}"#), Err("200 empty".into()));
        assert_eq!(check(Expect::Empty, 200, r#"{"outcome":"empty"}"#), Ok(()));
        assert_eq!(check(Expect::Empty, 503, r#"{"code":"busy"}"#), Err("503 busy".into()));
    }

    #[test]
    fn the_stage_of_each_workload_answers_as_expected() {
        let addr = hongbao_load_testkit::start();
        let client = Client::new(addr, "secret");
        let extent = extent(1, 10);
        for name in [Name::Hot, Name::Spread] {
            let requests = PreparedWorkload::set(name, &client, &extent).unwrap().requests(&client, &extent).unwrap();
            client.all(&requests, |_, body| Expect::Opened.check(&Answer::of(200, body))).unwrap();
        }
        assert_eq!(empty_envelope(&client).unwrap().len(), 1);
    }
}
