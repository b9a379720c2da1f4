//! A process beside the parts of the installation.

use rustix::process::Signal;

use crate::cluster::Cluster;

/// Ended when it is dropped, and when the test ends, however it ends.
pub struct Extra<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl Extra<'_> {
    /// Runs a role under the name of a part, with more variables in its environment;
    /// what it says is in the log `name`.
    pub fn start<'a>(
        cluster: &'a Cluster,
        name: &'static str,
        role: &str,
        part: &str,
        environment: &[(&str, &str)],
    ) -> Extra<'a> {
        let mut command = cluster.installation().hongbao(&[role, "--name", part]);
        command.envs(environment.iter().copied());
        cluster.installation().processes().spawn(name, &command).unwrap();
        Extra { cluster, name }
    }
}

impl Drop for Extra<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.cluster.installation().processes().end(self.name, Signal::KILL);
    }
}
