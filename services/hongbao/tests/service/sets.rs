//! `hongbao sets` over two SETs, one of which is drained.

use std::net::SocketAddr;
use std::time::Duration;

use hongbao_testbed::{Part, free_port};
use serde_json::{Value, json};

use crate::backup_installation::{run, user};
use crate::rehearsal_installation::Process;
use crate::support::{Folder, TICKET_SECRET, TOKEN_SECRET, lucky, text_of, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// What it says of each SET, and its exit code.
fn sets(folder: &Folder) -> (Option<i32>, Vec<Value>) {
    let (code, said) = run(folder, "sets", &["--json".as_ref()]);
    let json = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    (code, serde_json::from_str::<Value>(json).unwrap()["sets"].as_array().unwrap().clone())
}

#[test]
fn a_set_is_drained_when_nothing_on_it_is_alive_and_the_command_says_so() {
    let (a, mut b, folder) = (Part::mariadb(&[]), Part::mariadb(&[]), Folder::new());
    let [server, worker, other] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let settings = format!(
        "topology = 'topology.toml'\ndev_calls = true\n[auth]\nhs256_secret = '{TOKEN_SECRET}'\n\
         [tickets]\nsecret = '{TICKET_SECRET}'\n[limits]\npay_within_s = 1\n\
         [storage]\ndatabases = 2\ntables = 1\nwallet_databases = 1\n\
         [database]\nuser = 'hongbao'\npassword = 'hongbao'\n"
    );
    folder.write("hongbao.toml", &settings);
    let topology = |version: u64, weight: &str| {
        let text = format!(
            "version = {version}\n[[sets]]\nname = 'a'\nslots = '00-39'\nweight = {weight}\ndatabase = ['{}']\n\
             servers = [{{ name = 'a1', address = '{server}' }}]\nworkers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
             [[sets]]\nname = 'b'\nslots = '40-99'\ndatabase = ['{}']\n\
             servers = [{{ name = 'b1', address = '{other}' }}]\n\
             [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{}']\n",
            a.node(),
            b.node(),
            b.node()
        );
        folder.write("topology.toml", &text);
    };
    topology(1, "2.5");
    let (code, said) = run(&folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = sets(&folder);
    assert_eq!(code, Some(0));
    let empty = json!({
        "name": "a", "weight": 2.5, "slots": 40, "drained": false,
        "unpaid": 0, "active": 0, "uncredited": 0, "oldest": null,
        "dated_tables": { "unsealed": 0, "sealed": 0, "exported": 0 },
    });
    assert_eq!(said[0], empty);
    assert_eq!((&said[1]["name"], &said[1]["weight"], &said[1]["slots"]), (&json!("b"), &json!(60.0), &json!(60)));

    let serving = Process::start_as(&folder, "server", Some("a1"), &[]);
    let [li, wang] = ["li", "wang"].map(|name| user(name, server));
    li.post("/v1/dev/top-up", &json!({ "amount_fen": 1_000, "id": uuid::Uuid::from_u128(1) })).ok(200);
    let sent = li.send(&lucky(400, 1));
    let opened = li.send(&lucky(300, 2));
    wang.grab_and_open(&opened);
    let unpaid = text_of(&li.post("/v1/envelopes", &lucky(77, 1)).ok(201)["id"]).to_owned();
    topology(2, "0");
    let (_, said) = sets(&folder);
    let counts = |set: &Value| ["unpaid", "active", "uncredited"].map(|of| set[of].as_u64().unwrap());
    assert_eq!((counts(&said[0]), &said[0]["drained"]), ([1, 2, 1], &json!(false)), "{said:?}");
    assert_eq!(said[0]["oldest"]["id"], sent);
    let minted_at = hongbao_core::EnvelopeId::parse(&sent).unwrap().minted_at().to_string();
    assert_eq!(said[0]["oldest"]["minted_at"], minted_at);

    let working = Process::start(&folder, "worker", &[]);
    user("zhao", server).grab_and_open(&sent);
    user("zhao", server).grab_and_open(&opened);
    wait_until(SOON, "SET a to be drained", || sets(&folder).1[0]["drained"] == true);
    let (code, said) = run(&folder, "sets", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("SET \"a\": weight 0, 40 slots: drained: nothing on it is alive; dated tables: 0 not sealed"),
        "{said}"
    );
    assert!(said.contains("SET \"b\": weight 60, 60 slots: nothing on it is alive"), "{said}");
    li.get(&format!("/v1/envelopes/{unpaid}")).ok(200);
    drop((serving, working));

    b.kill();
    let (code, said) = run(&folder, "sets", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("SET \"a\": weight 0") && said.contains("could not be read: SET b"), "{said}");
    let (code, said) = sets(&folder);
    assert_eq!((code, &said[0]["drained"], &said[1]["drained"]), (Some(2), &json!(true), &json!(false)));
    assert!(said[1]["error"].is_string(), "{said:?}");
}
