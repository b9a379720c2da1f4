//! A process beside those of the cluster's script.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::cluster::Cluster;

/// Ended when it is dropped, and when the test ends, however it ends.
pub struct Extra(Child);

impl Extra {
    /// Runs the binary over a settings file of the installation, with more
    /// variables in its environment; what it says is in the log of this name.
    pub fn start(cluster: &Cluster, log: &str, role: &str, settings: &str, name: &str, more: &[(&str, &str)]) -> Extra {
        let log = File::create(cluster.path(&format!("log/{log}.log"))).unwrap();
        let process = cluster.hongbao(role, settings, &["--name", name]);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "env"]);
        command.args(more.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(process.get_program()).args(process.get_args());
        for (removed, _) in process.get_envs() {
            command.env_remove(removed);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Extra(hongbao_parts::spawn_command(command).unwrap())
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
