//! Open: into the lane of the envelope, or past the lanes where they are off.

use std::time::Duration;

use hongbao_core::wire::Outcome;
use hongbao_core::{EnvelopeId, Timestamp, UserId};
use hongbao_trace::in_current;
use tokio::sync::oneshot;

use super::{Caller, Server, outcome_of};
use crate::answer::OpenAnswer;
use crate::direct;
use crate::lane::{Accepted, LaneQueue, OpenJob};
use crate::refusal::Refusal;

/// How an opening ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// What the user gets.
    pub outcome: Outcome,
    /// Where it stood in the order of its lane; `None` if it went past the lanes.
    pub accepted: Option<Accepted>,
}

impl Server {
    /// Refuses an opening that its lane could not answer in time, before its body is
    /// read. A user who is known to have opened the envelope needs no place in the lane.
    pub fn check_room(&self, id: EnvelopeId, user: impl FnOnce() -> Option<UserId>) -> Result<(), Refusal> {
        match self.lane_of(id) {
            Ok(lane) if self.parts.options.lanes && !lane.has_room(id) => {}
            _ => return Ok(()),
        }
        let live = self.live.get(id, &*self.parts.store, self.parts.clock.now());
        let has_opened = live.zip(user()).is_some_and(|(live, user)| live.journal().opened_by(&user).is_some());
        if has_opened { Ok(()) } else { Err(self.refuse_full()) }
    }

    /// Takes the next share for the holder of a ticket.
    ///
    /// A gateway may say how long it still waits: an opening that could not
    /// be answered in time is better not begun.
    pub async fn open(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        ticket: &str,
        time_left: Option<Duration>,
    ) -> Result<Opening, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if !self.parts.tickets.admits(ticket, id, caller.user, now) {
            return Err(Refusal::TicketInvalid);
        }
        // A frozen user is answered as ever what is final, and so is one who has received enough, or of whom
        // that cannot be found out; nothing is opened.
        let refusal = match self.frozen.contains(caller.user) {
            true => Some(Refusal::Frozen),
            false if self.limits_receiving(caller) => self.refusal_of_receiving(caller, now).await.unwrap_or_else(Some),
            false => None,
        };
        match (self.decide(id, caller.user, refusal.is_none(), time_left, now).await, refusal) {
            (Err(Refusal::Busy), Some(refusal)) => Err(refusal),
            (answer, _) => answer,
        }
    }

    /// What a lane, or the database without one, says to `user`. Unless it `opens`, it only
    /// asks what there is to say of an envelope that has expired.
    pub(super) async fn decide(
        &self,
        id: EnvelopeId,
        user: &UserId,
        opens: bool,
        time_left: Option<Duration>,
        now: Timestamp,
    ) -> Result<Opening, Refusal> {
        let asked_within = time_left.unwrap_or(Duration::MAX);
        let open_within = Duration::from_millis(self.parts.options.open_deadline_ms.unsigned_abs()).min(asked_within);
        let deadline = now.plus_millis(open_within.as_millis() as i64);
        let (answer, accepted) = if self.parts.options.lanes {
            let live = self.live(id, now).await?;
            // Who asks again does not stand in the way of those who ask for the first time.
            let before = live.journal().opened_by(user);
            if let Some(opened) = before {
                let outcome = Outcome::opened(&opened, true);
                self.direct.metrics.count(&OpenAnswer::Opened { opened, replayed: true });
                return Ok(Opening { outcome, accepted: None });
            }
            let (job, answer) = OpenJob::new(live, user.clone(), opens, deadline);
            (answer, Some(self.lane_of(id)?.accept(job).ok_or_else(|| self.refuse_full())?))
        } else {
            // On a task of its own: a client that goes away cannot stop it half way.
            let (context, user) = (self.direct.clone(), user.clone());
            let (answer_to, answer) = oneshot::channel();
            tokio::spawn(in_current(async move {
                // The client may be gone; the opening has happened all the same.
                let _ = answer_to.send(direct::open(&context, id, &user, opens, deadline).await);
            }));
            (answer, None)
        };
        let wait = Duration::from_millis(self.parts.options.answer_within_ms).min(asked_within);
        match tokio::time::timeout(wait, answer).await {
            Ok(Ok(answer)) => Ok(Opening { outcome: outcome_of(answer)?, accepted }),
            Ok(Err(_)) => Err(Refusal::Unknown("the lane gave no answer".to_owned())),
            Err(_) => Err(Refusal::Unknown("the lane is too slow".to_owned())),
        }
    }

    fn lane_of(&self, id: EnvelopeId) -> Result<&LaneQueue, Refusal> {
        let store = &*self.parts.store;
        let writer = store.writer_of(store.table_of(id).database).map(usize::from);
        writer.and_then(|writer| self.lanes.get(writer)?.as_ref()).ok_or(Refusal::Misdirected)
    }

    fn refuse_full(&self) -> Refusal {
        self.direct.metrics.count(&OpenAnswer::Busy);
        Refusal::Busy
    }
}
