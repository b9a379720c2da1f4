//! Send, grab, open, look.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::RequestPartsExt as _;
use axum::extract::{FromRef as _, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hongbao_core::calls::Call;
use hongbao_core::field::Number;
use hongbao_core::request::CreateEnvelope;
use hongbao_core::wire::{Detail, EnvelopeView, GrabAnswer, OpenRequest, Outcome, PayFrom, PayRequest, UnpaidEnvelope};
use hongbao_core::{EnvelopeId, Seed, limits};
use hongbao_http::{Caller, Code, Json, NoQuery, Problem, Query, Verifier, hop, json_response, parse, read_body};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::App;
use super::request_key::KeyInHeader;
use super::traffic::SelectedServer;
use crate::refusal::Refusal;
use crate::server::{self, PaidFromProvider};

/// The `{id}` of a path. Whatever is not an envelope's id names no envelope.
pub struct IdInPath(EnvelopeId);

impl<S: Send + Sync> FromRequestParts<S> for IdInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdInPath, Problem> {
        let id = parts.extract::<Path<String>>().await.ok();
        id.and_then(|Path(text)| EnvelopeId::parse(&text)).map(IdInPath).ok_or_else(|| Refusal::NotFound.into())
    }
}

/// The id of a new envelope: minted by the edge, in this process or in a gateway,
/// or else here.
pub struct NewId(EnvelopeId);

impl FromRequestParts<App> for NewId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<NewId, Problem> {
        if let Some(minted) = parts.extensions.get::<EnvelopeId>() {
            return Ok(NewId(*minted));
        }
        if let Some(text) = parts.headers.get(hop::ENVELOPE_ID) {
            let id = text.to_str().ok().and_then(EnvelopeId::parse);
            return id.map(NewId).ok_or_else(|| Refusal::NotFound.into());
        }
        let SelectedServer(server) = SelectedServer::from_request_parts(parts, app).await?;
        Ok(NewId(server.mint(|| {
            let mut random = [0; 10];
            getrandom::fill(&mut random).map_err(|error| Refusal::Unavailable(error.to_string()))?;
            Ok(random)
        })?))
    }
}

/// The server and the envelope of an opening that has room in its lane, or needs
/// none: whether it has is found out before the body is read or anything hashed.
/// Of a token only what is remembered counts.
pub struct Room(Arc<server::Server>, EnvelopeId);

impl FromRequestParts<App> for Room {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Room, Problem> {
        let SelectedServer(server) = SelectedServer::from_request_parts(parts, app).await?;
        let IdInPath(id) = IdInPath::from_request_parts(parts, app).await?;
        server.check_room(id, || {
            let caller = parts.extensions.get::<Caller>().cloned();
            let caller = caller.or_else(|| Verifier::from_ref(app).remembered(&parts.headers));
            caller.map(|caller| caller.user)
        })?;
        Ok(Room(server, id))
    }
}

/// How long the caller still waits, as a gateway says.
pub struct TimeLeft(Option<Duration>);

impl<S: Send + Sync> FromRequestParts<S> for TimeLeft {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<TimeLeft, Infallible> {
        Ok(TimeLeft(hop::time_left(&parts.headers)))
    }
}

pub(super) fn caller_of(caller: &Caller) -> server::Caller<'_> {
    server::Caller { user: &caller.user, groups: &caller.groups, class: caller.class.as_ref() }
}

/// Make an envelope.
///
/// It must be paid before it can be opened. Under an `Idempotency-Key` it is made once, however often it is asked for.
#[utoipa::path(post, path = Call::Create.path(), operation_id = "createEnvelope", tag = "envelopes",
    request_body = CreateEnvelope,
    responses((status = 201, description = "The envelope, which is not paid yet.", body = EnvelopeView)))]
pub async fn create(
    SelectedServer(server): SelectedServer,
    NewId(id): NewId,
    caller: Caller,
    _: NoQuery,
    KeyInHeader(key): KeyInHeader,
    Json(request): Json<CreateEnvelope>,
) -> Result<Response, Problem> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| Problem::new(Code::Unavailable, "no randomness to be had"))?;
    if let Some(span) = hongbao_trace::current() {
        span.record("envelope_id", id.to_string());
    }
    let envelope = match server.create(id, request, key, &caller_of(&caller), Seed::new(seed)).await {
        Err(Refusal::HeldElsewhere(first)) => return Ok(ask_the_owner_of(first)),
        made => made?,
    };
    if let Some(span) = hongbao_trace::current() {
        span.record("envelope_id", envelope.id.to_string());
    }
    Ok(json_response(StatusCode::CREATED, &envelope))
}

/// The answer that sends a gateway to the owner of another envelope; no client gets it from there.
fn ask_the_owner_of(first: EnvelopeId) -> Response {
    let mut response = Problem::from(Refusal::HeldElsewhere(first)).into_response();
    let id = HeaderValue::try_from(first.to_string()).expect("an id is made of hex digits and dashes");
    response.headers_mut().insert(hop::ENVELOPE_ID, id);
    response
}

