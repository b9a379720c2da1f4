//! Asking a provider about an order that was taken up, and what comes of it.

use hongbao_core::Clock;
use hongbao_core::order::{Answer, Order, OrderState, Request};

use crate::port::{Provider, ProviderError};

/// Asks once; gives the order as it is to be stored. The order is one as it was stored before this.
///
/// What the provider does not know is sent again where it may still be sent: under its number, so that nothing happens
/// twice. An error says nothing about the outcome, so the order is asked for later.
pub async fn ask(provider: &dyn Provider, order: &Order, request: Request, clock: &dyn Clock) -> Order {
    let answered = match request {
        Request::Send => provider.send(order).await,
        Request::Close => provider.close(order).await,
        Request::Query => match provider.query(order).await {
            Ok(Answer::NotFound) if order.state == OrderState::Created => provider.send(order).await,
            answered => answered,
        },
    };
    let now = clock.now();
    match answered {
        Ok(answer) => {
            let after = order.answered(Some(answer), now);
            if after.state != order.state {
                tracing::info!(
                    order_id = %order.id, user_id = %order.user, kind = ?order.kind, state = ?after.state,
                    failure = after.failure.as_deref(), "the state of an order has changed"
                );
            }
            if after.attention.is_some() && after.attention != order.attention {
                tracing::error!(
                    order_id = %order.id, user_id = %order.user, kind = ?order.kind, state = ?after.state,
                    attention = ?after.attention, "an order needs a person to look at it"
                );
            }
            after
        }
        Err(error) => {
            tracing::warn!(order_id = %order.id, kind = ?order.kind, ?request, attempts = order.attempts, %error,
                "nothing is known of an order yet");
            let mut after = order.answered(None, now);
            if let ProviderError::RateLimited { retry_after_s } = error {
                let asked_to = now.plus_millis(i64::from(retry_after_s) * 1_000);
                after.due_at = after.due_at.max(Some(asked_to));
            }
            after
        }
    }
}
