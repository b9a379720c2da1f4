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
use std::time::{Duration, Instant};

use hongbao_load::{Answered, Fallible, interrupt};
use mio::{Events, Poll};
use rand::Rng;

use super::alarm::Alarm;
use super::answer::ParsedResponse;
use super::connection_pool::{Action, ConnectionPool, Ended};
use super::drive::{Driven, Equipment, Pace, Traffic};
use super::history::HistoryEvent;
use super::plan::{RunPlan, What};
use super::recorder::{AnswerKind, Recorder};
use super::request::{Ask, UserCall};

/// An arrival that finds no free connection for so long could not be started.
const START_WITHIN_US: u64 = 1_000_000;
/// A request that is not answered for so long is given up: its outcome is unknown.
const ANSWER_WITHIN_US: u64 = 15_000_000;
/// How long the engine waits for the last answers after the plan's end.
const LINGER_US: u64 = 60_000_000;
/// A slow client sends the second half of its request so much later.
const SLOW_US: u64 = 300_000;
/// A refused request is sent again within this time at random, and within twice that
/// after each further refusal.
const RETRY_US: u64 = 100_000;

/// What a timer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Send(Action),
    /// The rest of a slow client's request, if the same one is still under way.
    Release {
        place: usize,
        sent_us: u64,
    },
}

/// An envelope as far as it has come.
enum Envelope {
    /// Not yet paid: whose visits wait.
    Awaited(Vec<u32>),
    Paid,
    /// Could not be sent; visits for it end at once.
    Failed,
}

/// Drives a plan.
pub struct Engine<'a> {
    plan: &'a RunPlan,
    pace: Pace,
    equipment: Equipment<'a>,
    poll: Poll,
    alarm: Alarm,
    started: Instant,
    pool: ConnectionPool,
    ready: VecDeque<Action>,
    later: BinaryHeap<Reverse<(u64, Later)>>,
    next_visit: usize,
    /// Visits that have begun and not ended.
    present: u32,
    envelopes: Vec<Envelope>,
    /// Tickets that were grabbed, by visit.
    grabbed: HashMap<u32, Box<str>>,
    recorder: Recorder,
    history: Vec<HistoryEvent>,
    traffic: Traffic,
    tickets_renewed: u64,
}

