//! What every request passes before it reaches a server.
//!
//! In the all-in-one process it is a layer; a gateway of its own calls it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hongbao_core::calls::Call;
use hongbao_core::{Clock, EnvelopeId, Traffic};
use hongbao_http::mark::{is_marked, traffic_of};
use hongbao_http::problem::NO_SUCH_CALL;
use hongbao_http::request_log::note_user;
use hongbao_http::{Caller, Code, Problem, Verifier, local};
use http::{HeaderMap, Method, Uri};

use crate::rate::UserRates;

/// Calls that need a token start with this.
const API: &str = "/v1/";
/// The calls of development start with this.
const DEV: &str = "/v1/dev/";

/// The edge: a layer in front of the server's routes.
pub struct Edge {
    /// Checks tokens.
    pub verifier: Verifier,
    /// Counts the requests of each user; `None` when rates are not limited.
    pub rates: Option<Arc<UserRates>>,
    /// How requests that are marked as a rehearsal are treated; `None` when none may be.
    pub rehearsal: Option<RehearsalEdge>,
    /// Whether the calls of development are offered.
    pub dev_calls: bool,
    /// Dates the ids.
    pub clock: Arc<dyn Clock>,
}

/// The edge of the rehearsal.
///
/// It counts apart: a rehearsal may borrow the names of real users, who must not
/// be refused because of it. The limits of a user are those
/// of live traffic, for they are part of what is rehearsed; what all of it may
/// ask for together has a limit of its own, so that it leaves room for the others.
pub struct RehearsalEdge {
    /// Counts the requests of each user; `None` when rates are not limited.
    pub rates: Option<Arc<UserRates>>,
}

/// What the edge found out about a request that may pass.
pub(crate) struct Admitted {
    /// The traffic that the request belongs to.
    pub(crate) traffic: Traffic,
    /// Who calls; `None` where no token is needed.
    pub(crate) caller: Option<Caller>,
    /// Whether the request makes an envelope, which then needs an id.
    pub(crate) creates: bool,
}

impl Edge {
    /// Names the caller and counts the request.
    pub(crate) fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Admitted, Problem> {
        let path = uri.path();
        if path.starts_with(DEV) {
            self.admit_to_dev_calls(uri, headers)?;
        }
        // The provider signs what it sends, and the server checks it.
        let has_no_token = path == Call::DevToken.path() || path == Call::ProviderNotification.path();
        if !path.starts_with(API) || has_no_token {
            return Ok(Admitted { traffic: Traffic::Live, caller: None, creates: false });
        }
        let caller: Caller = self.verifier.verify_headers(headers)?;
        note_user(&caller.user);
        let traffic = traffic_of(headers, &self.verifier, self.rehearsal.is_some())?;
        self.check_rate(&caller, traffic)?;
        let creates = path == Call::Create.path() && *method == Method::POST;
        Ok(Admitted { traffic, caller: Some(caller), creates })
    }

    /// The same for a grab, an opening or a look of live traffic: gives its caller.
    ///
    /// # Errors
    /// 401 if the token is not good, 429 if its user asks too often.
    pub fn admit_hot(&self, token: &str) -> Result<Caller, Problem> {
        let caller = self.verifier.verify(token)?;
        note_user(&caller.user);
        self.check_rate(&caller, Traffic::Live)?;
        Ok(caller)
    }

    fn check_rate(&self, caller: &Caller, traffic: Traffic) -> Result<(), Problem> {
        let rates = match traffic {
            Traffic::Live => self.rates.as_ref(),
            Traffic::Shadow => self.rehearsal.as_ref().and_then(|edge| edge.rates.as_ref()),
        };
        let Some(rates) = rates else { return Ok(()) };
        rates.admit(&caller.user).map_err(|limited| {
            let reason =
                if limited.everybody { "there are too many requests" } else { "you ask more often than a user may" };
            Problem::new(Code::RateLimited, reason).retry_after_s(limited.wait_s)
        })
    }

    /// Where they are not offered they do not exist: one of them needs
    /// no token, and would be a way past the rates; a rehearsal makes its own money. Where they are, no web page gets at them.
    fn admit_to_dev_calls(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if self.dev_calls {
            return local::check(uri, headers);
        }
        match uri.path() == Call::DevTopUp.path() && is_marked(headers) {
            true => Ok(()),
            false => Err(Problem::new(Code::NotFound, NO_SUCH_CALL)),
        }
    }

    fn mint(&self) -> Result<EnvelopeId, Problem> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|_| Problem::new(Code::Unavailable, "no randomness to be had"))?;
        Ok(EnvelopeId::mint(self.clock.now(), random))
    }
}

/// The layer, for `axum::middleware::from_fn_with_state`.
pub async fn edge(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let admitted = edge.admit(request.method(), request.uri(), request.headers()).and_then(|admitted| {
        // One SET holds all slots: any id will do.
        let minted = if admitted.creates { Some(edge.mint()?) } else { None };
        Ok((admitted.caller, minted))
    });
    let (caller, minted) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => return problem.into_response(),
    };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    if let Some(id) = minted {
        request.extensions_mut().insert(id);
    }
    next.run(request).await
}
