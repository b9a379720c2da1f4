//! Bringing the databases of an installation, and their fences, to what a topology file says.

use std::collections::BTreeMap;
use std::fmt;

use hongbao_core::fence::{Accepted, State, Version, in_force};
use hongbao_core::held::{BEGINNING, NEVER};
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::topology::{SetEntry, TopologyFile};
use hongbao_core::{Clock as _, Date, SystemClock, Timestamp, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::mysql::schema::is_any_made;
use hongbao_store::StoreError;
use hongbao_store::mysql::{Fences, Layout, MysqlStore, prepare};

use crate::config::installation::Installation;
use crate::leaving::let_leave;
use crate::stores::{layout, wallet_servers};

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
/// what the topology says. `in_use` is the file that still names the databases of SETs which leave by it.
pub async fn migrate(
    installation: &Installation,
    topology: &TopologyFile,
    in_use: &TopologyFile,
    left_out: &LeftOut,
) -> Result<(), String> {
    if let Some(unknown) = left_out.sets.iter().find(|name| topology.sets.iter().all(|set| set.name != **name)) {
        return Err(format!("--leave-out: the topology has no SET {unknown:?}"));
    }
    // SETs leave in all kinds of traffic before anything is changed in one.
    for traffic in installation.rehearsal.traffics().iter().filter(|_| !topology.left.is_empty()) {
        let states = states(installation, topology, *traffic, left_out).await?;
        let_leave(installation, topology, in_force(&states), in_use, *traffic).await?;
    }
    for traffic in installation.rehearsal.traffics() {
        migrate_traffic(installation, topology, *traffic, left_out).await?;
    }
    if !left_out.sets.is_empty() {
        tracing::warn!(sets = left_out.sets.join(", "), reason = left_out.reason, "fences were not changed");
    }
    Ok(())
}

/// The databases of a SET, to be brought to a topology.
struct SetFences<'a> {
    set: &'a SetEntry,
    options: MysqlOptions,
    layout: Layout,
    fences: Fences,
}

impl SetFences<'_> {
    async fn open<'a>(
        installation: &Installation,
        topology: &TopologyFile,
        set: &'a SetEntry,
        traffic: Traffic,
    ) -> Result<SetFences<'a>, String> {
        let options = installation.database.options(&set.database)?;
        let layout = layout(installation, topology, set, traffic)?;
        let fences = Fences::open(options.clone(), &set.name, layout.clone()).await;
        let fences = fences.map_err(|error| format!("SET {:?}: {error}", set.name))?;
        Ok(SetFences { set, options, layout, fences })
    }

    fn named(&self, error: StoreError) -> String {
        format!("SET {:?}: {error}", self.set.name)
    }
}

/// Refuses a topology file that is older than the fences of a SET: it does not name all of its databases.
///
/// # Errors
/// Which SET, and both versions.
pub async fn check_version(topology: &TopologyFile, set: &SetEntry, store: &MysqlStore) -> Result<(), String> {
    let fence = store.fence_version().await.map_err(|error| format!("SET {:?}: {error}", set.name))?;
    let file = topology.version;
    match fence > file {
        true => Err(is_older(set, fence, file)),
        false => Ok(()),
    }
}

