//! A permit of every envelope at once, for a process whose openings all go through lanes.
//!
//! A lane has one transaction of an envelope under way, and an envelope one lane in a
//! process. So such a process holds a *standing* permit: one key of the host,
//! `hongbao:permit:standing`, says who has one, and transactions enter by it without a
//! question. Those who have to ask, because they have no lanes or a low cap, say so under
//! `hongbao:permit:asking`, and leave room under the cap for every standing permit.
//!
//! A standing permit is used only while no other process asks. One that asks writes that,
//! and then reads who stands; one that stands writes that, and then reads who asks. So of
//! two that begin at the same moment one at least knows of the other: either the one that
//! asks leaves room, or the other one asks as well, and gives its standing permit back.

use std::collections::HashSet;
use std::io::Result;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use hongbao_core::limits::{PERMIT_STANDING_CAP_MIN, PERMITS_HELD_MAX};

use super::link::{Link, Terms};

const STANDING: &str = "standing";
const ASKING: &str = "asking";

/// The standing permit of this process, and how many there are on its host.
#[derive(Default)]
pub struct StandingPermit {
    /// From then on nothing enters by it, for memcached may have forgotten it.
    usable_until: Option<Instant>,
    /// Envelopes of which a transaction has entered by it.
    inside: HashSet<EnvelopeId>,
    /// Standing permits of the host, ours included.
    reserved: u32,
}

impl StandingPermit {
    /// Enters by it. False: it is not held, or another transaction of the envelope has entered by it.
    pub fn enter(&mut self, id: EnvelopeId, now: Instant) -> bool {
        let is_usable = self.usable_until.is_some_and(|until| now < until);
        is_usable && self.inside.len() < PERMITS_HELD_MAX && self.inside.insert(id)
    }

    /// A transaction leaves; false if it had not entered by this permit.
    pub fn leave(&mut self, id: EnvelopeId) -> bool {
        self.inside.remove(&id)
    }

    /// How much of a cap is not for those who ask.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// From now on nothing enters by it. True: all that had entered have left.
    pub fn stop(&mut self) -> bool {
        self.usable_until = None;
        self.inside.is_empty()
    }

    /// Until when it may be used, if it is held, and how many there are on the host.
    pub fn set(&mut self, usable_until: Option<Instant>, reserved: u32) {
        self.usable_until = usable_until;
        self.reserved = reserved;
    }
}

/// Tells the other processes of the host whether this one stands or asks, and learns it of them. `stop` ends the
/// use of the standing permit, as [`StandingPermit::stop`]. Gives until when that may be used, and how much of
/// the cap is not for those who ask.
pub async fn tell_host(
    link: &mut Link,
    terms: &Terms,
    cap: u32,
    stop: impl Fn() -> bool,
) -> Result<(Option<Instant>, u32)> {
    let wants = terms.lanes && cap >= PERMIT_STANDING_CAP_MIN;
    let asking = link.keep(ASKING, u32::from(!wants), None, terms).await?;
    let stands = wants && asking.of_others(terms.holder) == 0;
    // What has entered by it counts until it leaves.
    let is_kept = stands || !stop();
    // Half of the cap is left for those who find no room here, and ask.
    let standing_max = cap / 2;
    let standing = link.keep(STANDING, u32::from(is_kept), stands.then_some(standing_max), terms).await?;
    let reserved = standing.total();
    if !stands {
        return Ok((None, reserved));
    }
    let Some(until_s) = standing.until_s(terms.holder) else { return Ok((None, reserved.max(standing_max))) };
    if link.read(ASKING, terms).await?.of_others(terms.holder) > 0 {
        return Ok((None, reserved));
    }
    // A second less, for memcached counts in whole ones.
    let left_s = (until_s - terms.now_s() - 1).clamp(0, terms.ttl_s.into());
    Ok((Some(Instant::now() + Duration::from_secs(left_s.unsigned_abs())), reserved))
}

/// Removes the entries of this process.
pub async fn leave_host(link: &mut Link, terms: &Terms) -> Result<()> {
    for name in [STANDING, ASKING] {
        link.keep(name, 0, None, terms).await?;
    }
    Ok(())
}
