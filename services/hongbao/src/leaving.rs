//! A SET leaves the topology when everything that it had is in the archive, where the SETs that got its slots read it.

use std::collections::BTreeSet;

use hongbao_core::fence::Version;
use hongbao_core::held::HeldSlots;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{ID_MS_MAX, MANIFESTS_PAGE_MAX};
use hongbao_core::manifest::Chain;
use hongbao_core::topology::{LeftEntry, TopologyFile};
use hongbao_core::{EnvelopeId, Timestamp, Traffic};
use hongbao_database::durable::{Reading, read_across_a_start};
use hongbao_store::mysql::{Fences, Layout, MysqlStore};
use hongbao_store::{Archive, Archived, Store, StoreError};

use crate::config::installation::Installation;
use crate::stores;

/// Lets the SETs leave that have left by `next` and not by what the fences have come to: of each it checks that nothing
/// but the archive is needed any more, and puts the manifests of its databases there. `in_use` is the topology file that
/// still says where these are. Where there are no fences, nothing was ever made, and no SET had anything.
///
/// # Errors
/// Which SET cannot leave, and why.
pub async fn let_leave(
    installation: &Installation,
    next: &TopologyFile,
    in_force: Option<&Version>,
    in_use: &TopologyFile,
    traffic: Traffic,
) -> Result<(), String> {
    for left in &next.left {
        if in_force.is_some_and(|version| version.maps.left.contains(&left.name)) {
            continue;
        }
        let suffix = traffic.database_suffix();
        let named = |reason: String| format!("SET {:?}{suffix} cannot leave: {reason}", left.name);
        let held = next.held_by_left(left, installation.storage.fold()?)?;
        let archive = stores::archive_of(installation, &left.name, traffic)?
            .ok_or_else(|| named("no archive is configured ([archive] in hongbao.toml)".to_owned()))?;
        let chains = match in_force {
            Some(in_force) => {
                all_of(installation, left, &held, in_force, in_use, &*archive, traffic).await.map_err(named)?
            }
            None => held.databases().into_iter().map(|database| (database, Vec::new())).collect(),
        };
        let files = put(&*archive, chains, in_force.is_none()).await.map_err(|error| named(error.to_string()))?;
        println!("SET {:?}{suffix} has left: {files} of its tables are in the archive", left.name);
    }
    Ok(())
}

/// The chains of a SET's databases, each with its number.
type Chains = Vec<(u8, Vec<Archived>)>;

/// Puts them there; those of nothing only where none are.
async fn put(archive: &dyn Archive, chains: Chains, of_nothing: bool) -> Result<u64, StoreError> {
    let mut files = 0;
    for (database, chain) in chains {
        if of_nothing && archive.chain(database).await.is_ok() {
            continue;
        }
        archive.put_chain(database, &chain).await?;
        files += chain.iter().filter(|archived| archived.file.is_some()).count() as u64;
    }
    Ok(files)
}

/// Reads a SET that is to leave, by the maps that the fences have come to and not by those of a file.
async fn all_of(
    installation: &Installation,
    left: &LeftEntry,
    held: &HeldSlots,
    in_force: &Version,
    in_use: &TopologyFile,
    archive: &dyn Archive,
    traffic: Traffic,
) -> Result<Chains, String> {
    let set = in_use.sets.iter().find(|set| set.name == left.name).ok_or_else(|| {
        "the topology file of the settings does not say where its databases are; it has to, until it has left"
            .to_owned()
    })?;
    let words = |error: StoreError| error.to_string();
    let options = installation.database.options(&set.database)?;
    let layout = Layout { held: held.clone(), zone_offset_s: installation.zone_offset_s.0, traffic };
    let fences = Fences::open(options.clone(), &left.name, layout.clone()).await.map_err(words)?;
    fences.check_follows(&fences.read().await.map_err(words)?, in_force).map_err(words)?;
    let store = MysqlStore::open(options, layout).await.map_err(words)?;
    if let Some(archive) = stores::archive_of(installation, &left.name, traffic)? {
        store.archive_in(archive);
    }
    let read = async {
        let reading = Reading::begin(&store);
        let read = match what_is_left(&store).await? {
            Some(reason) => Err(reason),
            None => chains_of(&store, archive, held.databases()).await?,
        };
        Ok(reading.end(read).await?.ok_or_else(read_across_a_start)?.into_inner())
    };
    read.await.map_err(words)?
}

