//! Places for connections, each with at most one request under way.

use hongbao_load::{Connection, Site};
use mio::Poll;

use super::answer::{ParsedResponse, parse};
use super::request::{Ask, UserCall};

/// One request that is to be sent, is under way, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Action {
    /// Whose.
    pub visit: u32,
    pub call: UserCall,
    /// How often it was asked before.
    pub attempt: u8,
    /// The second tap: it is recorded, and nothing follows from it.
    pub is_double: bool,
    pub due_us: u64,
    /// When the user began to want it: its latency counts from here, also after
    /// refusals and while the envelope was not there yet.
    pub since_us: u64,
}

/// What became of a request that was sent.
pub struct Ended {
    pub action: Action,
    pub sent_us: u64,
    pub response: ParsedResponse,
    pub bytes: usize,
}

/// A place for a connection.
#[derive(Default)]
struct Seat {
    connection: Option<Connection>,
    under_way: Option<(Action, u64)>,
}

/// All places. A connection is made when its place is first used, and again
/// whenever it was lost.
pub struct ConnectionPool {
    site: Site,
    most: usize,
    pool: Vec<Seat>,
    free: Vec<usize>,
}

impl ConnectionPool {
    /// So many places at most for connections to `site`.
    pub fn new(site: Site, most: usize) -> ConnectionPool {
        ConnectionPool { site, most, pool: Vec::new(), free: Vec::new() }
    }

    pub fn take_free(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.pool.len() < self.most {
            self.pool.push(Seat::default());
            return Some(self.pool.len() - 1);
        }
        self.free.pop()
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.pool.iter().all(|seat| seat.under_way.is_none())
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
        let seat = &mut self.pool[place];
        if seat.connection.is_none() {
            match Connection::open(&self.site, poll, place) {
                Ok(connection) => seat.connection = Some(connection),
                Err(error) => {
                    self.free_up(place);
                    return Err(format!("no connection: {}", error.kind()));
                }
            }
        }
        let connection = seat.connection.as_mut().expect("it was just made");
        connection.send(slow, |out| ask.write(out));
        seat.under_way = Some((action, now_us));
        Ok(connection.request_len())
    }

    /// Sends the rest of a slow client's request, if the one of that moment is still under way.
    pub fn release(&mut self, place: usize, sent_us: u64) {
        let seat = &mut self.pool[place];
        if let (Some(connection), Some((_, at_us))) = (&mut seat.connection, seat.under_way)
            && at_us == sent_us
        {
            connection.release();
        }
    }

    /// Goes on after an event: what was answered, if that is complete or the connection is lost.
    pub fn go_on(&mut self, place: usize, writable: bool) -> Option<Ended> {
        let seat = &mut self.pool[place];
        let mut connection = seat.connection.take()?;
        if writable {
            connection.flush();
        }
        let Some((action, sent_us)) = seat.under_way else {
            // Idle: anything but silence means that the server has closed it.
            if matches!(connection.read(|_| ()), Ok(None)) {
                seat.connection = Some(connection);
            }
            return None;
        };
        let mut response = None;
        let (response, bytes) = match connection.read(|answer| response = Some(parse(action.call, answer))) {
            Ok(None) => {
                seat.connection = Some(connection);
                return None;
            }
            Ok(Some(bytes)) => {
                seat.connection = Some(connection);
                (response.expect("an answer was taken"), bytes)
            }
            Err(label) => (ParsedResponse::lost(label, connection.has_sent_all()), 0),
        };
        self.free_up(place);
        Some(Ended { action, sent_us, response, bytes })
    }

    /// Gives up what was sent before `before_us` and was not answered.
    pub fn give_up(&mut self, before_us: u64) -> Vec<Ended> {
        let is_silent = |seat: &Seat| seat.under_way.is_some_and(|(_, sent_us)| sent_us < before_us);
        let places: Vec<usize> = (0..self.pool.len()).filter(|place| is_silent(&self.pool[*place])).collect();
        places.into_iter().filter_map(|place| self.lose(place)).collect()
    }

    fn lose(&mut self, place: usize) -> Option<Ended> {
        let seat = &mut self.pool[place];
        let (action, sent_us) = seat.under_way?;
        let sent_all = seat.connection.take().is_some_and(|connection| connection.has_sent_all());
        self.free_up(place);
        Some(Ended { action, sent_us, response: ParsedResponse::lost("no answer".to_owned(), sent_all), bytes: 0 })
    }

    fn free_up(&mut self, place: usize) {
        self.pool[place].under_way = None;
        self.free.push(place);
    }
}
