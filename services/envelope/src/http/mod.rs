//! The server's routes: parse, call the verb, answer.

pub mod dev;
pub mod envelopes;
pub mod openapi;
pub mod operator;
pub mod wallet;
pub mod world;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use hongbao_http::Verifier;

pub use dev::DevCalls;

use crate::server::Server;

/// What the handlers take from; which server, says [`world::Here`] alone.
#[derive(Clone)]
pub struct App {
    /// The verbs.
    pub server: Arc<Server>,
    /// The verbs of the rehearsal, over stores, a wallet and caches of its own;
    /// `None` where none is taken.
    pub rehearsal: Option<Arc<Server>>,
    /// Checks tokens where no gateway in the same process has done so.
    pub verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

/// The routes of the contract. `dev` adds the calls that only a development
/// service has; without it they do not exist, except that a rehearsal may always
/// make the money that it plays with.
pub fn routes(app: App, dev: Option<DevCalls>) -> Router {
    let routes = Router::new()
        .route("/v1/envelopes/{id}/grab", post(envelopes::grab))
        .route("/v1/envelopes/{id}/open", post(envelopes::open))
        .route("/v1/envelopes/{id}/pay", post(envelopes::pay))
        .route("/v1/envelopes/{id}", get(envelopes::detail))
        .route("/v1/envelopes", post(envelopes::create))
        .route("/v1/wallet", get(wallet::balance))
        .route("/v1/wallet/transfers", get(wallet::transfers))
        .route("/v1/wallet/envelopes", get(wallet::envelopes))
        .route("/v1/operator/permits", get(operator::permits).put(operator::set_permits))
        .route("/openapi.json", get(openapi::document))
        .with_state(app.clone());
    match dev {
        Some(calls) => routes.merge(dev::routes(app, calls)),
        None if app.rehearsal.is_some() => routes.merge(dev::routes_of_rehearsal(app)),
        None => routes,
    }
}
