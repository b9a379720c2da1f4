//! One request, from the client to the server that answers it, and back.
//!
//! It is sent again by the gateway only where it cannot have had an effect: the
//! connection was refused, or the server answered that the envelope is not its
//! own. Everything else is told to the client, who may ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use hongbao_core::calls::{Call, Method, NoCall, Routing};
use hongbao_core::id::stable_hash;
use hongbao_core::limits::FORWARD_ATTEMPTS_MAX;
use hongbao_core::{EnvelopeId, Traffic};
use hongbao_http::hop::{ENVELOPE_ID, is_event_stream};
use hongbao_http::hot::Answering;
use hongbao_http::mark::is_marked;
use hongbao_http::problem::{NO_SUCH_CALL, NO_SUCH_ENVELOPE};
use hongbao_http::{Code, HotAnswer, HotCalls, HotRequest, Problem, read_body};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode, Version};
use tokio::time::Instant;

use crate::births;
use crate::client::SendError;
use crate::edge::Edge;
use crate::fleet::{Fleets, Key};
use crate::forward::{Forward, Message, put_id};
use crate::headers::{strip_request, strip_response};
use crate::metrics::GatewayMetrics;
use crate::options::GatewayOptions;
use crate::transport::{Answer, Transport};
use crate::upstream::{InFlight, NoAnswer, Upstream};

/// What all threads of a gateway share.
pub(crate) struct Shared {
    pub(crate) edge: Edge,
    pub(crate) fleets: Arc<Fleets>,
    pub(crate) options: GatewayOptions,
    pub(crate) metrics: Arc<GatewayMetrics>,
    /// Spreads requests that belong to nobody.
    pub(crate) turn: AtomicU64,
}

/// Forwards the requests of one thread.
pub(crate) struct Proxy {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Transport,
}

/// Why nothing was passed on, or nothing came of it.
struct Refused {
    problem: Problem,
    /// The methods that there are, where another one was used.
    allow: Option<String>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused { problem, allow: None }
    }
}

impl From<NoCall> for Refused {
    /// In the words of a server that is asked for it.
    fn from(no: NoCall) -> Refused {
        match no {
            NoCall::NotFound => Problem::new(Code::NotFound, NO_SUCH_CALL).into(),
            NoCall::NoEnvelope => Problem::new(Code::NotFound, NO_SUCH_ENVELOPE).into(),
            NoCall::Method(methods) => {
                let problem = Problem::new(Code::MethodNotAllowed, Code::MethodNotAllowed.title());
                let allow = methods.into_iter().map(Method::allow).collect::<Vec<_>>().join(",");
                Refused { problem, allow: Some(allow) }
            }
        }
    }
}

