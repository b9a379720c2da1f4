//! For tests alone: stores and wallets that fail on demand ([`faults`]), and each
//! behaviour of a store and of a wallet, stated once for every implementation
//! ([`store_suite`], [`wallet_suite`]); buckets of a real S3 server ([`s3`]).

pub mod faults;
pub mod s3;
pub mod store_suite;
pub mod wallet_suite;
