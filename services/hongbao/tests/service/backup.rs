//! A copy of a folder that is being served, under load: its audit holds, and it can be served.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::faults_clients::{Town, assert_audit_holds};
use crate::support::{Folder, Service, backed_up, wait_until};

const CLIENTS: usize = 4;
const BACKUPS: usize = 5;

#[test]
fn every_copy_made_under_load_is_of_one_moment_and_can_be_served_i1_i6() {
    let folder = Folder::new();
    let settings = "[storage]\ndatabases = 5\ntables = 1";
    let service = Service::start_in(&folder, settings);
    let town = Town::new(&service, 300);
    std::thread::scope(|scope| {
        let stop = town.stop_on_drop();
        for number in 0..CLIENTS {
            let mut client = town.client(number, 10);
            scope.spawn(move || client.work());
        }
        for number in 0..BACKUPS {
            let opened = town.opened();
            wait_until(Duration::from_secs(20), "some openings more", || town.opened() > opened + 20);
            let copy = Folder::new();
            let (code, told) = backed_up(&folder.data(), &copy.data());
            assert_eq!(code, Some(0), "{told}");
            println!("{number}: {} openings, {told}", town.opened());
            assert!(told.contains("6 files of one moment"), "{told}");
            assert_audit_holds(&copy.data());
            if number + 1 == BACKUPS {
                // Workers of its own go on from there, and the books still balance.
                let mut restored = Service::start_in(&copy, settings);
                restored.check();
                restored.terminate();
                assert!(restored.wait().success());
                assert_audit_holds(&copy.data());
            }
        }
        drop(stop);
    });
    // Nobody was refused because of it: a writer that waits for the copier is only late.
    assert_eq!(town.refused.load(Ordering::Relaxed), 0);
    town.settle(&folder.data());
    service.check();
}

#[test]
fn a_copy_is_a_folder_of_its_own_and_overwrites_nothing() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    service.user("li").top_up(7);
    let copy = Folder::new();
    assert_eq!(backed_up(&folder.data(), &copy.data()).0, Some(0));
    let (code, told) = backed_up(&folder.data(), &copy.data());
    assert!(code == Some(2) && told.contains("not empty"), "{told}");

    let unfinished = folder.path("later.unfinished");
    fs::create_dir(&unfinished).unwrap();
    let (code, told) = backed_up(&folder.data(), &folder.path("later"));
    assert!(code == Some(2) && told.contains("later.unfinished"), "{told}");
    fs::remove_dir(&unfinished).unwrap();

    // A file of the copy among those that have gone on since would lose what came after it.
    service.terminate();
    assert!(service.wait().success());
    fs::copy(copy.data().join("wallet_00.sqlite"), folder.data().join("wallet_00.sqlite")).unwrap();
    let refused = Service::try_start_in(&folder, "").err().expect("it is refused");
    assert!(refused.contains("wallet_00.sqlite belongs to another folder"), "{refused}");
}
