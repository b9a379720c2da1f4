//! What the sandbox is started with.

use super::faults::Chances;
use super::plan::Pace;
use super::wechat::Emulation;

/// What the sandbox is started with.
#[derive(Clone)]
pub struct SandboxOptions {
    /// The id of the secret.
    pub key_id: String,
    /// What requests, answers and notifications are signed with.
    pub secret: Vec<u8>,
    /// Where its pages are, without a slash at the end.
    pub pages_at: String,
    /// Where notifications go.
    pub notify_url: Option<String>,
    /// Offset from UTC, in seconds, of the zone whose days its bills have.
    pub zone_offset_s: i32,
    /// How long things take.
    pub pace: Pace,
    /// What chance begins with.
    pub seed: u64,
    /// What goes wrong by chance.
    pub chances: Chances,
    /// Whether charges wait for a person on their page.
    pub by_hand: bool,
    /// WeChat Pay, as which it serves and notifies besides.
    pub wechat: Option<Emulation>,
}
