//! The one layer around a role's router: request id, span, problems, panics, counts, log.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hongbao_core::Traffic;
use hongbao_core::calls::Call;
use hongbao_core::limits::{BODY_BYTES_MAX, BODY_READ_MS_MAX, SLOW_REQUEST_MS};
use hongbao_trace::{Span, export};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body as HttpBody;
use tower::Service as _;

use crate::body::{Timely, too_large};
use crate::cors::Cors;
use crate::head;
use crate::hot::{HotAnswer, HotCalls, HotRequest, Routes};
use crate::mark::is_marked;
use crate::metrics::HttpMetrics;
use crate::options::ServeOptions;
use crate::problem::{Code, PROBLEM_JSON, Problem, on_the_wire, status_of};
use crate::refused::{Asked, Early, Refused};
use crate::request_id::{RequestId, RequestIds};
use crate::request_log::{REQUESTS, are_logged};
use crate::request_span::{RequestFields, request_span, traceparent};

/// Calls of clients start with this.
const API: &str = "/v1/";
/// Of these, the calls of operators.
const OPERATOR: &str = "/v1/operator/";

/// A router with all that every response needs. [`crate::serve()`] makes one; tests
/// without a socket may make their own.
pub struct Outer {
    routes: Routes,
    metrics: HttpMetrics,
    body_timeout: Duration,
    process: u64,
    ids: RequestIds,
    refused: Refused,
    lets_wait: bool,
    cors: Option<Arc<Cors>>,
}

impl Outer {
    /// Around `routes`, counting in `metrics`.
    pub fn new(routes: impl Into<Routes>, metrics: HttpMetrics) -> Outer {
        let body_timeout = Duration::from_millis(BODY_READ_MS_MAX);
        Outer::over(routes, &ServeOptions { metrics, body_timeout, ..ServeOptions::default() })
    }

    /// The same with these options.
    pub fn over(routes: impl Into<Routes>, options: &ServeOptions) -> Outer {
        let (metrics, body_timeout) = (options.metrics.clone(), options.body_timeout);
        // Only tells this process's ids from another's: any number will do if there is no randomness.
        let process = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let (ids, refused) = (RequestIds::new(process, 0), options.refused.clone());
        let mut routes = routes.into();
        routes.hot = routes.hot.filter(|_| options.fast_path);
        Outer {
            routes,
            metrics,
            body_timeout,
            process,
            ids,
            refused,
            lets_wait: options.lets_wait,
            cors: options.cors.clone(),
        }
    }

    /// Ids for the requests of one connection, numbered from 1.
    pub(crate) fn ids_of_connection(&self, number: u64) -> RequestIds {
        RequestIds::new(self.process, number)
    }

    /// The id of something that is no request: a connection that is refused.
    pub(crate) fn next_id(&self) -> RequestId {
        self.ids.next()
    }