impl<'a> Engine<'a> {
    pub fn new(plan: &'a RunPlan, pace: Pace, equipment: Equipment<'a>) -> Fallible<Engine<'a>> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(&poll)?;
        let envelopes = equipment.envelopes.iter().map(|id| match id {
            Some(_) => Envelope::Paid,
            None => Envelope::Awaited(Vec::new()),
        });
        Ok(Engine {
            plan,
            pace,
            poll,
            alarm,
            started: Instant::now(),
            pool: ConnectionPool::new(equipment.site.clone(), equipment.connections),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            next_visit: 0,
            present: 0,
            envelopes: envelopes.collect(),
            grabbed: HashMap::new(),
            recorder: Recorder::new(&plan.phases),
            history: Vec::new(),
            traffic: Traffic::default(),
            tickets_renewed: 0,
            equipment,
        })
    }

    /// Drives the whole plan, from `started` on.
    ///
    /// # Errors
    /// When it is interrupted, or the system has no timer.
    pub fn drive(mut self, started: Instant) -> Fallible<Driven> {
        self.started = started;
        let end_us = (self.plan.load_s() * 1e6) as u64;
        let mut events = Events::with_capacity(1_024);
        let (mut second_us, mut used_up_s) = (1_000_000, None);
        loop {
            let now = self.now_us();
            self.begin_visits(now, end_us);
            self.take_timers(now);
            self.send_ready(now);
            if now >= second_us {
                interrupt::check()?;
                self.give_up(now.saturating_sub(ANSWER_WITHIN_US));
                let second = self.recorder.tick(second_us as f64 / 1e6, (self.equipment.gauges)());
                (self.equipment.on_second)(second);
                second_us += 1_000_000;
            }
            if self.pace != Pace::Open && self.next_visit == self.plan.visits.len() && now < end_us {
                used_up_s.get_or_insert(now as f64 / 1e6);
            }
            let (all_begun, time_is_over) = (self.next_visit == self.plan.visits.len(), now >= end_us);
            let is_over = match self.pace {
                Pace::Open => all_begun && time_is_over,
                Pace::Closed(_) => all_begun || time_is_over,
            };
            if (is_over && self.is_quiet()) || now > end_us + LINGER_US {
                break;
            }
            let end_to_come_us = if time_is_over { u64::MAX } else { end_us };
            let next_us = second_us.min(self.next_moment(now)).min(end_to_come_us);
            let left_us = next_us.saturating_sub(self.now_us());
            self.alarm.wait(Duration::from_micros(left_us), &mut self.poll, &mut events)?;
            for event in &events {
                if Alarm::is(event.token()) {
                    continue;
                }
                if let Some(ended) = self.pool.go_on(event.token().0, event.is_writable()) {
                    self.on_answer(ended);
                }
            }
        }
        let end_s = end_us.min(self.now_us()) as f64 / 1e6;
        self.end();
        let second = self.recorder.tick(self.now_us() as f64 / 1e6, (self.equipment.gauges)());
        (self.equipment.on_second)(second);
        Ok(Driven {
            recorder: self.recorder,
            history: self.history,
            envelopes: self.equipment.envelopes,
            traffic: self.traffic,
            tickets_renewed: self.tickets_renewed,
            load_s: if used_up_s.is_some() { end_s } else { self.plan.load_s() },
            used_up_s,
        })
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn is_quiet(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty() && self.pool.is_quiet()
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
            What::Send => UserCall::Create,
            What::Open if !self.ticket_ahead(number).is_empty() => UserCall::Open,
            What::Open | What::Grab => UserCall::Grab,
            What::View => UserCall::View,
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
        // A visit that waited for the envelope counts from its planned moment.
        let since_us = if self.pace == Pace::Open { visit.at_us } else { due_us };
        self.ask(Action { visit: number, call, attempt: 0, is_double: false, due_us, since_us });
    }

    /// Queues a request, twice for a double tap.
    fn ask(&mut self, action: Action) {
        self.ready.push_back(action);
        let doubles = self.plan.visits[action.visit as usize].behaviour.double;
        if doubles && action.call == UserCall::Open && action.attempt == 0 {
            self.ready.push_back(Action { is_double: true, ..action });
        }
    }

    fn ticket_ahead(&self, visit: u32) -> &'a [u8] {
        let tickets = self.equipment.tickets;
        if (visit as usize) < tickets.count() { tickets.get(visit as usize) } else { b"" }
    }

    fn leave(&mut self, visit: u32) {
        // A second tap may still wait for a connection, and needs the ticket, too.
        if !self.plan.visits[visit as usize].behaviour.double {
            self.grabbed.remove(&visit);
        }
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
                Later::Release { place, sent_us } => self.pool.release(place, sent_us),
            }
        }
    }

    fn send_ready(&mut self, now: u64) {
        while let Some(action) = self.ready.front().copied() {
            if now.saturating_sub(action.due_us) > START_WITHIN_US {
                self.ready.pop_front();
                self.recorder.not_started += 1;
                self.abandon(action, now);
                continue;
            }
            let Some(place) = self.pool.take_free() else { return };
            self.ready.pop_front();
            self.send(action, place);
        }
    }

    fn send(&mut self, action: Action, place: usize) {
        // Read anew: those that were sent just before took their time.
        let now = self.now_us();
        let visit = self.plan.visits[action.visit as usize];
        let text = |bytes| std::str::from_utf8(bytes).expect("tokens and tickets are text");
        let ask = Ask {
            host: self.equipment.site.authority(),
            call: action.call,
            envelope: &self.plan.envelopes[visit.envelope as usize],
            id: self.equipment.envelopes[visit.envelope as usize].as_deref().unwrap_or_default(),
            ticket: self.grabbed.get(&action.visit).map_or(text(self.ticket_ahead(action.visit)), |ticket| ticket),
            token: text(self.equipment.tokens.get(visit.user as usize)),
            header: &self.equipment.header,
        };
        let sent = self.pool.send(place, (action, now), visit.behaviour.slow, &ask, &self.poll);
        self.recorder.started(now.saturating_sub(action.due_us));
        let bytes = match sent {
            Ok(bytes) => bytes,
            // A part that was killed must not end a run: no server has seen this request.
            Err(label) => {
                let response = ParsedResponse::lost(label, false);
                return self.on_answer(Ended { action, sent_us: now, response, bytes: 0 });
            }
        };
        self.traffic.requests += 1;
        self.traffic.bytes_out += bytes as u64;
        if visit.behaviour.slow {
            self.later.push(Reverse((now + SLOW_US, Later::Release { place, sent_us: now })));
        }
    }

    // ---- answers ---------------------------------------------------------

    fn on_answer(&mut self, Ended { action, sent_us, response, bytes }: Ended) {
        let now = self.now_us();
        self.traffic.bytes_in += bytes as u64;
        let visit = self.plan.visits[action.visit as usize];
        let call = if visit.behaviour.slow { UserCall::Slow } else { action.call };
        let phase = self.plan.phase_at(action.since_us);
        self.recorder.answered(call, phase, &response.label, response.kind, now.saturating_sub(action.since_us));
        let (call, answer) = (action.call, response.answered);
        if matches!(call, UserCall::Open | UserCall::Pay) || matches!(answer, Answered::Opened { .. }) {
            let (envelope, user) = (visit.envelope, visit.user);
            self.history.push(HistoryEvent { call, envelope, user, sent_us, answered_us: now, answer });
        }
        if action.is_double {
            return;
        }
        // A second create would be a second envelope: only a refusal is tried again.
        let may_repeat = response.may_ask_again && (call != UserCall::Create || response.kind == AnswerKind::Refused);
        match action.call {
            _ if may_repeat && action.attempt < self.equipment.retries => {
                let wait_us = self.equipment.random.random_range(0..RETRY_US << action.attempt.min(6));
                let again = Action { attempt: action.attempt + 1, due_us: now + wait_us, ..action };
                self.later.push(Reverse((again.due_us, Later::Send(again))));
            }
            UserCall::Create if response.text.is_some() => {
                self.equipment.envelopes[visit.envelope as usize] = response.text.map(String::from);
                self.ask(Action { call: UserCall::Pay, attempt: 0, due_us: now, since_us: now, ..action });
            }
            UserCall::Grab if visit.what == What::Open && response.text.is_some() => {
                self.grabbed.insert(action.visit, response.text.expect("it was just seen"));
                self.ask(Action { call: UserCall::Open, attempt: 0, due_us: now, since_us: now, ..action });
            }
            // Its ticket was made ahead and has expired: the next one comes from a grab, as in life.
            UserCall::Open if response.is_bad_ticket && !self.grabbed.contains_key(&action.visit) => {
                self.tickets_renewed += 1;
                self.ask(Action { call: UserCall::Grab, attempt: 0, due_us: now, since_us: now, ..action });
            }
            UserCall::Create | UserCall::Pay => {
                self.settle_envelope(visit.envelope, action.call == UserCall::Pay && response.is_good(), now);
                self.leave(action.visit);
            }
            _ => self.leave(action.visit),
        }
    }

    /// Ends a visit that could not go on.
    fn abandon(&mut self, action: Action, now: u64) {
        if action.is_double {
            return;
        }
        if matches!(action.call, UserCall::Create | UserCall::Pay) {
            let envelope = self.plan.visits[action.visit as usize].envelope;
            self.settle_envelope(envelope, false, now);
        }
        self.leave(action.visit);
    }

    /// Gives up requests that were sent before a moment and were not answered.
    fn give_up(&mut self, before_us: u64) {
        for ended in self.pool.give_up(before_us) {
            self.on_answer(ended);
        }
    }

    /// After the last moment: what is under way has an unknown outcome, what
    /// waits was never started.
    fn end(&mut self) {
        self.equipment.retries = 0;
        self.give_up(u64::MAX);
        let waiting = self.ready.len() + self.later.len();
        let never_begun = if self.pace == Pace::Open { self.plan.visits.len() - self.next_visit } else { 0 };
        let awaiting = self.envelopes.iter().map(|envelope| match envelope {
            Envelope::Awaited(visits) => visits.len(),
            Envelope::Paid | Envelope::Failed => 0,
        });
        self.recorder.not_started += (waiting + never_begun + awaiting.sum::<usize>()) as u64;
    }

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
}
