//! What must be there before the load: money, envelopes, tickets. None of it is measured.

use std::time::Duration;

use hongbao_load::{Fallible, RequestBuffer};
use serde::Deserialize;

use super::plan::{PlannedEnvelope, RunPlan, What};
use super::request::{Ask, UserCall};
use super::users::Users;

/// Seconds that starting and preparing take at least, and users prepared a second:
/// generous, since who is ready early only waits.
const START_S: f64 = 10.0;
const USERS_PER_S: f64 = 3_000.0;

pub struct Prepared {
    /// The ids of envelopes that were sent ahead.
    pub envelopes: Vec<Option<String>>,
    /// Of each visit the ticket; empty where it is grabbed during the load. No
    /// entries at all if no visit has one.
    pub tickets: RequestBuffer,
}

/// How long before the load a run begins to prepare, where the load must begin on time.
pub fn lead(plan: &RunPlan) -> Duration {
    let senders = plan.money().len() as f64;
    Duration::from_secs_f64(START_S + (senders + plan.visits.len() as f64 / 20.0) / USERS_PER_S)
}

pub fn prepare(plan: &RunPlan, users: &Users, tickets_ahead: bool) -> Fallible<Prepared> {
    let mut needs = plan.money();
    // One goes first: should it turn out to be real money, it is no more than this.
    if let Some((sender, fen)) = needs.pop_first() {
        users.top_up([(sender, fen)])?;
        users.check_mark(sender)?;
    }
    users.top_up(needs)?;
    let envelopes = send_ahead(plan, users)?;
    let all_ahead = plan.envelopes.iter().all(|envelope| envelope.sent_ahead);
    let tickets =
        if tickets_ahead && all_ahead { grab_ahead(plan, users, &envelopes)? } else { RequestBuffer::default() };
    Ok(Prepared { envelopes, tickets })
}

fn send_ahead(plan: &RunPlan, users: &Users) -> Fallible<Vec<Option<String>>> {
    #[derive(Deserialize)]
    struct Made {
        id: String,
    }
    let mut ids = vec![None; plan.envelopes.len()];
    let ahead = || plan.envelopes.iter().enumerate().filter(|(_, envelope)| envelope.sent_ahead);
    let (mut creates, mut pays) = (RequestBuffer::default(), RequestBuffer::default());
    ahead().for_each(|(_, envelope)| push(&mut creates, users, UserCall::Create, envelope, "", envelope.sender));
    for ((number, envelope), body) in ahead().zip(users.ask_all("an envelope", &creates)?) {
        let made: Made = serde_json::from_slice(&body)?;
        push(&mut pays, users, UserCall::Pay, envelope, &made.id, envelope.sender);
        ids[number] = Some(made.id);
    }
    users.ask_all("a payment", &pays)?;
    Ok(ids)
}

/// Appends a call of a user as it is made under load.
fn push(out: &mut RequestBuffer, users: &Users, call: UserCall, envelope: &PlannedEnvelope, id: &str, user: u32) {
    let (host, header) = (users.site.authority(), users.header.as_str());
    let ask = Ask { host, call, envelope, id, ticket: "", token: users.token(user), header };
    out.push(|bytes| ask.write(bytes));
}

/// A ticket for each visit that opens, as long as its envelope has shares; a visit
/// without one grabs during the load.
fn grab_ahead(plan: &RunPlan, users: &Users, envelopes: &[Option<String>]) -> Fallible<RequestBuffer> {
    #[derive(Deserialize)]
    struct Ready<'a> {
        ticket: Option<&'a str>,
    }
    let mut grabs = RequestBuffer::default();
    let opens = |what| what == What::Open;
    for visit in plan.visits.iter().filter(|visit| opens(visit.what)) {
        let id = envelopes[visit.envelope as usize].as_deref().unwrap_or_default();
        push(&mut grabs, users, UserCall::Grab, &plan.envelopes[visit.envelope as usize], id, visit.user);
    }
    let mut bodies = users.ask_all("a ticket", &grabs)?.into_iter();
    let mut tickets = RequestBuffer::default();
    for visit in &plan.visits {
        let body = if opens(visit.what) { bodies.next().unwrap_or_default() } else { b"{}".to_vec() };
        let ready: Ready<'_> = serde_json::from_slice(&body)?;
        tickets.push(|out| out.extend_from_slice(ready.ticket.unwrap_or_default().as_bytes()));
    }
    Ok(tickets)
}
