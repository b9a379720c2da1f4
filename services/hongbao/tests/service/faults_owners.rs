//! Two processes over one folder: two owners of every envelope.
//!
//! Each remembers what it likes and is often wrong; the journal's keys decide
//! alone (I5).

use std::time::Duration;

use serde_json::json;

use crate::faults_clients::{Town, assert_audit_holds};
use crate::support::{Folder, Service, wait_until};

const CLIENTS: usize = 4;
const WORK_FOR: Duration = Duration::from_secs(3);

#[test]
fn two_owners_of_every_envelope_move_no_invariant() {
    let folder = Folder::new();
    let one = Service::start_in(&folder, "");
    let two = Service::start_in(&folder, "");
    let town = Town::new(&one, 60);
    town.ask_at(&[&one, &two]);
    std::thread::scope(|scope| {
        let stop = town.stop_on_drop();
        for number in 0..CLIENTS {
            let mut client = town.client(number, 3);
            scope.spawn(move || client.work());
        }
        std::thread::sleep(WORK_FOR / 2);
        assert_audit_holds(&folder.data());
        std::thread::sleep(WORK_FOR / 2);
        drop(stop);
    });
    println!("{} envelopes, {} openings, {:?} refused", town.sent(), town.opened(), town.refused);
    assert!(town.opened() > 100, "only {} openings", town.opened());
    // Asks both for everything once more: their answers agree (I2).
    town.settle(&folder.data());
    one.check();
    two.check();
}

#[test]
fn who_opened_at_one_owner_is_told_so_by_the_other_for_ever() {
    let folder = Folder::new();
    let one = Service::start_in(&folder, "");
    let two = Service::start_in(&folder, "");
    let sender = one.user("li");
    sender.top_up(1_000);
    let id = sender.send(&json!({ "kind": "lucky", "total_fen": 1_000, "shares": 5, "expires_in_s": 1 }));

    let (wang_one, wang_two) = (one.user("wang"), two.user("wang"));
    let (zhao_one, zhao_two) = (one.user("zhao"), two.user("zhao"));
    // From here on the second owner remembers the envelope, and that nobody has opened it.
    let (wang_ticket, zhao_ticket) = (wang_two.ticket(&id), zhao_two.ticket(&id));
    let opened = wang_one.grab_and_open(&id);
    assert_eq!(opened["outcome"], "opened");
    sender.wait_for_state(&id, "refunded", Duration::from_secs(5));

    for told in [wang_two.grab(&id).ok(200), wang_two.open(&id, &wang_ticket).ok(200), wang_one.grab(&id).ok(200)] {
        assert_eq!(told["outcome"], "opened", "I2, I5: {told}");
        assert_eq!(told["replayed"], true);
        for field in ["amount_fen", "seq", "opened_at"] {
            assert_eq!(told[field], opened[field], "I2, I5");
        }
    }
    for told in [zhao_two.grab(&id).ok(200), zhao_two.open(&id, &zhao_ticket).ok(200), zhao_one.grab(&id).ok(200)] {
        assert_eq!(told["outcome"], "expired");
    }
    two.check();
}

#[test]
fn who_looks_at_one_owner_soon_sees_what_was_opened_at_the_other() {
    let folder = Folder::new();
    let one = Service::start_in(&folder, "");
    let two = Service::start_in(&folder, "");
    let sender = one.user("li");
    sender.top_up(1_000);
    let id = sender.send(&json!({ "kind": "lucky", "total_fen": 1_000, "shares": 2 }));

    let seen = |at: &Service| at.user("li").detail(&id)["opens"].as_array().map_or(0, Vec::len);
    assert_eq!((seen(&one), seen(&two)), (0, 0), "both have it in memory now");
    one.user("wang").grab_and_open(&id);
    assert_eq!(seen(&one), 1);
    // Looking again and again must not keep the old copy alive.
    wait_until(Duration::from_secs(5), "the other owner to show the opening", || seen(&two) == 1);
    one.user("zhao").grab_and_open(&id);
    two.user("li").wait_for_state(&id, "finished", Duration::from_secs(5));
    two.check();
}
