//! Places for connections, each with at most one request under way.

use std::net::SocketAddr;

use mio::Poll;

use super::answer::{Heard, hear};
use super::request::{Ask, Call};
use super::wire::Wire;

/// One request that is to be sent, is under way, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Action {
    /// Whose.
    pub visit: u32,
    /// What is asked.
    pub call: Call,
    /// How often it was asked before.
    pub attempt: u8,
    /// The second tap: it is recorded, and nothing follows from it.
    pub is_double: bool,
    /// When it is to be sent.
    pub due_us: u64,
    /// When the user began to want it: its latency counts from here, also after
    /// refusals and while the envelope was not there yet.
    pub since_us: u64,
}

/// What became of a request that was sent.
pub struct Ended {
    /// The request.
    pub action: Action,
    /// When it was sent.
    pub sent_us: u64,
    /// What was heard.
    pub heard: Heard,
    /// Bytes of the answer.
    pub bytes: usize,
}

/// A place for a connection.
#[derive(Default)]
struct Seat {
    wire: Option<Wire>,
    under_way: Option<(Action, u64)>,
}

/// All places. A connection is made when its place is first used, and again
/// whenever it was lost.
pub struct Seats {
    addr: SocketAddr,
    most: usize,
    seats: Vec<Seat>,
    free: Vec<usize>,
}

impl Seats {
    /// So many places at most for connections to `addr`.
    pub fn new(addr: SocketAddr, most: usize) -> Seats {
        Seats { addr, most, seats: Vec::new(), free: Vec::new() }
    }

    /// A free place, if there is one.
    pub fn take_free(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.seats.len() < self.most {
            self.seats.push(Seat::default());
            return Some(self.seats.len() - 1);
        }
        self.free.pop()
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.seats.iter().all(|seat| seat.under_way.is_none())
    }

    /// Sends a request from a place that was free; only half of it, if the client
    /// is slow. Gives its bytes.
    ///
    /// # Errors
    /// With a label, when the system makes no connection; the place is free again.
    pub fn send(
        &mut self,
        place: usize,
        (action, now_us): (Action, u64),
        slow: bool,
        ask: &Ask<'_>,
        poll: &Poll,
    ) -> Result<usize, String> {
        let seat = &mut self.seats[place];
        if seat.wire.is_none() {
            match Wire::open(self.addr, poll, place) {
                Ok(wire) => seat.wire = Some(wire),
                Err(error) => {
                    self.free_up(place);
                    return Err(format!("no connection: {}", error.kind()));
                }
            }
        }
        let wire = seat.wire.as_mut().expect("it was just made");
        wire.send(slow, |out| ask.write(out));
        seat.under_way = Some((action, now_us));
        Ok(wire.request_len())
    }

    /// Sends the rest of a slow client's request, if the one of that moment is still under way.
    pub fn release(&mut self, place: usize, sent_us: u64) {
        let seat = &mut self.seats[place];
        if let (Some(wire), Some((_, at_us))) = (&mut seat.wire, seat.under_way)
            && at_us == sent_us
        {
            wire.release();
        }
    }

    /// Goes on after an event: what was heard, if that is complete or the connection is lost.
    pub fn go_on(&mut self, place: usize, writable: bool) -> Option<Ended> {
        let seat = &mut self.seats[place];
        let mut wire = seat.wire.take()?;
        if writable {
            wire.flush();
        }
        let Some((action, sent_us)) = seat.under_way else {
            // Idle: anything but silence means that the server has closed it.
            if matches!(wire.read(|_| ()), Ok(None)) {
                seat.wire = Some(wire);
            }
            return None;
        };
        let mut heard = None;
        let (heard, bytes) = match wire.read(|answer| heard = Some(hear(action.call, answer))) {
            Ok(None) => {
                seat.wire = Some(wire);
                return None;
            }
            Ok(Some(bytes)) => {
                seat.wire = Some(wire);
                (heard.expect("an answer was taken"), bytes)
            }
            Err(label) => (Heard::lost(label, wire.has_sent_all()), 0),
        };
        self.free_up(place);
        Some(Ended { action, sent_us, heard, bytes })
    }

    /// Gives up what was sent before `before_us`: nobody answers.
    pub fn give_up(&mut self, before_us: u64) -> Vec<Ended> {
        let is_silent = |seat: &Seat| seat.under_way.is_some_and(|(_, sent_us)| sent_us < before_us);
        let places: Vec<usize> = (0..self.seats.len()).filter(|place| is_silent(&self.seats[*place])).collect();
        places.into_iter().filter_map(|place| self.lose(place)).collect()
    }

    fn lose(&mut self, place: usize) -> Option<Ended> {
        let seat = &mut self.seats[place];
        let (action, sent_us) = seat.under_way?;
        let sent_all = seat.wire.take().is_some_and(|wire| wire.has_sent_all());
        self.free_up(place);
        Some(Ended { action, sent_us, heard: Heard::lost("no answer".to_owned(), sent_all), bytes: 0 })
    }

    fn free_up(&mut self, place: usize) {
        self.seats[place].under_way = None;
        self.free.push(place);
    }
}