/// Pay for an envelope.
///
/// From then on it can be opened. A repeat answers the same. From the provider it is paid by a charge: until that has
/// succeeded the answer is 202, with what the payer does to go on.
#[utoipa::path(post, path = Call::Pay.path(), operation_id = "payEnvelope", tag = "envelopes",
    params(("id" = String, Path, format = "uuid", description = "The envelope.")),
    request_body = PayRequest,
    responses((status = 200, description = "The envelope, which is paid.", body = EnvelopeView),
        (status = 202, description = "The envelope, whose charge is under way.", body = UnpaidEnvelope)))]
pub async fn pay(
    SelectedServer(server): SelectedServer,
    IdInPath(id): IdInPath,
    caller: Caller,
    _: NoQuery,
    OptionalBody(request): OptionalBody<PayRequest>,
) -> Result<Response, Problem> {
    match request.from {
        PayFrom::Balance => Ok(json_response(StatusCode::OK, &server.pay(id, &caller_of(&caller)).await?)),
        PayFrom::Provider => match server.pay_from_provider(id, &caller_of(&caller)).await? {
            PaidFromProvider::Paid(envelope) => Ok(json_response(StatusCode::OK, &envelope)),
            PaidFromProvider::Waits(unpaid) => Ok(json_response(StatusCode::ACCEPTED, &unpaid)),
        },
    }
}

/// A body that may be left out, which is then what its type is by default.
pub struct OptionalBody<T>(T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<OptionalBody<T>, Problem> {
        let body = read_body(request.into_body()).await?;
        if body.is_empty() { Ok(OptionalBody(T::default())) } else { parse(&body).map(OptionalBody) }
    }
}

/// Ask whether there is something to open.
///
/// Answers with a ticket, or with how it ended.
#[utoipa::path(post, path = Call::Grab.path(), operation_id = "grabEnvelope", tag = "envelopes",
    params(("id" = String, Path, format = "uuid", description = "The envelope.")),
    responses((status = 200, description = "A ticket, or how it ended.", body = GrabAnswer)))]
pub async fn grab(
    SelectedServer(server): SelectedServer,
    IdInPath(id): IdInPath,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &server.grab(id, &caller_of(&caller)).await?))
}

/// Take the next share.
///
/// Who has opened before is answered the same for ever.
#[utoipa::path(post, path = Call::Open.path(), operation_id = "openEnvelope", tag = "envelopes",
    params(("id" = String, Path, format = "uuid", description = "The envelope.")), request_body = OpenRequest,
    responses((status = 200, description = "How it ended.", body = Outcome)))]
pub async fn open(
    Room(server, id): Room,
    TimeLeft(time_left): TimeLeft,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<OpenRequest>,
) -> Result<Response, Problem> {
    let opening = server.open(id, &caller_of(&caller), &request.ticket, time_left).await?;
    let mut response = json_response(StatusCode::OK, &opening.outcome);
    if let Some(accepted) = opening.accepted {
        let accepted = HeaderValue::try_from(accepted.to_string()).expect("digits and a dash are a header's");
        response.headers_mut().insert(hop::ACCEPTED, accepted);
    }
    Ok(response)
}

/// Openings that a page may begin after.
pub(super) const AFTER_SEQ: RangeInclusive<u32> = 0..=u32::MAX;
/// Items that may be asked for on one page.
pub(super) const PAGE_LIMIT: RangeInclusive<u32> = 1..=limits::PAGE_MAX;

/// A page of openings.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DetailQuery {
    /// Openings after this one; 0 by default.
    #[param(value_type = Option<u32>)]
    after_seq: Option<String>,
    /// Openings on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// The envelope with its openings.
#[utoipa::path(get, path = Call::Detail.path(), operation_id = "getEnvelope", tag = "envelopes",
    params(("id" = String, Path, format = "uuid", description = "The envelope."), DetailQuery),
    responses((status = 200, description = "The envelope, and one page of its openings.", body = Detail)))]
pub async fn detail(
    SelectedServer(server): SelectedServer,
    IdInPath(id): IdInPath,
    caller: Caller,
    Query(query): Query<DetailQuery>,
) -> Result<Response, Problem> {
    let after_seq = number("after_seq", query.after_seq.as_deref(), 0, AFTER_SEQ)?;
    let limit = page_limit(query.limit.as_deref())?;
    Ok(json_response(StatusCode::OK, &server.detail(id, &caller_of(&caller), after_seq, limit).await?))
}

/// The `limit` of a page, within bounds.
pub(super) fn page_limit(asked: Option<&str>) -> Result<u32, Problem> {
    number("limit", asked, limits::PAGE_DEFAULT, PAGE_LIMIT)
}

/// A number of a query, within bounds.
fn number(name: &str, asked: Option<&str>, default: u32, bounds: RangeInclusive<u32>) -> Result<u32, Problem> {
    let Some(text) = asked else { return Ok(default) };
    let number = Number::of_text(text).check(name, (*bounds.start()).into()..=(*bounds.end()).into())?;
    Ok(u32::try_from(number).expect("the bounds that it was checked against are of u32"))
}
