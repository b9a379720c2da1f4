//! What happened to a user's money, as a client is shown it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Folder, Service, TOKEN_SECRET, User, lucky, seconds_from_now, sign, text_of, wait_until, with};

const SOON: Duration = Duration::from_secs(10);

/// All events from a cursor on by pages of `limit`, and where they ended.
fn events_from(user: &User, cursor: Option<&str>, limit: usize) -> (Vec<Value>, String) {
    let (mut events, mut cursor) = (Vec::new(), cursor.map(str::to_owned));
    loop {
        let from = cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page = user.get(&format!("/v1/events?limit={limit}{from}")).ok(200);
        let on_page = page["events"].as_array().unwrap();
        let next = text_of(&page["next_cursor"]).to_owned();
        assert!(on_page.len() <= limit);
        assert_eq!(page["lost_before"], Value::Null);
        if on_page.is_empty() {
            return (events, next);
        }
        events.extend(on_page.iter().cloned());
        cursor = Some(next);
    }
}

/// The types and places of a user's events about an envelope.
fn shown(user: &User, envelope: &str) -> Vec<String> {
    let (events, _) = events_from(user, None, 500);
    let of_envelope = events.iter().filter(|event| event["envelope_id"] == envelope);
    of_envelope.map(|event| format!("{} {}", event["seq"], text_of(&event["type"]))).collect()
}

fn wait_for(user: &User, envelope: &str, last: &str) {
    wait_until(SOON, last, || shown(user, envelope).last().is_some_and(|event| event.ends_with(last)));
}

fn for_family(envelope: Value) -> Value {
    with(envelope, "audience", json!({ "type": "group", "id": "family" }))
}

#[test]
fn each_feed_shows_an_envelope_s_life_in_order_and_once() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.member(name, &["family"]));
    let stranger = service.user("stranger");
    li.top_up(1_000);
    let envelope = li.send(&for_family(lucky(300, 2)));
    wang.grab_and_open(&envelope);
    li.grab_and_open(&envelope);
    let whole = ["0 envelope.paid", "1 envelope.opened", "2 envelope.opened", "2 envelope.emptied"];
    for user in [&li, &wang] {
        wait_for(user, &envelope, "emptied");
        assert_eq!(shown(user, &envelope), whole);
    }
    let by_link = li.send(&lucky(300, 2));
    stranger.grab_and_open(&by_link);
    wait_for(&li, &by_link, "opened");
    wait_for(&stranger, &by_link, "opened");
    assert_eq!(shown(&stranger, &by_link), ["1 envelope.opened"], "what it did, and no more");
    assert_eq!(shown(&wang, &by_link), [""; 0]);
    let for_wang =
        li.send(&with(with(lucky(100, 1), "audience", json!({ "type": "user", "id": "wang" })), "expires_in_s", 1));
    for user in [&li, &wang] {
        wait_for(user, &for_wang, "refunded");
        let about = shown(user, &for_wang);
        let about: Vec<&str> = about.iter().map(String::as_str).filter(|event| !event.contains("soon")).collect();
        assert_eq!(about, ["0 envelope.paid", "1 envelope.expired", "1 envelope.refunded"]);
    }

    let (all, _) = events_from(&li, None, 500);
    let mut ids: Vec<&str> = all.iter().map(|event| text_of(&event["id"])).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "each once");
    for limit in [1, 2, 3] {
        assert_eq!(events_from(&li, None, limit).0, all, "pages of {limit}");
        assert_eq!(events_from(&wang, None, limit).0, events_from(&wang, None, 500).0);
    }
    let paid = &all[0];
    assert_eq!((&paid["amount_fen"], &paid["sender"], &paid["shares"]), (&json!(300), &json!("li"), &json!(2)));
    assert_eq!(paid["audience"], json!({ "type": "group", "id": "family" }));
    assert_eq!(all[1]["user_id"], "wang");
    service.check();
}

#[test]
fn a_cursor_outlives_the_process_and_goes_on_where_it_was() {
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, "");
    let li = service.member("li", &["family"]);
    li.top_up(1_000);
    let first = li.send(&for_family(lucky(100, 2)));
    wait_for(&li, &first, "paid");
    let (_, cursor) = events_from(&li, None, 2);
    let end = li.get("/v1/events?cursor=end").ok(200);
    assert_eq!(end["events"], json!([]));
    service.kill();

    let service = Service::start_in(&folder, "");
    let [li, wang] = ["li", "wang"].map(|name| service.member(name, &["family"]));
    wang.grab_and_open(&first);
    wait_for(&li, &first, "opened");
    for cursor in [&*cursor, text_of(&end["next_cursor"])] {
        let (events, _) = events_from(&li, Some(cursor), 1);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["type"], "envelope.opened");
    }
    service.check();
}

#[test]
fn what_is_no_cursor_is_refused_by_name() {
    let service = Service::start("");
    let li = service.user("li");
    let long = "A".repeat(2_049);
    for bad in ["", "4711", "END", "%20", "AgMB", &*long] {
        li.get(&format!("/v1/events?cursor={bad}")).invalid(Some("cursor"));
    }
    for bad in ["0", "501", "-1", "x", ""] {
        li.get(&format!("/v1/events?limit={bad}")).invalid(Some("limit"));
    }
    li.get("/v1/events?before=1").invalid(Some("before"));
    service.nobody().get("/v1/events").problem(401, "unauthorized");
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let service = Service::start("");
    let token = sign(&json!({ "sub": "li", "exp": seconds_from_now(3) }), TOKEN_SECRET);
    let li = service.user("li").with_token(&token);
    let mut connection = service.connect();
    connection.write_all(&li.request("GET", "/v1/events/stream?cursor=end", None)).unwrap();
    let (mut text, started) = (String::new(), Instant::now());
    BufReader::new(connection).read_to_string(&mut text).unwrap();
    assert!(text.contains(": connected"), "{text}");
    assert!(text.ends_with("0\r\n\r\n"), "its end is clean: {text}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    li.get("/v1/events/stream?cursor=end").problem(401, "unauthorized");
    service.check();
}

#[test]
fn a_stream_shows_events_as_they_happen_and_is_bounded() {
    let service = Service::start("[server]\nevent_streams_of_user_max = 2\nevent_stream_s_max = 2\n");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    let open = || {
        let mut connection = service.connect();
        connection.write_all(&li.request("GET", "/v1/events/stream?cursor=end", None)).unwrap();
        let (mut stream, mut line) = (BufReader::new(connection), String::new());
        while !line.contains("connected") {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0);
        }
        stream
    };
    let (mut first, mut line) = (open(), String::new());
    let _second = open();
    li.get("/v1/events/stream?cursor=end").problem(429, "rate_limited");
    let envelope = li.send(&lucky(100, 1));
    wang.grab_and_open(&envelope);
    let mut events = Vec::new();
    let started = Instant::now();
    loop {
        line.clear();
        if first.read_line(&mut line).unwrap() == 0 {
            break;
        }
        if let Some(event) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(event).unwrap();
            events.push(text_of(&event["type"]).to_owned());
        }
    }
    assert_eq!(events, ["envelope.paid", "envelope.opened", "envelope.emptied"]);
    assert!(started.elapsed() < Duration::from_secs(4), "it ends by itself: {:?}", started.elapsed());
    for bad in ["x", ""] {
        li.with_header("Last-Event-ID", bad).get("/v1/events/stream").invalid(Some("cursor"));
    }
    service.nobody().get("/v1/events/stream").problem(401, "unauthorized");
    service.check();
}
