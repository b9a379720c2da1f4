//! The users of a run: their names, their tokens, and asking on their behalf
//! before and after the load.

use std::time::Duration;

use hongbao_load::client::{CONNECTIONS, Signer, send_all};
use hongbao_load::{Fallible, Request, RequestBuffer, RequestSource, Site, interrupt, top_up};
use serde::Deserialize;
use serde_json::json;

use super::plan::RunPlan;

/// How often something that was not answered well is asked for again.
const TRIES_MAX: u32 = 30;
/// How long is waited in between.
const TRY_AGAIN: Duration = Duration::from_millis(500);

pub struct Users {
    pub site: Site,
    run: u32,
    /// A further header line of every request, or nothing.
    pub header: String,
    pub tokens: RequestBuffer,
}

#[derive(Deserialize)]
struct Wallet {
    balance_fen: i64,
}

impl Users {
    /// Gets tokens for all users: from `signer`, or else from the dev call. `run` keeps the users
    /// of different runs apart, so that they are new to the service; `header` is sent with
    /// all requests.
    pub fn new(
        site: impl Into<Site>,
        run: u32,
        plan: &RunPlan,
        signer: Option<&Signer>,
        header: String,
    ) -> Fallible<Users> {
        #[derive(Deserialize)]
        struct Made {
            token: String,
        }
        let mut users = Users { site: site.into(), run, header, tokens: RequestBuffer::default() };
        let groups = |user: u32| -> Vec<String> {
            plan.groups.get(user as usize).map(|group| format!("g{group}")).into_iter().collect()
        };
        let mut asks = RequestBuffer::default();
        for user in 0..plan.users {
            let (id, groups) = (users.id(user), groups(user));
            match signer {
                Some(signer) => users.tokens.push(|out| out.extend_from_slice(signer.token(&id, &groups).as_bytes())),
                None => {
                    let body = json!({ "user_id": id, "groups": groups }).to_string();
                    users.push(&mut asks, "POST", "/v1/dev/token", "", &body);
                }
            }
        }
        for body in users.ask_all("a token", &asks)? {
            let made: Made = serde_json::from_slice(&body)?;
            users.tokens.push(|out| out.extend_from_slice(made.token.as_bytes()));
        }
        Ok(users)
    }

    pub fn id(&self, user: u32) -> String {
        format!("r{:08x}-{user}", self.run)
    }

    /// The number of the user with this id, if it is one of ours.
    pub fn number(&self, id: &str) -> Option<u32> {
        id.strip_prefix(&format!("r{:08x}-", self.run))?.parse().ok()
    }

    /// The bearer token of a user.
    pub fn token(&self, user: u32) -> &str {
        std::str::from_utf8(self.tokens.get(user as usize)).expect("tokens are text")
    }

    /// Appends a request of a user to `out`.
    pub fn push_as(&self, out: &mut RequestBuffer, user: u32, method: &str, path: &str, body: &str) {
        self.push(out, method, path, self.token(user), body);
    }

    fn push(&self, out: &mut RequestBuffer, method: &str, path: &str, token: &str, body: &str) {
        let (host, header) = (self.site.authority(), self.header.as_str());
        out.push(|bytes| Request { host, method, path, token, header, body }.write(bytes));
    }

    /// Tops users up, each by so many fen.
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
        let (host, token) = (self.site.authority(), self.token(user));
        let unmarked = Request { host, method: "GET", path: "/v1/wallet", token, header: "", body: "" };
        ask.push(|bytes| unmarked.write(bytes));
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
            match send_all(&self.site, CONNECTIONS, &mut RequestSource::once(&round), on_body) {
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
        let plan = RunPlan { users: 3, groups: vec![1, 1, 2], ..RunPlan::default() };
        let addr = hongbao_load_testkit::start();
        let users = Users::new(addr, 0xab, &plan, Some(&Signer::new("s", None, None)), String::new()).unwrap();
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
            let (plan, secret) = (RunPlan { users: 1, ..RunPlan::default() }, Signer::new("s", None, None));
            let users =
                Users::new(hongbao_load_testkit::serve(service), 1, &plan, Some(&secret), header.to_owned()).unwrap();
            assert_eq!(users.check_mark(0).is_ok(), is_fine, "{real_fen} {marked}");
        }
    }
}
