//! The built-in ledger over the MySQL protocol, sharded by user.
//!
//! A user's slot is `stable_hash(user) % 100`; a database server (or a
//! cluster that looks like one) holds some of the slots, folded by modulo to its
//! databases `wallet_00` and so on. Each of these is a shard.
//!
//! Several processes may write a shard: a transaction first locks the row of
//! `ledger`, so writers come one after another, and none ever waits for a second
//! lock. In a process the calls that wait for a shard share its next transaction.
//!
//! | verb | round trips |
//! |---|---|
//! | `transfer`, for up to 2,048 transfers of any number of callers | 3 in each shard (read, write, commit), the shards at the same time |
//! | the same where an id is taken or a transfer is not to be written | up to 3 more: it is taken back and read again with the ids |
//! | the same after a deadlock (error 1213, on a cluster also at the commit) | 3 more each time, at most 8 times in all |
//! | `reserve`, `set_frozen` | 3 |
//! | `freeze_versions` | 1 in each shard |
//! | `balance`, `history` | 1 |
//! | `find`, `of_envelopes`, whose ids do not tell the user | 1 in each shard, at the same time |
//! | `scan`, a page | 1 in each shard that it reaches, and 1 for each 500 users there |
//! | `accounts`, a page | 2 in each shard that it reaches for each 500 users; for the first page in a shard 1 more, and 1 for each 10,000 transfers there that lie in no sealed month |
//! | `books` | 1 in each shard, and 1 for each 1,000 users there, the shards at the same time |

mod before;
mod events;
mod fence;
mod freezes;
mod guards;
mod layout;
mod migrate;
mod months;
mod moving;
mod noting;
mod orders;
mod promise;
mod reads;
mod scans;
mod shard;
mod slots;
mod transact;
mod transaction;
mod verified;
mod wallet;

pub use self::layout::{DatabaseServer, database_names};
pub use self::migrate::{migrate, upgrade};
pub use self::moving::{Carried, Moved, Step, check_serves_all, move_slots};
pub use self::wallet::MysqlWallet;
