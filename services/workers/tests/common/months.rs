//! Worlds with sealed months, and every damage that can be done to them.

use std::collections::BTreeSet;

use hongbao_core::{EnvelopeId, TransferId};
use hongbao_workers::SealedRows;
use hongbao_workers::seal_months::SealMonths;

use super::columns::{Database, Side, hex};
use super::sealed::{NO_ROWS, audited, credit, days_later, rotate, seal};
use super::{World, ZONE_S, run_until_idle};

/// The job.
pub fn seal_months(world: &World) -> SealMonths {
    SealMonths::new(world.ports(), ZONE_S)
}

/// The months that are sealed, in the order of the chain.
pub async fn months(world: &World) -> Vec<u32> {
    let rows = world.wallet.months(0, 0, 100).await.unwrap();
    assert!(rows.iter().zip(1..).all(|(row, number)| row.number == number && !row.is_void));
    rows.into_iter().map(|row| row.month.unwrap().month.month.number()).collect()
}

/// Envelopes of February and March, credited, in April: a settled one of each, and one of March that is running.
pub async fn two_old_months(world: &World) -> [EnvelopeId; 3] {
    rotate(world).await;
    let (february, _) = world.finished_and_refunded().await;
    credit(world).await;
    days_later(world, 32).await;
    let (march, _) = world.finished_and_refunded().await;
    let (running, _) = world.running_and_cancelled().await;
    credit(world).await;
    days_later(world, 35).await;
    [february, march, running]
}

/// What is done, and the codes that name it: without rows of what is sealed, and with all of them.
struct Damage {
    sql: String,
    flat: &'static [&'static str],
    all: &'static [&'static str],
}

