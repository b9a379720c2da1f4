//! The databases of an installation, as the topology names them.

use std::sync::Arc;

use hongbao_core::Traffic;
use hongbao_core::topology::{LeftEntry, SetEntry, TopologyFile};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore};
use hongbao_store::{Archive, LeftStore, Store};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};

use crate::config::installation::Installation;

/// The databases of one SET, in one kind of traffic.
pub async fn open_store(
    installation: &Installation,
    topology: &TopologyFile,
    set: &SetEntry,
    traffic: Traffic,
) -> Result<MysqlStore, String> {
    let options = installation.database.options(&set.database)?;
    let opened = MysqlStore::open(options, layout(installation, topology, set, traffic)?).await;
    let store = opened.map_err(|error| format!("SET {:?}: {error}", set.name))?;
    if let Some(archive) = archive_of(installation, &set.name, traffic)? {
        store.archive_in(archive);
    }
    warn_of_archive(&store, &set.name);
    Ok(store.answering_for(left(installation, topology, traffic)?))
}

/// The archive of one SET, if there is one, for one kind of traffic.
pub fn archive_of(
    installation: &Installation,
    set: &str,
    traffic: Traffic,
) -> Result<Option<Arc<dyn Archive>>, String> {
    let archive = installation.archive.of(set, traffic)?;
    Ok(archive.map(|archive| -> Arc<dyn Archive> { Arc::new(archive) }))
}

/// The SETs that have left. Nothing of them is read yet.
pub fn left(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<Vec<Arc<LeftStore>>, String> {
    let store = |left: &LeftEntry| {
        let held = topology.held_by_left(left, installation.storage.fold()?)?;
        let archive = archive_of(installation, &left.name, traffic)?;
        Ok(Arc::new(LeftStore::new(&left.name, held, installation.zone_offset_s.0, archive)))
    };
    topology.left.iter().map(store).collect()
}

/// Says that exported tables cannot be read, if so. Everything else can.
pub fn warn_of_archive(store: &dyn Store, set: &str) {
    let exported = store.exported_tables().len();
    if exported > 0 && store.archive().is_none() {
        tracing::error!(
            set,
            exported,
            "tables are exported, and no archive is configured: set `url` in [archive]; their envelopes are unavailable"
        );
    }
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
        let names = layout(installation, topology, set, traffic)?.all_databases();
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

/// How the databases of a SET are laid out.
pub fn layout(
    installation: &Installation,
    topology: &TopologyFile,
    set: &SetEntry,
    traffic: Traffic,
) -> Result<Layout, String> {
    let held = topology.held_by(set, installation.storage.fold()?)?;
    Ok(Layout { held, zone_offset_s: installation.zone_offset_s.0, traffic })
}

/// Where the parts of the wallet of one kind of traffic lie.
pub fn wallet_servers(
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
