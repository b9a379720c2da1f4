//! The load: a fixed number of connections, each with one request under way, all
//! driven by one thread. It must cost little, or it becomes what is measured: the
//! requests are written beforehand, an answer costs one read and one write.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll};

use crate::connection::Connection;
use crate::error::Fallible;
use crate::http::Answer;
use crate::interrupt;
use crate::site::Site;
use crate::source::{LoadStats, RequestSource};

/// How long the server may leave every connection without an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one look for events takes at most, so that an interrupt is seen.
const POLL_MAX: Duration = Duration::from_millis(100);
/// The label of a request that was refused: nothing happened.
pub const BUSY: &str = "503 busy";
/// How long a connection whose request was refused sends nothing, where all are kept busy: retries at once
/// would measure refusals.
const REST: Duration = Duration::from_millis(100);
/// How long one look takes where requests have a pace.
const PACE_LOOK: Duration = Duration::from_millis(1);

/// Open connections to one server.
pub struct Generator {
    site: Site,
    poll: Poll,
    connections: Vec<Client>,
}

/// One run of full load over the connections of a generator.
struct Drive<'a, 'b, F> {
    source: &'b mut RequestSource<'a>,
    stats: LoadStats,
    started: Instant,
    until: Option<Instant>,
    /// Set when the first request could not be sent, for want of time or requests.
    ended: Option<Instant>,
    under_way: usize,
    lost: usize,
    /// Requests a second, where not every connection is kept busy.
    pace: Option<f64>,
    /// Requests that were sent again at once.
    beyond_pace: u64,
    /// Connections that have had nothing to send. They take turns: a server closes what says nothing for long.
    idle: VecDeque<usize>,
    /// Connections whose request was refused, and when they ask again.
    resting: VecDeque<(Instant, usize)>,
    check: F,
}

impl Generator {
    /// Opens `connections` connections.
    pub fn connect(site: impl Into<Site>, connections: usize) -> Fallible<Generator> {
        let site = site.into();
        let poll = Poll::new()?;
        let connections =
            (0..connections).map(|index| Client::connect(&site, &poll, index)).collect::<Fallible<Vec<_>>>()?;
        Ok(Generator { site, poll, connections })
    }

