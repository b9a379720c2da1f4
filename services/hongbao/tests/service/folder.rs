//! The data folder of the all-in-one service: who may use it, what belongs into
//! it, and what happens when it is taken away while it is being served.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::support::{Folder, Service, audit_of, backed_up, command_in, hongbao, lucky, text, wait_until};

/// How soon the service must have noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

/// The files of a folder with one database.
const FILES: [&str; 2] = ["db_00.sqlite", "wallet_00.sqlite"];

/// A service with some money in it; ended in order.
fn folder_with_money() -> Folder {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    let sender = service.user("li");
    sender.top_up(1_000);
    let id = sender.send(&lucky(500, 5));
    service.user("wang").grab_and_open(&id);
    service.terminate();
    assert_eq!(service.wait().code(), Some(0), "{}", service.log());
    folder
}

/// Why a folder is not served.
fn refusal(folder: &Folder) -> String {
    match Service::try_start_in(folder, "") {
        Ok(_) => panic!("it was served"),
        Err(reason) => reason.lines().last().unwrap_or_default().to_owned(),
    }
}

/// Exit code and words of an audit.
fn audited(data: &Path) -> (Option<i32>, String) {
    let audit = audit_of(data);
    (audit.status.code(), format!("{}{}", text(&audit.stdout), text(&audit.stderr)))
}

