//! The databases of an installation, as the topology names them.

use std::collections::BTreeMap;
use std::fmt;

use hongbao_core::fence::Accepted;
use hongbao_core::held::{BEGINNING, NEVER};
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::topology::{SetEntry, TopologyFile};
use hongbao_core::{Clock as _, Date, SystemClock, Timestamp, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Fences, Layout, MysqlStore, prepare};
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

/// The SETs whose databases cannot be reached, and are not asked before others get what is taken from them; with the
/// reason that an operator gave.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Their names.
    pub sets: Vec<String>,
    /// Why.
    pub reason: String,
}

impl LeftOut {
    fn names(&self, set: &SetEntry) -> bool {
        self.sets.contains(&set.name)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sets.is_empty() {
            true => Ok(()),
            false => write!(f, "SET {} was left out: {}", self.sets.join(", "), self.reason),
        }
    }
}

/// Makes and upgrades all databases and day tables, of the rehearsal too where it is enabled, and brings the fences to
/// what the topology says.
pub async fn migrate(installation: &Installation, topology: &TopologyFile, left_out: &LeftOut) -> Result<(), String> {
    if let Some(unknown) = left_out.sets.iter().find(|name| topology.sets.iter().all(|set| set.name != **name)) {
        return Err(format!("--leave-out: the topology has no SET {unknown:?}"));
    }
    for traffic in installation.rehearsal.traffics() {
        migrate_traffic(installation, topology, *traffic, left_out).await?;
    }
    if !left_out.sets.is_empty() {
        tracing::warn!(sets = left_out.sets.join(", "), left_out.reason, "fences were not changed");
    }
    Ok(())
}

/// Shows what changed, a line for each moment.
fn say(set: &SetEntry, what: &str, changed: &[Accepted]) {
    let mut by_time: BTreeMap<(Timestamp, Timestamp), Vec<String>> = BTreeMap::new();
    for Accepted { slot, from, until, .. } in changed {
        by_time.entry((*from, *until)).or_default().push(format!("{:02}", slot.number()));
    }
    for ((from, until), slots) in by_time {
        let times = match (from == BEGINNING, until == NEVER) {
            (true, true) => "of all times".to_owned(),
            (true, false) => format!("before {until}"),
            (false, true) => format!("from {from} on"),
            (false, false) => format!("from {from} to {until}"),
        };
        println!("SET {:?} {what} ids {times} of slots {}", set.name, slots.join(", "));
    }
}

async fn migrate_traffic(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
    left_out: &LeftOut,
) -> Result<(), String> {
    let suffix = traffic.database_suffix();
    let through = Date::of(SystemClock.now(), installation.zone_offset_s.0).plus_days(ROTATION_AHEAD_DAYS);
    let mut fences = Vec::new();
    for set in topology.sets.iter().filter(|set| !left_out.names(set)) {
        let named = |error| format!("SET {:?}: {error}", set.name);
        let options = installation.database.options(&set.database)?;
        let layout = layout(installation, topology, set, traffic)?;
        prepare(options.clone(), &layout, through).await.map_err(named)?;
        let of_set = Fences::open(options, layout).await.map_err(named)?;
        // Nothing is changed unless everything can be.
        of_set.check(topology.version).await.map_err(named)?;
        fences.push((set, of_set));
    }
    for (set, of_set) in &fences {
        let lost = of_set.narrow(topology.version, &left_out.to_string()).await;
        say(set, "no longer holds", &lost.map_err(|error| format!("SET {:?}: {error}", set.name))?);
    }
    for (set, of_set) in &fences {
        let new = of_set.widen(topology.version).await;
        say(set, "holds", &new.map_err(|error| format!("SET {:?}: {error}", set.name))?);
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

fn layout(
    installation: &Installation,
    topology: &TopologyFile,
    set: &SetEntry,
    traffic: Traffic,
) -> Result<Layout, String> {
    let held = topology.held_by(set, installation.storage.fold()?)?;
    Ok(Layout { held, zone_offset_s: installation.zone_offset_s.0, traffic })
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
