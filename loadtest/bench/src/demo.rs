//! A newcomer's tour: one envelope for 500 users at once, one that expires, the audit.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hongbao_load::call::Caller;
use hongbao_load::child::Child;
use hongbao_load::{Fallible, interrupt};
use serde_json::{Value, json};

const USERS: usize = 500;
const SHARES: usize = 100;
const TOTAL_FEN: i64 = 10_000;
/// The same top-up whenever it is repeated; the data folder is new each time.
const TOP_UP_ID: &str = "2d1f1f0e-7a52-4f0a-9a5c-8a4f5a1c0d11";
/// How long credits and the refund may take to arrive.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
/// Openers that are shown by name.
const SHOWN: usize = 5;

/// Runs the tour with a service of its own; fails if anything is not as it should be.
pub fn demo(server: &Path) -> Fallible<ExitCode> {
    interrupt::watch()?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut command = Command::new(server);
    command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let service = Child::start("the service", command, &dir.path().join("log"))?;
    let addr = service.addr();
    println!("the service      http://{addr}, SQLite in a temporary folder");

    let mut sender = Caller::connect(addr, &token(addr, "grandma")?)?;
    let top_up = json!({ "amount_fen": 2 * TOTAL_FEN, "id": TOP_UP_ID });
    sender.call("POST", "/v1/dev/top-up", &top_up.to_string())?;
    let before = balance(&mut sender)?;
    println!("grandma          has {}", yuan(before));

    let envelope = send(&mut sender, TOTAL_FEN, SHARES, 86_400)?;
    println!("                 sends {} in {SHARES} shares to the group \"family\"\n", yuan(TOTAL_FEN));
    let opened = open_by_all(addr, &envelope)?;
    show_openers(&mut sender, &envelope, &opened)?;
    wait_for_credits(addr, &opened)?;

    show_refund(&mut sender)?;
    let after = balance(&mut sender)?;
    println!("grandma          had {}, has {}", yuan(before), yuan(after));
    if before - after != TOTAL_FEN {
        return Err("the sender's balance is off".into());
    }

    println!("\nthe audit        hongbao audit --data …");
    let audit = Command::new(server).arg("audit").arg("--data").arg(&data).output()?;
    for line in String::from_utf8_lossy(&audit.stdout).lines() {
        println!("                 {line}");
    }
    Ok(if audit.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn token(addr: SocketAddr, user: &str) -> Fallible<String> {
    let body = json!({ "user_id": user, "groups": ["family"] }).to_string();
    let answer = Caller::connect(addr, "")?.call("POST", "/v1/dev/token", &body)?;
    text(&answer, "token")
}

fn send(sender: &mut Caller, total_fen: i64, shares: usize, expires_in_s: i64) -> Fallible<String> {
    let body = json!({
        "kind": "lucky", "total_fen": total_fen, "shares": shares, "expires_in_s": expires_in_s,
        "audience": { "type": "group", "id": "family" },
    });
    let envelope = text(&sender.call("POST", "/v1/envelopes", &body.to_string())?, "id")?;
    sender.call("POST", &format!("/v1/envelopes/{envelope}/pay"), "")?;
    Ok(envelope)
}

/// All users grab at the same moment, and open what they have a ticket for.
/// Gives who got how much.
fn open_by_all(addr: SocketAddr, envelope: &str) -> Fallible<Vec<(String, i64)>> {
    let users: Vec<String> = (1..=USERS).map(|number| format!("user-{number}")).collect();
    let tokens = users.iter().map(|user| token(addr, user)).collect::<Fallible<Vec<String>>>()?;
    let start = Barrier::new(USERS);
    let began = Instant::now();
    let answers: Vec<Fallible<Option<i64>>> = std::thread::scope(|threads| {
        let openings: Vec<_> =
            tokens.iter().map(|token| threads.spawn(|| grab_and_open(addr, token, envelope, &start))).collect();
        openings.into_iter().map(|opening| opening.join().expect("an opening does not panic")).collect()
    });
    let took = began.elapsed();

    let mut opened = Vec::new();
    for (user, answer) in users.into_iter().zip(answers) {
        if let Some(amount_fen) = answer? {
            opened.push((user, amount_fen));
        }
    }
    let sum: i64 = opened.iter().map(|(_, amount_fen)| amount_fen).sum();
    println!("{USERS} users        grab and open at the same time: {} ms", took.as_millis());
    println!("                 {} got a share, {} came too late", opened.len(), USERS - opened.len());
    println!("                 the shares add up to {}", yuan(sum));
    if (opened.len(), sum) != (SHARES, TOTAL_FEN) {
        return Err("shares or money are off".into());
    }
    Ok(opened)
}

fn grab_and_open(addr: SocketAddr, token: &str, envelope: &str, start: &Barrier) -> Fallible<Option<i64>> {
    let connected = Caller::connect(addr, token);
    // Also who could not connect comes to the start, for the others wait there.
    start.wait();
    let mut user = connected?;
    let grabbed = user.call("POST", &format!("/v1/envelopes/{envelope}/grab"), "")?;
    let outcome = match grabbed["ticket"].as_str() {
        Some(ticket) => {
            let body = json!({ "ticket": ticket }).to_string();
            user.call("POST", &format!("/v1/envelopes/{envelope}/open"), &body)?
        }
        None => grabbed,
    };
    Ok(outcome["amount_fen"].as_i64())
}

fn show_openers(sender: &mut Caller, envelope: &str, opened: &[(String, i64)]) -> Fallible<()> {
    let detail = sender.call("GET", &format!("/v1/envelopes/{envelope}?limit={SHOWN}"), "")?;
    for open in detail["opens"].as_array().into_iter().flatten() {
        println!("  {:>3}. {:<10} {:>8}", open["seq"], text(open, "user_id")?, yuan(number(open, "amount_fen")?));
    }
    println!("       … and {} more", opened.len() - SHOWN);
    let luckiest = &detail["luckiest"];
    println!("the luckiest     {} with {}", text(luckiest, "user_id")?, yuan(number(luckiest, "amount_fen")?));
    Ok(())
}

/// Every opener's balance becomes what it opened: each credit arrives, and only once.
fn wait_for_credits(addr: SocketAddr, opened: &[(String, i64)]) -> Fallible<()> {
    let began = Instant::now();
    let mut sum = 0;
    for (user, amount_fen) in opened {
        let mut user = Caller::connect(addr, &token(addr, user)?)?;
        wait_until("a credit", || Ok(balance(&mut user)? == *amount_fen))?;
        sum += balance(&mut user)?;
    }
    let millis = began.elapsed().as_millis();
    println!("the balances     of {} openers add up to {}, checked within {millis} ms\n", opened.len(), yuan(sum));
    Ok(())
}

fn show_refund(sender: &mut Caller) -> Fallible<()> {
    let envelope = send(sender, TOTAL_FEN, SHARES, 2)?;
    println!("grandma          sends another {} that nobody opens: it expires after two seconds", yuan(TOTAL_FEN));
    let path = format!("/v1/envelopes/{envelope}");
    wait_until("the refund", || Ok(text(&sender.call("GET", &path, "")?["envelope"], "state")? == "refunded"))?;
    wait_until("the refund's credit", || {
        let transfers = sender.call("GET", "/v1/wallet/transfers?limit=1", "")?;
        Ok(transfers["transfers"][0]["kind"] == "refund")
    })?;
    let transfers = sender.call("GET", "/v1/wallet/transfers?limit=1", "")?;
    println!("the refund       {}", yuan(number(&transfers["transfers"][0], "amount_fen")?));
    Ok(())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Fallible<bool>) -> Fallible<()> {
    let began = Instant::now();
    while !holds()? {
        interrupt::check()?;
        if began.elapsed() > SETTLED_WITHIN {
            return Err(format!("{what} did not come within {} s", SETTLED_WITHIN.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn balance(user: &mut Caller) -> Fallible<i64> {
    number(&user.call("GET", "/v1/wallet", "")?, "balance_fen")
}

fn text(value: &Value, field: &str) -> Fallible<String> {
    let found = value[field].as_str().map(str::to_owned);
    found.ok_or_else(|| format!("no {field} in {value}").into())
}

fn number(value: &Value, field: &str) -> Fallible<i64> {
    value[field].as_i64().ok_or_else(|| format!("no {field} in {value}").into())
}

fn yuan(fen: i64) -> String {
    format!("{}.{:02} yuan", fen / 100, fen % 100)
}
