//! The databases of an installation, as the topology names them.

use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::topology::{SetEntry, TopologyFile};
use hongbao_core::{Clock as _, Date, Slot, SystemClock, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};

use crate::config::installation::Installation;

/// The databases of one SET, in one kind of traffic.
pub async fn open_store(installation: &Installation, set: &SetEntry, traffic: Traffic) -> Result<MysqlStore, String> {
    let options = installation.database.options(&set.database)?;
    let opened = MysqlStore::open(options, layout(installation, set, traffic)?).await;
    opened.map_err(|error| format!("SET {:?}: {error}", set.name))
}

/// All parts of the wallet of one kind of traffic, of which some may be down.
pub async fn open_wallet(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<MysqlWallet, String> {
    let wallet_servers = wallet_servers(installation, topology, traffic)?;
    let opened = MysqlWallet::open_what_is_up(wallet_servers, installation.storage.wallet_databases).await;
    opened.map_err(|error| format!("wallet: {error}"))
}

/// Makes and upgrades all databases and day tables, of the rehearsal too where it is enabled.
pub async fn migrate(installation: &Installation, topology: &TopologyFile) -> Result<(), String> {
    for traffic in installation.rehearsal.traffics() {
        migrate_traffic(installation, topology, *traffic).await?;
    }
    Ok(())
}

async fn migrate_traffic(installation: &Installation, topology: &TopologyFile, traffic: Traffic) -> Result<(), String> {
    let suffix = traffic.database_suffix();
    for set in &topology.sets {
        let options = installation.database.options(&set.database)?;
        let through = Date::of(SystemClock.now(), installation.zone_offset_s.0).plus_days(ROTATION_AHEAD_DAYS);
        let done = hongbao_store::mysql::migrate(options, &layout(installation, set, traffic)?, through).await;
        done.map_err(|error| format!("SET {:?}: {error}", set.name))?;
        println!("SET {:?}{suffix}: up to date", set.name);
    }
    let wallet_servers = wallet_servers(installation, topology, traffic)?;
    let done = hongbao_wallet::mysql::migrate(&wallet_servers, installation.storage.wallet_databases).await;
    done.map_err(|error| format!("wallet: {error}"))?;
    println!("wallet{suffix}: up to date");
    Ok(())
}

/// The databases of one SET, or of one part of the wallet.
pub struct Databases {
    /// Whose they are: `set-a`, `wallet-w`.
    pub what: String,
    /// How to reach them.
    pub options: MysqlOptions,
    /// Their names there.
    pub names: Vec<String>,
}

/// All databases of one kind of traffic, by where they lie.
pub fn databases(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<Vec<Databases>, String> {
    let mut all = Vec::new();
    for set in &topology.sets {
        let options = installation.database.options(&set.database)?;
        let names = layout(installation, set, traffic)?.all_databases();
        all.push(Databases { what: format!("set-{}", set.name), options, names });
    }
    let wallet_servers = wallet_servers(installation, topology, traffic)?;
    let names = hongbao_wallet::mysql::database_names(&wallet_servers, installation.storage.wallet_databases);
    let names = names.map_err(|error| format!("wallet: {error}"))?;
    for ((wallet, server), names) in topology.wallets.iter().zip(wallet_servers).zip(names) {
        all.push(Databases { what: format!("wallet-{}", wallet.name), options: server.options, names });
    }
    Ok(all)
}

fn layout(installation: &Installation, set: &SetEntry, traffic: Traffic) -> Result<Layout, String> {
    let slots: Vec<Slot> = set.slots.slots().to_vec();
    Ok(Layout { fold: installation.storage.fold()?, slots, zone_offset_s: installation.zone_offset_s.0, traffic })
}

fn wallet_servers(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<Vec<DatabaseServer>, String> {
    let server = |wallet: &hongbao_core::topology::WalletEntry| {
        let options = installation.database.options(&wallet.database)?;
        Ok(DatabaseServer { options, slots: wallet.slots.slots().to_vec(), traffic })
    };
    topology.wallets.iter().map(server).collect()
}
