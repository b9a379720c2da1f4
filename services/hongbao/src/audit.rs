//! `hongbao audit`: what the stored rows say, and nothing else.
//!
//! Exit 0 when all invariants hold, 1 when something is broken, 2 (an error)
//! when it could not be checked, 3 when nothing is broken but the files of
//! exported tables could not be opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use hongbao_core::audit::Breach;
use hongbao_core::limits::{AUDIT_LISTED_OF_A_CODE_MAX, AUDIT_SEALED_SAMPLE};
use hongbao_core::{Clock as _, SystemClock, Traffic};
use hongbao_wallet::Wallet;
use hongbao_workers::audit::{AuditReport, SealedRows, SetStore, audit_with};

use crate::config::ArchiveSection;
use crate::dev::DEV_SET;
use crate::folder::{self, folder_of};
use crate::roles::Role;
use crate::{fences, process, stores};

const DAY_MS: u64 = 86_400_000;

/// What was asked for with `--sealed`: so many sealed tables of each SET, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    All,
    Sample(u32),
}

impl Default for Sealed {
    fn default() -> Sealed {
        Sealed::Sample(AUDIT_SEALED_SAMPLE)
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sealed::All => f.write_str("all"),
            Sealed::Sample(tables) => tables.fmt(f),
        }
    }
}

impl FromStr for Sealed {
    type Err = String;

    fn from_str(text: &str) -> Result<Sealed, String> {
        match text {
            "all" => Ok(Sealed::All),
            number => number.parse().map(Sealed::Sample).map_err(|_| "a number, or `all`".to_owned()),
        }
    }
}

impl Sealed {
    /// Each day has the sample that follows that of the day before.
    fn rows(self) -> SealedRows {
        match self {
            Sealed::All => SealedRows::All,
            Sealed::Sample(tables) => {
                SealedRows::Sample { tables, turn: SystemClock.now().millis().unsigned_abs() / DAY_MS }
            }
        }
    }
}

/// Checks a folder of `hongbao dev`.
pub fn run_folder(
    data: &Path,
    traffic: Traffic,
    sealed: Sealed,
    archive: Option<String>,
    json: bool,
) -> Result<ExitCode, String> {
    process::block_on(async {
        let opened = folder::open_to_read(&folder_of(data, traffic)).await;
        let (store, wallet) = opened.map_err(|error| format!("--data: {error}"))?;
        let archive = ArchiveSection { url: archive, ..ArchiveSection::default() }.of(DEV_SET, traffic);
        if let Some(archive) = archive.map_err(|reason| format!("--archive: {reason}"))? {
            store.archive_in(Arc::new(archive));
        }
        check(&[SetStore::whole(Arc::new(store))], &wallet, sealed, json).await
    })
}

/// Checks all SETs and the wallet of an installation.
pub fn run_installation(config: &Path, traffic: Traffic, sealed: Sealed, json: bool) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    process::block_on(async {
        let topology = role.file();
        let mut sets = Vec::new();
        for set in &topology.sets {
            let store = Arc::new(stores::open_store(&role.installation, &topology, set, traffic).await?);
            fences::check_version(&topology, set, &store).await?;
            fences::check_left(&role.installation, &topology, set, traffic).await?;
            sets.push(SetStore {
                name: set.name.clone(),
                held: topology.held_by(set, role.installation.storage.fold()?)?,
                store,
            });
        }
        for (entry, store) in topology.left.iter().zip(stores::left(&role.installation, &topology, traffic)?) {
            sets.push(SetStore { name: entry.name.clone(), held: store.held_slots().clone(), store });
        }
        let wallet = stores::open_wallet(&role.installation, &topology, traffic).await?;
        check(&sets, &wallet, sealed, json).await
    })
}

