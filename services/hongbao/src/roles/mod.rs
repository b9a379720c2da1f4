//! The roles of an installation, a file each. All read the same two files: the
//! settings, and the topology that says who is where.

pub mod gateway;
pub mod server;
pub mod worker;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use hongbao_core::topology::{Address, TopologyFile};
use hongbao_core::{Clock, SystemClock};
use hongbao_gateway::TopologyWatcher;
use hongbao_http::tls::{ServerTls, TlsTowardsServers};
use hongbao_http::{Health, HttpMetrics, Routes, ServeOptions, metrics_router, serve};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::config::installation::Installation;
use crate::config::tls::Tls;
use crate::otlp::Process;
use crate::process;
use crate::tokens::Tokens;
use crate::{log, notify};

/// What an operator chooses a role's address by.
const ADDRESS_SET_BY: &str = "its `listen` or `address` in the topology file";

/// What every role starts from.
pub struct Role {
    /// The settings.
    pub installation: Installation,
    /// The topology file, which may change.
    pub topology: Arc<TopologyWatcher>,
    /// What checks and makes tokens.
    pub tokens: Tokens,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What can be measured.
    pub registry: Registry,
    /// Where it speaks TLS.
    pub tls: RoleTls,
}

/// The TLS of a role.
#[derive(Default)]
pub struct RoleTls {
    /// Of its listener.
    pub listener: Option<ServerTls>,
    /// Towards servers.
    pub towards_servers: Option<TlsTowardsServers>,
}

impl Role {
    /// Reads and checks both files, and everything that they name and that can be
    /// judged without the network: what `--check` takes does not keep a role from
    /// starting later.
    pub fn load(config: &Path) -> Result<Role, String> {
        Role::load_with(config, None)
    }

    /// The same with another topology file than the settings name.
    pub fn load_with(config: &Path, topology: Option<&Path>) -> Result<Role, String> {
        let role = Role::read(config, topology)?;
        role.installation.database.check_files()?;
        role.installation.provider.check_files()?;
        Ok(role)
    }

    /// The same for a process that may have nothing to do with databases.
    fn read(config: &Path, topology: Option<&Path>) -> Result<Role, String> {
        let mut installation = Installation::load(config, std::env::vars_os())?;
        if let Some(topology) = topology {
            installation.topology = topology.to_owned();
        }
        let topology = TopologyWatcher::open(&installation.topology).map_err(|reason| format!("topology: {reason}"))?;
        installation.check_with(&topology.current().file)?;
        log::directives(&installation.log)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tokens = Tokens::load(&installation.auth, &clock)?;
        Ok(Role { installation, topology, tokens, clock, registry: process::registry(), tls: RoleTls::default() })
    }

    /// The topology as it is now.
    pub fn file(&self) -> TopologyFile {
        self.topology.current().file.clone()
    }
}

/// What the command line says of a role.
pub struct Start<'a> {
    /// The settings file.
    pub config: &'a Path,
    /// The name in the topology; it may be left out where there is only one.
    pub name: Option<&'a str>,
    /// Only print the settings in force.
    pub check: bool,
}

/// Runs a role until a signal ends it.
fn run<F: Future<Output = Result<(), String>>>(
    start: &Start<'_>,
    names: fn(&TopologyFile) -> Vec<String>,
    itself: fn(&TopologyFile, String) -> Process,
    tls: fn(&Tls) -> Result<RoleTls, String>,
    threads: fn(usize) -> Result<usize, String>,
    role: impl FnOnce(Role, String) -> F,
) -> Result<ExitCode, String> {
    let mut loaded = Role::read(start.config, None)?;
    loaded.tls = tls(&loaded.installation.tls)?;
    let name = name_of(start.name, names(&loaded.file()))?;
    let (topology, itself) = (loaded.file(), itself(&loaded.file(), name.clone()));
    // What belongs to no SET has no database and no cache.
    if itself.set.is_some() {
        loaded.installation.database.check_files()?;
        loaded.installation.cache.check_files()?;
    }
    if start.check {
        print!("{}", loaded.installation.shown());
        return Ok(ExitCode::SUCCESS);
    }
    let Installation { log, otlp, http, passed_over, .. } = loaded.installation.clone();
    let (installation, is_of_set) = (loaded.installation.clone(), itself.set.is_some());
    let role = role(loaded, name);
    process::run(&log, &otlp, &itself, threads(http.threads)?, async {
        passed_over.log();
        if is_of_set {
            installation.warn_of_exposed(&topology);
        }
        role.await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn name_of(asked: Option<&str>, names: Vec<String>) -> Result<String, String> {
    match asked {
        Some(name) if names.iter().any(|known| known == name) => Ok(name.to_owned()),
        Some(name) => Err(format!("--name: the topology has no {name:?} in this role, but {}", names.join(", "))),
        None if names.len() == 1 => Ok(names.concat()),
        None => Err(format!("--name: which of {}?", names.join(", "))),
    }
}

/// Serves until a signal says to stop; the routes are gone when it returns.
async fn serve_role(
    role: &Role,
    address: &Address,
    routes: Routes,
    health: Health,
    http_metrics: HttpMetrics,
) -> Result<(), String> {
    let (listener, address) = process::listen(process::resolve(address)?, ADDRESS_SET_BY)?;
    let stop = process::stop_signal(health)?;
    let tls = role.tls.listener.clone();
    // Its tasks run on the threads of one runtime, and so does what gives the signs of life.
    announce(address, tls.as_ref(), || true);
    let following = tls.clone().map(|tls| tokio::spawn(tls.follow_forever()));
    let options = ServeOptions { tls, ..role.installation.http.options(http_metrics).behind_a_gateway() };
    serve(listener, routes, options, stop).await;
    following.inspect(JoinHandle::abort);
    Ok(())
}

/// Tells who started us, and the log, where we serve. `lives` says whether all threads that serve run their tasks.
fn announce(address: SocketAddr, tls: Option<&ServerTls>, lives: impl Fn() -> bool + Send + 'static) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{address}");
    notify::ready(address, lives);
    tracing::info!(%address, "ready");
}

/// `/healthz`, `/readyz` and `/metrics`.
fn own_routes(health: &Health, mut registry: Registry) -> Router {
    registry.register_collector(Box::new(health.clone()));
    health.router().merge(metrics_router(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_left_out_where_there_is_only_one() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        assert_eq!(name_of(None, names(&["g"])), Ok("g".to_owned()));
        assert_eq!(name_of(Some("b"), names(&["a", "b"])), Ok("b".to_owned()));
        assert!(name_of(None, names(&["a", "b"])).unwrap_err().contains("a, b"));
        assert!(name_of(Some("c"), names(&["a", "b"])).unwrap_err().contains("\"c\""));
    }
}
