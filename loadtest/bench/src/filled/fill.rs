//! What a day leaves in the database of a SET, in bulk: envelopes of which every
//! share was opened and credited, with their journals, where the service would
//! have put them. They are older than any that is made afterwards, as in life.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_load::{Fallible, interrupt};
use hongbao_testbed::FOLD;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::mysql::MySqlConnection;
use sqlx::{ConnectOptions as _, Executor as _, Row as _};

use crate::compare::alternative::{server_options, tables::literal};
use crate::prepare::{SENDER, SHARE_FEN_MEAN};

/// Openings of one envelope: a large group's.
pub const SHARES: u64 = 50;
/// How far the ids go back.
const SPAN: Duration = Duration::from_secs(6 * 3_600);
/// Envelopes whose rows and journals one transaction writes.
pub const ENVELOPES_AT_ONCE: usize = 1_000;
/// Users who have opened what is filled in.
const USERS: u32 = 1_000_000;
/// Random ids that are tried until one belongs to the SET.
const TRIES_MAX: usize = 10_000;
/// Entries from one line about the progress to the next.
const PROGRESS_EVERY: u64 = 1_000_000;

pub struct Filled {
    pub envelopes: u64,
    /// Their journals' entries, together.
    pub entries: u64,
    pub one: EnvelopeId,
}

/// The two tables of some envelopes, with their database: `db_01.envelope_0_26`.
pub struct Tables {
    pub database: String,
    pub envelope: String,
    pub entry: String,
}

impl Tables {
    fn of_day(table: TableRef) -> Tables {
        let (database, TableRef { table: y, span, .. }) = (database(table), table);
        let [envelope, entry] = ["envelope", "entry"].map(|kind| format!("{database}.{kind}_{y}_{span}"));
        Tables { database, envelope, entry }
    }
}

/// Writes at least so many entries into the databases of the MariaDB at `node`,
/// `host:port`, which the service has made. `now` lies in the day whose tables
/// are filled, in the zone of the service, and so must the hours before.
pub fn fill(node: &str, entries: u64, now: SystemTime, zone_offset_s: i64) -> Fallible<Filled> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = server_options(node)?.connect().await?;
        let databases = databases(&mut connection).await?;
        let envelopes = entries.div_ceil(SHARES);
        let mut random = SmallRng::seed_from_u64(entries);
        let place = |id: EnvelopeId| {
            let table = FOLD.table_of(id.placement(zone_offset_s as i32));
            databases.contains(&database(table)).then_some(table)
        };
        let mut ids = BTreeMap::<TableRef, Vec<EnvelopeId>>::new();
        for number in 0..envelopes {
            let at = now - SPAN + SPAN.mul_f64(number as f64 / envelopes as f64);
            let minted = (0..TRIES_MAX).map(|_| mint(at, &mut random)).find_map(|id| Some((place(id)?, id)));
            let (table, id) = minted.ok_or_else(|| format!("{node} has no database of an envelope"))?;
            ids.entry(table).or_default().push(id);
        }
        let one = *ids.values().flatten().next().ok_or("nothing was to be filled in")?;
        let mut written = 0;
        for (table, ids) in &mut ids {
            ids.sort_unstable();
            for some in ids.chunks(ENVELOPES_AT_ONCE) {
                interrupt::check()?;
                let before = written;
                written += write(&mut connection, &Tables::of_day(*table), some, USERS).await?;
                if before / PROGRESS_EVERY < written / PROGRESS_EVERY {
                    eprintln!("{written} of {entries} entries are in");
                }
            }
        }
        Ok(Filled { envelopes, entries: written, one })
    })
}

async fn databases(connection: &mut MySqlConnection) -> Fallible<HashSet<String>> {
    let rows = connection.fetch_all(sqlx::raw_sql(r"SHOW DATABASES LIKE 'db\_%'")).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, sqlx::Error>>()?)
}

fn database(table: TableRef) -> String {
    format!("db_{:02}", table.database)
}

/// An id of that time.
pub fn mint(at: SystemTime, random: &mut SmallRng) -> EnvelopeId {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    EnvelopeId::mint(Timestamp::from_millis(since.as_millis() as i64), random.random())
}

