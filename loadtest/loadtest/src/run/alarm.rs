//! Sleeping until a moment, to the microsecond, which the timeout of a poll is not.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use hongbao_load::Fallible;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The token of the timer among the connections.
const TIMER: Token = Token(usize::MAX - 1);

/// A timer that ends the wait of a poll.
pub struct Alarm(OwnedFd);

impl Alarm {
    /// A timer among what `poll` waits for.
    pub fn new(poll: &Poll) -> Fallible<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Alarm(timer))
    }

    /// Waits for events of connections, for so long at most.
    pub fn wait(&self, left: Duration, poll: &mut Poll, events: &mut Events) -> Fallible<()> {
        if !left.is_zero() {
            let it_value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value })?;
        }
        let timeout = if left.is_zero() { Some(Duration::ZERO) } else { None };
        match poll.poll(events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            other => Ok(other?),
        }
    }

    /// Whether an event is its own.
    pub fn is(token: Token) -> bool {
        token == TIMER
    }
}