/// Which table has rows that are not in the archive, or is there still beside its file. A table may be renamed meanwhile,
/// so what is new is looked for until there is none.
async fn what_is_left(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let mut seen = BTreeSet::new();
    loop {
        store.look().await?;
        let new: Vec<TableRef> = store.tables().into_iter().filter(|table| seen.insert(*table)).collect();
        if new.is_empty() {
            return Ok(None);
        }
        for table in new {
            let TableRef { database, table: y, span } = table;
            let place = format!("database {database:02} table {y} {span}");
            if store.is_exported(table) || !is_empty(store, table).await? {
                return Ok(Some(format!(
                    "envelopes of {place} are not in the archive, or there still: all of its tables have to be sealed, \
                     exported and dropped, and it answers for them until then"
                )));
            }
        }
    }
}

/// Whether a table has no row. One that is dropped meanwhile, after its export, has none.
async fn is_empty(store: &dyn Store, table: TableRef) -> Result<bool, StoreError> {
    let last = EnvelopeId::mint(Timestamp::from_millis(ID_MS_MAX), [u8::MAX; 10]);
    let read = async {
        Ok(store.scan(table, None, 1).await?.is_empty() && store.scan_entries(table, None, last, 1).await?.is_empty())
    };
    match read.await {
        Err(error) => {
            store.look().await?;
            if store.is_exported(table) && !store.tables().contains(&table) { Ok(true) } else { Err(error) }
        }
        is_empty => is_empty,
    }
}

/// The chains of all databases, or what is wrong with one.
async fn chains_of(
    store: &dyn Store,
    archive: &dyn Archive,
    databases: impl IntoIterator<Item = u8>,
) -> Result<Result<Chains, String>, StoreError> {
    let mut chains = Chains::new();
    for database in databases {
        match chain_of(store, archive, database).await? {
            Ok(chain) => chains.push((database, chain)),
            Err(reason) => return Ok(Err(format!("database {database:02}: {reason}"))),
        }
    }
    Ok(Ok(chains))
}

/// The manifests of a database with their files, of which each is compared with its hash: this is the last moment
/// at which one can be put right.
async fn chain_of(
    store: &dyn Store,
    archive: &dyn Archive,
    database: u8,
) -> Result<Result<Vec<Archived>, String>, StoreError> {
    let (mut chain, mut archived, mut after) = (Chain::default(), Vec::new(), 0);
    loop {
        let page = store.manifests(database, after, MANIFESTS_PAGE_MAX).await?;
        let is_full = page.len() as u32 == MANIFESTS_PAGE_MAX;
        for row in page {
            after = row.number;
            let stored = match row.manifest {
                Ok(stored) => stored,
                Err(reason) => return Ok(Err(format!("manifest {after} cannot be read: {reason}"))),
            };
            if !chain.take(&stored.manifest, stored.hash).is_empty() {
                return Ok(Err(format!("manifest {after} does not go on from the one before it: run the audit")));
            }
            let file = match store.exported(stored.manifest.table_ref()).await? {
                Some(exported) => {
                    archive.open(&exported.file, stored.hash).await?;
                    archive.check(&exported.file).await?;
                    Some(exported.file)
                }
                None if stored.manifest.content.ends.is_none() => None,
                None => return Ok(Err(format!("the table of manifest {after} is sealed and not exported"))),
            };
            archived.push(Archived { stored, file });
        }
        if !is_full {
            return Ok(Ok(archived));
        }
    }
}
