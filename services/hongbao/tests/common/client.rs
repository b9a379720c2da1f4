//! A small client that blocks: HTTP/1.1, one connection, every answer checked.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use hongbao_envelope::http::Offer;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{fresh_bytes, number_of, text, text_of, wait_until};

/// How long a client waits for an answer before the test fails.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Seconds since the epoch, `seconds` from now on.
pub fn seconds_from_now(seconds: i64) -> i64 {
    use hongbao_core::Clock as _;
    hongbao_core::SystemClock.now().millis() / 1_000 + seconds
}

/// A JSON Web Token over `claims`, signed with HS256.
pub fn sign(claims: &Value, secret: &str) -> String {
    sign_with_header(&json!({ "alg": "HS256", "typ": "JWT" }), claims, secret)
}

/// The same with any header: the signature is HS256 whatever it says.
pub fn sign_with_header(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

/// A client with one connection that is kept open. Every call may come from any
/// thread; calls of one user go one after the other.
pub struct User {
    /// The token's `sub`.
    pub name: String,
    authorization: Option<String>,
    /// Headers beside those that every request has.
    headers: Vec<(String, String)>,
    address: SocketAddr,
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

impl User {
    /// Somebody who sends this `Authorization`, or none.
    pub fn new(name: &str, authorization: Option<String>, address: SocketAddr) -> User {
        User { name: name.to_owned(), authorization, headers: Vec::new(), address, connection: Mutex::new(None) }
    }

    /// The same user, where the service listens now.
    pub fn at(&self, address: SocketAddr) -> User {
        User { headers: self.headers.clone(), ..User::new(&self.name, self.authorization.clone(), address) }
    }

    /// The same user with another token.
    pub fn with_token(&self, token: &str) -> User {
        User::new(&self.name, Some(format!("Bearer {token}")), self.address)
    }

    /// The token, if it is one.
    pub fn token(&self) -> &str {
        self.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }

    /// The same user, who says one thing more with every request.
    pub fn with_header(&self, name: &str, value: &str) -> User {
        let mut user = self.at(self.address);
        user.headers.push((name.to_owned(), value.to_owned()));
        user
    }

    /// Hands its open connection, if it has one, to another user: many users may
    /// come over few connections, as from behind one proxy.
    pub fn hand_over(&self, to: &User) {
        let kept = self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        *to.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = kept;
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    /// `POST` without a body.
    pub fn post_empty(&self, path: &str) -> Answer {
        self.call("POST", path, None)
    }

    /// `POST` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    /// `POST` with any body.
    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, Some(body.as_bytes()))
    }

    /// Any request; there must be an answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&[u8]>) -> Answer {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request. An error means that there was no whole answer: whether it
    /// was carried out is unknown. The next call opens a new connection.
    pub fn try_call(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let mut kept = self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => BufReader::new(connect(self.address)?),
        };
        connection.get_mut().write_all(&self.request(method, path, body))?;
        let answer = Answer::read(&mut connection)?;
        assert_documented(method, path, &answer);
        if answer.header("connection") != Some("close") {
            *kept = Some(connection);
        }
        Ok(answer)
    }

    /// The bytes of a request.
    pub fn request(&self, method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("authorization: {authorization}\r\n");
        }
        for (name, value) in &self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            request += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    /// The connection that is open, or a new one, for the caller to use.
    pub fn take_connection(&self) -> BufReader<TcpStream> {
        let kept = self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        kept.unwrap_or_else(|| BufReader::new(connect(self.address).unwrap()))
    }

    /// Puts money into the user's balance, under a new id.
    pub fn top_up(&self, amount_fen: i64) {
        let id = uuid::Uuid::from_bytes(fresh_bytes());
        self.post("/v1/dev/top-up", &json!({ "amount_fen": amount_fen, "id": id })).ok(200);
    }

    /// Creates and pays; the envelope's id.
    pub fn send(&self, envelope: &Value) -> String {
        let created = self.post("/v1/envelopes", envelope).ok(201);
        let id = text_of(&created["id"]).to_owned();
        self.pay(&id).ok(200);
        id
    }

    /// `POST …/pay`.
    pub fn pay(&self, id: &str) -> Answer {
        self.post_empty(&format!("/v1/envelopes/{id}/pay"))
    }

    /// `POST …/grab`.
    pub fn grab(&self, id: &str) -> Answer {
        self.post_empty(&format!("/v1/envelopes/{id}/grab"))
    }

    /// Grabs; the ticket that must come of it.
    pub fn ticket(&self, id: &str) -> String {
        let grabbed = self.grab(id).ok(200);
        assert_eq!(grabbed["outcome"], "ready", "{grabbed}");
        text_of(&grabbed["ticket"]).to_owned()
    }

    /// `POST …/open`.
    pub fn open(&self, id: &str, ticket: &str) -> Answer {
        self.post(&format!("/v1/envelopes/{id}/open"), &json!({ "ticket": ticket }))
    }

    /// Grabs, and opens if there is something to open; the outcome.
    pub fn grab_and_open(&self, id: &str) -> Value {
        let grabbed = self.grab(id).ok(200);
        match grabbed["ticket"].as_str() {
            Some(ticket) => self.open(id, ticket).ok(200),
            None => grabbed,
        }
    }

    /// The same under faults: the outcome, the refusal, or what cut the connection.
    pub fn try_grab_and_open(&self, id: &str) -> io::Result<Answer> {
        let grabbed = self.try_call("POST", &format!("/v1/envelopes/{id}/grab"), None)?;
        if grabbed.status != 200 {
            return Ok(grabbed);
        }
        match grabbed.json()["ticket"].as_str() {
            Some(ticket) => {
                let body = json!({ "ticket": ticket }).to_string();
                self.try_call("POST", &format!("/v1/envelopes/{id}/open"), Some(body.as_bytes()))
            }
            None => Ok(grabbed),
        }
    }

    /// `GET /v1/envelopes/{id}`.
    pub fn detail(&self, id: &str) -> Value {
        self.get(&format!("/v1/envelopes/{id}")).ok(200)
    }

    /// The user's money.
    pub fn balance(&self) -> i64 {
        number_of(&self.get("/v1/wallet").ok(200)["balance_fen"])
    }

    /// Waits until the balance is `fen`.
    pub fn wait_for_balance(&self, fen: i64, within: Duration) {
        wait_until(within, &format!("{} to have {fen} fen", self.name), || self.balance() == fen);
    }

    /// Waits until the envelope's state is `state`.
    pub fn wait_for_state(&self, id: &str, state: &str, within: Duration) {
        wait_until(within, &format!("{id} to be {state}"), || self.detail(id)["envelope"]["state"] == state);
    }
}

