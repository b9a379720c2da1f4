//! `hongbao audit`: what the stored rows say, and nothing else.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use hongbao_store::sqlite::SqliteStore;
use hongbao_store::sqlite::file::Mode;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::audit::{SetStore, audit};

/// Exit 0 when all invariants hold, 1 when something is broken, 2 (an error)
/// when it could not be checked.
pub fn run(data: &Path, json: bool) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(check(data, json))
}

async fn check(data: &Path, json: bool) -> Result<ExitCode, String> {
    let store = SqliteStore::open_existing(data, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
    let wallet = SqliteWallet::open(data, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
    let mut breaches = Vec::new();
    let report = audit(&[SetStore::whole(Arc::new(store))], &wallet, &mut |breach| {
        if json {
            breaches.push(breach.clone());
        } else {
            println!("BROKEN {breach}");
        }
    })
    .await
    .map_err(|error| format!("the audit could not finish: {error}"))?;
    if json {
        println!("{}", serde_json::json!({ "report": report, "breaches": breaches }));
    } else {
        println!("{report}");
    }
    Ok(if report.breaches == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
