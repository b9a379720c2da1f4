//! Charge and payout: an order at the provider, stored before it is sent.
//!
//! The server that makes an order sends it at once, on a task of its own, so that the client learns where the payer
//! goes on. Whatever becomes of that, the order is stored, and a worker drives it to its end.

use hongbao_core::limits::{ID_AGE_DAYS_MAX, ORDER_ANSWER_WITHIN, ORDER_CLAIM_MS};
use hongbao_core::order::Request;
use hongbao_core::wire::{EnvelopeView, OrderAction, OrderView, UnpaidEnvelope};
use hongbao_core::{Clock, EnvelopeId, Fen, KeyedRequest, Order, OrderId, OrderKind, Stage, TransferOutcome, UserId};
use hongbao_database::durably;
use hongbao_provider::{Payments, ask};
use hongbao_store::StoreError;
use hongbao_wallet::{Changed, NewOrder, OrderChange, OrderOpening, Wallet, WalletError};

use super::{Caller, DAY_MS, Server, random, spawn_uncancellable};
use crate::refusal::Refusal;

/// How paying from the provider went.
pub enum PaidFromProvider {
    /// The envelope is paid.
    Paid(EnvelopeView),
    /// Its charge is under way.
    Waits(UnpaidEnvelope),
}

impl Server {
    /// Has the caller pay at the provider.
    pub async fn charge(
        &self,
        caller: &Caller<'_>,
        amount: Fen,
        request: Option<KeyedRequest>,
    ) -> Result<OrderView, Refusal> {
        self.order_of(OrderKind::Charge, caller, amount, request).await
    }

    /// Pays the caller at the provider, out of the balance.
    pub async fn payout(
        &self,
        caller: &Caller<'_>,
        amount: Fen,
        request: Option<KeyedRequest>,
    ) -> Result<OrderView, Refusal> {
        self.order_of(OrderKind::Payout, caller, amount, request).await
    }

    async fn order_of(
        &self,
        kind: OrderKind,
        caller: &Caller<'_>,
        amount: Fen,
        request: Option<KeyedRequest>,
    ) -> Result<OrderView, Refusal> {
        let (payments, user) = (self.payments()?, caller.user);
        let (order, has_key) = (self.new_order(kind, user, amount)?, request.is_some());
        let now = order.created_at;
        let quota = if kind == OrderKind::Payout { self.quota_of_payouts(caller, now) } else { None };
        let opened = self.parts.wallet.open_order(NewOrder { order, request, quota }).await.map_err(Refusal::from);
        let opening = opened.map_err(|refusal| if has_key { refusal } else { refusal.of_ordering_without_a_key() })?;
        if has_key {
            self.keyed.count_order(&opening);
        }
        match opening {
            OrderOpening::Opened(order) => {
                tracing::info!(order_id = %order.id, user_id = %user, kind = ?order.kind, "an order was made");
                let sent = self.send(payments, order).await?;
                Ok(OrderView::from(&sent.order))
            }
            // The first request sends it, or a worker.
            OrderOpening::Repeated(order) => Ok(OrderView::from(&order)),
            OrderOpening::KeyConflict => Err(Refusal::KeyConflict),
            OrderOpening::InsufficientFunds => Err(Refusal::InsufficientFunds),
            OrderOpening::Frozen => Err(Refusal::Frozen),
            OrderOpening::LimitExceeded(limit) => {
                Err(self.refusal_of_payment(Refusal::LimitExceeded { limit, resets_at: None }, quota, amount, now))
            }
            other => Err(Refusal::Internal(format!("a new order ended as {other:?}"))),
        }
    }

    /// One of the caller's orders.
    pub async fn order(&self, kind: OrderKind, caller: &Caller<'_>, id: OrderId) -> Result<OrderView, Refusal> {
        self.payments()?;
        let wallet = &*self.parts.wallet;
        let found = durably::<_, WalletError, _>(wallet, || wallet.order(caller.user, id)).await.map_err(reading)?;
        found.filter(|order| order.kind == kind).map(|order| OrderView::from(&*order)).ok_or(Refusal::NotFound)
    }

