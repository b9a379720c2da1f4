//! The database servers of an installation, dumped as of one moment.
//!
//! `mariadb-dump --single-transaction` is of one moment for one server only. So
//! for that moment nothing is committed on any of them (`FLUSH TABLES WITH READ
//! LOCK`), until every dump has opened its transaction. That it has is seen in
//! what it writes: the name of the first database comes after it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hongbao_core::Traffic;
use hongbao_core::limits::BACKUP_FROZEN_MAX;
use hongbao_core::topology::TopologyFile;
use hongbao_database::mysql::connection::{MysqlOptions, Node, TlsLevel, TlsOptions};
use hongbao_database::mysql::freeze::{Frozen, Reached};
use hongbao_wallet::mysql::check_serves_all;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::config::installation::Installation;
use crate::fences;
use crate::stores::{self, Databases};

/// The program that dumps, of Debian's package mariadb-client.
const DUMP: &str = "mariadb-dump";
/// What it writes after it has opened its transaction.
const HAS_BEGUN: &str = "-- Current Database";
/// What it writes at the end.
const IS_COMPLETE: &str = "-- Dump completed";
/// Bytes in which the marks of the beginning and of the end stand.
const HEAD_BYTES: u64 = 16_384;
const END_BYTES: u64 = 200;
/// How often it is looked whether all dumps have begun.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// One dump.
struct Dump {
    what: String,
    file: PathBuf,
    child: Child,
}

/// Dumps all SETs and the wallet into `to`; gives the files, and the time for
/// which commits had to wait.
pub async fn dump(
    installation: &Installation,
    topology: &TopologyFile,
    traffic: Traffic,
    to: &Path,
) -> Result<(Vec<PathBuf>, Duration), String> {
    let all = stores::databases(installation, topology, traffic)?;
    let reached = reach(&all).await?;
    let started = Instant::now();
    let frozen = timeout(BACKUP_FROZEN_MAX, freeze(reached)).await;
    let frozen = frozen.map_err(|_| format!("not all servers could be locked within {BACKUP_FROZEN_MAX:?}"))??;
    let begun = async {
        fences::check_versions(installation, topology, traffic).await?;
        check_wallet(installation, topology, traffic).await?;
        let exported = fences::exported_tables(installation, topology, traffic).await?;
        Ok((begin_all(&all, &frozen, to, started).await?, exported))
    };
    let begun: Result<(Vec<Dump>, Vec<u64>), String> = begun.await;
    let mut thawed = Ok(());
    for (frozen, databases) in frozen.into_iter().zip(&all) {
        thawed = thawed.and(frozen.thaw().await.map_err(|error| format!("{}: {error}", databases.what)));
    }
    let waited = started.elapsed();
    // Until here nothing was committed: a lock that was lost meanwhile would show now.
    thawed?;
    let mut files = Vec::new();
    let (dumps, exported) = begun?;
    for dump in dumps {
        files.push(finish(dump).await?);
    }
    // A table that was dropped before its turn came is in no dump, nor is the note where it went.
    if fences::exported_tables(installation, topology, traffic).await? != exported {
        return Err("tables were exported meanwhile, and may be in none of these files: run it again".to_owned());
    }
    Ok((files, waited))
}

/// No slot leaves or arrives while all is locked; one that has left, or is arriving, by the topology file in use,
/// would be missing in the backup, or be in it twice.
async fn check_wallet(installation: &Installation, topology: &TopologyFile, traffic: Traffic) -> Result<(), String> {
    let servers = stores::wallet_servers(installation, topology, traffic)?;
    let checking = check_serves_all(&servers, installation.storage.wallet_databases);
    let checked = timeout(BACKUP_FROZEN_MAX, checking).await;
    let checked = checked.map_err(|_| format!("the wallet was not read within {BACKUP_FROZEN_MAX:?}"))?;
    checked.map_err(|error| format!("wallet: {error}: from the fence of a move to its opening there is no backup"))
}

async fn reach(all: &[Databases]) -> Result<Vec<(String, Reached)>, String> {
    let mut reached = Vec::new();
    for Databases { what, options, .. } in all {
        let one = Reached::open(options).await.map_err(|error| format!("{what}: {error}"))?;
        reached.push((what.clone(), one));
    }
    Ok(reached)
}

