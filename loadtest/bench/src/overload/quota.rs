//! A processor quota: a cpu cgroup, written directly. Needs root.
//!
//! Where the system has the first version of cgroups its folder is a child of the
//! controller's; where it has the second, of the root, which has to hand the
//! controller on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hongbao_load::{Fallible, complain};

/// How long a group may take to become empty before it is left behind.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Processes that have a part of the processors together. Dropping it ends the
/// limit; the group goes away once it is empty.
pub struct Quota {
    folder: PathBuf,
    version: Version,
    period_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Quota {
    /// A group without processes and without a limit, whose quota is to be given anew
    /// after each period: a group that has used it up stands still for the rest.
    ///
    /// # Errors
    /// Where the system has no cpu controller, or does not let us write it.
    pub fn new(period: Duration) -> Fallible<Quota> {
        Quota::under(Path::new("/sys/fs/cgroup"), period)
    }

    fn under(root: &Path, period: Duration) -> Fallible<Quota> {
        let (version, parent) = match root.join("cpu/cpu.cfs_quota_us").exists() {
            true => (Version::One, root.join("cpu")),
            false if root.join("cgroup.controllers").exists() => (Version::Two, root.to_owned()),
            false => return Err(format!("{}: there is no cpu controller", root.display()).into()),
        };
        if version == Version::Two {
            write(&root.join("cgroup.subtree_control"), "+cpu")?;
        }
        let folder = parent.join(format!("hongbao-bench-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}; it needs root", folder.display()))?;
        Ok(Quota { folder, version, period_us: period.as_micros() as u64 })
    }

    /// Puts a process into it, with those that it starts from now on.
    pub fn add(&self, pid: u32) -> Fallible<()> {
        write(&self.folder.join("cgroup.procs"), &pid.to_string())
    }

    /// So many processors for all of them together; `None`: all that there are.
    pub fn set(&self, processors: Option<f64>) -> Fallible<()> {
        let period_us = self.period_us;
        let quota_us = processors.map(|processors| (processors * period_us as f64) as u64);
        match self.version {
            Version::One => {
                write(&self.folder.join("cpu.cfs_period_us"), &period_us.to_string())?;
                let quota = quota_us.map_or("-1".to_owned(), |quota| quota.to_string());
                write(&self.folder.join("cpu.cfs_quota_us"), &quota)
            }
            Version::Two => {
                let quota = quota_us.map_or("max".to_owned(), |quota| quota.to_string());
                write(&self.folder.join("cpu.max"), &format!("{quota} {period_us}"))
            }
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Its processes should not have to end within the limit.
        let _ = self.set(None);
        let began = Instant::now();
        while fs::remove_dir(&self.folder).is_err() {
            if began.elapsed() > EMPTY_WITHIN {
                complain(format!("{} is not empty and stays", self.folder.display()));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn write(path: &Path, text: &str) -> Fallible<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    #[test]
    fn a_quota_is_written_as_each_version_of_cgroups_wants_it() {
        let root = tempfile::tempdir().unwrap();
        let controller = root.path().join("cpu");
        fs::create_dir(&controller).unwrap();
        fs::write(controller.join("cpu.cfs_quota_us"), "-1").unwrap();
        let one = std::mem::ManuallyDrop::new(Quota::under(root.path(), PERIOD).unwrap());
        one.set(Some(0.4)).unwrap();
        assert_eq!(fs::read_to_string(one.folder.join("cpu.cfs_quota_us")).unwrap(), "40000");
        one.set(None).unwrap();
        assert_eq!(fs::read_to_string(one.folder.join("cpu.cfs_quota_us")).unwrap(), "-1");

        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu").unwrap();
        let two = std::mem::ManuallyDrop::new(Quota::under(root.path(), PERIOD).unwrap());
        two.set(Some(1.5)).unwrap();
        assert_eq!(fs::read_to_string(two.folder.join("cpu.max")).unwrap(), "150000 100000");
        two.add(7).unwrap();
        assert_eq!(fs::read_to_string(two.folder.join("cgroup.procs")).unwrap(), "7");
    }

    #[test]
    fn a_system_without_a_cpu_controller_is_told_apart() {
        let error = Quota::under(tempfile::tempdir().unwrap().path(), PERIOD).err().unwrap().to_string();
        assert!(error.contains("no cpu controller"), "{error}");
    }
}
