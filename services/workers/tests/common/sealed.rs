//! Worlds with sealed tables, and every damage that can be done to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hongbao_core::audit::Breach;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::limits::{ROTATION_AHEAD_DAYS, SEAL_AFTER_DAYS};
use hongbao_core::{Date, EnvelopeId, TransferId};
use hongbao_store::Store;
use hongbao_workers::credit::Credit;
use hongbao_workers::seal::Seal;
use hongbao_workers::{AuditReport, Ports, SealedRows, SetStore, audit_with};

use super::columns::{Database, Side};
use super::damage::with_names;
use super::months::seal_months;
use super::{DAY_MS, World, ZONE_S, run_until_idle};

/// Names how many rows are sealed in the measurement.
const ROWS: &str = "HONGBAO_SEAL_ROWS";
/// By manifests alone.
pub const NO_ROWS: SealedRows = SealedRows::Sample { tables: 0, turn: 0 };

/// The job, as early as it may be configured.
pub fn seal(world: &World) -> Seal {
    seal_with(world.ports())
}

/// The same as another process has it.
pub fn seal_with(ports: Ports) -> Seal {
    Seal::new(ports, ZONE_S, *SEAL_AFTER_DAYS.start())
}

/// Gives each day table the date that it is to hold by now.
pub async fn rotate(world: &World) {
    let through = Date::of(world.now(), ZONE_S).plus_days(ROTATION_AHEAD_DAYS);
    assert_eq!(world.store.rotate(through).await.unwrap().in_use, 0);
}

/// Lets so many days go by, and renames what is due.
pub async fn days_later(world: &World, days: i64) {
    world.clock.advance_millis(days * DAY_MS);
    rotate(world).await;
}

pub async fn credit(world: &World) {
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
}

/// Tables of two days that are over, with settled envelopes, dated and old enough; an envelope of each.
pub async fn two_old_tables(world: &World) -> [EnvelopeId; 2] {
    rotate(world).await;
    let (first, _) = world.finished_and_refunded().await;
    world.clock.advance_millis(DAY_MS);
    let (second, _) = world.finished_and_refunded().await;
    credit(world).await;
    days_later(world, 70).await;
    let tables = [first, second].map(|id| world.table(id));
    assert!(tables[0] != tables[1] && tables.iter().all(|table| matches!(table.span, Span::Date(_))), "{tables:?}");
    [first, second]
}

/// Dated tables that are not sealed.
pub fn unsealed(world: &World) -> Vec<TableRef> {
    let mut tables = world.store.unsealed_tables();
    tables.retain(|table| matches!(table.span, Span::Date(_)));
    tables
}

/// The codes of what is broken, and the report.
pub async fn audited(world: &World, sealed_rows: SealedRows) -> (Vec<&'static str>, AuditReport) {
    let mut codes = Vec::new();
    let mut tell = |breach: &Breach| codes.push(breach.code);
    let report = audit_with(&world.sets(), &*world.wallet, sealed_rows, &mut tell).await;
    (codes, report.expect("damage does not end the audit"))
}

/// What is done to a sealed table, and the codes that name it: by its manifest, and by its rows too.
struct Damage {
    side: Side,
    sql: String,
    by_manifest: Vec<&'static str>,
    by_rows: Vec<&'static str>,
}

