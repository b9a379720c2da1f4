//! Web pages of other origins: what a browser asks beforehand, and what it lets a page read.

use std::net::SocketAddr;

use serde_json::json;

use crate::environment::installation;
use crate::rehearsal_installation::Process;
use crate::support::{Answer, Service, TOKEN_SECRET, User, lucky, seconds_from_now, sign, text_of};

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

/// What a browser asks before a page of `origin` may `POST` with a token.
fn preflight(address: SocketAddr, path: &str, origin: &str) -> Answer {
    let browser = User::new("", None, address).with_header("origin", origin);
    let browser = browser.with_header("access-control-request-method", "POST");
    browser.with_header("access-control-request-headers", "authorization,content-type").call("OPTIONS", path, None)
}

/// Whether a browser would go on after this: the page's request is let through.
fn is_let_through(answer: &Answer, origin: &str) -> bool {
    let lists = |name: &str, wanted: &[&str]| {
        let listed = answer.header(name).unwrap_or_default().to_lowercase();
        wanted.iter().all(|wanted| listed.split(", ").any(|known| known == *wanted))
    };
    (200..300).contains(&answer.status)
        && answer.header("access-control-allow-origin") == Some(origin)
        && lists("access-control-allow-methods", &["get", "post"])
        && lists("access-control-allow-headers", &["authorization", "content-type", "idempotency-key", "traceparent"])
}

/// Whether a page may read this answer, its id and its `Retry-After`.
fn is_readable(answer: &Answer, origin: &str) -> bool {
    answer.header("access-control-allow-origin") == Some(origin)
        && answer.header("access-control-expose-headers") == Some("retry-after, x-request-id")
        && answer.header("vary") == Some("origin")
        && answer.header("access-control-allow-credentials").is_none()
}

#[test]
fn a_page_sends_grabs_and_opens_after_a_preflight() {
    let service = Service::start(&format!("[cors]\norigins = ['{APP}', 'http://localhost:3000']\nmax_age_s = 60"));
    let li = service.user("li");
    li.top_up(1_000);
    let page = li.with_header("origin", APP);
    for path in ["/v1/envelopes", "/v1/envelopes/x/open", "/nowhere", "/v1/dev/token"] {
        let answer = preflight(service.address(), path, APP);
        assert!(is_let_through(&answer, APP), "{path}: {answer:?}");
        assert_eq!((answer.status, answer.header("access-control-max-age")), (204, Some("60")));
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    let created = page.post("/v1/envelopes", &lucky(100, 2));
    assert!(is_readable(&created, APP), "{created:?}");
    let id = text_of(&created.ok(201)["id"]).to_owned();
    assert!(is_readable(&page.pay(&id), APP));
    let ticket = page.ticket(&id);
    let opened = page.open(&id, &ticket);
    assert!(is_readable(&opened, APP), "{opened:?}");
    assert_eq!(opened.ok(200)["outcome"], "opened");

    // One who is no page gets the same without a word about pages.
    let again = li.open(&id, &ticket);
    assert_eq!((again.status, again.header("vary"), again.header("access-control-allow-origin")), (200, None, None));
    assert!(is_readable(&li.with_header("origin", "http://localhost:3000").get("/v1/wallet"), "http://localhost:3000"));
    service.check();
}

#[test]
fn a_page_may_read_refusals_too() {
    let settings = format!("[cors]\norigins = ['{APP}']\n[rate_limit]\nuser_per_s = 1\nuser_burst = 1");
    let service = Service::start(&settings);
    let (li, stranger) = (service.user("li").with_header("origin", APP), service.nobody().with_header("origin", APP));
    let refusals = [
        (stranger.get("/v1/wallet"), 401),
        (stranger.get("/nowhere"), 404),
        (li.post("/v1/envelopes", &json!({})), 422),
        (li.get("/v1/wallet"), 429),
        (stranger.post_text("/v1/envelopes", &"x".repeat(1 << 20)), 413),
        (li.with_header("host", "twice").get("/v1/wallet"), 400),
    ];
    for (refusal, status) in &refusals {
        assert_eq!(refusal.status, *status, "{refusal:?}");
        assert!(is_readable(refusal, APP), "{refusal:?}");
    }
    // Tokens and money out of nothing are for programs of this machine, whatever pages may do otherwise.
    let made = li.post("/v1/dev/token", &json!({ "user_id": "li" }));
    made.problem(403, "forbidden");
}

#[test]
fn a_page_of_another_origin_is_refused_and_may_read_nothing() {
    let service = Service::start(&format!("[cors]\norigins = ['{APP}']"));
    for origin in [EVIL, "null", "http://app.example", "https://app.example:8443", "https://app.example.evil.example"] {
        let refused = preflight(service.address(), "/v1/envelopes", origin);
        refused.problem(403, "forbidden");
        let asked = service.user("li").with_header("origin", origin).get("/v1/wallet");
        for answer in [&refused, &asked] {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    drop(service);

    let all = Service::start("[cors]\norigins = ['*']");
    assert!(is_let_through(&preflight(all.address(), "/v1/envelopes", EVIL), "*"));
    drop(all);

    // Nothing is said about pages where no setting asks for it.
    let none = Service::start("");
    let asked = preflight(none.address(), "/v1/envelopes", APP);
    asked.problem(401, "unauthorized");
    assert_eq!((asked.header("access-control-allow-origin"), asked.header("vary")), (None, None));
}

#[test]
fn a_gateway_answers_browsers_itself_also_without_a_server() {
    let folder = installation();
    let _gateway = Process::start(&folder, "gateway", &[("HONGBAO_CORS__ORIGINS", &format!("['{APP}']"))]);
    let topology: toml::Table = std::fs::read_to_string(folder.path("topology.toml")).unwrap().parse().unwrap();
    let address: SocketAddr = topology["gateways"][0]["address"].as_str().unwrap().parse().unwrap();
    assert!(is_let_through(&preflight(address, "/v1/envelopes", APP), APP));
    preflight(address, "/v1/envelopes", EVIL).problem(403, "forbidden");
    let token = sign(&json!({ "sub": "li", "exp": seconds_from_now(60) }), TOKEN_SECRET);
    let page = User::new("li", Some(format!("Bearer {token}")), address).with_header("origin", APP);
    let unavailable = page.post("/v1/envelopes", &lucky(100, 2));
    unavailable.problem(503, "unavailable");
    assert!(is_readable(&unavailable, APP), "{unavailable:?}");
}