/// All at the same time, so that none waits for another one's lock.
async fn freeze(reached: Vec<(String, Reached)>) -> Result<Vec<Frozen>, String> {
    let freeze = |(what, reached): (String, Reached)| async move {
        reached.freeze().await.map_err(|error| format!("{what}: {error}; the user of a backup needs RELOAD"))
    };
    try_join_all(reached.into_iter().map(freeze)).await
}

async fn begin_all(all: &[Databases], frozen: &[Frozen], to: &Path, started: Instant) -> Result<Vec<Dump>, String> {
    let mut dumps = Vec::new();
    for (databases, frozen) in all.iter().zip(frozen) {
        let file = to.join(format!("{}.sql", databases.what));
        let mut command = command(&databases.options, frozen.node(), &file);
        let child = command.args(&databases.names).spawn().map_err(|error| format!("{DUMP}: {error}"))?;
        dumps.push(Dump { what: databases.what.clone(), file, child });
    }
    while !all_have_begun(&mut dumps)? {
        if started.elapsed() >= BACKUP_FROZEN_MAX {
            return Err(format!(
                "the dumps did not begin within {BACKUP_FROZEN_MAX:?}; try again when there is less to do"
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(dumps)
}

fn all_have_begun(dumps: &mut [Dump]) -> Result<bool, String> {
    for dump in dumps {
        let has_ended = dump.child.try_wait().map_err(|error| format!("{DUMP}: {error}"))?.is_some();
        if !has_ended && !contains(&head_of(&dump.file), HAS_BEGUN) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The beginning of a file that may not be there yet.
fn head_of(file: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(opened) = File::open(file) {
        // What cannot be read now is read the next time.
        let _ = opened.take(HEAD_BYTES).read_to_end(&mut head);
    }
    head
}

fn contains(text: &[u8], reason: &str) -> bool {
    text.windows(reason.len()).any(|window| window == reason.as_bytes())
}

fn command(options: &MysqlOptions, node: &Node, file: &Path) -> Command {
    let mut command = Command::new(DUMP);
    command.arg("--no-defaults").arg(format!("--user={}", options.user));
    match node {
        Node::Tcp { host, port } => {
            command.arg("--protocol=tcp").arg(format!("--host={host}")).arg(format!("--port={port}"))
        }
        Node::Unix(path) => command.arg("--protocol=socket").arg(format!("--socket={}", path.display())),
    };
    command
        .args(tls(options, node))
        .args(["--single-transaction", "--quick", "--hex-blob", "--no-tablespaces"])
        .args(["--default-character-set=utf8mb4", "--add-drop-database"])
        .arg(format!("--result-file={}", file.display()))
        .arg("--databases")
        // On the command line everybody on this host could read it.
        .env("MYSQL_PWD", &options.password)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What makes the program connect as we do. It reads the files by itself.
fn tls(options: &MysqlOptions, node: &Node) -> Vec<String> {
    let TlsOptions { level, ca_file, client } = &options.tls;
    let mut words = vec!["--ssl".to_owned()];
    match (level, node) {
        (TlsLevel::Off, _) | (_, Node::Unix(_)) => return vec!["--skip-ssl".to_owned()],
        (TlsLevel::Required, _) => words.push("--skip-ssl-verify-server-cert".to_owned()),
        (TlsLevel::Verified, _) => words.push("--ssl-verify-server-cert".to_owned()),
    }
    words.extend(ca_file.iter().map(|file| format!("--ssl-ca={}", file.display())));
    if let Some((certificate, key)) = client {
        words.push(format!("--ssl-cert={}", certificate.display()));
        words.push(format!("--ssl-key={}", key.display()));
    }
    words
}

async fn finish(dump: Dump) -> Result<PathBuf, String> {
    let Dump { what, file, child } = dump;
    let ended = child.wait_with_output().await.map_err(|error| format!("{DUMP}: {error}"))?;
    if !ended.status.success() {
        return Err(format!("{what}: {DUMP}: {}", String::from_utf8_lossy(&ended.stderr).trim()));
    }
    if !ends_complete(&file)? {
        return Err(format!("{what}: {DUMP} has left {} incomplete", file.display()));
    }
    Ok(file)
}

/// Looks at the end alone: a dump may be large.
fn ends_complete(file: &Path) -> Result<bool, String> {
    let read_end = || -> std::io::Result<Vec<u8>> {
        let mut opened = File::open(file)?;
        let bytes = opened.metadata()?.len();
        opened.seek(SeekFrom::Start(bytes.saturating_sub(END_BYTES)))?;
        let mut end = Vec::new();
        opened.read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read_end().map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(contains(&end, IS_COMPLETE))
}
