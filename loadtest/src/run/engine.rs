//! The open-loop engine: visits begin when the plan says so, whatever became of
//! those before. One thread drives all connections; it sleeps until the next
//! moment of the plan or the next answer.
//!
//! A latency begins at the moment that was planned, so an engine or a service
//! that falls behind shows as latency; a retry still counts from when the user
//! first wanted it. Only what follows from an answer, like the opening from the
//! ticket, begins with that answer. What cannot be started at all is counted, and
//! voids the run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rand::Rng;
use rand::rngs::SmallRng;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::answer::{Heard, hear};
use super::history::Told;
use super::plan::{Plan, What};
use super::recorder::{Gauges, Kind, Recorder};
use super::wire::Wire;
use crate::arena::Arena;
use crate::outcome::{SLOW_CLIENTS, Second};
use crate::{Fallible, interrupt};

/// An arrival that finds no free connection for so long could not be started.
const START_WITHIN_US: u64 = 1_000_000;
/// A request that is not answered for so long is given up: its outcome is unknown.
const ANSWER_WITHIN_US: u64 = 15_000_000;
/// How long the engine waits for the last answers after the plan's end.
const LINGER_US: u64 = 60_000_000;
/// A slow client sends the second half of its request so much later.
const SLOW_US: u64 = 300_000;
/// Whoever was told to come again does so within this time at random, and twice
/// that after each further refusal.
const RETRY_US: u64 = 100_000;
/// The token of the timer among the connections.
const TIMER: Token = Token(usize::MAX - 1);

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Makes an envelope.
    Create,
    /// Pays for it.
    Pay,
    /// Asks whether there is something to open.
    Grab,
    /// Opens.
    Open,
    /// Looks who got what.
    View,
    /// Any of these by a client that sends slowly.
    Slow,
}

impl Call {
    /// Its name in reports.
    pub fn text(self) -> &'static str {
        match self {
            Call::Create => "create",
            Call::Pay => "pay",
            Call::Grab => "grab",
            Call::Open => "open",
            Call::View => "view",
            Call::Slow => SLOW_CLIENTS,
        }
    }
}

/// How visits follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When the plan says so.
    Open,
    /// So many at a time, each when another has ended: finds the ceiling.
    Closed(u32),
}

/// What the engine needs besides the plan.
pub struct Equipment<'a> {
    /// Where the service listens.
    pub addr: SocketAddr,
    /// Of each user the bearer token.
    pub tokens: &'a Arena,
    /// Of each visit the ticket, made ahead; an empty one is to be grabbed.
    pub tickets: &'a Arena,
    /// The ids of envelopes that were sent ahead; `None` for those to be sent.
    pub envelopes: Vec<Option<String>>,
    /// A further header line with its line end, or nothing.
    pub header: String,
    /// Connections at most.
    pub connections: usize,
    /// How often a user who was told to come again does so.
    pub retries: u8,
    /// Randomness of the jitter.
    pub random: SmallRng,
    /// Where the engine asks what the service says of itself.
    pub gauges: &'a dyn Fn() -> Gauges,
    /// Who is told each second.
    pub on_second: &'a mut dyn FnMut(&Second),
}

/// What a drive has brought.
pub struct Driven {
    /// All counts and times.
    pub recorder: Recorder,
    /// What was said to each request to open.
    pub history: Vec<Told>,
    /// The ids of all envelopes that came to be.
    pub envelopes: Vec<Option<String>>,
    /// What went over the wires.
    pub traffic: Traffic,
    /// Closed loop: when the plan had no more visits, if that was before its end.
    pub used_up_s: Option<f64>,
}

/// What went over the wires, as the generator sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Requests that were sent.
    pub requests: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
}

/// One request that is to be sent, is under way, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Action {
    visit: u32,
    call: Call,
    attempt: u8,
    /// The second tap: it is recorded, and nothing follows from it.
    is_double: bool,
    /// When it is to be sent.
    due_us: u64,
    /// When the user began to want it: its latency counts from here, also after
    /// refusals and while the envelope was not there yet.
    since_us: u64,
}

/// What a timer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Send(Action),
    /// The rest of a slow client's request, if the same one is still under way.
    Release {
        seat: usize,
        sent_us: u64,
    },
}

