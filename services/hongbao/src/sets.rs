//! `hongbao sets`: what each SET gets, and what is left to be done on it.
//!
//! Exit 0 when every SET could be read, otherwise 2 (an error), after the others were shown.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use hongbao_core::id::{Span, TableRef};
use hongbao_core::limits::{DRAINED_AFTER_MS_MIN, PENDING_PAGE_MAX};
use hongbao_core::topology::{Decimal, SetEntry, TopologyFile};
use hongbao_core::{Clock as _, EnvelopeId, Stage, SystemClock, Timestamp, Traffic};
use hongbao_database::durable::{Reading, read_across_a_start};
use hongbao_store::{Store, StoreError};
use serde::Serialize;

use crate::config::installation::Installation;
use crate::roles::Role;
use crate::{fences, process, stores};

/// What is left to be done on a SET.
#[derive(Debug, Default, Serialize)]
struct Pending {
    /// Envelopes that wait for a payment.
    unpaid: u64,
    /// Envelopes that were paid, and whose journal has not ended or is not credited to its end.
    active: u64,
    /// Active envelopes with entries that are not credited yet.
    uncredited: u64,
    /// The oldest of all these.
    oldest: Option<Oldest>,
    /// What has become of its dated tables.
    dated_tables: DatedTables,
}

/// How many dated tables there are of each kind.
#[derive(Debug, Default, Serialize)]
struct DatedTables {
    /// Those that are not sealed.
    unsealed: usize,
    /// Those that are sealed, and in the database.
    sealed: usize,
    /// Those whose rows are in the archive, and not in the database any more.
    exported: usize,
}

impl DatedTables {
    /// As a store knows them that has just looked.
    fn of(store: &dyn Store) -> DatedTables {
        let unsealed = store.unsealed_tables();
        let sealed = store.sealed_tables();
        let is_dropped = |table: &&TableRef| !sealed.contains(table);
        DatedTables {
            unsealed: unsealed.iter().filter(|table| matches!(table.span, Span::Date(_))).count(),
            sealed: sealed.len(),
            exported: store.exported_tables().iter().filter(is_dropped).count(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Oldest {
    minted_at: Timestamp,
    id: EnvelopeId,
}

/// One SET, as it is shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    weight: f64,
    slots: usize,
    /// It has weight 0, and nothing on it is alive.
    drained: bool,
    #[serde(flatten)]
    pending: Option<Pending>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Shows all SETs of an installation.
pub fn run(config: &Path, traffic: Traffic, json: bool) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    process::block_on(async {
        let topology = role.file();
        let mut all = Vec::new();
        for set in &topology.sets {
            let shown = show(&topology, set, read(&role.installation, &topology, set, traffic).await);
            if !json {
                println!("{}", in_words(&shown));
            }
            all.push(shown);
        }
        if json {
            println!("{}", serde_json::json!({ "sets": all }));
        }
        let unread: Vec<&str> = all.iter().filter(|shown| shown.error.is_some()).map(|shown| shown.name).collect();
        match unread.is_empty() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(format!("could not be read: SET {}", unread.join(", "))),
        }
    })
}

/// A SET that serves nothing new and has nothing left to do can be stopped, so what is said must survive a crash.
async fn read(
    installation: &Installation,
    topology: &TopologyFile,
    set: &SetEntry,
    traffic: Traffic,
) -> Result<Pending, String> {
    let store = stores::open_store(installation, topology, set, traffic).await?;
    fences::check_version(topology, set, &store).await?;
    let durable = async {
        let reading = Reading::begin(&store);
        let pending = pending(&store).await?;
        let durable = reading.end(pending).await?.ok_or_else(read_across_a_start)?;
        Ok::<Pending, StoreError>(durable.into_inner())
    };
    durable.await.map_err(|error| error.to_string())
}

/// A table that is renamed meanwhile may be counted twice, and is never missed.
async fn pending(store: &dyn Store) -> Result<Pending, StoreError> {
    let (mut all, mut read) = (Pending::default(), BTreeSet::new());
    loop {
        store.look().await?;
        let tables: Vec<TableRef> = store.unsealed_tables().into_iter().filter(|table| read.insert(*table)).collect();
        if tables.is_empty() {
            all.dated_tables = DatedTables::of(store);
            return Ok(all);
        }
        for table in tables {
            for stage in [Stage::Created, Stage::Active] {
                all.count(store, table, stage).await?;
            }
        }
    }
}

impl Pending {
    /// Adds the envelopes of a table that are in a stage.
    async fn count(&mut self, store: &dyn Store, table: TableRef, stage: Stage) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = store.count_pending(table, stage, after, PENDING_PAGE_MAX).await?;
            let Some((first, last)) = page.ends else { return Ok(()) };
            let first = Oldest { minted_at: first.minted_at(), id: first };
            self.oldest = Some(self.oldest.map_or(first, |known| known.min(first)));
            match stage {
                Stage::Created => self.unpaid += page.envelopes,
                _ => self.active += page.envelopes,
            }
            self.uncredited += page.behind;
            if page.envelopes < u64::from(PENDING_PAGE_MAX) {
                return Ok(());
            }
            after = Some(last);
        }
    }
}

fn show<'a>(topology: &TopologyFile, set: &'a SetEntry, read: Result<Pending, String>) -> Shown<'a> {
    let map = topology.map_number_at(SystemClock.now());
    let (weight, slots) = (topology.weight_in(map, set), topology.slots_in(map, set).len());
    // One to which a map gives slots is not, nor one from which a map has just taken them: its last envelopes may be
    // under way.
    let holds = |map: usize| topology.weight_in(map, set) > Decimal::ZERO;
    let lately = topology.map_number_at(SystemClock.now().plus_millis(-DRAINED_AFTER_MS_MIN));
    let drained =
        !(lately..=topology.maps.len()).any(holds) && read.as_ref().is_ok_and(|pending| pending.oldest.is_none());
    let (pending, error) = match read {
        Ok(pending) => (Some(pending), None),
        Err(error) => (None, Some(error)),
    };
    Shown { name: &set.name, weight: weight.into(), slots, drained, pending, error }
}

fn in_words(shown: &Shown<'_>) -> String {
    let Shown { name, weight, slots, drained, .. } = shown;
    let left = match (&shown.pending, &shown.error) {
        (Some(Pending { unpaid, active, uncredited, oldest: Some(oldest), .. }), _) => format!(
            "{active} active, of which {uncredited} are not credited to their end, and {unpaid} unpaid; the oldest is \
             {} of {}",
            oldest.id, oldest.minted_at
        ),
        (Some(_), _) if *drained => "drained: nothing on it is alive".to_owned(),
        (Some(_), _) => "nothing on it is alive".to_owned(),
        (None, error) => format!("could not be read: {}", error.as_deref().unwrap_or_default()),
    };
    let dated = shown.pending.as_ref().map(|pending| &pending.dated_tables);
    let dated = dated.map_or(String::new(), |DatedTables { unsealed, sealed, exported }| {
        format!("; dated tables: {unsealed} not sealed, {sealed} sealed, {exported} exported")
    });
    format!("SET {name:?}: weight {weight}, {slots} slots: {left}{dated}")
}
