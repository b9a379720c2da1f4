//! `hongbao audit`: what the stored rows say, and nothing else.
//!
//! Exit 0 when all invariants hold, 1 when something is broken, 2 (an error)
//! when it could not be checked.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::World;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::sqlite::file::Mode;
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::audit::{SetStore, audit};

use crate::roles::Role;
use crate::{dev, stores};

/// Checks a folder of `hongbao dev`.
pub fn run_folder(data: &Path, world: World, json: bool) -> Result<ExitCode, String> {
    let data = &dev::folder_of(data, world);
    block_on(async {
        let store = SqliteStore::open_existing(data, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
        let wallet = SqliteWallet::open(data, Mode::ReadOnly).await.map_err(|error| error.to_string())?;
        check(&[SetStore::whole(Arc::new(store))], &wallet, json).await
    })
}

/// Checks all SETs and the wallet of an installation.
pub fn run_installation(config: &Path, world: World, json: bool) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    block_on(async {
        let topology = role.file();
        let mut sets = Vec::new();
        for set in &topology.sets {
            let store = Arc::new(stores::open_store(&role.installation, set, world).await?);
            sets.push(SetStore { name: set.name.clone(), slots: set.slots.slots().to_vec(), store });
        }
        let wallet = stores::open_wallet(&role.installation, &topology, world).await?;
        check(&sets, &wallet, json).await
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

async fn check(sets: &[SetStore], wallet: &dyn Wallet, json: bool) -> Result<ExitCode, String> {
    let mut breaches = Vec::new();
    let report = audit(sets, wallet, &mut |breach| {
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
