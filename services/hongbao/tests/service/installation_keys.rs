//! The keys of tokens and the secret of tickets and snapshots are changed while all serves, in the steps of the
//! handbook ("Changing keys"), and no request is refused meanwhile.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use hongbao_testbed::{Part, free_port};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::backup_installation::run;
use crate::installation_leaving_load::metric;
use crate::rehearsal_installation::Process;
use crate::support::{
    Folder, TICKET_SECRET, TOKEN_SECRET, User, fresh_bytes, lucky, seconds_from_now, sign_with_header, wait_until,
};

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 2;
const NEW_TICKET_SECRET: &str = "the next secret of the tickets of this test";
const OLD: &str = "2026-a";
const NEW: &str = "2026-b";
const NEW_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIMSVNJtm/+UDLJ084nN3mdHWyCHOrdFmkWlO3Jb6/v46
-----END PRIVATE KEY-----
";
const NEW_PUBLIC: &str = "bi5Ub8I5KGs7kL3qqgIkuQqOdLxOP5IgQI2FcwnWWt0";
const SERVERS: [&str; 2] = ["a1", "a2"];

/// A SET of two servers with a Redis, and a gateway; workers are for what is not asked here.
struct World {
    folder: Folder,
    _parts: (Part, Part),
    servers: [SocketAddr; 2],
    gateway: SocketAddr,
    signs_with_new: AtomicBool,
}

impl World {
    fn new() -> World {
        let (mariadb, redis, folder) = (Part::mariadb(&[]), Part::redis(), Folder::new());
        let [a1, a2, worker, gateway] = [(); 4].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let jwks = folder.path("jwks.json");
        let settings = format!(
            "topology = 'topology.toml'\ndev_calls = true\n[auth]\njwks_file = '{}'\n[tickets]\nsecret = '{TICKET_SECRET}'\n\
             [storage]\ndatabases = 1\ntables = 1\nwallet_databases = 1\n\
             [database]\nuser = 'hongbao'\npassword = 'hongbao'\n\
             [rate_limit]\nuser_per_s = 10000\nuser_burst = 10000\n",
            jwks.display()
        );
        folder.write("hongbao.toml", &settings);
        let database = mariadb.node();
        let topology = format!(
            "version = 1\n[[sets]]\nname = 'a'\nslots = '00-99'\ndatabase = ['{database}']\ncache = 'redis://{}'\n\
             servers = [{{ name = 'a1', address = '{a1}' }}, {{ name = 'a2', address = '{a2}' }}]\n\
             workers = [{{ name = 'a-w1', address = '{worker}' }}]\n\
             [[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['{database}']\n\
             [[gateways]]\nname = 'g'\naddress = '{gateway}'\n",
            redis.node()
        );
        folder.write("topology.toml", &topology);
        let signs_with_new = AtomicBool::new(false);
        World { folder, _parts: (mariadb, redis), servers: [a1, a2], gateway, signs_with_new }
    }

    /// Puts keys into the place of those in the file, all at once.
    fn publish(&self, keys: &[Value]) {
        let next = self.folder.write("next.json", &json!({ "keys": keys }).to_string());
        std::fs::rename(next, self.folder.path("jwks.json")).unwrap();
    }

    fn all(&self) -> [SocketAddr; 3] {
        [self.servers[0], self.servers[1], self.gateway]
    }

    fn wait_for(&self, what: &str, value: f64) {
        wait_until(SOON, what, || self.all().iter().all(|at| metric(*at, what) == value));
    }

    fn user(&self, name: &str, at: SocketAddr) -> User {
        let token = if self.signs_with_new.load(Ordering::Relaxed) { new_token(name) } else { old_token(name) };
        User::new(name, Some(format!("Bearer {token}")), at)
    }

    fn start(&self, role: &str, name: &str, environment: &[(&str, &str)]) -> Process {
        Process::start_as(&self.folder, role, Some(name), environment)
    }