fn hex(bytes: &[u8]) -> String {
    format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Every kind of damage to rows, manifests and transfers, one after the other, each undone again.
/// `open` opens the store as a process does that begins.
pub async fn each_damage_of_sealed_tables_is_named(
    world: &World,
    database: &impl Database,
    open: impl AsyncFn() -> Arc<dyn Store>,
) {
    let ids = two_old_tables(world).await;
    run_until_idle(&mut seal(world), 100).await;
    assert_eq!(unsealed(world), []);
    for rows in [NO_ROWS, SealedRows::All] {
        assert_eq!(audited(world, rows).await.0, [""; 0], "sound before the damage");
    }
    let cold = match database.prefix(Side::Store) {
        "" => String::new(),
        prefix => prefix.replace('.', "_cold."),
    };
    let named = |text: &str| {
        let text = with_names(world, ids[0], text, &cold);
        let text = text.replace("{m}", &format!("{}manifest", database.prefix(Side::Store)));
        let text = text.replace("{t}", &format!("{}transfer", database.prefix(Side::Wallet)));
        let number = "(SELECT max(number) FROM (SELECT number FROM {m}) AS numbers)";
        let text = text.replace("{last}", &number.replace("{m}", &format!("{}manifest", database.prefix(Side::Store))));
        let text = text.replace("{y}", &world.table(ids[0]).table.to_string());
        text.replace("{2}", &hex(&TransferId::Envelope(ids[0], 2).to_key()))
    };
    let tables = [(Side::Store, "{e}"), (Side::Store, "{j}"), (Side::Store, "{m}"), (Side::Wallet, "{t}")];
    let mut columns = Vec::new();
    for (side, table) in tables {
        let table = named(table);
        columns.push(database.columns(side, &table).await.join(", "));
        database.execute(side, &format!("CREATE TABLE {table}_kept AS SELECT * FROM {table}")).await;
    }
    let mut damages = Vec::new();
    let mut of_rows = |sql: &str, by_rows: &[&'static str]| {
        let by_rows = [&["sealed_table_changed"], by_rows].concat();
        // What the table shows of itself: without its rows being read no other damage to them is seen.
        let is_shown = sql.contains("stage") || sql.starts_with("DELETE FROM {e}") || sql == "DELETE FROM {j}";
        let by_manifest = if is_shown { by_rows.clone() } else { Vec::new() };
        damages.push(Damage { side: Side::Store, sql: named(sql), by_manifest, by_rows });
    };
    of_rows("UPDATE {e} SET greeting = 'x' WHERE id = {id}", &[]);
    of_rows("UPDATE {e} SET audience_type = 'user', audience_id = 'x' WHERE id = {id}", &[]);
    of_rows("UPDATE {e} SET total_fen = total_fen + 1 WHERE id = {id}", &["payment_wrong"]);
    of_rows("UPDATE {e} SET stage = 1 WHERE id = {id}", &[]);
    of_rows("UPDATE {e} SET sender = 'no such name!' WHERE id = {id}", &["unreadable"]);
    of_rows("DELETE FROM {e} WHERE id = {id}", &["entry_without_envelope"]);
    of_rows("UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2", &["amount_wrong"]);
    of_rows("UPDATE {j} SET user_id = 'thief' WHERE envelope_id = {id} AND seq = 2", &["credit_wrong"]);
    of_rows("UPDATE {j} SET at_ms = at_ms + 1 WHERE envelope_id = {id} AND seq = 2", &["entry_time_wrong"]);
    of_rows("DELETE FROM {j} WHERE envelope_id = {id} AND seq = 5", &["entry_missing"]);
    of_rows("DELETE FROM {j} WHERE envelope_id = {id}", &["entry_missing"]);
    of_rows("DELETE FROM {j}", &["entry_missing"]);

    // Each column of a manifest. What stands in the first one is compared with the second.
    let (forged, broken) = ("manifest_forged", "chain_broken");
    let of_columns = [
        ("number", "number = {last} + 1 WHERE number = 1", vec![broken]),
        ("y", "y = y + 1 WHERE number = 1", vec![forged]),
        ("date", "date = 20200101 WHERE number = 1", vec![forged]),
        ("envelopes", "envelopes = envelopes + 1 WHERE number = 1", vec![forged]),
        ("entries", "entries = entries + 1 WHERE number = 1", vec![forged]),
        ("paid_fen", "paid_fen = paid_fen + 1 WHERE number = 1", vec![forged]),
        ("opened_fen", "opened_fen = opened_fen + 1 WHERE number = 1", vec![forged]),
        ("refunded_fen", "refunded_fen = refunded_fen + 1 WHERE number = 1", vec![forged]),
        ("first_id", "first_id = {id}, last_id = {id} WHERE number = {last}", vec![forged]),
        ("last_id", "first_id = NULL, last_id = NULL WHERE first_id IS NOT NULL", vec![forged]),
        ("rows_hash", "rows_hash = {zeros} WHERE number = 1", vec![forged]),
        ("transfers", "transfers = transfers + 1 WHERE number = 1", vec![forged]),
        ("transfers_fen", "transfers_fen = transfers_fen + 1 WHERE number = 1", vec![forged]),
        ("transfers_hash", "transfers_hash = {ones} WHERE number = 1", vec![forged]),
        ("previous_hash", "previous_hash = {ones} WHERE number = 1", vec![broken, forged]),
        ("hash", "hash = {ones} WHERE number = 1", vec![broken, forged]),
        // Nothing reads it once the table is sealed.
        ("closing", "closing = closing + 1000000 WHERE number = 1", vec![]),
    ];
    let of_manifest: BTreeSet<&str> = columns[2].split(", ").collect();
    assert_eq!(of_columns.iter().map(|(column, ..)| *column).collect::<BTreeSet<_>>(), of_manifest);
    for (_, set, codes) in of_columns {
        let sql = named(&format!("UPDATE {{m}} SET {set}"));
        let sql = sql.replace("{zeros}", &hex(&[0; 32])).replace("{ones}", &hex(&[1; 32]));
        damages.push(Damage { side: Side::Store, sql, by_manifest: codes.clone(), by_rows: codes });
    }
    // What no program of ours writes.
    for set in [
        "paid_fen = NULL",
        "rows_hash = NULL",
        "hash = {short}",
        "transfers_hash = {short}",
        "first_id = {short}",
        "envelopes = -1",
        "date = 1",
        "y = 300",
    ] {
        let sql = named(&format!("UPDATE {{m}} SET {set} WHERE number = 1")).replace("{short}", &hex(&[1; 7]));
        damages.push(Damage { side: Side::Store, sql, by_manifest: vec![forged], by_rows: vec![forged] });
    }
    let sql = named("DELETE FROM {m} WHERE number = 1");
    damages.push(Damage { side: Side::Store, sql, by_manifest: vec![broken], by_rows: vec![broken] });

    // Whatever is wrong in the wallet about a sealed table is named by table, and then by what its rows say.
    for (set, code) in [("user_id = 'thief'", "credit_wrong"), ("at_ms = at_ms + 1", "entry_time_wrong")] {
        let sql = named(&format!("UPDATE {{t}} SET {set} WHERE id = {{2}}"));
        let codes = vec!["sealed_transfers_wrong", code];
        damages.push(Damage { side: Side::Wallet, sql, by_manifest: codes.clone(), by_rows: codes });
    }
    let codes = vec!["sealed_transfers_wrong", "credit_missing"];
    let sql = named("DELETE FROM {t} WHERE id = {2}");
    damages.push(Damage { side: Side::Wallet, sql, by_manifest: codes.clone(), by_rows: codes });

    for Damage { side, sql, by_manifest, by_rows } in damages {
        assert!(database.execute(side, &sql).await > 0, "{sql}");
        for (rows, expected) in [(NO_ROWS, by_manifest), (SealedRows::All, by_rows)] {
            let found = audited(world, rows).await.0;
            assert_eq!(found.is_empty(), expected.is_empty(), "{sql}, {rows:?}: {found:?}");
            for code in expected {
                assert!(found.contains(&code), "{sql}, {rows:?}: {code} is not in {found:?}");
            }
        }
        for ((side, table), columns) in tables.into_iter().zip(&columns) {
            let table = named(table);
            let restore =
                format!("DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_kept");
            database.execute(side, &restore).await;
        }
    }
    assert_eq!(audited(world, SealedRows::All).await.0, [""; 0], "everything was undone again");

    let damaged = named("UPDATE {m} SET y = 300 WHERE number = 1");
    assert_eq!(database.execute(Side::Store, &damaged).await, 1);
    open().await.look().await.expect("a manifest that cannot be read keeps no SET from starting");
    assert_eq!(database.execute(Side::Store, &named("UPDATE {m} SET y = {y} WHERE number = 1")).await, 1);

    // The journals' table first, then both.
    for table in ["{j}", "{e}"] {
        database.execute(Side::Store, &format!("DROP TABLE {}", named(table))).await;
        for rows in [NO_ROWS, SealedRows::All] {
            let mut codes = Vec::new();
            let mut tell = |breach: &Breach| codes.push(breach.code);
            let anew = [SetStore::whole(open().await)];
            audit_with(&anew, &*world.wallet, rows, &mut tell).await.expect("a missing table does not end the audit");
            assert_eq!(codes, ["sealed_table_missing"], "without {table}, {rows:?}");
        }
    }
    let sql = named("DELETE FROM {t} WHERE id = {2}");
    assert_eq!(database.execute(Side::Wallet, &sql).await, 1);
    let anew = [SetStore::whole(open().await)];
    let mut codes = Vec::new();
    let mut tell = |breach: &Breach| codes.push(breach.code);
    audit_with(&anew, &*world.wallet, NO_ROWS, &mut tell).await.unwrap();
    assert!(codes[0] == "sealed_table_missing" && codes.contains(&"sealed_transfers_wrong"), "{codes:?}");
}

/// What is sealed a second, and how long an audit takes beside so much: with more rows in `HONGBAO_SEAL_ROWS`, it measures.
pub async fn many_sealed_rows_are_not_read(world: &World) {
    let rows: u32 = std::env::var(ROWS).map_or(2_200, |rows| rows.parse().unwrap());
    let envelopes = rows / 11;
    rotate(world).await;
    world.top_up("sender", i64::from(rows) * 1_000).await;
    for _ in 0..envelopes {
        let id = world.active(1_000, 10).await;
        world.open_at_once(id, "a", 10).await;
    }
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 1_000).await;
    days_later(world, 70).await;
    let (codes, by_rows) = audited(world, NO_ROWS).await;
    assert_eq!((codes.len(), by_rows.envelopes), (0, u64::from(envelopes)));
    let began = Instant::now();
    let sealed = run_until_idle(&mut seal(world), 1_000).await;
    let took = began.elapsed();
    let (codes, by_manifest) = audited(world, NO_ROWS).await;
    assert_eq!((codes.len(), by_manifest.envelopes, by_manifest.sealed.envelopes), (0, 0, u64::from(envelopes)));
    let began = Instant::now();
    run_until_idle(&mut seal_months(world), 1_000).await;
    let (months_took, transfers) = (began.elapsed(), by_manifest.transfers);
    let (codes, by_months) = audited(world, NO_ROWS).await;
    assert_eq!((codes.len(), by_months.transfers, by_months.sealed.transfers), (0, 0, transfers));
    println!(
        "{sealed} rows sealed in {took:?}, {:.0}/s; {transfers} transfers in {months_took:?}, {:.0}/s; \
         audit by rows {} ms, by the tables' manifests {} ms, by those of the months too {} ms",
        f64::from(sealed) / took.as_secs_f64(),
        transfers as f64 / months_took.as_secs_f64(),
        by_rows.duration_ms,
        by_manifest.duration_ms,
        by_months.duration_ms
    );
}
