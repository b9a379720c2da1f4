//! A SET leaves the topology when everything that it had is in the archive, where the SETs that got its slots read it.

use hongbao_core::fence::Version;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{DRAINED_AFTER_MS_MIN, ID_MS_MAX, MANIFESTS_PAGE_MAX};
use hongbao_core::manifest::Chain;
use hongbao_core::topology::TopologyFile;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, Timestamp, Traffic};
use hongbao_database::durable::{Reading, read_across_a_start};
use hongbao_store::{Archive, Archived, Store, StoreError};

use crate::config::installation::Installation;
use crate::stores;

/// Lets the SETs leave that have left by `next` and not by what the fences have come to: of each it checks that nothing
/// but the archive is needed any more, and puts the manifests of its databases there. `in_use` is the topology file that
/// still says where these are.
///
/// # Errors
/// Which SET cannot leave, and why.
pub async fn let_leave(
    installation: &Installation,
    next: (&TopologyFile, &Version),
    in_force: Option<&Version>,
    in_use: &TopologyFile,
    traffic: Traffic,
) -> Result<(), String> {
    let (file, version) = next;
    let has_left = |name: &String| in_force.is_some_and(|version| version.maps.left.contains(name));
    for name in version.maps.left.iter().filter(|name| !has_left(name)) {
        let named = |reason: String| format!("SET {name:?} cannot leave: {reason}");
        let entry = file.left.iter().find(|left| left.name == *name).expect("its name is from there");
        let held = file.held_by_left(entry, installation.storage.fold()?)?;
        let lately = SystemClock.now().plus_millis(-DRAINED_AFTER_MS_MIN);
        if !held.at(lately).slots.is_empty() {
            return Err(named(format!("it held slots {} minutes ago", DRAINED_AFTER_MS_MIN / 60_000)));
        }
        let set = in_use.sets.iter().find(|set| set.name == *name).ok_or_else(|| {
            named(
                "the topology file of the settings does not say where its databases are; it has to, until it has left"
                    .to_owned(),
            )
        })?;
        let store = stores::open_store(installation, in_use, set, traffic).await?;
        let archive = stores::archive_of(installation, name, traffic)?
            .ok_or_else(|| named("no archive is configured ([archive] in hongbao.toml)".to_owned()))?;
        let leave = async {
            let reading = Reading::begin(&store);
            let read = all_of(&store, &*archive, held.databases()).await?;
            let durable = reading.end(read).await?.ok_or_else(read_across_a_start)?;
            match durable.into_inner() {
                Ok(chains) => put(&*archive, chains).await.map(Ok),
                Err(reason) => Ok(Err(reason)),
            }
        };
        let done: Result<Result<u64, String>, StoreError> = leave.await;
        let files = done.map_err(|error| named(error.to_string()))?.map_err(named)?;
        println!("SET {name:?}{} has left: {files} of its tables are in the archive", traffic.database_suffix());
    }
    Ok(())
}

/// The chains of a SET's databases, each with its number.
type Chains = Vec<(u8, Vec<Archived>)>;

async fn put(archive: &dyn Archive, chains: Chains) -> Result<u64, StoreError> {
    let mut files = 0;
    for (database, chain) in chains {
        archive.put_chain(database, &chain).await?;
        files += chain.iter().filter(|archived| archived.file.is_some()).count() as u64;
    }
    Ok(files)
}

/// What the databases say of all that they had, or what there is beside the archive.
async fn all_of(
    store: &dyn Store,
    archive: &dyn Archive,
    databases: impl IntoIterator<Item = u8>,
) -> Result<Result<Chains, String>, StoreError> {
    store.look().await?;
    for table in store.tables() {
        if !has_nothing_beside_the_archive(store, table).await? {
            let TableRef { database, table, span } = table;
            return Ok(Err(format!(
                "envelopes of database {database:02} table {table} {span} are not in the archive: all of its tables have to \
                 be sealed and exported, and it answers for them until then"
            )));
        }
    }
    let mut chains = Chains::new();
    for database in databases {
        match chain_of(store, archive, database).await? {
            Ok(chain) => chains.push((database, chain)),
            Err(reason) => return Ok(Err(format!("database {database:02}: {reason}"))),
        }
    }
    Ok(Ok(chains))
}

async fn has_nothing_beside_the_archive(store: &dyn Store, table: TableRef) -> Result<bool, StoreError> {
    if store.is_exported(table) {
        return Ok(true);
    }
    match is_empty(store, table).await {
        Ok(is_empty) => Ok(is_empty),
        // It may have been exported and dropped meanwhile.
        Err(error) => {
            store.look().await?;
            if store.is_exported(table) { Ok(true) } else { Err(error) }
        }
    }
}

async fn is_empty(store: &dyn Store, table: TableRef) -> Result<bool, StoreError> {
    let last = EnvelopeId::mint(Timestamp::from_millis(ID_MS_MAX), [u8::MAX; 10]);
    Ok(store.scan(table, None, 1).await?.is_empty() && store.scan_entries(table, None, last, 1).await?.is_empty())
}

/// The manifests of a database with their files, of which each is opened.
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