/// A bare connection, with time limits.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one from a connection.
    pub fn read(connection: &mut BufReader<impl Read>) -> io::Result<Answer> {
        let broken = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let start = read_line(connection)?;
        // Who asks in HTTP/1.0 is answered so.
        let status = start.strip_prefix("HTTP/1.1 ").or_else(|| start.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| broken(&start))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(connection)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        let length = length.or((status == 204).then_some(0));
        answer.body.resize(length.ok_or_else(|| broken("an answer without a content-length"))?, 0);
        connection.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        text(&self.body)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Requires a success with this status and an id; the body as JSON.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{:?}", self.headers);
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// Requires a problem with this status and code, whole in every part that
    /// the contract names; the body as JSON.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["retryable"], is_retryable(status), "{problem}");
        for text in ["type", "title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{text} of {problem}");
        }
        let id = self.header("x-request-id").expect("every response has an id");
        assert!(!id.is_empty());
        assert_eq!(problem["request_id"], id);
        let retry_after: Option<u32> = self.header("retry-after").map(|seconds| seconds.parse().unwrap());
        assert_eq!(retry_after.is_some(), [429, 503].contains(&status), "Retry-After goes with 429 and 503");
        assert_ne!(retry_after, Some(0));
        problem
    }

    /// Requires a 422 `invalid_request` that names a field, or none.
    pub fn invalid(&self, field: Option<&str>) {
        let problem = self.problem(422, "invalid_request");
        assert_eq!(problem["field"].as_str(), field, "{problem}");
    }
}

/// Requires that the contract's document lists what a call was answered with.
fn assert_documented(method: &str, path: &str, answer: &Answer) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let limits = hongbao_core::Limits::default();
        hongbao_envelope::http::openapi::document(&Offer {
            limits: &limits,
            takes_rehearsals: true,
            issues_tokens: true,
            makes_money: true,
            has_provider: true,
            asked_directly: true,
        })
    });
    let path = path.split('?').next().expect("there is something before a question mark");
    let names_it = |known: &str| {
        let (known, asked) = (known.split('/'), path.split('/'));
        known.clone().count() == asked.clone().count()
            && known.zip(asked).all(|(one, other)| one.starts_with('{') || one == other)
    };
    let calls = DOCUMENT["paths"].as_object().expect("there are calls");
    let call = calls.iter().find(|(known, _)| names_it(known)).map(|(_, item)| &item[method.to_lowercase()]);
    // What is no call of the contract has a status of its own.
    let Some(call) = call.filter(|call| call.is_object()) else { return };
    // Not every service offers these, and no gateway the second ones.
    if answer.status == 404 && (path.starts_with("/v1/dev/") || path.starts_with("/v1/operator/")) {
        return;
    }
    let (status, kind) = (answer.status.to_string(), answer.header("content-type").unwrap_or_default());
    let listed = &call["responses"][&status]["content"][kind];
    assert!(listed.is_object(), "{method} {path}: {status} {kind} is not in the document: {}", answer.text());
}

/// Whether the same request may succeed later, by the kind of status.
fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 421 | 429 | 500..)
}

fn read_line(connection: &mut BufReader<impl Read>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
