//! Variables of the environment that are named like settings.

use std::net::SocketAddr;

use hongbao_testbed::free_port;

use crate::rehearsal_installation::Process;
use crate::support::{Folder, Service, TICKET_SECRET, TOKEN_SECRET, command_in, hongbao, text};

/// What Kubernetes sets in a container beside the Services `hongbao` and `hongbao-gateway`.
const OF_SERVICES: [(&str, &str); 11] = [
    ("HONGBAO_PORT", "tcp://10.96.0.7:8080"),
    ("HONGBAO_PORT_8080_TCP", "tcp://10.96.0.7:8080"),
    ("HONGBAO_PORT_8080_TCP_ADDR", "10.96.0.7"),
    ("HONGBAO_PORT_8080_TCP_PORT", "8080"),
    ("HONGBAO_PORT_8080_TCP_PROTO", "tcp"),
    ("HONGBAO_SERVICE_HOST", "10.96.0.7"),
    ("HONGBAO_SERVICE_PORT", "8080"),
    ("HONGBAO_SERVICE_PORT_HTTP", "8080"),
    ("HONGBAO_GATEWAY_PORT", "tcp://[fd00::9]:443"),
    ("HONGBAO_GATEWAY_SERVICE_HOST", "fd00::9"),
    ("HONGBAO_GATEWAY_SERVICE_PORT", "443"),
];

/// Near to those, and none of them.
const MISSPELT: [(&str, &str); 4] = [
    ("HONGBAO_PORT", "8080"),
    ("HONGBAO_GATEWAY_HOST", "10.96.0.7"),
    ("HONGBAO_HTTP__SERVICE_PORT", "8080"),
    ("HONGBAO_LISTENS", "tcp://10.96.0.7:8080"),
];

/// That the log says once of all of them that they are no settings.
fn says_it_once(log: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("passed over")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for (name, _) in OF_SERVICES {
        assert!(lines[0].split([' ', '"', '=']).any(|word| word == name), "{name} in {}", lines[0]);
    }
}

#[test]
fn what_kubernetes_sets_for_services_keeps_no_role_from_starting() {
    let folder = Folder::new();
    let mut command = command_in(&folder, "");
    command.envs(OF_SERVICES);
    let service = Service::try_run(&folder, command).unwrap();
    says_it_once(&service.log());
    service.check();
    drop(service);

    let folder = installation();
    let _gateway = Process::start(&folder, "gateway", &OF_SERVICES);
    says_it_once(&std::fs::read_to_string(folder.path("log")).unwrap());
    for role in ["server", "worker"] {
        let (code, said) = check(&folder, role, &OF_SERVICES);
        assert_eq!(code, Some(0), "{role}: {said}");
    }
}

#[test]
fn what_is_like_it_and_misspelt_is_refused_by_name() {
    let folder = installation();
    for misspelt in MISSPELT {
        for role in ["gateway", "server", "worker"] {
            let (code, said) = check(&folder, role, &[misspelt]);
            assert_eq!(code, Some(2), "{misspelt:?} of a {role}: {said}");
            let key = misspelt.0.trim_start_matches("HONGBAO_").rsplit("__").next().unwrap().to_lowercase();
            assert!(said.contains(&format!("unknown field `{key}`")) || said.contains(misspelt.0), "{said}");
        }
    }
}

/// A role with `--check`: its exit code and words.
fn check(folder: &Folder, role: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let config = folder.path("hongbao.toml");
    let mut command = hongbao(&[role, "--check", "--config", config.to_str().unwrap()]);
    let done = command.envs(environment.iter().copied()).output().unwrap();
    (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
}

/// The files of an installation of which only the gateway is started.
pub fn installation() -> Folder {
    let folder = Folder::new();
    let settings = format!(
        "topology = 'topology.toml'\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
         [database]\nuser = 'hongbao'\npassword = 'hongbao'\n"
    );
    folder.write("hongbao.toml", &settings);
    let [gateway, server, worker, database] = [(); 4].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let topology = format!(
        "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\n\
         servers = [{{ name = 'a1', address = '{server}' }}]\nworkers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
         [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
         [[gateways]]\nname = 'g'\naddress = '{gateway}'\n"
    );
    folder.write("topology.toml", &topology);
    folder
}