    /// Answers a request that came over no connection.
    pub async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.answer_as(&self.ids, Instant::now(), request).await.0
    }

    /// Answers a request that began at `started`, with an id out of `ids` if it has
    /// none; with when it was done.
    pub(crate) async fn answer_as<B>(
        &self,
        ids: &RequestIds,
        started: Instant,
        mut request: Request<B>,
    ) -> (Response, Instant)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let id = RequestId::of_request(request.headers_mut(), ids);
        if let Some(uri) = head::normalised(request.uri()) {
            *request.uri_mut() = uri;
        }
        let fields = RequestFields { id, method: request.method().clone(), path: request.uri().path().into() };
        let span = Arc::new(request_span(traceparent(request.headers()), started, fields));
        hongbao_trace::in_span(span.clone(), self.answer_in(&span, request)).await
    }

    /// What answers the calls of a peak here.
    pub(crate) fn hot(&self) -> Option<&Arc<dyn HotCalls>> {
        self.routes.hot.as_ref()
    }

    /// Answers one of the calls of a peak, as [`Outer::answer_as`] does; with its id,
    /// which an answer that is not 200 has among its headers, and with when it was done.
    pub(crate) async fn answer_hot(
        &self,
        ids: &RequestIds,
        started: Instant,
        mut request: HotRequest<'_>,
        calls: &dyn HotCalls,
    ) -> (HotAnswer, RequestId, Instant) {
        let id = request.request_id.get_or_insert_with(|| ids.next()).clone();
        let method = if request.call == Call::Detail { Method::GET } else { Method::POST };
        let fields = RequestFields { id: id.clone(), method, path: request.path.into() };
        let span = Arc::new(request_span(request.traceparent, started, fields));
        let (answer, ended) = hongbao_trace::in_span(span.clone(), self.answer_hot_in(&span, request, calls)).await;
        (answer, id, ended)
    }

    async fn answer_hot_in(
        &self,
        span: &Arc<Span<RequestFields>>,
        request: HotRequest<'_>,
        calls: &dyn HotCalls,
    ) -> (HotAnswer, Instant) {
        let RequestFields { id, .. } = &span.fields;
        let abandoned = Abandoned(Some(span));
        let route = self.metrics.route_of_call(request.call);
        let asked = Asked { token: Some(request.authorization.as_bytes()), is_marked: false, path: request.path };
        let (mut answer, waited) = match self.delay_early(&asked, span.started).await {
            Ok(waited) => {
                let answered = AssertUnwindSafe(calls.answer(request)).catch_unwind().await;
                let answer =
                    answered.unwrap_or_else(|panic| HotAnswer::Other(panicked(&panic_text(&*panic), &span.fields)));
                (answer, waited)
            }
            Err(problem) => (problem.into(), Duration::ZERO),
        };
        let (status, fault) = match &mut answer {
            HotAnswer::Found(_) => (StatusCode::OK, None),
            HotAnswer::Other(response) => (response.status(), self.complain_of(response, id, Some(&asked))),
        };
        let (ended, latency) = self.count(span, route, false, status, waited);
        self.metrics.answered_fast();
        abandoned.has_ended();
        self.log(span, fault.as_ref(), status, latency);
        if let HotAnswer::Other(response) = &mut answer {
            id.clone().mark(response);
        }
        (answer, ended)
    }

    /// Counts an answer that is there now; gives when that was, and how long it took.
    fn count(
        &self,
        span: &Span<RequestFields>,
        route: usize,
        is_marked: bool,
        status: StatusCode,
        waited: Duration,
    ) -> (Instant, Duration) {
        let ended = Instant::now();
        // The delay until its Retry-After is no latency of the service.
        let latency = (ended - span.started).saturating_sub(waited);
        self.metrics.observe(route, is_marked, status, latency);
        (ended, latency)
    }

    async fn answer_in<B>(&self, span: &Arc<Span<RequestFields>>, request: Request<B>) -> (Response, Instant)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let RequestFields { id, method, path } = &span.fields;
        let abandoned = Abandoned(Some(span));
        let route = self.metrics.route_of(method, path);
        let is_marked = is_marked(request.headers());
        if is_marked {
            span.record("traffic", Traffic::Shadow.name());
        }
        let token = request.headers().get(AUTHORIZATION).cloned();
        let understood = head::check(request.version(), request.headers());
        let page = self.cors.as_ref().and_then(|cors| Some((cors, cors.mark(request.headers())?)));
        // Browsers ask it without a token, and of whatever path.
        let preflight = page.as_ref().and_then(|(cors, mark)| cors.preflight(method, request.headers(), mark));
        // Each request that creates is another one.
        let asked = (**path != *Call::Create.path() || method != Method::POST).then(|| Asked {
            token: token.as_ref().map(HeaderValue::as_bytes),
            is_marked,
            path,
        });
        let (refusal, waited) = match (understood, &asked) {
            (Err(problem), _) => (Some(problem), Duration::ZERO),
            (Ok(()), _) if preflight.is_some() => (None, Duration::ZERO),
            (Ok(()), Some(asked)) => match self.delay_early(asked, span.started).await {
                Ok(waited) => (None, waited),
                Err(problem) => (Some(problem), Duration::ZERO),
            },
            (Ok(()), None) => (None, Duration::ZERO),
        };
        // The size also for handlers that do not look at the body.
        let mut response = if let Some(problem) = refusal {
            problem.into_response()
        } else if let Some(answer) = preflight {
            answer
        } else if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
            too_large().into_response()
        } else {
            self.route(request).await.unwrap_or_else(|panic| panicked(&panic, &span.fields))
        };
        let fault = self.complain_of(&mut response, id, asked.as_ref());
        let status = response.status();
        let (ended, latency) = self.count(span, route, is_marked, status, waited);
        abandoned.has_ended();
        self.log(span, fault.as_ref(), status, latency);
        id.clone().mark(&mut response);
        if let Some((_, mark)) = page {
            mark.write(&mut response);
        }
        (response, ended)
    }

    /// Logs a request that failed or was slow, and ends its span.
    fn log(&self, span: &Arc<Span<RequestFields>>, fault: Option<&Problem>, status: StatusCode, latency: Duration) {
        let RequestFields { id, method, .. } = &span.fields;
        let (request_id, elapsed_ms) = (id.as_str(), hongbao_trace::millis(latency));
        let (status, is_error) = (status.as_u16(), status.is_server_error());
        if let Some(problem) = fault {
            tracing::warn!(
                request_id,
                %method,
                path = span.fields.path(),
                status,
                code = problem.code.as_str(),
                detail = %problem.detail,
                cause = problem.cause.as_deref(),
                elapsed_ms,
                "a request failed"
            );
        } else if latency >= Duration::from_millis(SLOW_REQUEST_MS) {
            tracing::info!(request_id, %method, path = span.fields.path(), status, elapsed_ms, "a request was slow");
        } else if are_logged() {
            let path = span.fields.path();
            tracing::info!(target: REQUESTS, request_id, %method, path, status, elapsed_ms, "a request was answered");
        } else {
            tracing::debug!(request_id, %method, path = span.fields.path(), status, elapsed_ms, "a request was answered");
        }
        if span.context.is_sampled {
            span.record("status", u64::from(status));
            export::end(span, fault.map(|problem| problem.code.as_str()).or(is_error.then_some("a server error")));
        }
    }

    /// What takes the place of an answer of hyper's own, for a head that it could not read: there is no request.
    pub(crate) fn unreadable_head(&self, ids: &RequestIds, code: Code) -> String {
        let detail = match code {
            Code::HeadTooLarge => "the head has too many headers or is too large",
            Code::UriTooLong => "the path and the query are too long",
            _ => "the head of the request is not HTTP/1.1",
        };
        let id = ids.next();
        let route = self.metrics.route_of(&Method::GET, "");
        self.metrics.observe(route, false, status_of(code), Duration::ZERO);
        tracing::debug!(request_id = id.as_str(), code = code.as_str(), "a head could not be read");
        on_the_wire(&Problem::new(code, detail), &id)
    }

    /// Delays a request that comes before its `Retry-After` until then. Refuses it where
    /// an equal one is delayed already, where the bound is reached, and behind a gateway,
    /// whose admission would count the delay as latency. Gives the delay.
    async fn delay_early(&self, asked: &Asked<'_>, now: Instant) -> Result<Duration, Problem> {
        // Whoever asks how we are must be told, and who operates us let in.
        if !asked.path.starts_with(API) || asked.path.starts_with(OPERATOR) {
            return Ok(Duration::ZERO);
        }
        let early = self.refused.early(|refused| refused.key_of(asked), self.lets_wait, now);
        let Some(early) = early else { return Ok(Duration::ZERO) };
        self.metrics.came_early();
        match early {
            Early::Waits(time, _waiting) => {
                tokio::time::sleep(time).await;
                Ok(time)
            }
            Early::IsRefused(seconds) => {
                let reason = "the Retry-After of an earlier answer is not over; nothing happened";
                Err(Problem::new(Code::Busy, reason).retry_after_s(seconds))
            }
        }
    }

    /// Runs the role's router; gives what a panic in it said.
    async fn route<B>(&self, request: Request<B>) -> Result<Response, String>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(|body| {
            if body.is_end_stream() { Body::empty() } else { Body::new(Timely::new(body, self.body_timeout)) }
        });
        let routed = AssertUnwindSafe(self.routes.router.clone().call(request)).catch_unwind().await;
        routed.map(|Ok::<_, Infallible>(response)| response).map_err(|panic| panic_text(&*panic))
    }

    /// The same of a response that may be none of an error.
    fn complain_of(&self, response: &mut Response, id: &RequestId, asked: Option<&Asked<'_>>) -> Option<Problem> {
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        if is_error { self.complain(response, id, asked) } else { None }
    }

    /// Writes the problem into an error response; gives it if we are to blame.
    fn complain(&self, response: &mut Response, id: &RequestId, asked: Option<&Asked<'_>>) -> Option<Problem> {
        let problem = match response.extensions_mut().remove::<Problem>() {
            Some(problem) => problem,
            // The framework's own refusals are text or nothing; others know what they say.
            None if is_plain(response) => Problem::of_status(response.status()),
            None => return None,
        };
        problem.write(response, id);
        if problem.code == Code::Busy
            && problem.retry_after_s.is_none()
            && let (Some(asked), Some(seconds)) = (asked, problem.wait_s(id))
        {
            self.refused.remember(self.refused.key_of(asked), seconds, Instant::now());
        }
        problem.code.is_fault().then_some(problem)
    }
}

