//! People: each has a token, and they come over connections that they share,
//! as from behind one proxy. Whoever is fresh has never opened anything.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::common::client::{Answer, User, seconds_from_now, sign};
use crate::common::text_of;

/// Far beyond an hour: a server whose clock is an hour ahead would take the token.
const TOKEN_LIFE_S: i64 = 6 * 3_600;

/// A connection over which anybody may speak.
pub struct Person {
    secret: String,
    address: SocketAddr,
    user: User,
}

/// Why there is no answer that says what has happened. Asking again is all right.
#[derive(Clone, Debug)]
pub struct Trouble(pub String);

impl Person {
    /// A connection to a gateway.
    pub fn new(secret: &str, address: SocketAddr) -> Person {
        Person { secret: secret.to_owned(), address, user: Person::nobody(address) }
    }

    /// Somebody without a token.
    pub fn nobody(address: SocketAddr) -> User {
        User::new("nobody", None, address)
    }

    /// From now on, requests come from this user.
    pub fn is(&mut self, name: &str) -> &User {
        if self.user.name != name {
            let token = sign(&json!({ "sub": name, "exp": seconds_from_now(TOKEN_LIFE_S) }), &self.secret);
            let next = User::new(name, Some(format!("Bearer {token}")), self.address);
            self.user.hand_over(&next);
            self.user = next;
        }
        &self.user
    }

    /// One request as a user: a success, or that asking again may help. Any
    /// other answer ends the test.
    pub fn ask(&mut self, name: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let body = body.map(Value::to_string);
        settled(method, path, self.is(name).try_call(method, path, body.as_deref().map(str::as_bytes)))
    }

    /// Creates an envelope; its id.
    pub fn create(&mut self, sender: &str, envelope: &Value) -> Result<String, Trouble> {
        self.ask(sender, "POST", "/v1/envelopes", Some(envelope)).map(|created| text_of(&created["id"]).to_owned())
    }

    /// Pays for it.
    pub fn pay(&mut self, sender: &str, id: &str) -> Result<Value, Trouble> {
        self.ask(sender, "POST", &format!("/v1/envelopes/{id}/pay"), None)
    }

    /// Grabs, and opens if there is something to open.
    pub fn open(&mut self, name: &str, id: &str) -> Result<Value, Trouble> {
        let answer = self.is(name).try_grab_and_open(id);
        settled("POST", &format!("/v1/envelopes/{id}/open"), answer)
    }

    /// A page of an envelope's detail.
    pub fn detail(&mut self, name: &str, id: &str, after_seq: u64) -> Result<Value, Trouble> {
        self.ask(name, "GET", &format!("/v1/envelopes/{id}?after_seq={after_seq}"), None)
    }

    /// Puts money into a balance.
    pub fn top_up(&mut self, name: &str, fen: i64) -> Result<Value, Trouble> {
        let id = uuid::Uuid::from_bytes(crate::common::fresh_bytes());
        self.ask(name, "POST", "/v1/dev/top-up", Some(&json!({ "amount_fen": fen, "id": id })))
    }

    /// What a balance is.
    pub fn balance(&mut self, name: &str) -> Result<i64, Trouble> {
        self.ask(name, "GET", "/v1/wallet", None).map(|wallet| crate::common::number_of(&wallet["balance_fen"]))
    }
}

/// A name that nobody had before in this run.
pub fn fresh_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("u{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn settled(method: &str, path: &str, answer: io::Result<Answer>) -> Result<Value, Trouble> {
    let answer = answer.map_err(|error| Trouble(format!("{method} {path}: {error}")))?;
    if matches!(answer.status, 200 | 201) {
        return Ok(answer.json());
    }
    assert!(matches!(answer.status, 503 | 504), "{method} {path}: {} {}", answer.status, answer.text());
    let problem = answer.json();
    let code = text_of(&problem["code"]);
    assert!(["busy", "unavailable", "outcome_unknown"].contains(&code), "{method} {path}: {problem}");
    Err(Trouble(format!("{method} {path}: {code}: {}", problem["detail"])))
}