    /// The caller's orders of a kind before one, newest first.
    pub async fn orders(
        &self,
        kind: OrderKind,
        caller: &Caller<'_>,
        before: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<OrderView>, Refusal> {
        self.payments()?;
        let wallet = &*self.parts.wallet;
        let found = durably::<_, WalletError, _>(wallet, || async {
            Ok(Some(wallet.orders(caller.user, kind, before, limit).await?).filter(|orders| !orders.is_empty()))
        });
        let found = found.await.map_err(reading)?;
        Ok(found.map_or(Vec::new(), |orders| orders.iter().map(OrderView::from).collect()))
    }

    /// Pays for an envelope by a charge; a repeat answers how far it has come.
    pub async fn pay_from_provider(&self, id: EnvelopeId, caller: &Caller<'_>) -> Result<PaidFromProvider, Refusal> {
        let payments = self.payments()?;
        self.check_ours(id)?;
        let store = &self.parts.store;
        let found = durably::<_, StoreError, _>(&**store, || store.load(id)).await?.ok_or(Refusal::NotFound)?;
        let (envelope, fold) = &*found;
        if *caller.user != envelope.sender {
            return Err(Refusal::NotSender);
        }
        if envelope.stage != Stage::Created {
            return self.pay(id, caller).await.map(PaidFromProvider::Paid);
        }
        if envelope.id.minted_at() < self.parts.clock.now().plus_millis(-ID_AGE_DAYS_MAX * DAY_MS) {
            return Err(Refusal::Cancelled);
        }
        let view = EnvelopeView::new(envelope, fold, self.parts.clock.now());
        let charge = Order { envelope: Some(id), ..self.new_order(OrderKind::Charge, caller.user, envelope.total)? };
        let now = charge.created_at;
        let quota = self.quota_of_sending(caller, now);
        let sent = match self.parts.wallet.open_order(NewOrder { quota, ..charge.into() }).await? {
            OrderOpening::Opened(order) => {
                tracing::info!(order_id = %order.id, envelope_id = %id, user_id = %caller.user, "a charge was made");
                self.send(payments, order).await?
            }
            // It has paid for the envelope, or its money is in the balance.
            OrderOpening::Exists(order) if order.state.is_final() => {
                return self.pay(id, caller).await.map(PaidFromProvider::Paid);
            }
            OrderOpening::Exists(order) => Sent { order, payment: None },
            OrderOpening::EnvelopePaid => return self.pay(id, caller).await.map(PaidFromProvider::Paid),
            OrderOpening::EnvelopeCancelled => return Err(Refusal::Cancelled),
            OrderOpening::LimitExceeded(limit) => {
                let refusal = Refusal::LimitExceeded { limit, resets_at: None };
                return Err(self.refusal_of_payment(refusal, quota, envelope.total, now));
            }
            other => return Err(Refusal::Internal(format!("the charge for {id} ended as {other:?}"))),
        };
        if sent.payment == Some(TransferOutcome::Done) {
            return self.pay(id, caller).await.map(PaidFromProvider::Paid);
        }
        let Sent { order, .. } = sent;
        let action = OrderAction::of(&order);
        Ok(PaidFromProvider::Waits(UnpaidEnvelope { envelope: view, charge_id: order.id, action }))
    }

    /// The provider hints at an order: it is asked for at once.
    pub async fn hint(&self, id: OrderId) -> Result<(), Refusal> {
        let known = self.parts.wallet.hint(id, self.parts.clock.now()).await.map_err(reading)?;
        if !known {
            tracing::warn!(order_id = %id, "the provider notifies us of an order that is not ours");
        }
        Ok(())
    }

    /// The provider, for what it notifies us of.
    pub fn payments(&self) -> Result<&Payments, Refusal> {
        self.parts.payments.as_ref().ok_or(Refusal::NoProvider)
    }

    /// A new order that this server sends itself, and a worker only if it dies.
    fn new_order(&self, kind: OrderKind, user: &UserId, amount: Fen) -> Result<Order, Refusal> {
        let now = self.parts.clock.now();
        let order = Order::new(OrderId::mint(now, random()?), kind, user.clone(), amount, now);
        // Stored before the request: nothing tells later whether it was sent.
        Ok(Order { sent_at: Some(now), due_at: Some(now.plus_millis(ORDER_CLAIM_MS)), attempts: 1, ..order })
    }

    /// Sends an order that is stored; gives it as it is when there is an answer, or when that takes too long.
    async fn send(&self, payments: &Payments, order: Order) -> Result<Sent, Refusal> {
        let (payments, wallet, clock) = (payments.clone(), self.parts.wallet.clone(), self.parts.clock.clone());
        let unanswered = Sent { order: order.clone(), payment: None };
        let sending = spawn_uncancellable(async move { send_now(&payments, &*wallet, &*clock, order).await });
        match tokio::time::timeout(ORDER_ANSWER_WITHIN, sending).await {
            Ok(sent) => Ok(sent?.unwrap_or(unanswered)),
            // It goes on without the client.
            Err(_) => Ok(unanswered),
        }
    }
}

/// An order after its first request.
struct Sent {
    order: Order,
    /// What became of the payment for its envelope, if it succeeded at once.
    payment: Option<TransferOutcome>,
}

/// `None` where nothing is known of it yet, or a worker was faster.
async fn send_now(payments: &Payments, wallet: &dyn Wallet, clock: &dyn Clock, order: Order) -> Option<Sent> {
    let after = ask(&*payments.provider, &order, Request::Send, clock).await;
    let random = random().ok()?;
    let change = OrderChange::of(&order, after, payments.late_charges, clock.now(), random);
    match wallet.change_orders(vec![change]).await {
        Ok(mut changed) => match changed.pop()? {
            Changed::Done { order, payment } => Some(Sent { order: *order, payment }),
            Changed::Overtaken => None,
        },
        Err(error) => {
            tracing::warn!(order_id = %order.id, %error, "an answer about an order was not stored; a worker asks again");
            None
        }
    }
}

fn reading(error: WalletError) -> Refusal {
    Refusal::from(error).of_reading()
}
