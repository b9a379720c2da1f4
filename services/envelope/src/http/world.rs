//! Which server answers: the real one, or the one of the rehearsal.
//!
//! No handler can take a server but through [`Here`], so that none can forget to
//! look at the mark.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use hongbao_core::{Limits, World};
use hongbao_http::mark::world_of;
use hongbao_http::problem::NO_SUCH_CALL;
use hongbao_http::{Code, Problem, Verifier};

use crate::server::Server;

/// What the handlers take from. Which server, says [`Here`] alone.
#[derive(Clone)]
pub struct App {
    real: Arc<Server>,
    rehearsal: Option<Arc<Server>>,
    verifier: Verifier,
}

impl App {
    /// Over the verbs of the real world, and those of the rehearsal, whose stores,
    /// wallet and caches are its own; `None` where none is taken. The verifier
    /// checks tokens where no gateway in the same process has done so, and marks.
    pub fn new(real: Arc<Server>, rehearsal: Option<Arc<Server>>, verifier: Verifier) -> App {
        App { real, rehearsal, verifier }
    }

    /// Whether a request may be marked as a rehearsal.
    pub fn takes_rehearsals(&self) -> bool {
        self.rehearsal.is_some()
    }

    /// What a request may ask for; the same in both worlds.
    pub fn limits(&self) -> &Limits {
        self.real.limits()
    }

    fn world_of(&self, parts: &Parts) -> Result<World, Problem> {
        world_of(&parts.headers, &self.verifier, self.takes_rehearsals())
    }
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

/// The server of the world that the request belongs to.
pub struct Here(pub Arc<Server>);

impl FromRequestParts<App> for Here {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Here, Problem> {
        match (app.world_of(parts)?, &app.rehearsal) {
            (World::Real, _) => Ok(Here(app.real.clone())),
            (World::Rehearsal, Some(server)) => Ok(Here(server.clone())),
            (World::Rehearsal, None) => Err(Problem::new(Code::RehearsalOff, "there is no rehearsal")),
        }
    }
}

/// The server of the rehearsal; for a request without the mark the call does not exist.
pub struct InRehearsal(pub Arc<Server>);

impl FromRequestParts<App> for InRehearsal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<InRehearsal, Problem> {
        match (app.world_of(parts)?, &app.rehearsal) {
            (World::Rehearsal, Some(server)) => Ok(InRehearsal(server.clone())),
            _ => Err(Problem::new(Code::NotFound, NO_SUCH_CALL)),
        }
    }
}
