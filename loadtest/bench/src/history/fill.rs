//! Months of a SET in bulk: for each date the tables that a rotation leaves, full of envelopes of which every share was
//! opened and credited, and all of their transfers in the wallet.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hongbao_core::id::{Slot, TableRef};
use hongbao_core::{
    Date, EnvelopeId, Fen, Timestamp, Traffic, Transfer, TransferId, TransferKind, TransferOutcome, UserId,
};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_load::{Cluster, Fallible, interrupt};
use hongbao_store::mysql::Layout;
use hongbao_testbed::FOLD;
use hongbao_wallet::Wallet as _;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::mysql::MySqlConnection;
use sqlx::{ConnectOptions as _, Executor as _, Row as _};

use crate::compare::alternative::{server_options, tables::literal};
use crate::filled::fill::{ENVELOPES_AT_ONCE, SHARES, Tables, mint, write};
use crate::prepare::{SENDER, SHARE_FEN_MEAN};

/// Users who have opened, so that each of them did it often.
const USERS: u32 = 20_000;
/// Databases of the wallet of a cluster.
pub const WALLET_DATABASES: u8 = 2;
/// Transfers that are handed to the wallet at once, and so many of these at the same time.
const TRANSFERS_AT_ONCE: usize = 1_000;
const HANDED_AT_ONCE: usize = 4;
/// For a statement of this program: thousands of rows each.
const STATEMENT_WITHIN: Duration = Duration::from_secs(60);

/// What writes months into the databases of a cluster of one SET, whose servers and workers do not run.
pub struct Filler {
    set: MySqlConnection,
    wallet: MysqlWallet,
    layout: Layout,
    random: SmallRng,
}

impl Filler {
    /// Connects to the databases.
    pub async fn connect(cluster: &Cluster, zone_offset_s: i32) -> Fallible<Filler> {
        let set = server_options(&cluster.database_addr(0).to_string())?.connect().await?;
        let options = options(&cluster.wallet_addr().to_string())?;
        let options = MysqlOptions { statement_timeout: STATEMENT_WITHIN, ..options };
        let servers = vec![DatabaseServer { options, slots: Slot::all().collect(), traffic: Traffic::Live }];
        let wallet = MysqlWallet::open(servers, WALLET_DATABASES).await?;
        let layout = Layout::always(Slot::all(), FOLD, zone_offset_s, Traffic::Live);
        Ok(Filler { set, wallet, layout, random: SmallRng::seed_from_u64(0) })
    }

    /// Writes at least so many entries, as many on each of the dates, and their transfers.
    pub async fn fill(&mut self, dates: &[Date], entries: u64) -> Fallible<()> {
        // Each fill has ids of its own, also those of its top-ups.
        let first = dates.first().ok_or("no date is to be filled")?;
        self.random = SmallRng::seed_from_u64(first.number() as u64);
        let envelopes = entries.div_ceil(SHARES).div_ceil(dates.len() as u64);
        let mut written = 0;
        for date in dates.iter().copied() {
            interrupt::check()?;
            self.pay_in(date, envelopes).await?;
            for (table, ids) in self.ids(date, envelopes) {
                let names = self.layout.names(table);
                for statement in names.creation(table.table, date, self.layout.zone_offset_s) {
                    self.set.execute(sqlx::raw_sql(&statement)).await?;
                }
                let database = self.layout.cold_database(table.database);
                let tables = Tables { database, envelope: names.envelope, entry: names.entry };
                for some in ids.chunks(ENVELOPES_AT_ONCE) {
                    written += write(&mut self.set, &tables, some, USERS).await?;
                    self.transfer(&tables, some).await?;
                }
            }
            eprintln!("{date}: {written} entries and their transfers are in");
        }
        Ok(())
    }

    /// Ids over the whole of a date, by their tables and in order.
    fn ids(&mut self, date: Date, envelopes: u64) -> BTreeMap<TableRef, Vec<EnvelopeId>> {
        let zone_offset_s = self.layout.zone_offset_s;
        let from = date.starts_at(zone_offset_s).millis() as u64;
        let mut ids = BTreeMap::<TableRef, Vec<EnvelopeId>>::new();
        for number in 0..envelopes {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(from + 86_000_000 * number / envelopes);
            let id = mint(at, &mut self.random);
            let table = FOLD.table_of(id.placement(zone_offset_s)).dated(date);
            ids.entry(table).or_default().push(id);
        }
        ids.values_mut().for_each(|ids| ids.sort_unstable());
        ids
    }

    async fn pay_in(&mut self, date: Date, envelopes: u64) -> Fallible<()> {
        let id = uuid::Builder::from_random_bytes(self.random.random()).into_uuid();
        let amount = fen(envelopes as i64 * SHARES as i64 * SHARE_FEN_MEAN);
        let at = date.starts_at(self.layout.zone_offset_s);
        self.done(vec![Transfer::top_up(id, user(SENDER), amount, at)]).await
    }

    /// What was paid for envelopes that were written, and what their openers got.
    async fn transfer(&mut self, tables: &Tables, ids: &[EnvelopeId]) -> Fallible<()> {
        let total = fen(SHARES as i64 * SHARE_FEN_MEAN);
        let sends = ids.iter().map(|id| Transfer {
            id: TransferId::Envelope(*id, 0),
            kind: TransferKind::Send,
            user: user(SENDER),
            amount: total,
            at: id.minted_at(),
        });
        self.hand_over(sends.collect()).await?;
        let [first, last] = [ids[0], ids[ids.len() - 1]].map(literal);
        let rows = format!(
            "SELECT envelope_id, seq, user_id, amount_fen, at_ms FROM {} WHERE envelope_id BETWEEN {first} AND {last} \
             ORDER BY envelope_id, seq",
            tables.entry
        );
        let mut opens = Vec::with_capacity(ids.len() * SHARES as usize);
        for row in self.set.fetch_all(sqlx::raw_sql(&rows)).await? {
            let id = EnvelopeId::from_bytes(row.try_get(0)?).ok_or("an entry is of no envelope")?;
            opens.push(Transfer {
                id: TransferId::Envelope(id, row.try_get::<i64, _>(1)? as u32),
                kind: TransferKind::Open,
                user: user(std::str::from_utf8(row.try_get(2)?)?),
                amount: fen(row.try_get(3)?),
                at: Timestamp::from_millis(row.try_get(4)?),
            });
        }
        self.hand_over(opens).await
    }

    async fn hand_over(&self, transfers: Vec<Transfer>) -> Fallible<()> {
        for some in transfers.chunks(HANDED_AT_ONCE * TRANSFERS_AT_ONCE) {
            let parts = some.chunks(TRANSFERS_AT_ONCE).map(|part| self.done(part.to_vec()));
            futures_util::future::try_join_all(parts).await?;
        }
        Ok(())
    }

    async fn done(&self, transfers: Vec<Transfer>) -> Fallible<()> {
        let outcomes = self.wallet.transfer(transfers).await?;
        match outcomes.iter().find(|outcome| **outcome != TransferOutcome::Done) {
            None => Ok(()),
            Some(other) => Err(format!("a transfer that was to be filled in is {other:?}").into()),
        }
    }
}

/// How the service reaches a MariaDB of a cluster, `host:port`.
pub fn options(node: &str) -> Result<MysqlOptions, String> {
    let (user, password) = ("hongbao".to_owned(), "hongbao".to_owned());
    Ok(MysqlOptions { nodes: vec![node.parse()?], user, password, ..MysqlOptions::default() })
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("it is a user's name")
}

fn fen(amount: i64) -> Fen {
    Fen::new(amount).expect("it is not negative")
}
