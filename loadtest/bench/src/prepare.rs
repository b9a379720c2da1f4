//! What must exist before anything can be measured: money, envelopes, tickets.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use hongbao_load::{Client, Fallible, RequestBuffer, push_request, top_up};
use serde::Deserialize;

/// Who sends every envelope.
pub const SENDER: &str = "sender";
/// What a share holds on average.
pub const SHARE_FEN_MEAN: i64 = 10;
/// Tickets that are fetched before they are turned into requests.
const CHUNK: usize = 100_000;
/// Prepared requests may take this much memory; a run that needs more ends early.
pub const REQUEST_BYTES_MAX: usize = 1_500_000_000;

/// One opening to come: a user, and the envelope by its place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    pub user: u32,
    pub envelope: u32,
}

pub fn user_id(number: u32) -> String {
    format!("user-{number:08}")
}

/// Sends `count` lucky envelopes of `shares` shares, money included. Answers their ids.
pub fn send_envelopes(client: &Client, count: u32, shares: u32) -> Fallible<Vec<String>> {
    let total_fen = i64::from(shares) * SHARE_FEN_MEAN;
    pay_in(client, total_fen * i64::from(count))?;
    let token = client.token(SENDER);

    let body = format!(r#"{{"kind":"lucky","total_fen":{total_fen},"shares":{shares}}}"#);
    let mut creates = RequestBuffer::default();
    for _ in 0..count {
        push_request(&mut creates, "POST", "/v1/envelopes", &token, &body);
    }
    let mut ids = Vec::new();
    client.all(&creates, |_, body| {
        #[derive(Deserialize)]
        struct Created {
            id: String,
        }
        let created: Created = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        ids.push(created.id);
        Ok(())
    })?;

    let mut pays = RequestBuffer::default();
    for id in &ids {
        push_request(&mut pays, "POST", &format!("/v1/envelopes/{id}/pay"), &token, "");
    }
    client.all(&pays, |_, _| Ok(()))?;
    Ok(ids)
}

/// Tops the sender up; every call is another top-up.
fn pay_in(client: &Client, fen: i64) -> Fallible<()> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let mut bodies = top_up::bodies(CALLS.fetch_add(1, Ordering::Relaxed), 0, fen);
    bodies.try_for_each(|body| client.one("POST", "/v1/dev/top-up", SENDER, &body).map(drop))
}

/// A request that changes nothing.
#[derive(Clone, Copy)]
pub enum Look {
    Grab,
    View,
}

fn push(out: &mut RequestBuffer, client: &Client, look: Look, envelope: &str, user: u32) {
    let (method, verb) = match look {
        Look::Grab => ("POST", "/grab"),
        Look::View => ("GET", ""),
    };
    push_request(out, method, &format!("/v1/envelopes/{envelope}{verb}"), &client.token(&user_id(user)), "");
}

pub fn repeated(client: &Client, look: Look, envelope: &str, users: Range<u32>) -> RequestBuffer {
    let mut requests = RequestBuffer::default();
    users.for_each(|user| push(&mut requests, client, look, envelope, user));
    requests
}

/// Grabs a ticket for each opening and answers the requests that open, in order.
pub fn open_requests(client: &Client, envelopes: &[String], openings: &[Opening]) -> Fallible<RequestBuffer> {
    let mut requests = RequestBuffer::default();
    for chunk in openings.chunks(CHUNK) {
        if requests.bytes_len() > REQUEST_BYTES_MAX {
            break;
        }
        let tickets = tickets(client, envelopes, chunk)?;
        for (opening, ticket) in chunk.iter().zip(tickets) {
            let path = format!("/v1/envelopes/{}/open", envelopes[opening.envelope as usize]);
            let body = format!(r#"{{"ticket":"{ticket}"}}"#);
            push_request(&mut requests, "POST", &path, &client.token(&user_id(opening.user)), &body);
        }
    }
    Ok(requests)
}

fn tickets(client: &Client, envelopes: &[String], openings: &[Opening]) -> Fallible<Vec<String>> {
    #[derive(Deserialize)]
    struct Ready<'a> {
        ticket: Option<&'a str>,
        outcome: &'a str,
    }
    let mut grabs = RequestBuffer::default();
    for opening in openings {
        push(&mut grabs, client, Look::Grab, &envelopes[opening.envelope as usize], opening.user);
    }
    let mut tickets = vec![String::new(); openings.len()];
    client.all(&grabs, |index, body| {
        let ready: Ready<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let Some(ticket) = ready.ticket else { return Err(format!("a grab answered {}", ready.outcome)) };
        ticket.clone_into(&mut tickets[index]);
        Ok(())
    })?;
    Ok(tickets)
}

#[cfg(test)]
mod tests {
    use hongbao_load::{Generator, RequestSource};

    use super::*;
    use crate::workload::Expect;

    #[test]
    fn prepared_openings_open_once_each_and_a_repeat_is_noticed() {
        let addr = hongbao_load_testkit::start();
        let client = Client::new(addr, "secret");
        let envelopes = send_envelopes(&client, 3, 4).unwrap();
        let openings: Vec<Opening> = (0..12).map(|number| Opening { user: number / 3, envelope: number % 3 }).collect();
        let requests = open_requests(&client, &envelopes, &openings).unwrap();
        assert_eq!(requests.count(), 12);

        let expect = Expect::Opened;
        let drive = || {
            let check = |_: usize, answer: &hongbao_load::Answer<'_>| expect.check(answer);
            Generator::connect(addr, 4).unwrap().drive(&mut RequestSource::once(&requests), None, check).unwrap()
        };
        assert_eq!(drive().errors.len(), 0);
        assert_eq!(drive().errors.get("200 opened replayed"), Some(&12));

        // All four shares are gone: a fifth user finds nothing to open.
        let error = open_requests(&client, &envelopes, &[Opening { user: 9, envelope: 0 }]).err().unwrap();
        assert!(error.to_string().contains("a grab answered empty"), "{error}");
    }
}