    /// Keeps every connection busy from `source` for `time`, or until each request
    /// is sent when there is none, and waits for the answers under way.
    /// `check` gets each answer with its request's index and refuses it by a label.
    ///
    /// # Errors
    /// When the server cannot be connected to, loses connections again and again,
    /// or falls silent.
    pub fn drive<F>(&mut self, source: &mut RequestSource<'_>, time: Option<Duration>, check: F) -> Fallible<LoadStats>
    where
        F: FnMut(usize, &Answer<'_>) -> Result<(), String>,
    {
        self.drive_at(None, source, time, check)
    }

    /// The same at a pace of so many requests a second, whatever the answers do: a
    /// request that is due is sent over any connection without one, and counted as
    /// missed where there is none.
    ///
    /// # Errors
    /// As those of [`Generator::drive`].
    pub fn drive_at<F>(
        &mut self,
        pace: Option<f64>,
        source: &mut RequestSource<'_>,
        time: Option<Duration>,
        check: F,
    ) -> Fallible<LoadStats>
    where
        F: FnMut(usize, &Answer<'_>) -> Result<(), String>,
    {
        let started = Instant::now();
        let until = time.map(|time| started + time);
        let (stats, idle) = (LoadStats::new(), VecDeque::new());
        let mut drive = Drive {
            source,
            stats,
            started,
            until,
            ended: None,
            under_way: 0,
            lost: 0,
            pace,
            beyond_pace: 0,
            idle,
            resting: VecDeque::new(),
            check,
        };
        for index in 0..self.connections.len() {
            if self.connections[index].lost {
                self.connections[index] = Client::connect(&self.site, &self.poll, index)?;
            }
            self.connections[index].send_next(&mut drive, Instant::now());
        }
        let mut events = Events::with_capacity(1024);
        let mut last_event = Instant::now();
        while drive.under_way > 0 || drive.is_resting() || drive.is_waiting(Instant::now()) {
            interrupt::check()?;
            let poll_max = if pace.is_some() || drive.is_resting() { PACE_LOOK } else { POLL_MAX };
            match self.poll.poll(&mut events, Some(poll_max)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            if !events.is_empty() || drive.under_way == 0 {
                last_event = Instant::now();
            } else if last_event.elapsed() > SILENCE_MAX {
                return Err(format!("{} has not answered for {} s", self.site, SILENCE_MAX.as_secs()).into());
            }
            for event in &events {
                self.on_event(event, &mut drive)?;
            }
            self.send_due(&mut drive);
            self.send_rested(&mut drive);
        }
        if drive.ended.is_none() {
            drive.stats.elapsed = started.elapsed();
            drive.stats.used_up = until.is_none_or(|until| Instant::now() < until);
        }
        Ok(drive.stats)
    }

    /// Sends what is due at the pace over the connections that have nothing to do.
    fn send_due<F>(&mut self, drive: &mut Drive<'_, '_, F>) {
        let now = Instant::now();
        while drive.due(now) > 0 {
            let Some(index) = drive.idle.pop_front() else {
                drive.stats.missed += drive.due(now);
                return;
            };
            let had = drive.idle.len();
            self.connections[index].send_next(drive, now);
            // There is nothing left to send.
            if drive.idle.len() > had {
                return;
            }
        }
    }

    /// Goes on with the connections whose rest is over.
    fn send_rested<F>(&mut self, drive: &mut Drive<'_, '_, F>) {
        let now = Instant::now();
        while let Some(&(until, index)) = drive.resting.front()
            && until <= now
        {
            drive.resting.pop_front();
            self.connections[index].send_next(drive, now);
        }
    }

    fn on_event<F>(&mut self, event: &Event, drive: &mut Drive<'_, '_, F>) -> Fallible<()>
    where
        F: FnMut(usize, &Answer<'_>) -> Result<(), String>,
    {
        let index = event.token().0;
        let Err(label) = self.connections[index].on_event(event, drive) else { return Ok(()) };
        let connection = &mut self.connections[index];
        connection.lost = true;
        if connection.request.take().is_some() {
            drive.under_way -= 1;
            drive.stats.error(label.clone());
        }
        // Nothing is left to send, so the server may well close it.
        if drive.ended.is_some() {
            return Ok(());
        }
        drive.lost += 1;
        if drive.lost > self.connections.len() {
            return Err(format!("{} keeps losing connections: {label}", self.site).into());
        }
        self.connections[index] = Client::connect(&self.site, &self.poll, index)?;
        self.connections[index].send_next(drive, Instant::now());
        Ok(())
    }
}

impl<F> Drive<'_, '_, F> {
    /// Requests that the pace wants by now, beyond those that were sent or missed.
    fn due(&self, now: Instant) -> u64 {
        let Some(pace) = self.pace.filter(|_| self.ended.is_none()) else { return 0 };
        let wanted = (now - self.started).as_secs_f64() * pace;
        (wanted as u64).saturating_sub(self.stats.sent - self.beyond_pace + self.stats.missed)
    }

    /// Whether requests are sent still.
    fn is_in_time(&self, now: Instant) -> bool {
        self.ended.is_none() && self.until.is_none_or(|until| now < until)
    }

    /// Whether a refused request will be sent again.
    fn is_resting(&self) -> bool {
        self.ended.is_none() && !self.resting.is_empty()
    }

    /// Whether the pace has more to come, although nothing is under way.
    fn is_waiting(&self, now: Instant) -> bool {
        self.pace.is_some() && self.ended.is_none() && self.until.is_some_and(|until| now <= until + PACE_LOOK)
    }

    /// The next request, unless the time or the requests are used up.
    fn next(&mut self, now: Instant) -> Option<usize> {
        if self.ended.is_some() {
            return None;
        }
        let is_over = self.until.is_some_and(|until| now >= until);
        if self.pace.is_some() && !is_over && self.due(now) == 0 {
            return None;
        }
        let in_time = self.until.is_none_or(|until| now < until);
        let index = if in_time { self.source.take() } else { None };
        if index.is_none() && in_time && self.under_way > 0 && self.source.takes_back() {
            // One of those under way may be refused, and is sent once more then.
            return None;
        }
        if index.is_none() {
            self.ended = Some(now);
            self.stats.elapsed = now - self.started;
            self.stats.used_up = in_time;
        }
        index
    }
}

/// A connection, and the request under way over it: which it is, and since when.
struct Client {
    number: usize,
    connection: Connection,
    request: Option<(usize, Instant)>,
    /// Of no more use: it is opened anew before the next request.
    lost: bool,
}

impl Client {
    fn connect(site: &Site, poll: &Poll, number: usize) -> Fallible<Client> {
        let connected = Connection::connect(site, poll, number);
        let connection = connected.map_err(|error| format!("cannot connect to {}: {error}", site.addr(number)))?;
        Ok(Client { number, connection, request: None, lost: false })
    }

    /// Sends the next request, if there is one. A failure to write shows as an event.
    fn send_next<F>(&mut self, drive: &mut Drive<'_, '_, F>, now: Instant) {
        let Some(index) = drive.next(now) else { return drive.idle.push_back(self.number) };
        self.send(index, drive, now);
    }

    fn send<F>(&mut self, index: usize, drive: &mut Drive<'_, '_, F>, now: Instant) {
        drive.under_way += 1;
        drive.stats.sent += 1;
        self.request = Some((index, now));
        self.connection.send(false, |out| out.extend_from_slice(drive.source.requests().get(index)));
    }

    /// Writes what is left, reads what has come, and goes on to the next request.
    /// Fails with a label when the connection is of no more use.
    fn on_event<F>(&mut self, event: &Event, drive: &mut Drive<'_, '_, F>) -> Result<(), String>
    where
        F: FnMut(usize, &Answer<'_>) -> Result<(), String>,
    {
        if event.is_writable() {
            self.connection.flush();
        }
        if !event.is_readable() && !event.is_error() {
            return Ok(());
        }
        loop {
            let (request, mut checked) = (self.request, Ok(()));
            let check = |answer: &Answer<'_>| {
                checked = request.map_or(Ok(()), |(index, _)| (drive.check)(index, answer));
            };
            if self.connection.read(check)?.is_none() {
                return Ok(());
            }
            let Some((index, sent_at)) = self.request.take() else {
                return Err("an answer without a request".into());
            };
            self.on_answer(index, sent_at, checked, drive);
            // Only the end of the stream may stand behind an answer, and gives no event more.
            if !event.is_read_closed() {
                return Ok(());
            }
        }
    }

    fn on_answer<F>(
        &mut self,
        index: usize,
        sent_at: Instant,
        checked: Result<(), String>,
        drive: &mut Drive<'_, '_, F>,
    ) {
        drive.under_way -= 1;
        let now = Instant::now();
        let (mut is_refused, mut asks_at_once) = (false, false);
        match checked {
            Err(label) => {
                if label == BUSY {
                    is_refused = true;
                    asks_at_once = drive.source.refused(index) && drive.is_in_time(now);
                }
                drive.stats.error(label);
            }
            Ok(()) if drive.ended.is_none() => {
                drive.stats.counted += 1;
                drive.stats.latency_us.saturating_record((now - sent_at).as_micros() as u64);
            }
            Ok(()) => (),
        }
        if asks_at_once {
            drive.beyond_pace += 1;
            self.send(index, drive, now);
        } else if is_refused && drive.pace.is_none() {
            drive.resting.push_back((now + REST, self.number));
        } else {
            // At a pace another request is sent over it.
            self.send_next(drive, now);
        }
    }
}

#[cfg(test)]
mod tests;
