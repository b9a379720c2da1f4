//! The pure domain of Hongbao. Nothing here does I/O, reads a clock or rolls a
//! die: time and randomness are passed in, decisions come out as values.
//!
//! Reading order: [`money`], [`user`], [`date`], [`id`], [`split`], [`envelope`], [`request_key`],
//! [`transfer`], [`order`], [`event`], [`traffic`], [`held`], [`slot_maps`], [`fence`], [`routing`], [`topology`], [`limits`], [`admission`], [`audit`], [`manifest`], [`wire`], [`problem`], [`calls`].

pub mod date;
pub mod money;
pub mod time;
pub mod user;

pub mod id;
pub mod split;

pub mod envelope;
mod envelope_limits;
pub mod event;
pub mod field;
pub mod order;
pub mod request;
pub mod request_key;
pub mod ticket;
pub mod traffic;
pub mod transfer;
pub mod user_limits;

pub mod fence;
pub mod held;
pub mod routing;
pub mod slot_maps;
pub mod topology;

pub mod admission;
pub mod limits;

pub mod audit;
pub mod manifest;
pub mod verify;

pub mod calls;
pub mod problem;
pub mod settings;
pub mod wire;

pub use date::{Date, Day};
pub use envelope::{Audience, Entry, EntryKind, Envelope, Journal, Kind, Opened, Stage, State};
pub use envelope_limits::Limits;
pub use id::{EnvelopeId, Placement, Slot};
pub use money::Fen;
pub use order::{Order, OrderId, OrderKind, OrderState};
pub use request_key::{KeyedCall, KeyedRequest, RequestKey};
pub use split::Seed;
pub use time::{Clock, SystemClock, Timestamp};
pub use traffic::Traffic;
pub use transfer::{OrderMovement, SystemBalances, Transfer, TransferId, TransferKind, TransferOutcome};
pub use user::{GroupId, UserClass, UserId};
pub use user_limits::{Daily, DayCount, DayQuota, UserLimit, UserLimits};
