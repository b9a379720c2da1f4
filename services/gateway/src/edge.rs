//! What every request passes before it reaches a server.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hongbao_core::{Clock, EnvelopeId};
use hongbao_http::{Caller, Code, Problem, Verifier};
use http::Method;

use crate::rate::UserRates;

/// Calls that need a token start with this.
const API: &str = "/v1/";
/// The one call of the API that hands out tokens.
const DEV_TOKEN: &str = "/v1/dev/token";
/// The call that makes an envelope.
const CREATE: &str = "/v1/envelopes";

/// The edge: a layer in front of the server's routes.
pub struct Edge {
    /// Checks tokens.
    pub verifier: Verifier,
    /// Counts the requests of each user; `None` when rates are not limited.
    pub rates: Option<Arc<UserRates>>,
    /// Dates the ids.
    pub clock: Arc<dyn Clock>,
}

impl Edge {
    /// Names the caller, counts the request, and gives a new envelope its id.
    fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        let path = request.uri().path();
        if !path.starts_with(API) || path == DEV_TOKEN {
            return Ok(());
        }
        let creates = path == CREATE && request.method() == Method::POST;
        let caller: Caller = self.verifier.verify_headers(request.headers())?;
        if let Some(rates) = &self.rates {
            rates.admit(&caller.user).map_err(|wait_s| {
                Problem::new(Code::RateLimited, "you ask more often than a user may").retry_after_s(wait_s)
            })?;
        }
        if creates {
            request.extensions_mut().insert(self.mint()?);
        }
        request.extensions_mut().insert(caller);
        Ok(())
    }

    fn mint(&self) -> Result<EnvelopeId, Problem> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|_| Problem::new(Code::Unavailable, "no randomness to be had"))?;
        Ok(EnvelopeId::mint(self.clock.now(), random))
    }
}

/// The layer, for `axum::middleware::from_fn_with_state`.
pub async fn edge(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    match edge.admit(&mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}
