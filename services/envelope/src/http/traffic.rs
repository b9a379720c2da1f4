//! Which server answers: the real one, or the one of the rehearsal.
//!
//! No handler can take a server but through [`SelectedServer`], so that none can forget to
//! look at the mark.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use hongbao_core::{Limits, Traffic};
use hongbao_http::mark::traffic_of;
use hongbao_http::problem::NO_SUCH_CALL;
use hongbao_http::{Code, Problem, Verifier};

use crate::server::Server;

/// What the handlers take from. Which server, says [`SelectedServer`] alone.
#[derive(Clone)]
pub struct App {
    real: Arc<Server>,
    rehearsal: Option<Arc<Server>>,
    verifier: Verifier,
}

impl App {
    /// Over the verbs of live traffic, and those of the rehearsal, whose stores,
    /// wallet and caches are its own; `None` where none is taken. The verifier
    /// checks tokens where no gateway in the same process has done so, and marks.
    pub fn new(real: Arc<Server>, rehearsal: Option<Arc<Server>>, verifier: Verifier) -> App {
        App { real, rehearsal, verifier }
    }

    /// Whether a request may be marked as a rehearsal.
    pub fn takes_rehearsals(&self) -> bool {
        self.rehearsal.is_some()
    }

    /// What a request may ask for; the same in both kinds of traffic.
    pub fn limits(&self) -> &Limits {
        self.real.limits()
    }

    /// The server of live traffic.
    pub(super) fn live(&self) -> &Arc<Server> {
        &self.real
    }

    /// What checks tokens.
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    fn traffic_of(&self, parts: &Parts) -> Result<Traffic, Problem> {
        traffic_of(&parts.headers, &self.verifier, self.takes_rehearsals())
    }
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

/// The server for the traffic that the request belongs to.
pub struct SelectedServer(pub Arc<Server>);

impl FromRequestParts<App> for SelectedServer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<SelectedServer, Problem> {
        match (app.traffic_of(parts)?, &app.rehearsal) {
            (Traffic::Live, _) => Ok(SelectedServer(app.real.clone())),
            (Traffic::Shadow, Some(server)) => Ok(SelectedServer(server.clone())),
            (Traffic::Shadow, None) => Err(Problem::new(Code::RehearsalOff, "there is no rehearsal")),
        }
    }
}

/// The server of the rehearsal; for a request without the mark the call does not exist.
pub struct ShadowOnly(pub Arc<Server>);

impl FromRequestParts<App> for ShadowOnly {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<ShadowOnly, Problem> {
        match (app.traffic_of(parts)?, &app.rehearsal) {
            (Traffic::Shadow, Some(server)) => Ok(ShadowOnly(server.clone())),
            _ => Err(Problem::new(Code::NotFound, NO_SUCH_CALL)),
        }
    }
}
