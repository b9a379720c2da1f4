//! A MariaDB on a folder of its own: how the folder is made, and how the server is
//! started and asked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::install::{Fallible, ops_dir};
use crate::spawn::prefixed;

/// The socket in a server's folder.
pub(crate) const SOCKET: &str = "mysqld.sock";
/// The data in a server's folder.
pub(crate) const DATA: &str = "data";
/// Statements of every start: the server runs each line.
pub(crate) const INIT: &str = "init.sql";
/// Of the folder that is copied and of every start: another size would be made anew.
pub(crate) const LOG_SIZE: &str = "--innodb-log-file-size=64M";

/// Full durability: a commit that was acknowledged is on the disk.
const OPTIONS: [&str; 9] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=1",
    LOG_SIZE,
    "--innodb-buffer-pool-size=256M",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--max-connections=500",
    "--table-open-cache=4000",
];

/// An option with a path.
pub(crate) fn with_path(option: &str, path: PathBuf) -> String {
    format!("--{option}={}", path.display())
}

/// Makes the folder's data if it has none, and the statements that make the users.
pub(crate) fn prepare(dir: &Path) -> Fallible<()> {
    let data = dir.join(DATA);
    if !data.exists() {
        fs::create_dir_all(dir)?;
        let new = dir.join("data.new");
        succeeds(Command::new("cp").arg("-a").arg(template()?).arg(&new))?;
        fs::rename(new, data)?;
    }
    let mut init = String::new();
    for host in ["127.0.0.1", "localhost"] {
        init += &format!("CREATE USER IF NOT EXISTS hongbao@'{host}' IDENTIFIED BY 'hongbao';\n");
        for databases in [r"db\_%", r"wallet\_%"] {
            init += &format!("GRANT ALL ON `{databases}`.* TO hongbao@'{host}';\n");
        }
    }
    fs::write(dir.join(INIT), init)?;
    Ok(())
}

/// A data folder of the installed version, to be copied: making one takes seconds.
fn template() -> Fallible<PathBuf> {
    let version = succeeds(Command::new("mariadbd").arg("--version"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_once("Ver ").map_or("", |(_, version)| version);
    let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let cache = ops_dir().join("../target/parts");
    let template = cache.join(format!("mariadb-{version}"));
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    if !template.exists() {
        let new = cache.join("new");
        // What a process left that was killed here.
        let _ = fs::remove_dir_all(&new);
        fs::create_dir(&new)?;
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.args(["--skip-name-resolve", LOG_SIZE]).arg(with_path("datadir", new.clone()));
        succeeds(install.args(user_option()))?;
        fs::rename(new, &template)?;
    }
    Ok(template)
}

/// The server refuses to run as root unless it is asked to.
fn user_option() -> Option<&'static str> {
    rustix::process::getuid().is_root().then_some("--user=root")
}

/// The command of a server, without the options that are its own.
pub(crate) fn server(dir: &Path, port: u16) -> Command {
    let mut server = Command::new("mariadbd");
    server.arg("--no-defaults").args(OPTIONS).arg(format!("--port={port}"));
    server.arg(with_path("datadir", dir.join(DATA))).arg(with_path("socket", dir.join(SOCKET)));
    // A server that starts removes the temporary tables of all others that have the same folder for them.
    server.arg(with_path("tmpdir", dir.to_owned()));
    server.arg(with_path("pid-file", dir.join("mysqld.pid"))).arg(with_path("init-file", dir.join(INIT)));
    server
}

/// The command of a server by itself. Where files may not grow (`prlimit --fsize`), that
/// is an error to it as of a full disk, and not its end.
pub(crate) fn alone(dir: &Path, port: u16) -> Fallible<Command> {
    prepare(dir)?;
    let mut server = server(dir, port);
    server.args(user_option());
    Ok(prefixed(&["env", "--ignore-signal=XFSZ"], &server))
}

/// The command that runs SQL as `root` on the server of a folder, and prints values without names.
pub(crate) fn sql_client(dir: &Path, sql: &str) -> Command {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--connect-timeout=2"]);
    client.arg(with_path("socket", dir.join(SOCKET))).arg(format!("--execute={sql}"));
    client
}

/// Runs a command that must succeed.
pub(crate) fn succeeds(command: &mut Command) -> Fallible<Output> {
    let program = command.get_program().display().to_string();
    let done = command.output().map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(done),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()).into()),
    }
}
