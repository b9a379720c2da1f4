//! The users of a run: their names, their tokens, and asking on their behalf
//! before and after the load.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hongbao_load::client::{CONNECTIONS, send_all};
use hongbao_load::http::{Request, push_request};
use hongbao_load::request_buffer::RequestBuffer;
use hongbao_load::source::RequestSource;
use hongbao_load::{Fallible, interrupt, machine, top_up};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::plan::Plan;

/// How often something that was not answered well is asked for again.
const TRIES_MAX: u32 = 30;
/// How long is waited in between.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// When tokens expire: a run is over long before.
const TOKEN_LIFE_S: u64 = 7 * 86_400;

/// How the service can be made to believe who somebody is.
pub enum Passes {
    /// Tokens are signed with the installation's secret (HS256).
    Secret(Signing),
    /// The dev call hands out tokens.
    Dev,
}

/// What tokens are made with.
pub struct Signing {
    /// Signs them.
    pub secret: String,
    /// Their `aud`.
    pub audience: Option<String>,
    /// Their `iss`.
    pub issuer: Option<String>,
}

impl From<&str> for Signing {
    /// For nobody by name, from nobody by name.
    fn from(secret: &str) -> Signing {
        Signing { secret: secret.to_owned(), audience: None, issuer: None }
    }
}

/// Everybody who takes part.
pub struct Users {
    addr: SocketAddr,
    run: u32,
    header: String,
    /// Of each user the bearer token.
    pub tokens: RequestBuffer,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    groups: Vec<String>,
}

#[derive(Deserialize)]
struct Wallet {
    balance_fen: i64,
}

