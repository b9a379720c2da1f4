//! The server's routes: parse, call the verb, answer.

pub mod dev;
pub mod envelopes;
pub mod event_stream;
pub mod events;
pub mod freezes;
mod handlers;
mod hot;
pub mod openapi;
pub mod operator;
pub mod orders;
mod page;
pub mod request_key;
pub mod traffic;
pub mod wallet;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
pub use dev::DevCalls;
use hongbao_core::calls::Call;
use hongbao_http::NoQuery;
pub use hot::LiveCalls;
use openapi::Document;
pub use openapi::Offer;
use page::Page;
pub use traffic::App;

/// The routes of the contract. `dev` adds the calls that only a development
/// service has; without it they do not exist, except that a rehearsal may always
/// make the money that it plays with.
pub fn routes(app: App, dev: Option<DevCalls>) -> Router {
    let offer = Offer {
        limits: app.limits(),
        takes_rehearsals: app.takes_rehearsals(),
        issues_tokens: dev.as_ref().is_some_and(|calls| calls.issuer.is_some()),
        makes_money: dev.is_some() || app.takes_rehearsals(),
        asked_directly: true,
        has_provider: app.live().payments().is_ok(),
    };
    let (document, page) = (Document::of(offer), Page::of(offer));
    let document = move |_: NoQuery, headers: HeaderMap| std::future::ready(document.answer(&headers));
    let page = move |_: NoQuery, headers: HeaderMap| std::future::ready(page.answer(&headers));
    let routes = Router::from(handlers::calls())
        .route(Call::Document.path(), get(document))
        .route(Call::Docs.path(), get(page))
        .with_state(app.clone());
    match dev {
        Some(calls) => routes.merge(dev::routes(app, calls)),
        None if app.takes_rehearsals() => routes.merge(dev::routes_of_rehearsal(app)),
        None => routes,
    }
}
