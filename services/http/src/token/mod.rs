//! Who is calling: tokens, the keys that they are checked with, and the caller that comes out.
//!
//! Reading order: [`caller`], [`claims`], [`keys`], `hs256`, [`jwks`], [`verifier`], [`key_file`], [`figures`], [`issuer`].

pub mod caller;
pub mod claims;
pub mod figures;
pub mod key_file;
pub mod keys;
pub mod verifier;

mod hs256;
pub mod issuer;
pub mod jwks;

pub use caller::Caller;
pub use claims::Parties;
pub use issuer::Issuer;
pub use key_file::KeyFile;
pub use keys::{KeyError, TokenKey, TokenKeys};
pub use verifier::{TokenExpiry, Verifier};
