//! What is asked next about an order, and what an answer makes of it: pure, so that every case can be tested.

use super::{Answer, Attention, Happened, Order, OrderKind, OrderState, Request};
use crate::limits::{
    ACTION_URL_CHARS_MAX, ORDER_ATTENTION_AFTER_MS, ORDER_INTERVAL_MS, ORDER_INTERVALS_S, PAYOUT_RETURN_EVERY_MS,
    PAYOUT_RETURN_WITHIN_MS, PROVIDER_CLOCK_APART_MS_MAX, PROVIDER_FAILURE_CHARS_MAX, PROVIDER_REFERENCE_CHARS_MAX,
    PROVIDER_REQUEST_AGE_MS_MAX,
};
use crate::time::Timestamp;

impl Order {
    /// Marks an order that is due as taken up: what is to be asked, and the order as it is stored before that.
    ///
    /// A request that is sent is stored as sent first, since nothing tells later whether it was. Beyond `close_at`
    /// nothing is sent any more, so `sent_at` tells from when on no request can be under way.
    pub fn take_up(&self, now: Timestamp, claim_ms: i64) -> (Request, Order) {
        let mut order = Order { due_at: Some(now.plus_millis(claim_ms)), ..self.clone() };
        order.attempts = self.attempts.saturating_add(1);
        if !self.state.is_final() && now.millis_since(self.created_at) > ORDER_ATTENTION_AFTER_MS {
            order.attention = self.attention.or(Some(Attention::Overdue));
        }
        if self.state.is_final() {
            return (Request::Query, order);
        }
        if now >= self.close_at {
            order.state = OrderState::Closing;
            return (Request::Close, order);
        }
        let request = if self.sent_at.is_none() { Request::Send } else { Request::Query };
        if self.state == OrderState::Created {
            // A query that finds nothing sends it again.
            order.sent_at = Some(now);
        }
        (request, order)
    }

    /// What an answer makes of an order that was [taken up](Order::take_up). `None` is no answer, or one that says
    /// nothing about the outcome.
    pub fn answered(&self, answer: Option<Answer>, now: Timestamp) -> Order {
        let mut order = Order { due_at: Some(self.asked_next(now)), ..self.clone() };
        let has_come_back = matches!(answer, Some(Answer::Returned(_)));
        match answer {
            None => {}
            Some(Answer::Pending { action_url }) => order.is_pending(action_url),
            Some(Answer::NotFound) => order.is_not_found(now),
            Some(Answer::Failed { reason }) => order.has_failed(&reason),
            Some(Answer::Succeeded(happened)) => order.has_succeeded(happened),
            Some(Answer::Returned(happened)) => order.has_returned(happened),
        }
        if order.state.is_final() {
            order.due_at = if has_come_back && order.state == OrderState::Succeeded {
                // Each of the two is a step of its own.
                Some(now)
            } else {
                order.asked_for_again(now)
            };
        }
        order
    }

    fn is_pending(&mut self, action_url: Option<String>) {
        if self.state.is_final() {
            self.contradicted();
            return;
        }
        if self.state == OrderState::Created {
            (self.state, self.attempts) = (OrderState::Pending, 0);
        }
        let usable = action_url.filter(|url| url.len() <= ACTION_URL_CHARS_MAX && url.chars().all(is_plain));
        self.action_url = usable.or(self.action_url.take());
    }

    /// That the provider does not know it means something only when no request can be under way any more.
    fn is_not_found(&mut self, now: Timestamp) {
        let over_ms = PROVIDER_REQUEST_AGE_MS_MAX + PROVIDER_CLOCK_APART_MS_MAX;
        let is_over = self.sent_at.is_none_or(|sent_at| now.millis_since(sent_at) > over_ms);
        match self.state {
            OrderState::Closing if is_over => self.fail("never_received"),
            OrderState::Created | OrderState::Closing | OrderState::Failed => {}
            // It was there before.
            _ => self.contradicted(),
        }
    }

    fn has_failed(&mut self, reason: &str) {
        match self.state {
            OrderState::Failed => {}
            state if state.is_final() => self.contradicted(),
            _ => self.fail(reason),
        }
    }

    fn fail(&mut self, reason: &str) {
        self.state = OrderState::Failed;
        self.failure = Some(cut(reason, PROVIDER_FAILURE_CHARS_MAX));
    }

    fn has_succeeded(&mut self, Happened { amount, at, reference }: Happened) {
        match self.state {
            OrderState::Succeeded | OrderState::Returned if amount == self.amount => return,
            OrderState::Held => return,
            state if state.is_final() => return self.contradicted(),
            _ => {}
        }
        self.happened_at = Some(at);
        self.reference = Some(cut(&reference, PROVIDER_REFERENCE_CHARS_MAX));
        if amount == self.amount {
            self.state = OrderState::Succeeded;
        } else {
            (self.state, self.attention) = (OrderState::Held, Some(Attention::WrongAmount));
            self.failure = Some(format!("{}_fen_instead_of_{}", amount.get(), self.amount.get()));
        }
    }

    /// One that came back before we knew that it had succeeded has succeeded first.
    fn has_returned(&mut self, happened: Happened) {
        match self.state {
            OrderState::Returned => {}
            OrderState::Failed | OrderState::Held => self.contradicted(),
            OrderState::Succeeded if self.kind == OrderKind::Payout && happened.amount == self.amount => {
                self.state = OrderState::Returned;
                self.failure = Some("returned".to_owned());
            }
            OrderState::Succeeded => self.contradicted(),
            OrderState::Created | OrderState::Pending | OrderState::Closing => {
                self.has_succeeded(happened);
            }
        }
    }

    fn contradicted(&mut self) {
        self.attention = self.attention.or(Some(Attention::Contradicted));
    }

    /// A payout may be returned long after it succeeded. Of the rest nothing more is expected.
    fn asked_for_again(&self, now: Timestamp) -> Option<Timestamp> {
        let is_paid_out = self.state == OrderState::Succeeded && self.kind == OrderKind::Payout;
        let ends_at = self.happened_at?.plus_millis(PAYOUT_RETURN_WITHIN_MS);
        let next = now.plus_millis(PAYOUT_RETURN_EVERY_MS);
        (is_paid_out && next < ends_at).then_some(next)
    }

    /// When to ask again after so many requests without progress, and not later than it is to be closed.
    fn asked_next(&self, now: Timestamp) -> Timestamp {
        let place = usize::try_from(self.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let interval_ms = match ORDER_INTERVALS_S.get(place) {
            Some(seconds) => seconds * 1_000,
            None => {
                (now.millis_since(self.created_at) / 10).clamp(*ORDER_INTERVAL_MS.start(), *ORDER_INTERVAL_MS.end())
            }
        };
        let next = now.plus_millis(interval_ms);
        if now < self.close_at { next.min(self.close_at) } else { next }
    }
}

/// What a provider writes, as far as it is stored: characters that end no literal, and no more than there is room for.
fn cut(text: &str, chars_max: usize) -> String {
    text.chars().filter(|char| is_plain(*char)).take(chars_max).collect()
}

fn is_plain(char: char) -> bool {
    (char.is_ascii_graphic() || char == ' ') && !matches!(char, '\'' | '"' | '\\')
}
