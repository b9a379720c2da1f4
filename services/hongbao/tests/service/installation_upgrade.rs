//! An installation whose databases were made by an earlier version: dumps of it, with
//! an unpaid envelope, credited ones, and openings that are not credited yet.
//!
//! `fixtures/schema_2` was made by commit e46189e with one database, one table and one
//! part of the wallet, its worker stopped before the last three openings.

use std::path::Path;
use std::time::Duration;

use hongbao_testbed::Part;

use crate::backup_installation::{configure, restore, run, user};
use crate::rehearsal_installation::Process;
use crate::support::Folder;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn databases_of_schema_version_2_are_upgraded_audited_and_served_with_their_credits_open_i6() {
    let (set, wallet, folder) = (Part::mariadb(&[]), Part::mariadb(&[]), Folder::new());
    let server_at = configure(&folder, &set, &wallet, 1, 1);
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/fixtures/schema_2");
    restore(&set, &dumps.join("set-a.sql"));
    restore(&wallet, &dumps.join("wallet-w.sql"));

    let (code, said) = run(&folder, "audit", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("db_00 is not complete: run `hongbao migrate`"), "{said}");
    for _ in 0..2 {
        let (code, said) = run(&folder, "migrate", &[]);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = run(&folder, "audit", &[]);
    assert_eq!(code, Some(0), "{said}");
    // Earlier programs do not know of sealed tables, fences, nor sealed months, and refuse these versions.
    for (part, meta, version) in [(&set, "db_00.meta", "6"), (&wallet, "wallet_00.meta", "9")] {
        assert_eq!(part.sql(&format!("SELECT version FROM {meta}")).trim(), version);
    }

    let processes = (Process::start(&folder, "server", &[]), Process::start(&folder, "worker", &[]));
    for (name, balance_fen) in [("wang", 978), ("zhao", 1_045), ("sun", 177)] {
        user(name, server_at).wait_for_balance(balance_fen, SOON);
    }
    let (code, said) = run(&folder, "audit", &[]);
    assert_eq!(code, Some(0), "{said}");
    drop(processes);
}
