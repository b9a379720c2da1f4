//! What a check looks at, and what it finds.

use serde::Serialize;

use crate::envelope::{Entry, Envelope};
use crate::id::EnvelopeId;
use crate::transfer::Transfer;
use crate::user::UserId;

/// One thing that is broken, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The invariant: `I1`, `I2`, `I3` (what answers said when it was
    /// acknowledged), `I5`, `I6`, `I7` or `I11`.
    pub invariant: &'static str,
    /// The kind of damage; stable.
    pub code: &'static str,
    /// The envelope, where it concerns one.
    pub envelope_id: Option<EnvelopeId>,
    /// The user or account, where it concerns one.
    pub user_id: Option<String>,
    /// What was found, and what should stand there.
    pub detail: String,
}

/// `I7 amount_wrong envelope 0197… user li: entry 3 has 5 fen, drawn were 4`
impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.invariant, self.code)?;
        if let Some(id) = self.envelope_id {
            write!(f, " envelope {id}")?;
        }
        if let Some(user) = &self.user_id {
            write!(f, " user {user}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// What the rows of one envelope are, taken so that the wallet's rows are no
/// newer than the journal's where `transfers` claims more than the journal, and
/// no older where the journal claims more than `transfers`.
pub struct EnvelopeRows<'a> {
    /// The envelope row.
    pub envelope: &'a Envelope,
    /// Its journal in order.
    pub entries: &'a [Entry],
    /// All transfers under the envelope's id.
    pub transfers: &'a [Transfer],
}

/// What was found in the rows of one envelope.
pub(super) struct Findings {
    pub envelope_id: EnvelopeId,
    pub breaches: Vec<Breach>,
}

impl Findings {
    pub fn add(&mut self, invariant: &'static str, code: &'static str, user: Option<&UserId>, detail: String) {
        self.breaches.push(Breach {
            invariant,
            code,
            envelope_id: Some(self.envelope_id),
            user_id: user.map(UserId::to_string),
            detail,
        });
    }
}
