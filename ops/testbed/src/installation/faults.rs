//! Faults of a running installation's disks and links, each until it is undone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::relay::{Link, Relays};
use super::running::{Installation, RELAYS};
use crate::install::Fallible;
use crate::mariadb::DATA;

/// Options of a MariaDB whose disk will be full: all tables in one file, which
/// grows in small steps and is larger than the log, so that "no file grows" means "no table grows".
pub const OPTIONS_OF_FILLED: [&str; 3] =
    ["--innodb-file-per-table=0", "--innodb-log-file-size=16M", "--innodb-autoextend-increment=1"];
/// What holds for the links, for the process with the relays.
const LINKS: &str = "links.toml";
/// Between two looks of that process.
const LINKS_LOOK: Duration = Duration::from_millis(50);

impl Installation {
    /// Changes what holds for the links to a part, also for connections that exist.
    /// Relays in a process of their own take it up within a moment.
    pub fn change_link(&self, part: &str, change: impl FnOnce(&mut Link)) -> Fallible<()> {
        if let Some(relays) = self.relays() {
            return relays.change(part, change);
        }
        if !self.description().relayed.iter().any(|relayed| relayed == part) {
            return Err(format!("the links to {part} go through no relay").into());
        }
        self.processes().pid(RELAYS)?;
        let mut links = links(self.dir())?;
        change(links.entry(part.to_owned()).or_default());
        let new = self.dir().join("links.new");
        fs::write(&new, toml::to_string(&links)?)?;
        Ok(fs::rename(new, self.dir().join(LINKS))?)
    }

    /// Serves the relays of an installation that another process has started, until this
    /// one is ended.
    pub fn serve_relays(&self) -> Fallible<()> {
        // Changes that were made for an earlier process are over.
        let _ = fs::remove_file(self.dir().join(LINKS));
        let relays = Relays::start(&self.description().relays())?;
        let mut in_force = BTreeMap::new();
        loop {
            let wanted = links(self.dir())?;
            if wanted != in_force {
                wanted.iter().try_for_each(|(part, link)| relays.change(part, |own| *own = *link))?;
                in_force = wanted;
            }
            std::thread::sleep(LINKS_LOOK);
        }
    }

    /// No file of a MariaDB can grow any more. What it already holds can be
    /// written again, so its log goes on, as on a disk that is full.
    ///
    /// # Errors
    /// When it does not run, or without [`OPTIONS_OF_FILLED`]: its tables could grow then.
    pub fn fill(&self, database: &str) -> Fallible<()> {
        let options = self.description().options.get(database);
        if !options.is_some_and(|options| OPTIONS_OF_FILLED.iter().all(|option| options.iter().any(|is| is == option)))
        {
            return Err(format!("{database} was not started so that its disk can be full").into());
        }
        let pid = self.processes().pid(database)?;
        let largest = largest_file(&self.dir().join(database).join(DATA))?;
        limit_files(pid, Some(largest))
    }

    /// Its files can grow again.
    pub fn make_room(&self, database: &str) -> Fallible<()> {
        limit_files(self.processes().pid(database)?, None)
    }
}

/// What holds for the links to parts.
fn links(dir: &Path) -> Fallible<BTreeMap<String, Link>> {
    // None has been changed as long as there is no file.
    Ok(toml::from_str(&fs::read_to_string(dir.join(LINKS)).unwrap_or_default())?)
}

/// The files of a process may grow to so many bytes, or as they like.
fn limit_files(pid: Pid, bytes: Option<u64>) -> Fallible<()> {
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
    Ok(())
}

fn largest_file(dir: &Path) -> Fallible<u64> {
    let mut largest = 0;
    for file in fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        // One that is gone by now is not the largest.
        largest = file?.metadata().map_or(0, |about| about.len()).max(largest);
    }
    Ok(largest)
}