/// The same for all SETs, without opening their stores: for a user who may only read.
///
/// # Errors
/// As [`check_version`].
pub async fn check_versions(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<(), String> {
    let file = topology.version;
    for set in &topology.sets {
        let of_set = SetFences::open(installation, topology, set, traffic).await?;
        let fence = of_set.fences.version().await.map_err(|error| of_set.named(error))?;
        if fence > file {
            return Err(is_older(set, fence, file));
        }
    }
    Ok(())
}

/// How many tables of each SET are exported.
///
/// # Errors
/// When a SET cannot be read.
pub async fn exported_tables(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
) -> Result<Vec<u64>, String> {
    let mut exported = Vec::new();
    for set in &topology.sets {
        let of_set = SetFences::open(installation, topology, set, traffic).await?;
        exported.push(of_set.fences.exported_tables().await.map_err(|error| of_set.named(error))?);
    }
    Ok(exported)
}

/// What the fences of all SETs are, but those that are left out.
async fn states(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
    left_out: &LeftOut,
) -> Result<Vec<State>, String> {
    let mut states = Vec::new();
    for set in topology.sets.iter().filter(|set| !left_out.names(set)) {
        let of_set = SetFences::open(installation, topology, set, traffic).await?;
        let read = of_set.fences.read().await.map_err(|error| of_set.named(error))?;
        states.extend(read.into_iter().map(|fence| fence.state));
    }
    Ok(states)
}

/// Refuses a topology file by which SETs have left that have not by the fence of this one, or held something else: their
/// envelopes would be looked for where they are not.
///
/// # Errors
/// Which SET, or that the fence cannot be read.
pub async fn check_left(
    installation: &Installation,
    topology: &TopologyFile,
    set: &SetEntry,
    traffic: Traffic,
) -> Result<(), String> {
    if topology.left.is_empty() {
        return Ok(());
    }
    let file = topology.slot_maps(installation.storage.fold()?)?;
    let of_set = SetFences::open(installation, topology, set, traffic).await?;
    let read = of_set.fences.read().await.map_err(|error| of_set.named(error))?;
    let known = in_force(read.iter().map(|fence| &fence.state)).map(|version| &version.maps);
    for left in &topology.left {
        let name = &left.name;
        let is_known =
            known.is_some_and(|known| known.left.contains(name) && known.held_in(name) == file.held_in(name));
        if !is_known {
            return Err(format!(
                "SET {name:?} has left by the topology file, and not by the fences, or held other slots: run `hongbao migrate`"
            ));
        }
    }
    Ok(())
}

fn is_older(set: &SetEntry, fence: u64, file: u64) -> String {
    format!(
        "SET {:?}: its databases have come to version {fence} of the topology, and the file is version {file}",
        set.name
    )
}

/// Warns a server or a worker of the same. It is not refused: it serves what its file and the fences both give to it.
///
/// # Errors
/// When the fences cannot be read.
pub async fn warn_of_version(topology: &TopologyFile, set: &SetEntry, store: &MysqlStore) -> Result<(), String> {
    let fence = store.fence_version().await.map_err(|error| format!("SET {:?}: {error}", set.name))?;
    if fence > topology.version {
        let version = topology.version;
        tracing::warn!(
            set = set.name,
            fence,
            version,
            "the topology file is older than the fences: start this process anew with the new one"
        );
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

/// The wallet first: where a SET has been made, the whole wallet had been before. So only the first migration of
/// an installation makes databases of the wallet, and one with the topology file of a growth to come does not: an
/// empty database would be served in the place of one that has the money of its users.
async fn migrate_traffic(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
    left_out: &LeftOut,
) -> Result<(), String> {
    let suffix = traffic.database_suffix();
    let is_first = !is_a_set_made(installation, topology, traffic, left_out).await?;
    let (wallet_servers, databases) =
        (wallet_servers(installation, topology, traffic)?, installation.storage.wallet_databases);
    let done = match is_first {
        true => hongbao_wallet::mysql::migrate(&wallet_servers, databases).await,
        false => hongbao_wallet::mysql::upgrade(&wallet_servers, databases).await,
    };
    done.map_err(|error| format!("wallet: {error}"))?;
    println!("wallet{suffix}: up to date");
    let through = Date::of(SystemClock.now(), installation.zone_offset_s.0).plus_days(ROTATION_AHEAD_DAYS);
    let next = Version { number: topology.version, maps: topology.slot_maps(installation.storage.fold()?)? };
    // Nothing is changed unless everything can be.
    let (mut sets, mut read) = (Vec::new(), Vec::new());
    for set in topology.sets.iter().filter(|set| !left_out.names(set)) {
        let of_set = SetFences::open(installation, topology, set, traffic).await?;
        read.push(of_set.fences.read().await.map_err(|error| of_set.named(error))?);
        sets.push(of_set);
    }
    let states = || read.iter().flatten().map(|fence| &fence.state);
    next.check(states()).map_err(|refusal| format!("topology: {refusal}"))?;
    let in_force = in_force(states());
    for (of_set, read) in sets.iter().zip(&read) {
        of_set.fences.check(read, &next, in_force).map_err(|error| of_set.named(error))?;
    }
    for of_set in &sets {
        let done = prepare(of_set.options.clone(), &of_set.layout, through).await;
        done.map_err(|error| of_set.named(error))?;
    }
    for of_set in &sets {
        let lost = of_set.fences.narrow(&next, in_force, &left_out.to_string()).await;
        say(of_set.set, "no longer holds", &lost.map_err(|error| of_set.named(error))?);
    }
    let mut narrowed = Vec::new();
    for of_set in &sets {
        narrowed.extend(of_set.fences.read().await.map_err(|error| of_set.named(error))?);
    }
    next.check_narrowed(narrowed.iter().map(|fence| &fence.state)).map_err(|refusal| refusal.to_string())?;
    for of_set in &sets {
        let new = of_set.fences.widen(&next).await;
        say(of_set.set, "holds", &new.map_err(|error| of_set.named(error))?);
        println!("SET {:?}{suffix}: up to date", of_set.set.name);
    }
    Ok(())
}

/// One that is left out cannot be asked, and there is none to leave out of a new installation.
async fn is_a_set_made(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
    left_out: &LeftOut,
) -> Result<bool, String> {
    if !left_out.sets.is_empty() {
        return Ok(true);
    }
    for set in &topology.sets {
        let options = installation.database.options(&set.database)?;
        let databases = layout(installation, topology, set, traffic)?.databases();
        let names: Vec<String> = databases.into_iter().map(|(_, name)| name).collect();
        let is_made = is_any_made(options, &names).await;
        if is_made.map_err(|error| format!("SET {:?}: {error}", set.name))? {
            return Ok(true);
        }
    }
    Ok(false)
}
