//! A change of the topology while an installation runs, as an operator makes it: the next file, `hongbao migrate`, the
//! processes of new SETs, and the file in its place.

use std::collections::BTreeMap;
use std::fs;

use hongbao_core::topology::{Decimal, MapEntry, MapSet, SetEntry, TopologyFile};
use hongbao_core::{Clock as _, SystemClock, Timestamp};
use serde::Deserialize;

use super::description::PartKind;
use super::files::{self, GATEWAY_TOPOLOGY, TOPOLOGY};
use super::running::Installation;
use crate::install::Fallible;
use crate::mariadb;

/// What changes.
///
/// ```toml
/// add = ["c"]            # SETs that were kept back
/// weights = { a = 0 }
/// [[maps]]
/// after_s = 310          # from then on, counted from the change
/// sets = [{ name = "b", slots = "00-49" }, { name = "c", slots = "50-99" }]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopologyChange {
    /// SETs that take part from now on.
    pub add: Vec<String>,
    /// New weights, by SET.
    pub weights: BTreeMap<String, Decimal>,
    /// Further slot maps.
    pub maps: Vec<MapToCome>,
}

/// A slot map, in force some time after the change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapToCome {
    /// How long after the change, in seconds.
    pub after_s: u32,
    /// What each SET holds then.
    pub sets: Vec<MapSet>,
}

impl TopologyChange {
    /// The topology that comes after this one.
    fn applied(&self, mut topology: TopologyFile, spare: Vec<SetEntry>, now: Timestamp) -> Fallible<TopologyFile> {
        topology.version += 1;
        for name in &self.add {
            let set = spare.iter().find(|set| set.name == *name);
            topology.sets.push(set.ok_or_else(|| format!("no SET {name:?} is kept back"))?.clone());
        }
        for (name, weight) in &self.weights {
            let set = topology.sets.iter_mut().find(|set| set.name == *name);
            set.ok_or_else(|| format!("there is no SET {name:?}"))?.weight = Some(*weight);
        }
        let map = |map: &MapToCome| MapEntry {
            from: now.plus_millis(i64::from(map.after_s) * 1_000),
            sets: map.sets.clone(),
        };
        topology.maps.extend(self.maps.iter().map(map));
        topology.check(now)?;
        Ok(topology)
    }
}

impl Installation {
    /// Makes a change, which is in the files when this returns.
    ///
    /// # Errors
    /// What `hongbao migrate` says, and then the file in force stays; or a process that does not start.
    pub fn change_topology(&self, change: &TopologyChange) -> Fallible<()> {
        let mut names = vec![(TOPOLOGY, false)];
        names.extend(files::has_gateway_topology(self.description()).then_some((GATEWAY_TOPOLOGY, true)));
        let (mut next, now) = (Vec::new(), SystemClock.now());
        for (name, of_gateway) in names {
            let place = self.dir().join(name);
            let text = fs::read_to_string(&place).map_err(|error| format!("{}: {error}", place.display()))?;
            let topology = toml::from_str(&text)?;
            let topology = change.applied(topology, self.description().spare_sets(of_gateway), now)?;
            let file = self.dir().join(format!("{name}.next"));
            fs::write(&file, toml::to_string(&topology)?)?;
            next.push((file, place));
        }
        let parts = |is_of: fn(PartKind) -> bool| {
            let is_added = |set: &str| change.add.iter().any(|name| name == set);
            let parts = self.description().parts().into_iter();
            let of_kind = parts.filter(move |part| is_of(part.kind));
            of_kind.filter(|part| is_added(part.set())).map(|part| part.name).collect::<Vec<_>>()
        };
        let run = |parts: Vec<String>| self.run(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        run(parts(|kind| matches!(kind, PartKind::Database | PartKind::Redis | PartKind::Memcached)))?;
        let mut migrate = self.hongbao(&["migrate"]);
        migrate.arg("--topology").arg(&next[0].0);
        mariadb::succeeds(&mut migrate).map_err(|error| format!("migrate: {error}"))?;
        for (file, place) in &next {
            fs::rename(file, place).map_err(|error| format!("{}: {error}", place.display()))?;
        }
        run(parts(|kind| matches!(kind, PartKind::Server | PartKind::Worker)))
    }
}
