//! A newcomer's tour: one envelope for 500 users at once, one that expires, the audit.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use hongbao_load::{Child, Client, Fallible, RequestBuffer, interrupt, push_request};
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

    // Nothing is signed here: the dev call makes the tokens.
    let client = Client::new(addr, "");
    client.wait_until_ready()?;
    let sender = User::new(&client, "grandma")?;
    let top_up = json!({ "amount_fen": 2 * TOTAL_FEN, "id": TOP_UP_ID });
    sender.call("POST", "/v1/dev/top-up", &top_up.to_string())?;
    let before = balance(&sender)?;
    println!("grandma          has {}", yuan(before));

    let envelope = send(&sender, TOTAL_FEN, SHARES, 86_400)?;
    println!("                 sends {} in {SHARES} shares to the group \"family\"\n", yuan(TOTAL_FEN));
    let opened = open_by_all(&client, &envelope)?;
    show_openers(&sender, &envelope, &opened)?;
    wait_for_credits(&client, &opened)?;

    show_refund(&sender)?;
    let after = balance(&sender)?;
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

/// Somebody, with the token of the dev call.
struct User<'a> {
    client: &'a Client,
    token: String,
}

impl User<'_> {
    fn new<'a>(client: &'a Client, id: &str) -> Fallible<User<'a>> {
        let body = json!({ "user_id": id, "groups": ["family"] });
        let anonymous = User { client, token: String::new() };
        Ok(User { token: text(&anonymous.call("POST", "/v1/dev/token", &body.to_string())?, "token")?, client })
    }

    /// Sends a request and gives the body of a success; everything else is an error.
    fn call(&self, method: &str, path: &str, body: &str) -> Fallible<Value> {
        Ok(serde_json::from_str(&self.client.one_with(&self.token, method, path, body)?)?)
    }
}

fn send(sender: &User<'_>, total_fen: i64, shares: usize, expires_in_s: i64) -> Fallible<String> {
    let body = json!({
        "kind": "lucky", "total_fen": total_fen, "shares": shares, "expires_in_s": expires_in_s,
        "audience": { "type": "group", "id": "family" },
    });
    let envelope = text(&sender.call("POST", "/v1/envelopes", &body.to_string())?, "id")?;
    sender.call("POST", &format!("/v1/envelopes/{envelope}/pay"), "")?;
    Ok(envelope)
}

/// All users grab at the same moment, and then open what they have a ticket for.
/// Gives who got how much.
fn open_by_all(client: &Client, envelope: &str) -> Fallible<Vec<(String, i64)>> {
    let users: Vec<String> = (1..=USERS).map(|number| format!("user-{number}")).collect();
    let tokens: Vec<String> = users.iter().map(|user| Ok(User::new(client, user)?.token)).collect::<Fallible<_>>()?;
    let began = Instant::now();
    let mut grabs = RequestBuffer::default();
    for token in &tokens {
        push_request(&mut grabs, "POST", &format!("/v1/envelopes/{envelope}/grab"), token, "");
    }
    let (mut openers, mut opens) = (Vec::new(), RequestBuffer::default());
    for (place, grabbed) in at_once(client, &grabs)?.into_iter().enumerate() {
        if let Some(ticket) = grabbed["ticket"].as_str() {
            let body = json!({ "ticket": ticket }).to_string();
            push_request(&mut opens, "POST", &format!("/v1/envelopes/{envelope}/open"), &tokens[place], &body);
            openers.push(&users[place]);
        }
    }
    let outcomes = at_once(client, &opens)?;
    let took = began.elapsed();

    let amounts = outcomes.iter().map(|outcome| outcome["amount_fen"].as_i64());
    let opened: Vec<(String, i64)> =
        openers.into_iter().zip(amounts).filter_map(|(user, amount_fen)| Some((user.clone(), amount_fen?))).collect();
    let sum: i64 = opened.iter().map(|(_, amount_fen)| amount_fen).sum();
    println!("{USERS} users        grab and open at the same time: {} ms", took.as_millis());
    println!("                 {} got a share, {} came too late", opened.len(), USERS - opened.len());
    println!("                 the shares add up to {}", yuan(sum));
    if (opened.len(), sum) != (SHARES, TOTAL_FEN) {
        return Err("shares or money are off".into());
    }
    Ok(opened)
}

/// Sends all requests over a connection each, and gives what was answered.
fn at_once(client: &Client, requests: &RequestBuffer) -> Fallible<Vec<Value>> {
    let mut answers = vec![Value::Null; requests.count()];
    client.all_over(USERS, requests, |index, body| {
        answers[index] = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Ok(())
    })?;
    Ok(answers)
}

fn show_openers(sender: &User<'_>, envelope: &str, opened: &[(String, i64)]) -> Fallible<()> {
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
fn wait_for_credits(client: &Client, opened: &[(String, i64)]) -> Fallible<()> {
    let began = Instant::now();
    let mut sum = 0;
    for (user, amount_fen) in opened {
        let user = User::new(client, user)?;
        wait_until("a credit", || Ok(balance(&user)? == *amount_fen))?;
        sum += balance(&user)?;
    }
    let millis = began.elapsed().as_millis();
    println!("the balances     of {} openers add up to {}, checked within {millis} ms\n", opened.len(), yuan(sum));
    Ok(())
}

fn show_refund(sender: &User<'_>) -> Fallible<()> {
    let envelope = send(sender, TOTAL_FEN, SHARES, 2)?;
    println!("grandma          sends another {} that no user opens: it expires after two seconds", yuan(TOTAL_FEN));
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

fn balance(user: &User<'_>) -> Fallible<i64> {
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