/// Whether a response says nothing that a program could read.
fn is_plain(response: &Response) -> bool {
    match response.headers().get(CONTENT_TYPE) {
        None => true,
        Some(content_type) => content_type != PROBLEM_JSON && content_type.as_bytes().starts_with(b"text/"),
    }
}

/// Logs a request that ends without an answer, because its client went away or the process
/// stops, when it is dropped, and ends its span.
struct Abandoned<'a>(Option<&'a Arc<Span<RequestFields>>>);

impl Abandoned<'_> {
    /// There is an answer.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(span) = self.0 else { return };
        let RequestFields { id, method, .. } = &span.fields;
        let elapsed_ms = hongbao_trace::millis(span.started.elapsed());
        tracing::info!(request_id = id.as_str(), %method, path = span.fields.path(), elapsed_ms, "a request was abandoned");
        export::end(span, Some("it ended without an answer"));
    }
}

/// The response in place of a panic. Its text is for the log, not for the client.
fn panicked(panic: &str, fields: &RequestFields) -> Response {
    let RequestFields { id, method, .. } = fields;
    tracing::error!(request_id = id.as_str(), %method, path = fields.path(), panic, "a handler panicked");
    let problem = Problem::new(Code::Internal, "the server failed; the request id finds it in the log");
    let mut response = Response::new(Body::empty());
    problem.write(&mut response, id);
    response
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text").to_owned()
}
