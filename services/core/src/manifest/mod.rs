//! Manifests: what a sealed table holds, in a few numbers and three hashes.
//!
//! A dated table in which every envelope is settled never changes any more. Its
//! manifest says what was in it when it was sealed ([`Content`]), and holds the hash
//! of the manifest that was written before it in the same database, so that all of
//! them are a chain ([`Chain`]): one that is changed or taken out breaks it.
//!
//! A hash without a key proves no authorship: who can write all later manifests anew can
//! forge the chain. It finds damage and slips, and changes after which the chain was not computed anew.
//!
//! A month of the wallet's transfers has one too ([`Month`]), in a chain of its own for each database of the
//! wallet: the transfers up to a position never change, since each one is behind all before it.
//!
//! Reading order: `content`, `tie`, `sealer`, `chain`; `month`, `month_sealer`.

mod bytes;
mod chain;
mod content;
mod month;
mod month_sealer;
mod sealer;
mod tie;

pub use self::bytes::Hash;
pub use self::chain::{Break, Chain, Link, Manifest};
pub use self::content::Content;
pub use self::month::{Month, MonthContent, MonthEnd, YearMonth};
pub use self::month_sealer::{Block, BlockSealer, MonthSealer, PartsHash, hash_of_blocks, hash_of_ties};
pub use self::sealer::Sealer;
pub use self::tie::Tie;
