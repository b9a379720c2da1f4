//! Limits of users against a model, under a seeded list of payments, charges and their answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hongbao_core::order::Answer;
use hongbao_core::{Order, OrderId, OrderKind, OrderState, TransferOutcome, UserLimit};
use hongbao_wallet::{OrderOpening, Wallet};

use super::books::Dice;
use super::limits::{opened, paid, sent, settle, succeeded};
use super::{NOON, envelope, fen, one, send, top_up, user};

const SEED: u64 = 20_261_128;
const STEPS: usize = 250;
const ENVELOPES: u64 = 40;
const FEN_MAX: i64 = 300;

/// What is to be expected of the wallet.
#[derive(Default)]
struct Model {
    /// Envelopes that are counted, by number.
    counted: HashSet<u64>,
    paid: HashSet<u64>,
    /// Charges that are not over, by the number of their envelope; and envelopes whose charge has succeeded.
    charges: HashMap<u64, Order>,
    charged: HashSet<u64>,
}

impl Model {
    /// Whether one more leaves the day within its limit.
    fn has_room(&self, number: u64) -> bool {
        self.counted.iter().copied().chain([number]).map(amount).sum::<i64>() <= FEN_MAX
    }

    fn payment(&mut self, number: u64) -> TransferOutcome {
        match number {
            _ if self.paid.contains(&number) => TransferOutcome::AlreadyDone,
            _ if !self.counted.contains(&number) && !self.has_room(number) => {
                TransferOutcome::LimitExceeded(UserLimit::SentFenADay)
            }
            _ => {
                self.paid.insert(number);
                self.counted.insert(number);
                TransferOutcome::Done
            }
        }
    }
}

/// The amount of an envelope.
fn amount(number: u64) -> i64 {
    7 + number as i64 % 5 * 9
}

/// In whatever order envelopes are paid, charged for, and their charges answered: what is paid and what may still be
/// paid by a charge never exceeds the limit, and leaves no room unused.
pub async fn the_count_of_a_day_is_what_is_paid_and_what_its_charges_may_pay(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 100_000)).await;
    let (mut dice, mut model, mut refused) = (Dice(SEED), Model::default(), 0);
    for step in 0..STEPS {
        let number = dice.roll(ENVELOPES);
        match dice.roll(4) {
            0 => {
                let outcome = paid(&wallet, send(number, "ann", amount(number)), sent(FEN_MAX)).await;
                assert_eq!(outcome, model.payment(number), "step {step}");
                refused += u32::from(matches!(outcome, TransferOutcome::LimitExceeded(_)));
            }
            1 | 2 => {
                let charge = charge_of(step, number);
                let opening = opened(&wallet, &charge, sent(FEN_MAX)).await;
                let is_known = model.charges.contains_key(&number) || model.charged.contains(&number);
                match opening {
                    OrderOpening::Exists(_) => assert!(is_known, "step {step}"),
                    OrderOpening::EnvelopePaid => assert!(!is_known && model.paid.contains(&number), "step {step}"),
                    OrderOpening::LimitExceeded(_) => {
                        assert!(!is_known && !model.paid.contains(&number) && !model.has_room(number), "step {step}");
                        refused += 1;
                    }
                    OrderOpening::Opened(_) => {
                        assert!(!is_known && !model.paid.contains(&number) && model.has_room(number), "step {step}");
                        model.counted.insert(number);
                        let taken = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0);
                        model.charges.insert(number, taken.order);
                    }
                    other => panic!("step {step}: {other:?}"),
                }
            }
            _ => {
                let Some(charge) = model.charges.remove(&number) else { continue };
                let fails = dice.roll(3) > 0;
                let answer = match fails {
                    true => Answer::Failed { reason: "declined".to_owned() },
                    false => succeeded(amount(number)),
                };
                let (state, payment) = settle(&wallet, charge, answer, NOON).await;
                if fails {
                    assert_eq!(state, OrderState::Failed, "step {step}");
                    if !model.paid.contains(&number) {
                        model.counted.remove(&number);
                    }
                } else {
                    assert_eq!(payment, Some(model.payment(number)), "step {step}");
                    model.charged.insert(number);
                }
            }
        }
    }
    assert!(refused > 10 && model.paid.len() > 5, "{refused} refusals, {} paid", model.paid.len());
}

/// The charge of this step for an envelope.
fn charge_of(step: usize, number: u64) -> Order {
    let id = OrderId::mint(NOON.plus_millis(step as i64), [7; 10]);
    let order = Order::new(id, OrderKind::Charge, user("ann"), fen(amount(number)), NOON);
    Order { envelope: Some(envelope(number)), ..order }
}