impl Proxy {
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let marked = is_marked(request.headers());
        match self.forward(request).await {
            Ok(response) => {
                self.shared.metrics.of(marked).forwarded();
                response
            }
            Err(Refused { problem, allow }) => {
                self.shared.metrics.of(marked).answered_here(problem.code);
                let mut response = problem.into_response();
                if let Some(methods) = allow {
                    let methods = HeaderValue::try_from(methods).expect("methods are letters and commas");
                    response.headers_mut().insert(ALLOW, methods);
                }
                response
            }
        }
    }

    async fn forward(&self, request: Request) -> Result<Response, Refused> {
        let (mut parts, body) = request.into_parts();
        let found = Call::passed_on(parts.method.as_str(), parts.uri.path());
        if let Ok((_, Some(id))) = found {
            let traffic = if is_marked(&parts.headers) { Traffic::Shadow } else { Traffic::Live };
            self.check_room(id, traffic)?;
        }
        let admitted = self.shared.edge.admit(&parts.method, &parts.uri, &parts.headers)?;
        let (call, id) = found?;
        let body = read_body(body).await?;

        strip_request(&mut parts.headers);
        let key = match (call.info().routing, id) {
            (Routing::Owner, Some(id)) => Key::Envelope(id),
            (Routing::OwnerOfNew, _) if admitted.creates => {
                let now = self.shared.edge.clock.now();
                let id = births::mint(&self.shared.fleets.current(), now, admitted.traffic)?;
                put_id(&mut parts.headers, id);
                Key::Envelope(id)
            }
            _ => Key::Number(match &admitted.caller {
                Some(caller) => stable_hash(caller.user.as_str().as_bytes()),
                None => self.shared.turn.fetch_add(1, Ordering::Relaxed),
            }),
        };
        let deadline = Instant::now() + self.answer_within();
        let forward = Forward { call, key, message: Message::Http(Box::new(parts), body), deadline: None };
        let response = self.ask(admitted.traffic, &forward).await?.into_response();
        let Some(first) = named_instead(call, &response) else { return Ok(response) };
        // The request's key stands for another envelope: its owner is asked, under its id, and nobody else.
        let response = self.ask(admitted.traffic, &forward.renamed(first, deadline)).await?.into_response();
        match named_instead(call, &response) {
            None => Ok(response),
            Some(_) => {
                Err(Problem::new(Code::Unavailable, "the envelope of this key is moving between servers").into())
            }
        }
    }

    fn answer_within(&self) -> Duration {
        Duration::from_millis(self.shared.options.answer_within_ms)
    }

    /// A grab or an opening of live traffic, with the same checks in the same order.
    async fn forward_hot(&self, request: HotRequest<'_>) -> Result<HotAnswer, Problem> {
        self.check_room(request.id, Traffic::Live)?;
        self.shared.edge.admit_hot(request.token)?;
        let (call, key) = (request.call, Key::Envelope(request.id));
        self.ask(Traffic::Live, &Forward { call, key, message: Message::Hot(request), deadline: None }).await
    }

    /// Refuses what the server of its envelope has no room for, before it costs a
    /// look at its token or its body.
    fn check_room(&self, id: EnvelopeId, traffic: Traffic) -> Result<(), Problem> {
        match self.shared.fleets.current().choose(Key::Envelope(id), &[]) {
            Some(upstream) if !upstream.has_room(traffic) => Err(no_room()),
            _ => Ok(()),
        }
    }

    /// Asks one server after the other as long as it is sure that none has done anything.
    async fn ask(&self, traffic: Traffic, forward: &Forward<'_>) -> Result<HotAnswer, Problem> {
        let (call, key) = (forward.call, forward.key);
        let shared = &*self.shared;
        let metrics = shared.metrics.of(traffic == Traffic::Shadow);
        let began = Instant::now();
        let deadline = forward.deadline.unwrap_or_else(|| began + self.answer_within());
        let mut fleet = shared.fleets.current();
        let mut tried: Vec<Arc<Upstream>> = Vec::new();
        let mut redirected = false;
        let mut last_failure = String::new();
        while tried.len() < FORWARD_ATTEMPTS_MAX {
            let Some(upstream) = fleet.choose(key, &tried) else { break };
            let in_flight = upstream.enter(traffic).ok_or_else(no_room)?;
            let is_first = tried.is_empty() && !redirected && forward.deadline.is_none();
            let left = || deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
            let sent = self.transport.send(upstream, forward, if is_first { None } else { Some(left()) });
            let grace = Duration::from_millis(shared.options.answer_grace_ms);
            // What changes nothing is asked of another as soon as the server is dead. For what may have been done
            // the answer is worth a while more, in which one that was only slow brings it.
            let dead_for_ms = if call.info().changes { shared.options.probe_timeout_ms } else { 0 };
            let dead_for = Duration::from_millis(dead_for_ms);
            let answer = upstream.wait(deadline + grace, dead_for, sent).await;
            note_upstream(upstream, matches!(answer, Ok(Ok(_))));
            match &answer {
                Ok(Ok(response)) => in_flight.ended(Some(response.status().is_server_error())),
                // It was not sent.
                Ok(Err(SendError::Refused(_) | SendError::Local(_))) => {}
                Ok(Err(SendError::Broken(_))) | Err(_) => in_flight.ended(None),
            }
            let response = match answer {
                Err(NoAnswer::InTime) => return Err(given_up(call, upstream, "no answer in time".to_owned())),
                Err(NoAnswer::AnyMore) if call.info().changes => {
                    return Err(given_up(call, upstream, "it does not answer any more".to_owned()));
                }
                Err(NoAnswer::AnyMore) => {
                    last_failure = format!("{}: it does not answer any more", upstream.name);
                    tried.push(upstream.clone());
                    continue;
                }
                Ok(Err(SendError::Broken(reason))) => {
                    upstream.probe_now.notify_one();
                    return Err(given_up(call, upstream, reason));
                }
                Ok(Err(SendError::Local(reason))) => {
                    return Err(Problem::new(Code::Unavailable, "no connection to a server").caused_by(reason));
                }
                Ok(Err(SendError::Refused(reason))) => {
                    upstream.probe_now.notify_one();
                    metrics.retried_after_refusal();
                    last_failure = format!("{}: {reason}", upstream.name);
                    tried.push(upstream.clone());
                    continue;
                }
                Ok(Ok(response)) => response,
            };
            upstream.answered();
            match response.status() {
                // As quick as it is, it says nothing about how long answers take.
                StatusCode::SERVICE_UNAVAILABLE => in_flight.refused(),
                _ => in_flight.answered(),
            }
            let Some(id) = misdirected(&response, key) else {
                let took = began.elapsed();
                metrics.observe_upstream(took);
                return Ok(passed_on(response, began + took, in_flight));
            };
            drop((response, in_flight));
            Box::pin(shared.fleets.reread()).await;
            let next = shared.fleets.current();
            if redirected || next.set_of(id).name == fleet.set_of(id).name {
                return Err(Problem::new(Code::Unavailable, "the envelope is moving between servers")
                    .caused_by(format!("{} says that it is not its SET's", upstream.name)));
            }
            metrics.retried_after_misdirection();
            redirected = true;
            tried.clear();
            fleet = next;
        }
        Err(Problem::new(Code::Unavailable, "no server could be reached").caused_by(last_failure))
    }
}