fn copy_all(from: &Path, to: &Path, is_copied: impl Fn(&str) -> bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && is_copied(&name) {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

fn readiness(service: &Service) -> (u16, String) {
    let answer = service.nobody().get("/readyz");
    (answer.status, answer.text())
}

#[test]
fn what_is_taken_away_under_the_service_is_noticed_and_nothing_is_acknowledged_any_more() {
    type Fault = fn(&Path);
    let faults: [(&str, Fault); 8] = [
        ("db_00.sqlite was removed", |data| fs::remove_file(data.join("db_00.sqlite")).unwrap()),
        ("wallet_00.sqlite was removed", |data| fs::remove_file(data.join("wallet_00.sqlite")).unwrap()),
        ("db_00.sqlite-wal was removed", |data| fs::remove_file(data.join("db_00.sqlite-wal")).unwrap()),
        ("wallet_00.sqlite-shm was removed", |data| fs::remove_file(data.join("wallet_00.sqlite-shm")).unwrap()),
        ("was removed or renamed", |data| fs::rename(data, data.with_extension("elsewhere")).unwrap()),
        ("db_00.sqlite was replaced", |data| {
            let (file, copy) = (data.join("db_00.sqlite"), data.join("copy"));
            fs::copy(&file, &copy).unwrap();
            fs::rename(copy, file).unwrap();
        }),
        ("db_00.sqlite-wal was truncated", |data| {
            fs::File::options().write(true).open(data.join("db_00.sqlite-wal")).unwrap().set_len(0).unwrap();
        }),
        // As `cp` does it: the file stays the same, what is in it does not.
        ("wallet_00.sqlite was written by another program", |data| {
            let bytes = fs::read(data.join("wallet_00.sqlite")).unwrap();
            fs::write(data.join("wallet_00.sqlite"), bytes).unwrap();
        }),
    ];
    for (reason, fault) in faults {
        let service = Service::start("");
        let sender = service.user("li");
        sender.top_up(1_000);
        let id = sender.send(&json!({ "kind": "equal", "total_fen": 400, "shares": 400 }));
        let wang = service.user("wang");
        let ticket = wang.ticket(&id);
        assert_eq!(readiness(&service).0, 200);

        fault(&service.folder().data());
        // At once: the first that comes along finds it, and not a look a second later.
        let refused = match reason.starts_with("wallet") {
            true => {
                sender.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057" }))
            }
            false => wang.open(&id, &ticket),
        };
        assert!(matches!(refused.status, 503 | 504), "{reason}: {} {}", refused.status, refused.text());
        wait_until(NOTICED_WITHIN, reason, || readiness(&service).0 == 503);
        let (_, told) = readiness(&service);
        assert!(told.contains(reason), "{reason}: {told}");
        let log = service.log();
        assert_eq!(log.matches("the data folder is in trouble").count(), 1, "{reason}: {log}");
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[test]
fn a_folder_that_is_moved_away_and_back_is_served_again() {
    let service = Service::start("");
    let sender = service.user("li");
    sender.top_up(1_000);
    let (data, elsewhere) = (service.folder().data(), service.folder().path("elsewhere"));
    fs::rename(&data, &elsewhere).unwrap();
    wait_until(NOTICED_WITHIN, "the folder to be missed", || readiness(&service).0 == 503);
    fs::rename(&elsewhere, &data).unwrap();
    wait_until(NOTICED_WITHIN, "the folder to be found again", || readiness(&service).0 == 200);
    sender.top_up(1);
    assert_eq!(sender.balance(), 1_001);
    service.check();
}

#[test]
fn what_is_missing_empty_foreign_or_old_is_refused_by_name_and_nothing_is_made() {
    let other = folder_with_money();
    type Fault = fn(&Path, &Path);
    let faults: [(&str, Fault); 8] = [
        ("wallet_00.sqlite is missing", |data, _| fs::remove_file(data.join("wallet_00.sqlite")).unwrap()),
        ("db_00.sqlite is missing", |data, _| fs::remove_file(data.join("db_00.sqlite")).unwrap()),
        ("wallet_00.sqlite is empty", |data, _| fs::write(data.join("wallet_00.sqlite"), "").unwrap()),
        ("db_00.sqlite is empty", |data, _| fs::write(data.join("db_00.sqlite"), "").unwrap()),
        ("wallet_00.sqlite belongs to another folder", |data, other| {
            fs::copy(other.join("wallet_00.sqlite"), data.join("wallet_00.sqlite")).unwrap();
        }),
        ("wallet_00.sqlite belongs to another folder", |data, other| {
            fs::copy(other.join("db_00.sqlite"), data.join("db_00.sqlite")).unwrap();
        }),
        ("wallet_00.sqlite is of another time", |data, _| {
            fs::copy(data.join("old"), data.join("wallet_00.sqlite")).unwrap();
        }),
        ("missing or empty, though its log", |data, _| {
            FILES.iter().for_each(|name| fs::remove_file(data.join(name)).unwrap());
            fs::write(data.join("db_00.sqlite-wal"), "what a crash has left").unwrap();
        }),
    ];
    for (reason, fault) in faults {
        let folder = folder_with_money();
        let data = folder.data();
        fs::copy(data.join("wallet_00.sqlite"), data.join("old")).unwrap();
        let mut again = Service::start_in(&folder, "");
        again.terminate();
        assert!(again.wait().success());

        fault(&data, &other.data());
        let before = sizes(&data);
        let refused = refusal(&folder);
        assert!(refused.contains(reason), "{reason}: {refused}");
        let (code, told) = audited(&data);
        assert_eq!(code, Some(2), "{reason}: {told}");
        assert!(told.contains(reason), "{reason}: {told}");
        let backup = backed_up(&data, &folder.path("copy"));
        assert_eq!(backup.0, Some(2), "{reason}: {}", backup.1);
        assert_eq!(sizes(&data), before, "{reason}: nothing was made");
    }
}

/// The databases and what they hold, without what SQLite keeps beside them.
fn sizes(data: &Path) -> Vec<(PathBuf, u64)> {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "sqlite"));
    let mut sizes: Vec<_> = files.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect();
    sizes.sort();
    sizes
}

#[test]
fn after_a_clean_stop_the_files_alone_hold_everything() {
    let folder = folder_with_money();
    for name in FILES {
        let log = folder.data().join(format!("{name}-wal"));
        assert!(fs::metadata(&log).map_or(0, |log| log.len()) == 0, "{} holds something", log.display());
    }
    let copy = Folder::new();
    copy_all(&folder.data(), &copy.data(), |name| name.ends_with(".sqlite"));
    let (code, told) = audited(&copy.data());
    assert_eq!(code, Some(0), "{told}");
    let service = Service::start_in(&copy, "");
    let detail = service.user("li").get("/v1/wallet/envelopes?role=sent").ok(200);
    assert_eq!(detail["envelopes"].as_array().map(Vec::len), Some(1), "{detail}");
    assert_eq!(service.user("li").balance(), 500);
}

#[test]
fn a_second_service_on_a_folder_is_refused_until_the_first_has_ended() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    service.user("li").top_up(7);
    assert!(refusal(&folder).contains("another process is serving this folder"));
    // To look at it and to copy it stays possible.
    assert_eq!(audited(&folder.data()).0, Some(0));
    let (code, told) = backed_up(&folder.data(), &folder.path("copy"));
    assert_eq!(code, Some(0), "{told}");
    service.check();
    // The system gives the lock back, however it ends.
    service.kill();
    let service = Service::start_in(&folder, "");
    assert_eq!(service.user("li").balance(), 7);
}

#[test]
fn a_folder_that_no_write_fits_into_is_not_ready_until_one_does() {
    let folder = Folder::new();
    let mut shell = std::process::Command::new("sh");
    let command = command_in(&folder, "");
    // Otherwise the signal would end a process that writes beyond its limit.
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(command.get_program()).args(command.get_args());
    let service = Service::try_run(&folder, shell).unwrap();
    assert_eq!(readiness(&service).0, 200);
    // Nobody asks for anything: it is noticed all the same.
    prlimit(Some(service.pid()), Resource::Fsize, Rlimit { current: Some(0), maximum: None }).unwrap();
    wait_until(NOTICED_WITHIN, "no room to be noticed", || readiness(&service).0 == 503);
    prlimit(Some(service.pid()), Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    wait_until(NOTICED_WITHIN, "room to be noticed", || readiness(&service).0 == 200);
    service.check();
}

/// A real full disk, where this process may mount one.
#[test]
fn a_full_disk_is_not_ready() {
    let folder = Folder::new();
    let Some(disk) = Disk::mount(&folder.path("disk")) else {
        println!("no file system can be mounted here: the limit on files stands for it");
        return;
    };
    let data = disk.0.join("data");
    let mut command = hongbao(&["dev", "--listen", "127.0.0.1:0"]);
    command.args(["--data".as_ref(), data.as_os_str()]);
    let service = Service::try_run(&folder, command).unwrap();
    assert_eq!(readiness(&service).0, 200);
    fs::write(disk.0.join("filler"), vec![0; 64 << 20]).unwrap_err();
    wait_until(NOTICED_WITHIN, "the full disk to be noticed", || readiness(&service).0 == 503);
    fs::remove_file(disk.0.join("filler")).unwrap();
    wait_until(NOTICED_WITHIN, "the room to be noticed", || readiness(&service).0 == 200);
}

/// A small file system in memory; gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Disk> {
        fs::create_dir_all(at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "none"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Disk(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l".as_ref(), self.0.as_os_str()]).status();
    }
}
