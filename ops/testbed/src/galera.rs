//! A node of a Galera cluster on loopback: the place that it has come to, and how it
//! is started from there.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::install::Fallible;
use crate::mariadb::{DATA, INIT, LOG_SIZE, prepare, server, sql_client, succeeds, with_path};
use crate::spawn::prefixed;

/// Ports of a node in a row: for clients, for the other nodes, and two on which what
/// it has missed is sent to it.
pub(crate) const PORTS: u16 = 4;

/// What all nodes have in common.
const OPTIONS: [&str; 7] = [
    "--wsrep-on=ON",
    "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
    "--wsrep-cluster-name=hongbao",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--wsrep-sst-method=rsync",
    "--log-bin-trust-function-creators=1",
];
/// rsync refuses to receive a node's data as root.
const AS_MYSQL: [&str; 6] = ["setpriv", "--reuid=mysql", "--regid=mysql", "--clear-groups", "--pdeathsig", "keep"];
/// A node that is silent for two seconds is taken for dead, and the others go on without it.
const PROVIDER: &str = "gcache.size=64M;evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S";

/// The command of the node on these ports, whose cluster has nodes on `ports`. `begins`
/// makes the cluster; all others join it. A node that knows its place is sent what it
/// missed, and not everything.
pub(crate) fn node(dir: &Path, port: u16, ports: &[u16], begins: bool) -> Fallible<Command> {
    prepare_node(dir)?;
    let place = place(dir)?;
    let peers: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{}", port + 1)).collect();
    let mut node = server(dir, port);
    node.args(OPTIONS).arg(format!("--wsrep-cluster-address=gcomm://{}", peers.join(",")));
    let (between, missed, all) = (port + 1, port + 2, port + 3);
    node.arg(format!(
        "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{between};ist.recv_addr=127.0.0.1:{missed};{PROVIDER}"
    ));
    node.arg("--wsrep-node-address=127.0.0.1").arg(format!("--wsrep-node-incoming-address=127.0.0.1:{port}"));
    node.arg(format!("--wsrep-sst-receive-address=127.0.0.1:{all}"));
    if let Some(place) = &place {
        node.arg(format!("--wsrep-start-position={place}"));
    }
    if begins {
        node.arg("--wsrep-new-cluster");
        let file = dir.join(DATA).join("grastate.dat");
        if place.is_some() && file.exists() {
            let state = fs::read_to_string(&file)?;
            fs::write(file, state.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))?;
        }
    }
    Ok(as_mysql(&node))
}

/// How far a node that does not run has come: the number of its last transaction, -1 if
/// that is not known. A cluster begins with the node that has come farthest, for what
/// the others lack of its commits they get from it, and not the other way round.
pub(crate) fn last_transaction(dir: &Path) -> Fallible<i64> {
    prepare_node(dir)?;
    let place = place(dir)?;
    Ok(place.and_then(|place| place.rsplit_once(':')?.1.parse().ok()).unwrap_or(-1))
}

/// A value of the `SHOW STATUS` of a node, empty if it does not answer.
pub(crate) fn status(dir: &Path, name: &str) -> String {
    let asked = sql_client(dir, &format!("SHOW STATUS LIKE '{name}'")).output();
    let said = asked.map_or_else(|_| String::new(), |done| String::from_utf8_lossy(&done.stdout).into_owned());
    said.split('\t').nth(1).unwrap_or_default().trim().to_owned()
}

/// Whether a node serves as a part of its cluster, up to date.
pub(crate) fn is_synced(dir: &Path) -> bool {
    status(dir, "wsrep_local_state_comment") == "Synced"
}

fn prepare_node(dir: &Path) -> Fallible<()> {
    prepare(dir)?;
    // Users are made on each node by itself, before it is part of the cluster.
    let init = fs::read_to_string(dir.join(INIT))?;
    fs::write(dir.join(INIT), format!("SET SESSION wsrep_on = OFF;\n{init}"))?;
    if rustix::process::getuid().is_root() {
        succeeds(Command::new("chown").args(["-R", "mysql:mysql"]).arg(dir))?;
    }
    Ok(())
}

fn as_mysql(command: &Command) -> Command {
    match rustix::process::getuid().is_root() {
        true => prefixed(&AS_MYSQL, command),
        false => prefixed(&["env"], command),
    }
}

/// A node's place in its cluster's history, `UUID:NUMBER`. After a crash it is found in
/// the tables; `None` if it is not known there either.
fn place(dir: &Path) -> Fallible<Option<String>> {
    let Ok(state) = fs::read_to_string(dir.join(DATA).join("grastate.dat")) else { return Ok(None) };
    let value = |name| state.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let (uuid, number) = (value("uuid:"), value("seqno:"));
    if number != "-1" {
        return Ok(Some(format!("{uuid}:{number}")));
    }
    let mut recover = Command::new("mariadbd");
    recover.args(["--no-defaults", "--skip-networking", LOG_SIZE, "--wsrep-cluster-address=gcomm://"]).args(OPTIONS);
    recover.arg(with_path("datadir", dir.join(DATA))).arg(with_path("socket", dir.join("recover.sock")));
    recover.arg(with_path("pid-file", dir.join("recover.pid"))).arg("--wsrep-recover");
    let done = as_mysql(&recover).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    let mut places = said.lines().filter_map(|line| line.split_once("WSREP: Recovered position:"));
    Ok(places.next_back().map(|(_, place)| place.trim().to_owned()))
}
