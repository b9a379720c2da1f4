//! The handlers of the calls that every service has. Routes and document come from
//! this one list, at the paths of the [table](hongbao_core::calls).

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::traffic::App;
use super::{envelopes, event_stream, events, freezes, operator, orders, wallet};

/// The calls that every service has, with their part of the document.
pub(super) fn calls() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(envelopes::grab))
        .routes(routes!(envelopes::open))
        .routes(routes!(envelopes::pay))
        .routes(routes!(envelopes::detail))
        .routes(routes!(envelopes::create))
        .routes(routes!(wallet::balance))
        .routes(routes!(wallet::transfers))
        .routes(routes!(wallet::envelopes))
        .routes(routes!(orders::charge, orders::charges))
        .routes(routes!(orders::show_charge))
        .routes(routes!(orders::payout, orders::payouts))
        .routes(routes!(orders::show_payout))
        .routes(routes!(orders::notification))
        .routes(routes!(events::events))
        .routes(routes!(event_stream::stream))
        .routes(routes!(operator::permits, operator::set_permits))
        .routes(routes!(freezes::frozen_users, freezes::set_frozen_user))
        .routes(routes!(freezes::freeze_log))
}