/// A place for a connection.
#[derive(Default)]
struct Seat {
    wire: Option<Wire>,
    under_way: Option<(Action, u64)>,
}

/// An envelope as far as it has come.
enum Envelope {
    /// Not yet paid: whose visits wait.
    Awaited(Vec<u32>),
    Paid,
    /// Could not be sent; who comes for it leaves again.
    Failed,
}

/// Drives a plan.
pub struct Engine<'a> {
    plan: &'a Plan,
    pace: Pace,
    equipment: Equipment<'a>,
    poll: Poll,
    timer: OwnedFd,
    started: Instant,
    seats: Vec<Seat>,
    free: Vec<usize>,
    ready: VecDeque<Action>,
    later: BinaryHeap<Reverse<(u64, Later)>>,
    next_visit: usize,
    /// Visits that have begun and not ended.
    present: u32,
    envelopes: Vec<Envelope>,
    /// Tickets that were grabbed, by visit.
    grabbed: HashMap<u32, Box<str>>,
    recorder: Recorder,
    history: Vec<Told>,
    traffic: Traffic,
}

impl<'a> Engine<'a> {
    /// An engine for a plan.
    pub fn new(plan: &'a Plan, pace: Pace, equipment: Equipment<'a>) -> Fallible<Engine<'a>> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let envelopes = equipment.envelopes.iter().map(|id| match id {
            Some(_) => Envelope::Paid,
            None => Envelope::Awaited(Vec::new()),
        });
        Ok(Engine {
            plan,
            pace,
            poll,
            timer,
            started: Instant::now(),
            seats: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            next_visit: 0,
            present: 0,
            envelopes: envelopes.collect(),
            grabbed: HashMap::new(),
            recorder: Recorder::new(&plan.phases),
            history: Vec::new(),
            traffic: Traffic::default(),
            equipment,
        })
    }

    /// Drives the whole plan, from `started` on.
    ///
    /// # Errors
    /// When it is interrupted, or the system gives no sockets.
    pub fn drive(mut self, started: Instant) -> Fallible<Driven> {
        self.started = started;
        let end_us = (self.plan.load_s() * 1e6) as u64;
        let mut events = Events::with_capacity(1_024);
        let (mut second_us, mut used_up_s) = (1_000_000, None);
        loop {
            let now = self.now_us();
            self.begin_visits(now, end_us);
            self.take_timers(now);
            self.send_ready(now)?;
            if now >= second_us {
                interrupt::check()?;
                self.give_up_silent(now);
                let second = self.recorder.tick(second_us as f64 / 1e6, (self.equipment.gauges)());
                (self.equipment.on_second)(second);
                second_us += 1_000_000;
            }
            if self.pace != Pace::Open && self.next_visit == self.plan.visits.len() && now < end_us {
                used_up_s.get_or_insert(now as f64 / 1e6);
            }
            let is_over = self.next_visit == self.plan.visits.len() || now >= end_us && self.pace != Pace::Open;
            if (is_over && self.is_quiet() && now >= end_us.min(second_us)) || now > end_us + LINGER_US {
                break;
            }
            self.sleep_until(second_us.min(self.next_moment(now)), &mut events)?;
            for event in &events {
                if event.token() != TIMER {
                    self.on_event(event.token().0, event.is_writable());
                }
            }
        }
        self.end();
        let second = self.recorder.tick(self.now_us() as f64 / 1e6, (self.equipment.gauges)());
        (self.equipment.on_second)(second);
        Ok(Driven {
            recorder: self.recorder,
            history: self.history,
            envelopes: self.equipment.envelopes,
            traffic: self.traffic,
            used_up_s,
        })
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn is_quiet(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty() && self.seats.iter().all(|seat| seat.under_way.is_none())
    }

    // ---- visits ----------------------------------------------------------

    fn begin_visits(&mut self, now: u64, end_us: u64) {
        while let Some(visit) = self.plan.visits.get(self.next_visit) {
            let (begins, due_us) = match self.pace {
                Pace::Open => (visit.at_us <= now, visit.at_us),
                Pace::Closed(visitors) => (self.present < visitors && now < end_us, now),
            };
            if !begins {
                return;
            }
            self.recorder.offered();
            self.begin(self.next_visit as u32, due_us);
            self.next_visit += 1;
        }
    }

    fn begin(&mut self, number: u32, due_us: u64) {
        let visit = self.plan.visits[number as usize];
        self.present += 1;
        let call = match visit.what {
            What::Send => Call::Create,
            What::Open if !self.ticket_ahead(number).is_empty() => Call::Open,
            What::Open | What::Grab => Call::Grab,
            What::View => Call::View,
        };
        if visit.what != What::Send {
            match &mut self.envelopes[visit.envelope as usize] {
                Envelope::Awaited(visits) => return visits.push(number),
                Envelope::Failed => {
                    self.recorder.without_envelope();
                    return self.present -= 1;
                }
                Envelope::Paid => (),
            }
        }
        // Who waited for the envelope has wanted it since the planned moment.
        let since_us = if self.pace == Pace::Open { visit.at_us } else { due_us };
        self.ask(Action { visit: number, call, attempt: 0, is_double: false, due_us, since_us });
    }

    /// Queues a request, twice for who taps twice.
    fn ask(&mut self, action: Action) {
        self.ready.push_back(action);
        let doubles = self.plan.visits[action.visit as usize].manners.double;
        if doubles && action.call == Call::Open && action.attempt == 0 {
            self.ready.push_back(Action { is_double: true, ..action });
        }
    }

    fn ticket_ahead(&self, visit: u32) -> &[u8] {
        let tickets = self.equipment.tickets;
        if (visit as usize) < tickets.len() { tickets.get(visit as usize) } else { b"" }
    }

    fn leave(&mut self, visit: u32) {
        self.grabbed.remove(&visit);
        self.present -= 1;
    }

    /// An envelope is paid for, or never will be.
    fn settle_envelope(&mut self, envelope: u32, paid: bool, now: u64) {
        let state = if paid { Envelope::Paid } else { Envelope::Failed };
        let before = std::mem::replace(&mut self.envelopes[envelope as usize], state);
        let Envelope::Awaited(visits) = before else { return };
        for visit in visits {
            self.present -= 1;
            self.begin(visit, now);
        }
    }

    // ---- sending ---------------------------------------------------------

    fn take_timers(&mut self, now: u64) {
        while let Some(Reverse((at_us, _))) = self.later.peek()
            && *at_us <= now
        {
            match self.later.pop().expect("it was just seen").0.1 {
                Later::Send(action) => self.ready.push_back(action),
                Later::Release { seat, sent_us } => {
                    let seat = &mut self.seats[seat];
                    if let (Some(wire), Some((_, at))) = (&mut seat.wire, seat.under_way)
                        && at == sent_us
                    {
                        wire.release();
                    }
                }
            }
        }
    }

    fn send_ready(&mut self, now: u64) -> Fallible<()> {
        while let Some(action) = self.ready.front().copied() {
            if now.saturating_sub(action.due_us) > START_WITHIN_US {
                self.ready.pop_front();
                self.recorder.not_started += 1;
                self.abandon(action, now);
                continue;
            }
            let Some(seat) = self.free_seat() else { return Ok(()) };
            self.ready.pop_front();
            self.send(action, seat)?;
        }
        Ok(())
    }

    fn free_seat(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.seats.len() < self.equipment.connections {
            self.seats.push(Seat::default());
            return Some(self.seats.len() - 1);
        }
        self.free.pop()
    }

    fn send(&mut self, action: Action, seat: usize) -> Fallible<()> {
        // Read anew: those that were sent just before took their time.
        let now = self.now_us();
        let visit = self.plan.visits[action.visit as usize];
        if self.seats[seat].wire.is_none() {
            self.seats[seat].wire = Some(Wire::open(self.equipment.addr, &self.poll, seat)?);
        }
        let mut wire = self.seats[seat].wire.take().expect("it was just made");
        wire.send(visit.manners.slow, |out| self.write_request(action, out));
        self.traffic.requests += 1;
        self.traffic.bytes_out += wire.request_len() as u64;
        self.seats[seat].wire = Some(wire);
        self.seats[seat].under_way = Some((action, now));
        self.recorder.started(now.saturating_sub(action.due_us));
        if visit.manners.slow {
            self.later.push(Reverse((now + SLOW_US, Later::Release { seat, sent_us: now })));
        }
        Ok(())
    }

    fn write_request(&self, action: Action, out: &mut Vec<u8>) {
        let visit = self.plan.visits[action.visit as usize];
        let id = self.equipment.envelopes[visit.envelope as usize].as_deref().unwrap_or_default();
        let body = match action.call {
            Call::Create => self.create_body(visit.envelope),
            Call::Open => {
                let ahead = std::str::from_utf8(self.ticket_ahead(action.visit)).expect("tickets are text");
                let ticket = self.grabbed.get(&action.visit).map_or(ahead, |ticket| &**ticket);
                format!(r#"{{"ticket":"{ticket}"}}"#)
            }
            _ => String::new(),
        };
        let (method, verb) = match action.call {
            Call::Create => ("POST", ""),
            Call::Pay => ("POST", "/pay"),
            Call::Grab => ("POST", "/grab"),
            Call::Open => ("POST", "/open"),
            Call::View | Call::Slow => ("GET", ""),
        };
        let slash = if action.call == Call::Create { "" } else { "/" };
        write!(out, "{method} /v1/envelopes{slash}{id}{verb} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ")
            .and_then(|()| out.write_all(self.equipment.tokens.get(visit.user as usize)))
            .and_then(|()| {
                let content_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
                let header = &self.equipment.header;
                write!(out, "\r\n{header}{content_type}content-length: {}\r\n\r\n{body}", body.len())
            })
            .expect("a Vec takes every write");
    }

    fn create_body(&self, envelope: u32) -> String {
        let envelope = &self.plan.envelopes[envelope as usize];
        let audience =
            envelope.group.map_or(String::new(), |group| format!(r#","audience":{{"type":"group","id":"g{group}"}}"#));
        format!(
            r#"{{"kind":"lucky","total_fen":{},"shares":{},"expires_in_s":{}{audience}}}"#,
            envelope.total_fen, envelope.shares, envelope.expires_in_s
        )
    }

    // ---- answers ---------------------------------------------------------

    fn on_event(&mut self, seat: usize, writable: bool) {
        let Some(mut wire) = self.seats[seat].wire.take() else { return };
        if writable {
            wire.flush();
        }
        let Some((action, sent_us)) = self.seats[seat].under_way else {
            // Idle: anything but silence means that the server has closed it.
            if matches!(wire.read(|_| ()), Ok(None)) {
                self.seats[seat].wire = Some(wire);
            }
            return;
        };
        let mut heard = None;
        match wire.read(|answer| heard = Some(hear(action.call, answer))) {
            Ok(None) => self.seats[seat].wire = Some(wire),
            Ok(Some(bytes)) => {
                self.traffic.bytes_in += bytes as u64;
                self.seats[seat].wire = Some(wire);
                self.free_up(seat);
                let heard = heard.expect("an answer was taken");
                self.on_answer(action, sent_us, heard);
            }
            Err(label) => {
                self.free_up(seat);
                self.on_answer(action, sent_us, Heard::lost(label, wire.has_sent_all()));
            }
        }
    }

    fn free_up(&mut self, seat: usize) {
        self.seats[seat].under_way = None;
        self.free.push(seat);
    }

    fn on_answer(&mut self, action: Action, sent_us: u64, heard: Heard) {
        let now = self.now_us();
        let visit = self.plan.visits[action.visit as usize];
        let call = if visit.manners.slow { Call::Slow } else { action.call };
        let phase = self.plan.phase_at(action.since_us);
        self.recorder.answered(call, phase, &heard.label, heard.kind, now.saturating_sub(action.since_us));
        if action.call == Call::Open {
            let (envelope, user) = (visit.envelope, visit.user);
            self.history.push(Told { envelope, user, sent_us, answered_us: now, answer: heard.opened });
        }
        if action.is_double {
            return;
        }
        match action.call {
            // A second create would be a second envelope: only a refusal is tried again.
            _ if heard.may_ask_again && action.attempt < self.equipment.retries && self.may_repeat(action, &heard) => {
                let wait_us = self.equipment.random.random_range(0..RETRY_US << action.attempt.min(6));
                let again = Action { attempt: action.attempt + 1, due_us: now + wait_us, ..action };
                self.later.push(Reverse((again.due_us, Later::Send(again))));
            }
            Call::Create if heard.text.is_some() => {
                self.equipment.envelopes[visit.envelope as usize] = heard.text.map(String::from);
                self.ask(Action { call: Call::Pay, attempt: 0, due_us: now, since_us: now, ..action });
            }
            Call::Grab if visit.what == What::Open && heard.text.is_some() => {
                self.grabbed.insert(action.visit, heard.text.expect("it was just seen"));
                self.ask(Action { call: Call::Open, attempt: 0, due_us: now, since_us: now, ..action });
            }
            Call::Create | Call::Pay => {
                self.settle_envelope(visit.envelope, action.call == Call::Pay && heard.is_good(), now);
                self.leave(action.visit);
            }
            _ => self.leave(action.visit),
        }
    }

    fn may_repeat(&self, action: Action, heard: &Heard) -> bool {
        action.call != Call::Create || heard.kind == Kind::Refused
    }

    /// Ends a visit that could not go on.
    fn abandon(&mut self, action: Action, now: u64) {
        if action.is_double {
            return;
        }
        if matches!(action.call, Call::Create | Call::Pay) {
            let envelope = self.plan.visits[action.visit as usize].envelope;
            self.settle_envelope(envelope, false, now);
        }
        self.leave(action.visit);
    }

    /// Gives up requests that nobody answers.
    fn give_up_silent(&mut self, now: u64) {
        for seat in 0..self.seats.len() {
            if let Some((action, sent_us)) = self.seats[seat].under_way
                && now.saturating_sub(sent_us) > ANSWER_WITHIN_US
            {
                self.lose(seat, action, sent_us);
            }
        }
    }

    fn lose(&mut self, seat: usize, action: Action, sent_us: u64) {
        let sent_all = self.seats[seat].wire.take().is_some_and(|wire| wire.has_sent_all());
        self.free_up(seat);
        self.on_answer(action, sent_us, Heard::lost("no answer".to_owned(), sent_all));
    }

    /// After the last moment: what is under way has an unknown outcome, what
    /// waits was never started.
    fn end(&mut self) {
        self.equipment.retries = 0;
        for seat in 0..self.seats.len() {
            if let Some((action, sent_us)) = self.seats[seat].under_way {
                self.lose(seat, action, sent_us);
            }
        }
        let waiting = self.ready.len() + self.later.len();
        let never_begun = if self.pace == Pace::Open { self.plan.visits.len() - self.next_visit } else { 0 };
        let awaiting = self.envelopes.iter().map(|envelope| match envelope {
            Envelope::Awaited(visits) => visits.len(),
            Envelope::Paid | Envelope::Failed => 0,
        });
        self.recorder.not_started += (waiting + never_begun + awaiting.sum::<usize>()) as u64;
    }

    // ---- sleeping --------------------------------------------------------

    fn next_moment(&self, now: u64) -> u64 {
        let visit = match self.pace {
            Pace::Open => self.plan.visits.get(self.next_visit).map(|visit| visit.at_us),
            Pace::Closed(_) => None,
        };
        let timer = self.later.peek().map(|Reverse((at_us, _))| *at_us);
        let moment = visit.into_iter().chain(timer).min().unwrap_or(u64::MAX);
        // What waits for a connection is looked at again when one comes free, or to be given up.
        if self.ready.is_empty() { moment } else { moment.min(now + 10_000) }
    }

    /// Waits for events, until `at_us` at most: to the microsecond, which the
    /// timeout of a poll is not.
    fn sleep_until(&mut self, at_us: u64, events: &mut Events) -> Fallible<()> {
        let left_us = at_us.saturating_sub(self.now_us());
        if left_us > 0 {
            let left = Timespec { tv_sec: (left_us / 1_000_000) as i64, tv_nsec: (left_us % 1_000_000) as i64 * 1_000 };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let alarm = Itimerspec { it_interval: never, it_value: left };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &alarm)?;
        }
        let timeout = if left_us > 0 { None } else { Some(Duration::ZERO) };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            other => Ok(other?),
        }
    }
}