/// One after the other: a row of each table, each column of a manifest and of the parts beside it.
pub async fn each_damage_of_sealed_months_is_named(world: &World, database: &impl Database) {
    let [february, march, running] = two_old_months(world).await;
    // The table of February is sealed, that of March is younger.
    run_until_idle(&mut seal(world), 100).await;
    run_until_idle(&mut seal_months(world), 100).await;
    assert_eq!(months(world).await, [202602, 202603]);
    let young = world.active(1_000, 10).await;
    world.open_many(young, "a", 3).await;
    credit(world).await;
    for rows in [NO_ROWS, SealedRows::All] {
        let (codes, report) = audited(world, rows).await;
        assert_eq!((codes, report.sealed.tables > 0, report.sealed.months), (vec![], true, 2));
    }

    let tables = ["transfer", "sealed_month", "month_block", "month_balance", "month_tie"];
    let prefix = database.prefix(Side::Wallet);
    let mut columns = Vec::new();
    for table in tables {
        let table = format!("{prefix}{table}");
        columns.push(database.columns(Side::Wallet, &table).await);
        database.execute(Side::Wallet, &format!("CREATE TABLE {table}_kept AS SELECT * FROM {table}")).await;
    }
    let mut damages = Vec::new();
    let mut damage = |sql: &str, flat: &'static [&'static str], all: &'static [&'static str]| {
        let mut sql = sql.to_owned();
        for table in tables {
            sql = sql.replace(&format!("{{{table}}}"), &format!("{prefix}{table}"));
        }
        for (name, id) in [("february", february), ("march", march), ("running", running)] {
            for seq in [0, 1, 2, 5] {
                sql = sql.replace(&format!("{{{name}.{seq}}}"), &hex(&TransferId::Envelope(id, seq).to_key()));
            }
            // Of no envelope, of the same date and slot.
            let mut ids = (0..=u16::MAX).map(|number| {
                let [high, low] = number.to_be_bytes();
                EnvelopeId::mint(id.minted_at(), [7, 7, 7, 7, 7, 7, 7, 7, high, low])
            });
            let never = ids.find(|never| never.slot() == id.slot()).expect("one of 65,536 ids is of the slot");
            sql = sql.replace(&format!("{{{name}.never}}"), &hex(&TransferId::Envelope(never, 2).to_key()));
        }
        damages.push(Damage { sql: sql.replace("{ones}", &hex(&[1; 32])), flat, all });
    };

    // Transfers of a sealed table: nothing of them is read without the sample.
    damage(
        "UPDATE {transfer} SET at_ms = at_ms + 1 WHERE id = {february.2}",
        &[],
        &["sealed_month_changed", "entry_time_wrong"],
    );
    damage(
        "UPDATE {transfer} SET amount_fen = amount_fen + 1 WHERE id = {february.2}",
        &[],
        &["sealed_month_changed", "running_balance_off", "credit_wrong"],
    );
    damage(
        "UPDATE {transfer} SET user_id = 'a-1' WHERE id = {february.2}",
        &[],
        &["sealed_month_changed", "credit_wrong"],
    );
    damage(
        "UPDATE {transfer} SET balance_fen = balance_fen + 1 WHERE id = {february.1}",
        &[],
        &["sealed_month_changed", "running_balance_off"],
    );
    damage("DELETE FROM {transfer} WHERE id = {february.2}", &[], &["sealed_month_changed", "credit_missing"]);
    damage(
        "UPDATE {transfer} SET id = {february.never} WHERE id = {february.2}",
        &[],
        &["sealed_month_changed", "envelope_missing", "credit_missing"],
    );
    // Those of envelopes that are read.
    damage(
        "UPDATE {transfer} SET at_ms = at_ms + 1 WHERE id = {march.2}",
        &["entry_time_wrong", "sealed_transfers_wrong"],
        &["sealed_month_changed"],
    );
    damage(
        "DELETE FROM {transfer} WHERE id = {march.2}",
        &["credit_missing", "sealed_transfers_wrong"],
        &["sealed_month_changed"],
    );
    damage(
        "UPDATE {transfer} SET id = {march.never} WHERE id = {march.2}",
        &["credit_missing", "sealed_transfers_wrong"],
        &["sealed_month_changed", "envelope_missing"],
    );
    // The last one of a user who goes on, and of one who does not.
    damage(
        "UPDATE {transfer} SET balance_fen = balance_fen + 1 WHERE id = {running.1}",
        &["sealed_balance_off", "running_balance_off"],
        &["sealed_month_changed"],
    );
    damage(
        "UPDATE {transfer} SET balance_fen = balance_fen + 1 WHERE id = {march.5}",
        &["sealed_balance_off", "balance_off", "books_off"],
        &["sealed_month_changed"],
    );

    for set in ["user_id = 'thief'", "number = 3", "balance_fen = balance_fen + 1"] {
        let sql = format!("UPDATE {{month_balance}} SET {set} WHERE user_id = 'a-1' AND number = 2");
        damage(&sql, &["sealed_balance_off", "sealed_month_changed"], &["sealed_balance_off", "sealed_month_changed"]);
    }
    damage(
        "DELETE FROM {month_balance} WHERE user_id = 'a-1'",
        &["sealed_balance_off", "sealed_month_changed"],
        &["sealed_balance_off"],
    );
    damage(
        "UPDATE {month_balance} SET balance_fen = balance_fen + 1 WHERE user_id = 'a-1' AND number = 1",
        &[],
        &["sealed_month_changed"],
    );
    let damaged_parts = [
        (
            "month_block",
            ["number = 3", "last_position = last_position - 1", "transfers = transfers + 1", "rows_hash = {ones}"]
                .as_slice(),
        ),
        (
            "month_tie",
            &[
                "number = 3",
                "date = 20200101",
                "transfers = transfers + 1",
                "amount_fen = amount_fen + 1",
                "hash = {ones}",
            ],
        ),
    ];
    for (table, sets) in damaged_parts {
        for set in sets {
            damage(
                &format!("UPDATE {{{table}}} SET {set} WHERE number = 1"),
                &["sealed_month_changed"],
                &["sealed_month_changed"],
            );
        }
        damage(
            &format!("DELETE FROM {{{table}}} WHERE number = 2"),
            &["sealed_month_changed"],
            &["sealed_month_changed"],
        );
    }

    let (forged, broken): (&'static [_], &'static [_]) = (&["manifest_forged"], &["chain_broken"]);
    let of_columns = [
        ("number", "number = 3 WHERE number = 1", broken),
        ("month", "month = 202601 WHERE number = 1", forged),
        ("zone_offset_s", "zone_offset_s = 0 WHERE number = 1", forged),
        ("moved_slots", "moved_slots = '07' WHERE number = 2", forged),
        ("last_position", "last_position = last_position + 1 WHERE number = 1", forged),
        ("transfers", "transfers = transfers + 1 WHERE number = 1", forged),
        ("topped_up_fen", "topped_up_fen = topped_up_fen + 1 WHERE number = 1", forged),
        ("sent_fen", "sent_fen = sent_fen + 1 WHERE number = 1", forged),
        ("opened_fen", "opened_fen = opened_fen + 1 WHERE number = 1", forged),
        ("refunded_fen", "refunded_fen = refunded_fen + 1 WHERE number = 1", forged),
        ("charged_fen", "charged_fen = charged_fen + 1 WHERE number = 1", forged),
        ("paid_out_fen", "paid_out_fen = paid_out_fen + 1 WHERE number = 1", forged),
        ("rows_hash", "rows_hash = {ones} WHERE number = 1", forged),
        ("balances_hash", "balances_hash = {ones} WHERE number = 1", forged),
        ("ties_hash", "ties_hash = {ones} WHERE number = 1", forged),
        ("users", "users = users + 1 WHERE number = 2", forged),
        ("balances_fen", "balances_fen = balances_fen + 1 WHERE number = 2", forged),
        ("clearing_fen", "clearing_fen = clearing_fen + 1 WHERE number = 2", forged),
        ("top_ups_fen", "top_ups_fen = top_ups_fen + 1 WHERE number = 2", forged),
        ("provider_fen", "provider_fen = provider_fen + 1 WHERE number = 2", forged),
        ("payouts_fen", "payouts_fen = payouts_fen + 1 WHERE number = 2", forged),
        ("previous_hash", "previous_hash = {ones} WHERE number = 2", broken),
        ("hash", "hash = {ones} WHERE number = 1", broken),
    ];
    let damaged: BTreeSet<&str> = of_columns.iter().map(|(column, ..)| *column).collect();
    assert_eq!(damaged, columns[1].iter().map(String::as_str).collect());
    for (_, set, codes) in of_columns {
        damage(&format!("UPDATE {{sealed_month}} SET {set}"), codes, codes);
    }
    damage("UPDATE {sealed_month} SET month = 13 WHERE number = 2", forged, forged);
    damage("DELETE FROM {sealed_month} WHERE number = 1", broken, broken);

    for Damage { sql, flat, all } in damages {
        assert!(database.execute(Side::Wallet, &sql).await > 0, "{sql}");
        for (rows, expected) in [(NO_ROWS, flat), (SealedRows::All, all)] {
            let found = audited(world, rows).await.0;
            assert_eq!(found.is_empty(), expected.is_empty(), "{sql}, {rows:?}: {found:?}");
            for code in expected {
                assert!(found.contains(code), "{sql}, {rows:?}: {code} is not in {found:?}");
            }
        }
        for (table, columns) in tables.iter().zip(&columns) {
            let (table, columns) = (format!("{prefix}{table}"), columns.join(", "));
            let restore =
                format!("DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_kept");
            database.execute(Side::Wallet, &restore).await;
        }
    }
    assert_eq!(audited(world, SealedRows::All).await.0, [""; 0], "everything was undone again");
    let sql = format!("DELETE FROM {prefix}sealed_month WHERE number = 2");
    assert_eq!(database.execute(Side::Wallet, &sql).await, 1);
    let (codes, report) = audited(world, NO_ROWS).await;
    assert_eq!((codes, report.sealed.months), (vec![], 1), "the way back: its transfers are read again");
    run_until_idle(&mut seal_months(world), 100).await;
    assert_eq!(months(world).await, [202602, 202603]);
    assert_eq!(audited(world, SealedRows::All).await.0, [""; 0]);
}