    /// Sends, grabs, opens and looks through the gateway; what was not answered as it should be.
    fn work(&self, client: usize, done: &AtomicUsize, is_over: &AtomicBool, refused: &Mutex<Vec<String>>) {
        while !is_over.load(Ordering::Relaxed) {
            if let Err(reason) = self.one_envelope(client) {
                refused.lock().unwrap().push(reason);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn one_envelope(&self, client: usize) -> Result<(), String> {
        let user = |name: &str| self.user(&format!("{name}_{client}"), self.gateway);
        let call = |user: &User, method: &str, path: &str, body: Option<Value>, status: u16| -> Result<Value, String> {
            let body = body.map(|body| body.to_string());
            let answer = user.try_call(method, path, body.as_ref().map(String::as_bytes));
            let answer = answer.map_err(|error| format!("{method} {path}: {error}"))?;
            let said = format!("{method} {path}: {} {}", answer.status, answer.text());
            if answer.status == status { Ok(answer.json()) } else { Err(said) }
        };
        let (sender, opener, late) = (user("sender"), user("opener"), user("late"));
        let made = call(&sender, "POST", "/v1/envelopes", Some(lucky(2, 1)), 201)?;
        let path = format!("/v1/envelopes/{}", made["id"].as_str().unwrap());
        call(&sender, "POST", &format!("{path}/pay"), None, 200)?;
        let grabbed = call(&opener, "POST", &format!("{path}/grab"), None, 200)?;
        let ticket = json!({ "ticket": grabbed["ticket"] });
        let opened = call(&opener, "POST", &format!("{path}/open"), Some(ticket), 200)?;
        assert_eq!((&opened["outcome"], &opened["amount_fen"]), (&json!("opened"), &json!(2)));
        assert_eq!(call(&late, "POST", &format!("{path}/grab"), None, 200)?["outcome"], "empty");
        assert_eq!(call(&late, "GET", &path, None, 200)?["envelope"]["state"], "finished");
        Ok(())
    }

    /// Each server takes the tickets that the other one makes, and the snapshots that it writes.
    fn servers_understand_each_other(&self) {
        for (one, other) in [(0, 1), (1, 0)] {
            let at = |server: usize, name: &str| self.user(name, self.servers[server]);
            let id = at(one, "sender_0").send(&lucky(2, 1));
            let ticket = at(one, "opener_0").ticket(&id);
            assert_eq!(at(other, "opener_0").open(&id, &ticket).ok(200)["outcome"], "opened");
            let hits = || metric(self.servers[other], "hongbao_shared_snapshots_total{event=\"hit\"}");
            let before = hits();
            wait_until(SOON, "a snapshot of the other server", || {
                let id = at(one, "sender_0").send(&lucky(2, 1));
                at(one, "opener_0").grab_and_open(&id);
                std::thread::sleep(Duration::from_millis(500));
                assert_eq!(at(other, "late_0").grab(&id).ok(200)["outcome"], "empty");
                hits() > before
            });
            let rejected = metric(self.servers[other], "hongbao_shared_snapshots_total{event=\"rejected\"}");
            assert_eq!(rejected, 0.0, "a snapshot that is not understood");
        }
    }
}

fn claims(name: &str) -> Value {
    json!({ "sub": name, "exp": seconds_from_now(3_600) })
}

fn old_token(name: &str) -> String {
    sign_with_header(&json!({ "alg": "HS256", "typ": "JWT", "kid": OLD }), &claims(name), TOKEN_SECRET)
}

fn new_token(name: &str) -> String {
    let header = Header { kid: Some(NEW.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims(name), &EncodingKey::from_ed_pem(NEW_PRIVATE.as_bytes()).unwrap()).unwrap()
}

#[test]
fn keys_and_secrets_are_changed_while_all_serves_and_no_request_is_refused() {
    let world = World::new();
    let old_key = json!({ "kty": "oct", "alg": "HS256", "kid": OLD, "k": URL_SAFE_NO_PAD.encode(TOKEN_SECRET) });
    let new_key = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": NEW, "x": NEW_PUBLIC });
    world.publish(std::slice::from_ref(&old_key));
    let (code, said) = run(&world.folder, "migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    let mut servers = SERVERS.map(|name| world.start("server", name, &[]));
    let _gateway = world.start("gateway", "g", &[]);
    for client in 0..CLIENTS {
        let sender = world.user(&format!("sender_{client}"), world.servers[0]);
        sender
            .post("/v1/dev/top-up", &json!({ "amount_fen": 1_000_000, "id": uuid::Uuid::from_bytes(fresh_bytes()) }))
            .ok(200);
    }
    let (done, is_over, refused) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let step = |name: &str| {
        println!("{name}: after {} ms, {} envelopes", begun.elapsed().as_millis(), done.load(Ordering::Relaxed))
    };
    std::thread::scope(|scope| {
        let _until_dropped = UntilDropped(&is_over);
        for client in 0..CLIENTS {
            let (world, done, is_over, refused) = (&world, &done, &is_over, &refused);
            scope.spawn(move || world.work(client, done, is_over, refused));
        }
        let goes_on = || {
            let before = done.load(Ordering::Relaxed);
            wait_until(SOON, "some envelopes more", || done.load(Ordering::Relaxed) > before + 2 * CLIENTS);
        };
        goes_on();

        step("a file that is cut off");
        world.folder.write("jwks.json", "{\"keys\":[");
        world.wait_for("hongbao_token_keys_stale", 1.0);
        goes_on();
        step("the new key beside the old one");
        world.publish(&[old_key.clone(), new_key.clone()]);
        world.wait_for(&format!("hongbao_token_key{{kid=\"{NEW}\",alg=\"EdDSA\"}}"), 1.0);
        world.wait_for("hongbao_token_keys_stale", 0.0);
        step("the issuer signs with the new key");
        let old = old_token("late_0");
        let with_old = |at| User::new("late_0", Some(format!("Bearer {old}")), at).get("/v1/wallet");
        for at in world.all() {
            with_old(at).ok(200);
        }
        world.signs_with_new.store(true, Ordering::Relaxed);
        goes_on();
        step("the new key alone");
        world.publish(std::slice::from_ref(&new_key));
        world.wait_for(&format!("hongbao_token_key{{kid=\"{OLD}\",alg=\"HS256\"}}"), 0.0);
        for at in world.all() {
            with_old(at).problem(401, "unauthorized");
        }
        goes_on();

        let (also, secret) = ("HONGBAO_TICKETS__ALSO_ACCEPTED_SECRET", "HONGBAO_TICKETS__SECRET");
        for (name, environment) in [
            ("the next secret is also accepted", &[(also, NEW_TICKET_SECRET)][..]),
            ("the next secret signs", &[(secret, NEW_TICKET_SECRET), (also, TICKET_SECRET)]),
            ("the next secret alone", &[(secret, NEW_TICKET_SECRET)]),
        ] {
            for (server, process) in SERVERS.iter().zip(&mut servers) {
                step(&format!("{server}: {name}"));
                process.end(Signal::TERM);
                *process = world.start("server", server, environment);
                // Or both would be down to the gateway when the next one stops.
                let up = format!("hongbao_gateway_server_up{{set=\"a\",server=\"{server}\"}}");
                wait_until(SOON, &up, || metric(world.gateway, &up) == 1.0);
                goes_on();
                if name != "the next secret is also accepted" {
                    world.servers_understand_each_other();
                }
            }
        }
        step("the end");
    });
    let refused = refused.into_inner().unwrap();
    assert!(
        refused.is_empty(),
        "{} requests were refused, the first ones: {:?}",
        refused.len(),
        &refused[..refused.len().min(5)]
    );

    // A ticket of the secret that is gone.
    let id = world.user("sender_0", world.gateway).send(&lucky(2, 1));
    let (late, expires_at) = (UserId::parse("late_0").unwrap(), SystemClock.now().plus_millis(60_000));
    let ticket =
        |secret: &str| TicketKey::new(secret.as_bytes()).issue(EnvelopeId::parse(&id).unwrap(), &late, expires_at);
    let user = world.user("late_0", world.gateway);
    user.open(&id, &ticket(TICKET_SECRET)).problem(403, "ticket_invalid");
    assert_eq!(user.open(&id, &ticket(NEW_TICKET_SECRET)).ok(200)["outcome"], "opened");
    let log = std::fs::read_to_string(world.folder.path("log")).unwrap();
    assert!(log.contains("new token keys were refused") && log.contains("new token keys are in force"), "{log}");
    for secret in [TICKET_SECRET, NEW_TICKET_SECRET, TOKEN_SECRET, &URL_SAFE_NO_PAD.encode(TOKEN_SECRET)] {
        assert!(!log.contains(secret), "a secret in the log");
    }
}

/// Ends the load, also where a step panics.
struct UntilDropped<'a>(&'a AtomicBool);

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