impl Users {
    /// Makes the tokens of all users. `run` keeps the users of different runs
    /// apart, so that they are new to the service; `header` is sent with
    /// everything.
    pub fn new(addr: SocketAddr, run: u32, plan: &Plan, passes: &Passes, header: String) -> Fallible<Users> {
        let mut users = Users { addr, run, header, tokens: RequestBuffer::default() };
        let now_s = machine::wall_clock().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let groups = |user: u32| -> Vec<String> {
            plan.groups.get(user as usize).map(|group| format!("g{group}")).into_iter().collect()
        };
        match passes {
            Passes::Secret(Signing { secret, audience, issuer }) => {
                let key = EncodingKey::from_secret(secret.as_bytes());
                let (aud, iss) = (audience.as_deref(), issuer.as_deref());
                for user in 0..plan.users {
                    let (sub, exp) = (users.id(user), now_s + TOKEN_LIFE_S);
                    let claims = Claims { sub, exp, aud, iss, groups: groups(user) };
                    let token = encode(&Header::default(), &claims, &key)?;
                    users.tokens.push(|out| out.extend_from_slice(token.as_bytes()));
                }
            }
            Passes::Dev => {
                let mut asks = RequestBuffer::default();
                for user in 0..plan.users {
                    let body = json!({ "user_id": users.id(user), "groups": groups(user) }).to_string();
                    users.push(&mut asks, "POST", "/v1/dev/token", "", &body);
                }
                for body in users.ask_all("a token", &asks)? {
                    #[derive(Deserialize)]
                    struct Made<'a> {
                        token: &'a str,
                    }
                    let made: Made<'_> = serde_json::from_slice(&body)?;
                    users.tokens.push(|out| out.extend_from_slice(made.token.as_bytes()));
                }
            }
        }
        Ok(users)
    }

    /// The id of the user with this number.
    pub fn id(&self, user: u32) -> String {
        format!("r{:08x}-{user}", self.run)
    }

    /// The number of the user with this id, if it is one of ours.
    pub fn number(&self, id: &str) -> Option<u32> {
        id.strip_prefix(&format!("r{:08x}-", self.run))?.parse().ok()
    }

    /// Appends a request of a user to `out`.
    pub fn push_as(&self, out: &mut RequestBuffer, user: u32, method: &str, path: &str, body: &str) {
        let token = std::str::from_utf8(self.tokens.get(user as usize)).expect("tokens are text");
        self.push(out, method, path, token, body);
    }

    fn push(&self, out: &mut RequestBuffer, method: &str, path: &str, token: &str, body: &str) {
        out.push(|bytes| Request { method, path, token, header: &self.header, body }.write(bytes));
    }

    /// Tops users up, so many fen each.
    pub fn top_up(&self, needs: impl IntoIterator<Item = (u32, i64)>) -> Fallible<()> {
        let mut asks = RequestBuffer::default();
        for (user, fen) in needs {
            for body in top_up::bodies(self.run, user, fen) {
                self.push_as(&mut asks, user, "POST", "/v1/dev/top-up", &body);
            }
        }
        self.ask_all("a top-up", &asks).map(|_| ())
    }

    /// Makes sure that the mark arrives, if there is one: a proxy that takes it off
    /// makes a rehearsal real. `user` was topped up with it, so without it the
    /// user must have nothing.
    pub fn check_mark(&self, user: u32) -> Fallible<()> {
        if self.header.is_empty() {
            return Ok(());
        }
        let mut ask = RequestBuffer::default();
        let token = std::str::from_utf8(self.tokens.get(user as usize)).expect("tokens are text");
        push_request(&mut ask, "GET", "/v1/wallet", token, "");
        let body = self.ask_all("a balance without the mark", &ask)?.pop().expect("one question has one answer");
        match serde_json::from_slice::<Wallet>(&body)?.balance_fen {
            0 => Ok(()),
            _ => Err("a rehearsed top-up reached a real balance: something takes the mark off on its way".into()),
        }
    }

    /// The balances of these users, in fen.
    pub fn balances(&self, users: &[u32]) -> Fallible<Vec<i64>> {
        /// Users who are asked for at once: requests take memory.
        const CHUNK: usize = 100_000;
        let mut balances = Vec::with_capacity(users.len());
        for users in users.chunks(CHUNK) {
            let mut asks = RequestBuffer::default();
            users.iter().for_each(|user| self.push_as(&mut asks, *user, "GET", "/v1/wallet", ""));
            for body in self.ask_all("a balance", &asks)? {
                balances.push(serde_json::from_slice::<Wallet>(&body)?.balance_fen);
            }
        }
        Ok(balances)
    }

    /// Sends all requests until each has been answered well, and gives the bodies
    /// in their order. Everything that is asked here may be asked again.
    ///
    /// # Errors
    /// When something is refused again and again, with what it was.
    pub fn ask_all(&self, what: &str, requests: &RequestBuffer) -> Fallible<Vec<Vec<u8>>> {
        let mut bodies = vec![Vec::new(); requests.count()];
        let mut open: Vec<usize> = (0..requests.count()).collect();
        let mut refusal = String::new();
        for _ in 0..TRIES_MAX {
            if open.is_empty() {
                return Ok(bodies);
            }
            let mut round = RequestBuffer::default();
            for index in &open {
                round.push(|out| out.extend_from_slice(requests.get(*index)));
            }
            let mut done = vec![false; open.len()];
            let on_body = |index: usize, body: &[u8]| {
                body.clone_into(&mut bodies[open[index]]);
                done[index] = true;
                Ok(())
            };
            match send_all(self.addr, CONNECTIONS, &mut RequestSource::once(&round), on_body) {
                Ok(stats) => refusal = stats.errors.into_keys().next().unwrap_or_default(),
                Err(error) => refusal = error.to_string(),
            }
            let mut done = done.into_iter();
            open.retain(|_| !done.next().expect("there is one for each"));
            if !open.is_empty() {
                interrupt::check()?;
                std::thread::sleep(TRY_AGAIN);
            }
        }
        Err(format!("{what}: {} of {} asked for in vain: {refusal}", open.len(), requests.count()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_ids_and_strangers_are_not() {
        let plan = Plan { users: 3, groups: vec![1, 1, 2], ..Plan::default() };
        let addr = hongbao_load_testkit::start();
        let users = Users::new(addr, 0xab, &plan, &Passes::Secret("s".into()), String::new()).unwrap();
        assert_eq!(users.tokens.count(), 3);
        assert_eq!(users.number(&users.id(2)), Some(2));
        assert_eq!(users.number("r000000ac-2"), None);
        assert_eq!(users.number("wang"), None);
    }
    #[test]
    fn a_mark_that_is_taken_off_on_the_way_ends_the_run_before_it_begins() {
        for (real_fen, marked, is_fine) in [(0, true, true), (5, true, false), (5, false, true)] {
            let wallet = async move |headers: axum::http::HeaderMap| {
                assert!(!headers.contains_key("x-hongbao-rehearsal"), "the real balance is asked for");
                axum::Json(json!({ "balance_fen": real_fen }))
            };
            let service = axum::Router::new().route("/v1/wallet", axum::routing::get(wallet));
            let header = if marked { "x-hongbao-rehearsal: token\r\n" } else { "" };
            let (plan, secret) = (Plan { users: 1, ..Plan::default() }, Passes::Secret("s".into()));
            let users = Users::new(hongbao_load_testkit::serve(service), 1, &plan, &secret, header.to_owned()).unwrap();
            assert_eq!(users.check_mark(0).is_ok(), is_fine, "{real_fen} {marked}");
        }
    }
}
