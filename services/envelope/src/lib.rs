//! The envelope server: owns the envelopes of its SET's slots.
//!
//! Reading order for an opening, the hot path: [`http`] parses and checks the
//! ticket, [`server`] finds the live envelope and puts the opening into its
//! lane, [`lane`] decides a batch and commits it once. Round trips to the
//! database:
//!
//! | verb | database transactions | from memory |
//! |---|---|---|
//! | grab | none (when the envelope is not live: one read, and one for every 10,000 openings, shared with all that are asked for meanwhile; after a [silence](presence) one read of what is new; when it has expired and is not refunded yet: as an opening, for the [refund]) | state, own opening, ticket |
//! | open | one, shared by the whole batch | the decision |
//! | open, `lanes = false` | one read, one insert | nothing |
//! | detail | none (as above when not live; one read of what is new when nothing was written for a second, or it has expired) | the rest |
//! | create | one insert; before it one wallet transaction, under a key or where unpaid envelopes are limited | |
//! | pay | one read, one wallet transaction and one for the feed of its audience, one update | |
//! | events | two reads of each shard of the wallet that has a feed of the caller's | |
//!
//! With a Redis, who opened an envelope that is not live here, and everybody once
//! it has ended, may be answered from what another server of the SET has [shared]
//! of it.

pub mod refusal;
pub mod server;

pub mod lane;

pub mod direct;

pub mod answer;
pub mod context;
pub mod event_tail;
pub mod feeds;
mod frozen;
mod held;
pub mod live;
mod live_envelope;
mod loads;
pub mod permits;
mod presence;
pub mod ready;
mod received;
mod refund;
pub mod shared;

pub mod metrics;

pub mod http;