impl HotCalls for Proxy {
    /// Those that go over links.
    fn takes(&self, call: Call) -> bool {
        matches!(call, Call::Grab | Call::Open)
    }

    fn answer<'a>(&'a self, request: HotRequest<'a>) -> Answering<'a> {
        Box::pin(async move {
            let metrics = self.shared.metrics.of(false);
            match self.forward_hot(request).await {
                Ok(answer) => {
                    metrics.forwarded();
                    answer
                }
                Err(problem) => {
                    metrics.answered_here(problem.code);
                    problem.into()
                }
            }
        })
    }
}

/// Whom the request was passed on to, in what is logged of it and recorded.
fn note_upstream(upstream: &Upstream, has_answered: bool) {
    if let Some(span) = hongbao_trace::current()
        && (!has_answered || span.context.is_sampled)
    {
        span.record("set", upstream.set.clone());
        span.record("server", upstream.name.clone());
    }
}

fn no_room() -> Problem {
    Problem::new(Code::Busy, "the server has too much to do; nothing happened, try again")
}

/// The envelope that a server says is not its SET's.
fn misdirected(answer: &Answer, key: Key) -> Option<EnvelopeId> {
    match key {
        Key::Envelope(id) if answer.is_misdirected() => Some(id),
        _ => None,
    }
}

/// The envelope whose owner has to be asked instead, because the request's key stands for it.
fn named_instead(call: Call, response: &Response) -> Option<EnvelopeId> {
    let is_another = call.info().takes_key && response.status() == StatusCode::MISDIRECTED_REQUEST;
    EnvelopeId::parse(response.headers().get(ENVELOPE_ID).filter(|_| is_another)?.to_str().ok()?)
}

/// The request was perhaps sent, and there is no answer.
fn given_up(call: Call, upstream: &Upstream, reason: String) -> Problem {
    const UNKNOWN: &str = "the server did not answer: ask again, the answer is then final";
    const UNKNOWN_UNLESS_KEYED: &str = "the server did not answer: with the same `Idempotency-Key` the next answer is final, and without one asking \
         again makes another one";
    let info = call.info();
    let problem = match info.changes {
        true => Problem::new(Code::OutcomeUnknown, if info.takes_key { UNKNOWN_UNLESS_KEYED } else { UNKNOWN }),
        false => Problem::new(Code::Unavailable, "the server did not answer"),
    };
    problem.caused_by(format!("{}: {reason}", upstream.name))
}

fn passed_on(answer: Answer, head_came: Instant, in_flight: InFlight) -> HotAnswer {
    let response = match answer {
        Answer::Found(found) => return HotAnswer::Found(found),
        Answer::Other(response) => response,
    };
    let (mut parts, body) = response.into_parts();
    strip_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if is_event_stream(&parts.headers) {
        return HotAnswer::Other(Response::from_parts(parts, body.into_stream()));
    }
    HotAnswer::Other(Response::from_parts(parts, body.into_body(head_came, in_flight)))
}