/// Envelopes in the order of their ids, of which there is at least one, and their
/// journals, opened by so many users. Answers how many entries that were.
pub async fn write(
    connection: &mut MySqlConnection,
    tables: &Tables,
    ids: &[EnvelopeId],
    users: u32,
) -> Result<u64, sqlx::Error> {
    let Tables { database, envelope, entry } = tables;
    let total_fen = SHARES as i64 * SHARE_FEN_MEAN;
    let rows: Vec<String> = ids
        .iter()
        .map(|id| {
            let (id, at_ms) = (literal(*id), id.minted_at().millis());
            format!(
                "({id}, '{SENDER}', 'equal', {total_fen}, {SHARES}, 20000, '恭喜发财，大吉大利', 'link', NULL, \
                 concat({id}, {id}), {at_ms}, 86400000, 3, {at_ms} + 86400000, {SHARES})"
            )
        })
        .collect();
    let envelopes = format!(
        "INSERT INTO {envelope} (id, sender, kind, total_fen, shares, share_cap_fen, greeting, \
         audience_type, audience_id, seed, created_at_ms, lifetime_ms, stage, expires_at_ms, settled_seq) VALUES {}",
        rows.join(", ")
    );
    // A user a share, from a place in the list of users that is the envelope's own.
    let journals = format!(
        "INSERT INTO {entry} (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) \
         SELECT e.id, s.seq, concat('user-', lpad((crc32(e.id) + s.seq * 7919) % {users}, 8, '0')), {SHARE_FEN_MEAN}, \
         e.total_fen - s.seq * {SHARE_FEN_MEAN}, e.created_at_ms + s.seq \
         FROM {envelope} e JOIN {database}.seq_1_to_{SHARES} s WHERE e.id BETWEEN {} AND {} ORDER BY e.id, s.seq",
        literal(ids[0]),
        literal(ids[ids.len() - 1])
    );
    connection.execute(sqlx::raw_sql("BEGIN")).await?;
    connection.execute(sqlx::raw_sql(&envelopes)).await?;
    let entries = connection.execute(sqlx::raw_sql(&journals)).await?.rows_affected();
    connection.execute(sqlx::raw_sql("COMMIT")).await?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use hongbao_load::{machine::wall_clock, zone_with_noon_at};
    use hongbao_testbed::Part;

    use super::*;

    const DAY_TABLE: &str = include_str!("../../../../sql/mysql/envelope/0001_day_tables.sql");

    #[test]
    fn every_envelope_is_where_the_service_looks_for_it_and_its_journal_is_whole() {
        let part = Part::mariadb(&[]);
        let now = wall_clock();
        let zone = zone_with_noon_at(now);
        let day = mint(now, &mut SmallRng::seed_from_u64(1)).placement(zone as i32).date.day().number();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut root = runtime.block_on(server_options(&part.node()).unwrap().connect()).unwrap();
        let mut ask = |sql: &str| runtime.block_on(root.fetch_all(sqlx::raw_sql(sql))).unwrap();
        for db in ["db_01", "db_03"] {
            let table = DAY_TABLE.replace("{db}", db).replace("{y}", "0").replace("{dd}", &format!("{day:02}"));
            ask(&format!("CREATE DATABASE {db}; {table}"));
        }

        let filled = fill(&part.node(), 60_010, now, zone).unwrap();
        assert_eq!((filled.envelopes, filled.entries), (1_201, 60_050));
        let mut envelopes = 0;
        for (db, number) in [("db_01", 1), ("db_03", 3)] {
            let journals = ask(&format!(
                "SELECT e.id, count(*), max(j.seq), sum(j.amount_fen) = e.total_fen, min(j.remaining_fen), \
                 count(DISTINCT j.user_id), e.settled_seq FROM {db}.envelope_0_{day:02} e \
                 JOIN {db}.entry_0_{day:02} j ON j.envelope_id = e.id GROUP BY e.id"
            ));
            for row in &journals {
                let id = EnvelopeId::from_bytes(row.get(0)).unwrap();
                assert_eq!(FOLD.table_of(id.placement(zone as i32)).database, number);
                assert_eq!(id.placement(zone as i32).date.day().number(), day);
                let figures = [1, 2, 3, 4, 5, 6].map(|column| row.get::<i64, _>(column));
                assert_eq!(figures, [50, 50, 1, 0, 50, 50]);
            }
            envelopes += journals.len();
        }
        assert_eq!(envelopes, 1_201, "in both databases together");
    }
}
