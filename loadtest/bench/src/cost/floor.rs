//! The least that an opening can cost on this machine with these databases: a row of the
//! journal in a batch of 100, and a row of the wallet in a batch of 2,000, each written by
//! a plain client into a copy of the real table, with its keys, checks and durability.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use hongbao_core::{EnvelopeId, TransferId};
use hongbao_database::mysql::row::put_bytes;
use hongbao_load::{Cluster, Fallible, ZONE_OFFSET_S, machine};
use hongbao_testbed::FOLD;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use sqlx::mysql::MySqlConnection;
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::runtime::Runtime;

use crate::compare::alternative::{server_options, tables::literal};
use crate::filled::fill;
use crate::measure::us_of_each;
use crate::prepare::user_id;

/// Rows of the journal in one transaction.
const ENTRIES_AT_ONCE: usize = 100;
/// Transactions of them that are measured.
const ENTRY_BATCHES: usize = 600;
/// Rows of the wallet in one transaction.
const TRANSFERS_AT_ONCE: usize = 2_000;
/// Transactions of them that are measured.
const TRANSFER_BATCHES: usize = 30;
/// Envelopes of the rows that belong to many.
const ENVELOPES: usize = 10_000;
/// Users of the wallet's rows.
const USERS: u32 = 100_000;
/// Processor time of the database and of the client, in microseconds for one row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Floor {
    /// A row of the journal of one envelope.
    pub hot_entry_us: f64,
    /// A row of the journals of many envelopes, in random order.
    pub spread_entry_us: f64,
    /// A row of the wallet.
    pub transfer_us: f64,
}

impl Floor {
    /// Measures all three, in the databases of this cluster.
    pub fn measure(cluster: &Cluster) -> Fallible<Floor> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut random = SmallRng::seed_from_u64(1);
        let ids: Vec<EnvelopeId> = (0..ENVELOPES).map(|_| fill::mint(machine::wall_clock(), &mut random)).collect();
        let entries = Target::new(&runtime, cluster, ("a-mariadb", "db_floor"), cluster.database_addr(0))?;
        let table = FOLD.table_of(ids[0].placement(ZONE_OFFSET_S as i32));
        let entry = format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
        let wallet = Target::new(&runtime, cluster, ("wallet-mariadb", "wallet_floor"), cluster.wallet_addr())?;
        let (entry, transfer) = (&entry, "wallet_00.transfer");
        let hot = vec![ids[0]; ENTRIES_AT_ONCE * ENTRY_BATCHES];
        let mut spread: Vec<EnvelopeId> = ids.iter().cycle().take(hot.len()).copied().collect();
        spread.shuffle(&mut random);
        let (entries, hot_entry_us) = entries.us_of_each(entry, &entry_batches(&hot), hot.len())?;
        let (_, spread_entry_us) = entries.us_of_each(entry, &entry_batches(&spread), spread.len())?;
        let transfers = TRANSFERS_AT_ONCE * TRANSFER_BATCHES;
        let (_, transfer_us) = wallet.us_of_each(transfer, &transfer_batches(&ids, &mut random), transfers)?;
        Ok(Floor { hot_entry_us, spread_entry_us, transfer_us })
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let Floor { hot_entry_us, spread_entry_us, transfer_us } = self;
        format!(
            "a row of a batch of {ENTRIES_AT_ONCE} in the journal of one envelope {hot_entry_us:.1} us, of many \
             {spread_entry_us:.1} us, one of {TRANSFERS_AT_ONCE} in the wallet {transfer_us:.1} us"
        )
    }
}

/// A database server whose processor time is observed.
struct Target<'a> {
    runtime: &'a Runtime,
    cluster: &'a Cluster,
    process: &'static str,
    /// Where the copy is.
    database: &'static str,
    connection: MySqlConnection,
}

impl<'a> Target<'a> {
    fn new(
        runtime: &'a Runtime,
        cluster: &'a Cluster,
        (process, database): (&'static str, &'static str),
        node: SocketAddr,
    ) -> Fallible<Target<'a>> {
        let connection = runtime.block_on(server_options(&node.to_string())?.connect())?;
        Ok(Target { runtime, cluster, process, database, connection })
    }

    /// Writes batches into a new copy of a table: microseconds of the server and of this process for a row.
    fn us_of_each(mut self, like: &str, batches: &[String], rows: usize) -> Fallible<(Target<'a>, f64)> {
        let database = self.database;
        self.run(&format!("CREATE DATABASE {database}; CREATE TABLE {database}.copy LIKE {like}"))?;
        let before = self.cpu_time()?;
        for batch in batches {
            self.run(&format!("INSERT INTO {database}.copy {batch}"))?;
        }
        let used = self.cpu_time()?.saturating_sub(before);
        self.run(&format!("DROP DATABASE {database}"))?;
        Ok((self, us_of_each(used, rows as u64).unwrap_or(f64::NAN)))
    }

    fn run(&mut self, sql: &str) -> Fallible<()> {
        self.runtime.block_on(self.connection.execute(sqlx::raw_sql(sql)))?;
        Ok(())
    }

    fn cpu_time(&self) -> Fallible<Duration> {
        Ok(machine::cpu_time(self.cluster.pid(self.process)?)? + machine::cpu_time(std::process::id())?)
    }
}

/// Entries of these envelopes in this order, as the rest of an `INSERT`.
fn entry_batches(envelopes: &[EnvelopeId]) -> Vec<String> {
    let mut seqs = HashMap::<EnvelopeId, u32>::new();
    let mut batches = Vec::new();
    for batch in envelopes.chunks(ENTRIES_AT_ONCE) {
        let mut sql = "(envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) VALUES ".to_owned();
        for (place, id) in batch.iter().enumerate() {
            let seq = seqs.entry(*id).or_default();
            *seq += 1;
            let comma = if place > 0 { "," } else { "" };
            let (user, at_ms) = (user_id(*seq), id.minted_at().millis());
            let _ = write!(sql, "{comma}({},{seq},'{user}',11,123456,{at_ms})", literal(*id));
        }
        batches.push(sql);
    }
    batches
}

/// Transfers of openings, as the rest of an `INSERT`.
fn transfer_batches(envelopes: &[EnvelopeId], random: &mut SmallRng) -> Vec<String> {
    let batch = |number: usize| {
        let mut sql = "(position, id, user_id, kind, amount_fen, balance_fen, at_ms) VALUES ".to_owned();
        for place in 0..TRANSFERS_AT_ONCE {
            let position = number * TRANSFERS_AT_ONCE + place;
            let (envelope, user) = (envelopes[position % envelopes.len()], user_id(random.random_range(0..USERS)));
            let key = TransferId::Envelope(envelope, (position / envelopes.len() + 1) as u32).to_key();
            let _ = write!(sql, "{}({},", if place > 0 { "," } else { "" }, position + 1);
            put_bytes(&mut sql, &key);
            let _ = write!(sql, ",'{user}',3,11,123456,{})", envelope.minted_at().millis());
        }
        sql
    };
    (0..TRANSFER_BATCHES).map(batch).collect()
}
