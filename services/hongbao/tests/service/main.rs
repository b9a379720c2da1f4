//! The service as a client and an operator meet it: the real binary as a child
//! process, real sockets, and the stored rows read back by `hongbao audit`.

mod backup;
mod backup_installation;
#[path = "../common/mod.rs"]
mod common;
mod contract;
mod contract_access;
mod contract_document;
mod contract_doors;
mod contract_events;
mod contract_fast_path;
mod contract_front_doors;
mod contract_input;
mod contract_money;
mod contract_operation;
mod contract_together;
mod contract_transport;
mod contract_wallet;
mod cors;
mod encrypted;
mod environment;
mod events_installation;
mod examples;
mod faults;
mod faults_clients;
#[cfg(target_os = "linux")]
mod faults_disk;
mod faults_kill;
mod file_clock;
mod folder;
mod folder_upgrade;
mod generated_clients;
mod installation_idle;
mod installation_keys;
mod installation_leaving;
mod installation_leaving_load;
mod installation_maps;
mod installation_names;
mod installation_request_keys;
mod installation_rotation;
mod installation_tls;
mod installation_upgrade;
mod log_secrets;
mod metrics;
mod move_wallet;
mod observe;
mod readme;
mod reconcile;
mod rehearsal;
mod rehearsal_installation;
mod sandbox;
mod service_manager;
mod sets;
mod support;
mod tracing;
mod webhook;
