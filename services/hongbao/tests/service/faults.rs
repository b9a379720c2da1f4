//! A folder that may not be written, a stop in the middle of the work, and
//! clients that go away. Kills, full disks and second owners have files of
//! their own.

use std::fs::Permissions;
use std::io::{BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::faults_clients::{Town, assert_audit_holds};
use crate::support::{Answer, Folder, Service, User, command_in};

/// A user and group that own nothing.
const NOBODY: u32 = 65_534;

#[test]
fn a_folder_that_may_not_be_written_is_named_and_refused_at_the_start() {
    let never_used = Folder::new();
    std::fs::create_dir(never_used.data()).unwrap();
    assert_refused_read_only(&never_used);

    let used = Folder::new();
    let service = Service::start_in(&used, "");
    service.user("li").top_up(1);
    drop(service);
    assert_refused_read_only(&used);
    Service::start_in(&used, "").check();
}

/// Takes away the right to write, tries to serve, and gives it back.
fn assert_refused_read_only(folder: &Folder) {
    let data = folder.data();
    let mut command = command_in(folder, "");
    if rustix::process::geteuid().is_root() {
        // Rights mean nothing to root; and another user may not reach the binary where it is.
        // A process of its own copies it: a file that this one has written could be
        // "busy" a moment longer, in a child that another test is just starting.
        let copy = folder.path("hongbao");
        assert!(Command::new("cp").arg(command.get_program()).arg(&copy).status().unwrap().success());
        let mut by_nobody = Command::new(copy);
        by_nobody.args(command.get_args()).uid(NOBODY).gid(NOBODY);
        for (name, _) in command.get_envs() {
            by_nobody.env_remove(name);
        }
        command = by_nobody;
    }
    set_rights(folder, 0o555, 0o444);
    let refused = Service::try_run(folder, command);
    set_rights(folder, 0o755, 0o644);
    let said = refused.err().expect("it does not serve what it cannot write");
    assert!(said.starts_with("exit status: 2"), "{said}");
    let last_line = said.lines().last().unwrap();
    assert!(last_line.contains("hongbao: ") && last_line.contains(data.to_str().unwrap()), "it is named: {said}");
}

/// Rights of the data folder and of the files in it. All users may look at what is around it.
fn set_rights(folder: &Folder, of_folder: u32, of_files: u32) {
    let set = |path: &Path, rights| std::fs::set_permissions(path, Permissions::from_mode(rights)).unwrap();
    set(folder.data().parent().unwrap(), 0o755);
    set(&folder.data(), 0o755);
    for file in std::fs::read_dir(folder.data()).unwrap() {
        set(&file.unwrap().path(), of_files);
    }
    set(&folder.data(), of_folder);
}

/// Openings that are on their way when the service is told to stop.
const ON_THE_WAY: usize = 60;

#[test]
fn every_request_that_was_sent_before_a_sigterm_is_answered() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    let town = Town::new(&service, 60);
    std::thread::scope(|scope| {
        let stop = town.stop_on_drop();
        for number in 0..2 {
            let mut client = town.client(number, 5);
            scope.spawn(move || client.work());
        }
        for round in 0..4 {
            let users: Vec<User> = (0..ON_THE_WAY).map(|number| service.user(&format!("{round}-{number}"))).collect();
            let id = send_to(&service, &users);
            let tickets: Vec<String> = users.iter().map(|user| user.ticket(&id)).collect();
            // Half of them come over a connection that has been used, half over a new one.
            let mut connections: Vec<BufReader<TcpStream>> = users
                .iter()
                .enumerate()
                .map(|(number, user)| {
                    if number % 2 == 0 { user.take_connection() } else { user.at(service.address()).take_connection() }
                })
                .collect();
            for ((user, ticket), connection) in users.iter().zip(&tickets).zip(&mut connections) {
                connection.get_mut().write_all(&opening(user, &id, ticket)).unwrap();
            }
            service.terminate();
            let answers: Vec<_> = connections.iter_mut().map(Answer::read).collect();
            let lost: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.is_err()).collect();
            assert!(lost.is_empty(), "round {round}: accepted, and not answered: {lost:?}");
            for answer in answers {
                assert_eq!(answer.unwrap().ok(200)["outcome"], "opened");
            }
            assert_eq!(service.wait().code(), Some(0));
            service = Service::start_in(&folder, "");
            town.ask_at(&[&service]);
            assert_audit_holds(&folder.data());
            assert_eq!(service.user("li").detail(&id)["envelope"]["remaining_fen"], 0);
        }
        drop(stop);
    });
    service.check();
}

/// An envelope with one share of one fen for each of these users.
fn send_to(service: &Service, users: &[User]) -> String {
    let sender = service.user("li");
    let shares = users.len() as i64;
    sender.top_up(shares);
    sender.send(&json!({ "kind": "equal", "total_fen": shares, "shares": shares }))
}

/// The bytes of an opening.
fn opening(user: &User, id: &str, ticket: &str) -> Vec<u8> {
    let body = json!({ "ticket": ticket }).to_string();
    user.request("POST", &format!("/v1/envelopes/{id}/open"), Some(body.as_bytes()))
}

/// Users whose connection breaks in the middle of their opening.
const IN_A_TUNNEL: usize = 90;

#[test]
fn an_opening_whose_client_went_away_has_happened_or_not_and_asking_again_settles_it() {
    let seed = 6;
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let service = Service::start("");
    let users: Vec<User> = (0..IN_A_TUNNEL).map(|number| service.user(&format!("user-{number}"))).collect();
    let id = send_to(&service, &users);
    // Some envelopes are asked for but never loaded to the end.
    let cold: Vec<String> = (0..20).map(|_| send_to(&service, &users[..1])).collect();
    for id in &cold {
        break_off(&users[0], &users[0].request("POST", &format!("/v1/envelopes/{id}/grab"), None), &mut dice);
    }
    for user in &users {
        let ticket = user.ticket(&id);
        let request = opening(user, &id, &ticket);
        let whole = dice.random_ratio(2, 3);
        let sent = if whole { request.len() } else { dice.random_range(1..request.len()) };
        break_off(user, &request[..sent], &mut dice);
    }
    let mut happened = 0;
    for user in &users {
        let outcome = user.grab_and_open(&id);
        assert_eq!((outcome["outcome"].as_str(), outcome["amount_fen"].as_i64()), (Some("opened"), Some(1)), "I2");
        happened += usize::from(outcome["replayed"] == true);
        let again = user.grab(&id).ok(200);
        assert_eq!((&again["seq"], &again["replayed"]), (&outcome["seq"], &json!(true)), "I3: it stays so");
    }
    println!("{happened} of {IN_A_TUNNEL} had happened");
    for id in &cold {
        assert_eq!(users[0].grab_and_open(id)["outcome"], "opened");
    }
    users[0].wait_for_balance(1 + cold.len() as i64, Duration::from_secs(5));
    for user in &users[1..] {
        user.wait_for_balance(1, Duration::from_secs(5));
    }
    service.check();
}

/// Sends bytes, and closes the connection after a moment, mostly before the answer.
fn break_off(user: &User, request: &[u8], dice: &mut StdRng) {
    let mut connection = user.take_connection();
    connection.get_mut().write_all(request).unwrap();
    std::thread::sleep(Duration::from_micros(dice.random_range(0..1_500)));
    // Dropped with the answer unread, it is reset rather than closed.
    if dice.random_ratio(1, 2) {
        connection.get_mut().shutdown(Shutdown::Both).unwrap();
    }
}