async fn check(sets: &[SetStore], wallet: &dyn Wallet, sealed: Sealed, json: bool) -> Result<ExitCode, String> {
    let mut found = Found::default();
    let finished = audit_with(sets, wallet, sealed.rows(), &mut |breach| match json {
        true => found.keep(breach),
        false => println!("BROKEN {breach}"),
    })
    .await
    .map_err(|error| format!("the audit could not finish: {error}"));
    if json {
        println!("{}", found.json(&finished));
    }
    let report = finished?;
    if !json {
        println!("{report}");
    }
    Ok(ExitCode::from(exit_code(&report)))
}

fn exit_code(report: &AuditReport) -> u8 {
    match (report.breaches, report.not_checked.as_slice()) {
        (0, []) => 0,
        (0, _) => 3,
        _ => 1,
    }
}

/// What is kept until it is printed.
#[derive(Default)]
struct Found {
    breaches: Vec<Breach>,
    /// By code, how many there are.
    counts: BTreeMap<&'static str, u64>,
}

impl Found {
    fn keep(&mut self, breach: &Breach) {
        let count = self.counts.entry(breach.code).or_default();
        if *count < AUDIT_LISTED_OF_A_CODE_MAX {
            self.breaches.push(breach.clone());
        }
        *count += 1;
    }

    /// What was found, also if the audit could not finish: then `report` is null
    /// and `error` says why. `left_out` counts by code what was too much to keep.
    fn json(&self, finished: &Result<AuditReport, String>) -> serde_json::Value {
        let left_out: BTreeMap<&str, u64> = self
            .counts
            .iter()
            .filter(|(_, count)| **count > AUDIT_LISTED_OF_A_CODE_MAX)
            .map(|(code, count)| (*code, count - AUDIT_LISTED_OF_A_CODE_MAX))
            .collect();
        let mut all = serde_json::json!({
            "report": finished.as_ref().ok(),
            "breaches": self.breaches,
            "left_out": left_out,
        });
        if let Err(reason) = finished {
            all["error"] = reason.as_str().into();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(code: &'static str, detail: u64) -> Breach {
        Breach { invariant: "I1", code, envelope_id: None, user_id: None, detail: detail.to_string() }
    }

    #[test]
    fn what_was_found_before_the_audit_had_to_stop_is_told() {
        let mut found = Found::default();
        found.keep(&breach("total_wrong", 1));
        let json = found.json(&Err("the store of SET b is gone".to_owned()));
        assert_eq!(json["breaches"][0]["code"], "total_wrong");
        assert_eq!(json["error"], "the store of SET b is gone");
        assert!(json["report"].is_null());
    }

    #[test]
    fn i8_of_each_kind_of_damage_so_much_is_told_and_the_rest_is_counted() {
        let mut found = Found::default();
        for number in 0..AUDIT_LISTED_OF_A_CODE_MAX + 7 {
            found.keep(&breach("total_wrong", number));
        }
        found.keep(&breach("wrong_set", 0));
        let json = found.json(&Ok(AuditReport::default()));
        assert_eq!(json["breaches"].as_array().unwrap().len() as u64, AUDIT_LISTED_OF_A_CODE_MAX + 1);
        assert_eq!(json["left_out"], serde_json::json!({ "total_wrong": 7 }));
        assert!(json["report"].is_object() && json["error"].is_null());
    }

    #[test]
    fn what_is_broken_counts_for_more_than_what_was_not_checked() {
        let of = |breaches, not_checked: &[&str]| {
            let not_checked = not_checked.iter().map(|place| (*place).to_owned()).collect();
            exit_code(&AuditReport { breaches, not_checked, ..AuditReport::default() })
        };
        assert_eq!([of(0, &[]), of(1, &[]), of(0, &["a"]), of(1, &["a"])], [0, 1, 3, 1]);
    }

    #[test]
    fn sealed_tables_are_asked_for_by_number_or_all_of_them() {
        for (text, rows) in [("all", Sealed::All), ("0", Sealed::Sample(0)), ("16", Sealed::default())] {
            let parsed: Sealed = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (rows, text));
        }
        for text in ["", "ALL", "-1", "1.5"] {
            assert!(text.parse::<Sealed>().is_err(), "{text}");
        }
    }
}
