//! Which server answers: the real one, or the one of the rehearsal.
//!
//! No handler can take a server but through [`Here`], so that none can forget to
//! look at the mark.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use hongbao_core::World;
use hongbao_http::mark::world_of;
use hongbao_http::{Code, Problem};

use super::App;
use crate::refusal::Refusal;
use crate::server::Server;

/// The server of the world that the request belongs to.
pub struct Here(pub Arc<Server>);

impl FromRequestParts<App> for Here {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Here, Problem> {
        match (world_of(&parts.headers, &app.verifier, app.rehearsal.is_some())?, &app.rehearsal) {
            (World::Real, _) => Ok(Here(app.server.clone())),
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
        match (world_of(&parts.headers, &app.verifier, app.rehearsal.is_some())?, &app.rehearsal) {
            (World::Rehearsal, Some(server)) => Ok(InRehearsal(server.clone())),
            _ => Err(Refusal::NotFound.into()),
        }
    }
}
