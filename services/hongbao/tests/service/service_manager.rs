//! What systemd is informed of, with a socket as it makes one.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use hongbao_testbed::free_port;
use rustix::process::{Signal, kill_process};

use crate::rehearsal_installation::Process;
use crate::support::{Folder, Service, TICKET_SECRET, TOKEN_SECRET, command_in};

/// The time after which the manager would restart the process.
const WATCHDOG: Duration = Duration::from_secs(2);
/// No sign of life is further from the one before: half of it, as sd_watchdog_enabled(3) recommends.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// The end of the manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Folder) -> Manager {
        let path = folder.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Manager { socket, path }
    }

    /// What systemd puts into the environment of a unit with `Type=notify` and `WatchdogSec`.
    fn environment(&self) -> [(&'static str, String); 2] {
        let path = self.path.to_str().expect("temporary folders have plain names");
        [("NOTIFY_SOCKET", path.to_owned()), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())]
    }

    /// The next datagram; none within this time.
    fn next(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut bytes = [0; 4_096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// Requires the first word, and a sign of life again and again after it.
    fn sees_a_start(&self, address: SocketAddr) {
        let first = self.next(Duration::from_secs(30)).expect("it says that it is ready");
        assert_eq!(first, format!("READY=1\nSTATUS=listening on {address}\n"));
        for number in 0..3 {
            // Later than recommended on a busy machine, and in time for the manager.
            let sign = self.next(WATCHDOG);
            assert_eq!(sign.as_deref(), Some("WATCHDOG=1\n"), "sign {number}");
        }
    }

    fn sees_that_it_stops(&self) {
        let mut said = std::iter::from_fn(|| self.next(Duration::from_secs(5)));
        let last = said.find(|said| said != "WATCHDOG=1\n");
        assert_eq!(last.as_deref(), Some("STOPPING=1\nSTATUS=finishing what was accepted\n"));
    }
}

#[test]
fn a_service_manager_learns_that_it_serves_that_it_lives_and_that_it_stops() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let mut command = command_in(&folder, "");
    command.envs(manager.environment());
    let mut service = Service::try_run(&folder, command).unwrap();
    manager.sees_a_start(service.address());
    kill_process(service.pid(), Signal::STOP).unwrap();
    while manager.next(SILENCE_MAX).is_some() {}
    kill_process(service.pid(), Signal::CONT).unwrap();
    assert_eq!(manager.next(SILENCE_MAX).as_deref(), Some("WATCHDOG=1\n"));
    service.terminate();
    manager.sees_that_it_stops();
    assert!(service.wait().success());
}

#[test]
fn a_gateway_gives_signs_of_life_while_all_of_its_threads_do() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let [server, gateway] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let settings = format!(
        "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
         [storage]\ndatabases = 2\nwallet_databases = 1\n[database]\nuser = 'hongbao'\npassword = 'hongbao'\n"
    );
    folder.write("hongbao.toml", &settings);
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['127.0.0.1:3306']\n\
         servers = [{{ name = 'a1', address = '{server}' }}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['127.0.0.1:3306']\n\
         [[gateways]]\nname = 'g'\naddress = '{gateway}'\n"
    );
    folder.write("topology.toml", &topology);
    let environment = manager.environment();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut process = Process::start(&folder, "gateway", &environment);
    manager.sees_a_start(gateway);
    process.end(Signal::TERM);
    manager.sees_that_it_stops();
}
