//! No secret stands in a log: neither those of the settings, nor a token or a ticket, whatever fails and however
//! much is logged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rehearsal_installation::Installation;
use crate::support::{TICKET_SECRET, TOKEN_SECRET, lucky, seconds_from_now, sign, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// The password of the database's user in this test, and that of a Redis that wants none, and so refuses it.
const DATABASE_PASSWORD: &str = "the-password-of-the-database-in-the-test-of-logs";
const REDIS_PASSWORD: &str = "the-password-of-redis-in-the-test-of-logs";

/// The fields of the log that the handbook lists as numbers.
fn numbers() -> Vec<String> {
    let handbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/README.md")).unwrap();
    let section = handbook.split("### Fields of the log\n").nth(1).unwrap().split("\n#").next().unwrap().to_owned();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
    let of_numbers = rows.iter().filter(|cells| cells[2] == "number");
    of_numbers.flat_map(|cells| cells[1].split(", ")).map(|field| field.trim_matches('`').to_owned()).collect()
}

#[test]
fn no_secret_stands_in_the_log_of_any_role_at_any_level() {
    let mut installation = Installation::with_passwords(DATABASE_PASSWORD, REDIS_PASSWORD);
    let trace = [("HONGBAO_LOG__LEVEL", "trace"), ("HONGBAO_LOG__FORMAT", "json"), ("HONGBAO_LOG__REQUESTS", "true")];
    let (code, said) = installation.run_with("migrate", &[], &trace);
    assert_eq!(code, Some(0), "{said}");
    let environment = [&trace[..], &[("HONGBAO_DEV_CALLS", "true")]].concat();
    let _processes = ["server", "worker", "gateway"].map(|role| installation.start_with(role, &environment));
    let [li, wang] = ["li", "wang"].map(|name| installation.user(name));
    wait_until(SOON, "the gateway to be ready", || li.get("/readyz").status == 200);

    // A whole envelope, through the gateway and at the server itself, and all that is refused.
    li.top_up(1_000);
    let id = li.send(&lucky(100, 3));
    let mut secrets = vec![li.ticket(&id), wang.ticket(&id)];
    wang.open(&id, &secrets[1]).ok(200);
    li.at(installation.server).open(&id, &secrets[0]).ok(200);
    li.open(&id, "not-a-ticket").problem(403, "ticket_invalid");
    let claims = json!({ "sub": "mallory", "exp": seconds_from_now(3_600) });
    let (forged, expired) = (sign(&claims, "some other secret of enough bytes for a key"), {
        sign(&json!({ "sub": "mallory", "exp": seconds_from_now(-3_600) }), TOKEN_SECRET)
    });
    let operator = sign(&json!({ "sub": "op", "exp": seconds_from_now(3_600), "role": "operator" }), TOKEN_SECRET);
    for token in [&forged, &expired] {
        let mallory = li.with_token(token);
        mallory.get("/v1/wallet").problem(401, "unauthorized");
        mallory.grab(&id).problem(401, "unauthorized");
    }
    let _ = li.with_header("x-hongbao-rehearsal", &operator).get("/v1/wallet");
    let _ = li.with_token(&operator).at(installation.server).get("/v1/operator/permits");
    // And all that fails without its database.
    installation.kill_database();
    let last = wang.open(&id, &secrets[1]);
    assert!(last.status == 200 || last.status >= 500, "{last:?}");
    let answered = |user: &str| {
        let log = installation.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == "a request was answered" && line["user_id"] == user).count()
    };
    wait_until(SOON, "the lines of requests", || answered("li") > 3 && answered("wang") > 1);
    wait_until(SOON, "a failure", || installation.log().contains("the database does not answer"));

    let tokens = [&li, &wang].map(|user| user.token().to_owned());
    secrets.extend(tokens);
    secrets.extend([forged, expired, operator]);
    secrets.extend([TOKEN_SECRET, TICKET_SECRET, DATABASE_PASSWORD, REDIS_PASSWORD].map(str::to_owned));
    let log = installation.log() + &said;
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "a log has the secret {secret}");
    }

    // What is a number for one place is one for all.
    let numbers = numbers();
    let mut seen = 0;
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let target = line["target"].as_str().unwrap_or_default();
        for (field, value) in line.as_object().into_iter().flatten().filter(|_| target.starts_with("hongbao")) {
            seen += usize::from(numbers.contains(field));
            assert!(!numbers.contains(field) || value.is_number(), "{field} in {line}");
            assert!(numbers.contains(field) || !value.is_number(), "{field} in {line}");
        }
    }
    assert!(seen > 20, "{seen}");
}
