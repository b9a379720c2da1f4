//! SETs that have left.

use serde::{Deserialize, Serialize};

use super::slots::SlotList;

/// A SET that has left: its tables are in the archive, and the SETs that got its slots answer for its envelopes from
/// there. It stays in the file for ever, as the maps do that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftEntry {
    /// Its name, unlike those of all other SETs.
    pub name: String,
    /// The slots that it held until the first of the `maps`.
    #[serde(default, skip_serializing_if = "SlotList::is_empty")]
    pub slots: SlotList,
    /// Into how many databases these slots were folded, if not into as many as those of the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<u8>,
}
