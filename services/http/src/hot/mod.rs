//! The three calls that a peak consists of, grab, open and look, past hyper and axum.
//!
//! A connection begins here. A request that is exactly one of the three calls, whole in one
//! read and with no header that would change its answer, is answered at the price of a few
//! comparisons ([`request`]). With the first other one the connection goes to hyper, with the
//! bytes that were read, and stays there: hyper and the router are the contract, and here is
//! a copy of what they answer to the usual request, byte for byte. What is answered is decided
//! by the same functions ([`HotCalls`], and [`crate::Outer`] around them).

pub(crate) mod connection;
mod request;
mod response;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::hop::ACCEPTED;
use crate::json::{JSON, serialised};
use crate::problem::Problem;
use crate::request_id::RequestId;

/// One of the three calls, as it was read.
#[derive(Clone, Debug)]
pub struct HotRequest<'a> {
    /// [`Call::Grab`], [`Call::Open`], or [`Call::Detail`] without a query.
    pub call: Call,
    /// Its path.
    pub path: &'a str,
    /// The envelope in the path.
    pub id: EnvelopeId,
    /// The value of `Authorization`.
    pub authorization: &'a str,
    /// The token in it.
    pub token: &'a str,
    /// The body; of a grab it is not looked at, and a look has none.
    pub body: &'a [u8],
    /// The id that it came with; what answers it is given the one that it has now.
    pub request_id: Option<RequestId>,
    /// The value of `traceparent`.
    pub traceparent: Option<&'a [u8]>,
    /// How long the caller still waits, as a gateway says.
    pub time_left: Option<Duration>,
}

/// What is answered to one of them.
pub enum HotAnswer {
    /// 200.
    Found(Found),
    /// Anything else.
    Other(Response),
}

/// The answer 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// A JSON object.
    pub body: Vec<u8>,
    /// The value of `x-hongbao-accepted`: visible characters.
    pub accepted: Option<String>,
}

impl HotAnswer {
    /// 200 with this body; `accepted` is the value of `x-hongbao-accepted`.
    pub fn json(body: &impl serde::Serialize, accepted: Option<String>) -> HotAnswer {
        match serialised(body) {
            Ok(body) => HotAnswer::Found(Found { body, accepted }),
            Err(problem) => HotAnswer::from(problem),
        }
    }
}

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        if let Some(accepted) = self.accepted {
            response.headers_mut().insert(ACCEPTED, HeaderValue::try_from(accepted).expect("visible characters"));
        }
        response
    }
}

impl IntoResponse for HotAnswer {
    fn into_response(self) -> Response {
        match self {
            HotAnswer::Found(found) => found.into_response(),
            HotAnswer::Other(response) => response,
        }
    }
}

impl From<Problem> for HotAnswer {
    fn from(problem: Problem) -> HotAnswer {
        HotAnswer::Other(problem.into_response())
    }
}

/// An answer to come.
pub type Answering<'a> = Pin<Box<dyn Future<Output = HotAnswer> + Send + 'a>>;

/// What answers the three calls, or some of them: it checks all that a handler of the router would check.
pub trait HotCalls: Send + Sync + 'static {
    /// Whether it answers this call; the router answers the others.
    fn takes(&self, call: Call) -> bool;

    /// Answers one of them. Dropped, it may have happened all the same.
    fn answer<'a>(&'a self, request: HotRequest<'a>) -> Answering<'a>;
}

/// What a role serves.
#[derive(Clone)]
pub struct Routes {
    /// Every call.
    pub router: Router,
    /// The same answers to the calls of a peak; `None` where the router answers them.
    pub hot: Option<Arc<dyn HotCalls>>,
}

impl From<Router> for Routes {
    fn from(router: Router) -> Routes {
        Routes { router, hot: None }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Routes").field("router", &self.router).field("hot", &self.hot.is_some()).finish()
    }
}
