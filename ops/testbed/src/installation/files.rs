//! The files of an installation's folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hongbao_core::topology::TopologyFile;

use super::description::{Description, PartKind};
use super::settings::settings;
use crate::install::Fallible;

/// Settings of all processes.
pub(crate) const SETTINGS: &str = "hongbao.toml";
/// Topology of all processes but gateways whose servers have relays.
pub(crate) const TOPOLOGY: &str = "topology.toml";
/// Topology of those.
pub(crate) const GATEWAY_TOPOLOGY: &str = "topology-gateway.toml";
/// The description.
const DESCRIPTION: &str = "installation.toml";

/// Writes all of them. Settings that are there already stay.
pub(crate) fn write(dir: &Path, description: &Description, own_settings: &str) -> Fallible<()> {
    fs::create_dir_all(dir)?;
    let file = dir.join(SETTINGS);
    if !file.exists() {
        // Its secrets make tokens: other users of this machine read none of them.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        file.write_all(settings(own_settings)?.as_bytes())?;
    }
    write_topology(dir, TOPOLOGY, &description.topology(false))?;
    if has_gateway_topology(description) {
        write_topology(dir, GATEWAY_TOPOLOGY, &description.topology(true))?;
    }
    fs::write(dir.join(DESCRIPTION), toml::to_string(description)?)?;
    Ok(())
}

/// Whether the gateway has a topology of its own.
pub(crate) fn has_gateway_topology(description: &Description) -> bool {
    description.parts_of(PartKind::Server).any(|server| description.relayed.contains(&server.name))
}

fn write_topology(dir: &Path, name: &str, topology: &TopologyFile) -> Fallible<()> {
    fs::write(dir.join(name), toml::to_string(topology)?)?;
    Ok(())
}

/// The description of what was started in a folder.
pub(crate) fn description(dir: &Path) -> Fallible<Description> {
    let text = fs::read_to_string(dir.join(DESCRIPTION));
    let text = text.map_err(|_| format!("no installation has been started in {}", dir.display()))?;
    Ok(toml::from_str(&text)?)
}
