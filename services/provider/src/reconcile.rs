//! Reconciliation: a bill against our orders, by number and in both directions.
//!
//! It reads nothing itself. The caller hands in the orders that happened on the day ([`Reconciliation::take`]), then
//! those that the bill names besides ([`Reconciliation::named`], [`Reconciliation::look_up`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hongbao_core::date::Date;
use hongbao_core::{Fen, Order, OrderId, OrderState, Timestamp};
use serde::Serialize;

use crate::bill::{Bill, BillKind, BillLine};

/// How bill and books differ about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// It happened by our books, and the bill does not have it.
    MissingAtProvider,
    /// The bill has it, and there is no such order.
    MissingInBooks,
    /// Both have it, with other amounts.
    AmountDiffers,
    /// Both have it, and one of them as another kind.
    KindDiffers,
    /// It failed or has not come back by our books, and the bill says otherwise.
    StateDiffers,
    /// Both have it, on other days.
    DateDiffers,
    /// The bill has it, and we do not know its outcome yet.
    Unfinished,
}

impl DifferenceKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            DifferenceKind::MissingAtProvider => "missing_at_provider",
            DifferenceKind::MissingInBooks => "missing_in_books",
            DifferenceKind::AmountDiffers => "amount_differs",
            DifferenceKind::KindDiffers => "kind_differs",
            DifferenceKind::StateDiffers => "state_differs",
            DifferenceKind::DateDiffers => "date_differs",
            DifferenceKind::Unfinished => "unfinished",
        }
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How they differ.
    pub kind: DifferenceKind,
    /// The number of the order.
    pub number: String,
    /// What happened.
    pub of: BillKind,
    /// What the bill says that was moved.
    pub billed_fen: Option<i64>,
    /// What our order asked for.
    pub booked_fen: Option<i64>,
    /// When it happened: by the bill, if that has it.
    pub at: Timestamp,
    /// Milliseconds since then.
    pub age_ms: i64,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { kind, number, of, billed_fen, booked_fen, at, age_ms, detail } = self;
        let yuan = |fen: &Option<i64>| fen.and_then(Fen::new).map_or_else(|| "-".to_owned(), |fen| fen.to_string());
        write!(
            f,
            "{} {} {number} bill {} books {} at {at} ({} h ago): {detail}",
            kind.name(),
            of.name(),
            yuan(billed_fen),
            yuan(booked_fen),
            age_ms / 3_600_000
        )
    }
}

/// What a reconciliation has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The day, `20261128`.
    pub date: String,
    /// Lines of the bill.
    pub lines: u64,
    /// What they come to, by kind, in fen.
    pub billed_fen: BTreeMap<&'static str, i64>,
    /// Orders that happened on the day by our books.
    pub orders: u64,
    /// Lines that are as our books say.
    pub matched: u64,
    /// All others, the oldest first.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Reconciled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reconciled { date, lines, billed_fen, orders, matched, differences } = self;
        for difference in differences {
            writeln!(f, "DIFFERS  {difference}")?;
        }
        write!(f, "bill     of {date}: {lines} lines")?;
        for (kind, fen) in billed_fen {
            write!(f, ", {kind}s {}", Fen::new(*fen).unwrap_or_default())?;
        }
        writeln!(f)?;
        writeln!(f, "books    {orders} orders that happened on that day")?;
        match differences.len() {
            0 => write!(f, "verdict  all {matched} lines are as the books say, and nothing is missing"),
            1 => write!(f, "verdict  1 difference, {matched} lines are as the books say"),
            more => write!(f, "verdict  {more} differences, {matched} lines are as the books say"),
        }
    }
}

/// A reconciliation under way.
pub struct Reconciliation {
    date: Date,
    zone_offset_s: i32,
    lines: BTreeMap<(OrderId, BillKind), BillLine>,
    found: Reconciled,
    now: Timestamp,
}

impl Reconciliation {
    /// Begins with a bill whose days are those of a zone.
    pub fn new(bill: Bill, zone_offset_s: i32, now: Timestamp) -> Reconciliation {
        let mut billed_fen: BTreeMap<_, _> = BillKind::ALL.iter().map(|kind| (kind.name(), 0)).collect();
        for line in &bill.lines {
            *billed_fen.entry(line.kind.name()).or_default() += line.amount_fen;
        }
        let mut this = Reconciliation {
            date: bill.date,
            zone_offset_s,
            lines: BTreeMap::new(),
            found: Reconciled {
                date: bill.date.to_string(),
                lines: bill.lines.len() as u64,
                billed_fen,
                orders: 0,
                matched: 0,
                differences: Vec::new(),
            },
            now,
        };
        for line in bill.lines {
            match OrderId::parse_number(&line.number) {
                Some(id) => drop(this.lines.insert((id, line.kind), line)),
                None => this.missing_in_books(&line, "its number is none of ours"),
            }
        }
        this
    }

    /// An order that happened on the day by our books.
    pub fn take(&mut self, order: &Order) {
        self.found.orders += 1;
        let kind = BillKind::of(order.kind);
        match self.lines.remove(&(order.id, kind)) {
            Some(line) => self.compare(order, &line),
            None => {
                let at = order.happened_at.unwrap_or(order.created_at);
                let detail = "it happened by our books, and the bill does not have it";
                self.differ(
                    DifferenceKind::MissingAtProvider,
                    order.id.number(),
                    (kind, None, Some(order)),
                    at,
                    detail,
                );
            }
        }
        if let Some(line) = self.lines.remove(&(order.id, BillKind::Return)) {
            self.compare_return(order, &line);
        }
    }

    /// What the bill names besides.
    pub fn named(&self) -> Vec<OrderId> {
        let ids: BTreeSet<OrderId> = self.lines.keys().map(|(id, _)| *id).collect();
        ids.into_iter().collect()
    }

    /// An order that the bill names, and that did not happen on the day by our books.
    pub fn look_up(&mut self, order: &Order) {
        let keys: Vec<_> = self.lines.keys().filter(|(id, _)| *id == order.id).copied().collect();
        for key in keys {
            let Some(line) = self.lines.remove(&key) else { continue };
            match line.kind {
                BillKind::Return => self.compare_return(order, &line),
                _ => self.compare(order, &line),
            }
        }
    }

    /// What was found, once all orders are handed in.
    pub fn finish(mut self) -> Reconciled {
        for line in std::mem::take(&mut self.lines).into_values() {
            self.missing_in_books(&line, "there is no order under this number");
        }
        self.found.differences.sort_by(|one, other| (one.at, &one.number).cmp(&(other.at, &other.number)));
        self.found
    }

    fn compare(&mut self, order: &Order, line: &BillLine) {
        use DifferenceKind::{AmountDiffers, DateDiffers, KindDiffers, StateDiffers, Unfinished};
        let kind = BillKind::of(order.kind);
        let happened_on = order.happened_at.map(|at| Date::of(at, self.zone_offset_s));
        let (what, detail) = if line.kind != kind {
            (KindDiffers, format!("it is a {} in our books", kind.name()))
        } else if !order.state.is_final() {
            (Unfinished, "its outcome is not known yet: it is being asked for".to_owned())
        } else if order.state == OrderState::Failed {
            let why = order.failure.as_deref().unwrap_or("no reason is known");
            (StateDiffers, format!("it failed by our books: {why}"))
        } else if line.amount_fen != order.amount.get() {
            (AmountDiffers, "another amount was moved than was asked for".to_owned())
        } else if order.state == OrderState::Held {
            // Of the amount that was asked for, although we were given another one.
            (StateDiffers, format!("it is held: {}", order.failure.as_deref().unwrap_or("no reason is known")))
        } else if happened_on != Some(self.date) {
            let date = happened_on.map_or_else(|| "an unknown day".to_owned(), |date| date.to_string());
            (DateDiffers, format!("it happened on {date} by our books"))
        } else {
            self.found.matched += 1;
            return;
        };
        self.differ(what, line.number.clone(), (line.kind, Some(line), Some(order)), line.at, &detail);
    }

    /// When a payout came back our books do not say by the provider's clock: the line is all there is to compare.
    fn compare_return(&mut self, order: &Order, line: &BillLine) {
        let (what, detail) = match order.state {
            _ if BillKind::of(order.kind) != BillKind::Payout => {
                (DifferenceKind::KindDiffers, "it is no payout in our books")
            }
            OrderState::Returned if line.amount_fen != order.amount.get() => {
                (DifferenceKind::AmountDiffers, "another amount came back than was paid")
            }
            OrderState::Returned => {
                self.found.matched += 1;
                return;
            }
            state if !state.is_final() => (DifferenceKind::Unfinished, "we do not know its outcome yet"),
            _ => (DifferenceKind::StateDiffers, "it has not come back by our books"),
        };
        self.differ(what, line.number.clone(), (BillKind::Return, Some(line), Some(order)), line.at, detail);
    }

    fn missing_in_books(&mut self, line: &BillLine, detail: &str) {
        let about = (line.kind, Some(line), None);
        self.differ(DifferenceKind::MissingInBooks, line.number.clone(), about, line.at, detail);
    }

    fn differ(
        &mut self,
        kind: DifferenceKind,
        number: String,
        (of, line, order): (BillKind, Option<&BillLine>, Option<&Order>),
        at: Timestamp,
        detail: &str,
    ) {
        self.found.differences.push(Difference {
            kind,
            number,
            of,
            billed_fen: line.map(|line| line.amount_fen),
            booked_fen: order.map(|order| order.amount.get()),
            at,
            age_ms: self.now.millis_since(at),
            detail: detail.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::{OrderKind, UserId};

    use super::*;

    const ZONE: i32 = 28_800;
    const AT: Timestamp = Timestamp::from_millis(1_795_831_200_000);
    const NOW: Timestamp = AT.plus_millis(26 * 3_600_000);

    fn order(number: u8, kind: OrderKind, fen: i64, state: OrderState) -> Order {
        let id = OrderId::mint(AT, [number; 10]);
        let order = Order::new(id, kind, UserId::parse("ann").unwrap(), Fen::new(fen).unwrap(), AT);
        Order { state, happened_at: Some(AT), ..order }
    }

    fn line(order: &Order, kind: BillKind) -> BillLine {
        let (number, amount_fen) = (order.id.number(), order.amount.get());
        BillLine { reference: format!("r-{number}"), number, kind, amount_fen, at: AT }
    }

    /// A day on which bill and books agree.
    fn day() -> (Vec<Order>, Vec<BillLine>) {
        use OrderState::{Returned, Succeeded};
        let orders = vec![
            order(1, OrderKind::Charge, 500, Succeeded),
            order(2, OrderKind::Charge, 7, Succeeded),
            order(3, OrderKind::Payout, 30, Succeeded),
            order(4, OrderKind::Payout, 40, Returned),
            order(5, OrderKind::Refund, 7, Succeeded),
        ];
        let mut lines: Vec<_> = orders.iter().map(|order| line(order, BillKind::of(order.kind))).collect();
        lines.push(line(&orders[3], BillKind::Return));
        (orders, lines)
    }

    /// As the command does it, where the wallet has these orders.
    fn reconciled(orders: &[Order], lines: Vec<BillLine>) -> Reconciled {
        let date = Date::of(AT, ZONE);
        let mut under_way = Reconciliation::new(Bill { date, lines }, ZONE, NOW);
        let is_of_day = |order: &&Order| {
            order.state.is_final()
                && order.state != OrderState::Failed
                && order.happened_at.is_some_and(|at| Date::of(at, ZONE) == date)
        };
        orders.iter().filter(is_of_day).for_each(|order| under_way.take(order));
        let named = under_way.named();
        orders.iter().filter(|order| named.contains(&order.id)).for_each(|order| under_way.look_up(order));
        under_way.finish()
    }

    #[test]
    fn a_day_on_which_both_agree_has_no_differences() {
        let (orders, lines) = day();
        let found = reconciled(&orders, lines);
        assert_eq!((found.differences.as_slice(), found.matched, found.orders, found.lines), (&[][..], 6, 5, 6));
        assert_eq!(found.billed_fen["charge"], 507);
        assert!(found.to_string().ends_with("verdict  all 6 lines are as the books say, and nothing is missing"));
        let empty = reconciled(&[], Vec::new());
        assert_eq!((empty.differences.len(), empty.matched), (0, 0));
    }

    #[test]
    fn each_injected_difference_is_named_and_nothing_else_is() {
        use DifferenceKind::*;
        type Inject = fn(&mut Vec<Order>, &mut Vec<BillLine>);
        let injected: [(DifferenceKind, u8, Inject); 14] = [
            (MissingAtProvider, 2, |_, lines| drop(lines.remove(1))),
            (MissingInBooks, 2, |orders, _| drop(orders.remove(1))),
            (AmountDiffers, 1, |_, lines| lines[0].amount_fen += 1),
            (AmountDiffers, 1, |orders, lines| (orders[0].state, lines[0].amount_fen) = (OrderState::Held, 250)),
            (AmountDiffers, 4, |_, lines| lines[5].amount_fen -= 1),
            (KindDiffers, 6, |orders, lines| {
                orders.push(order(6, OrderKind::Charge, 9, OrderState::Created));
                lines.push(line(&orders[5], BillKind::Payout));
            }),
            (KindDiffers, 6, |orders, lines| {
                orders.push(order(6, OrderKind::Charge, 9, OrderState::Created));
                lines.push(line(&orders[5], BillKind::Return));
            }),
            (StateDiffers, 3, |orders, _| orders[2].state = OrderState::Failed),
            (StateDiffers, 1, |orders, _| orders[0].state = OrderState::Held),
            (StateDiffers, 4, |orders, _| orders[3].state = OrderState::Succeeded),
            (DateDiffers, 1, |orders, _| orders[0].happened_at = Some(AT.plus_millis(-86_400_000))),
            (DateDiffers, 1, |orders, _| orders[0].happened_at = None),
            (Unfinished, 3, |orders, _| (orders[2].state, orders[2].happened_at) = (OrderState::Pending, None)),
            (Unfinished, 5, |orders, _| (orders[4].state, orders[4].happened_at) = (OrderState::Closing, None)),
        ];
        for (place, (kind, number, inject)) in injected.into_iter().enumerate() {
            let (mut orders, mut lines) = day();
            inject(&mut orders, &mut lines);
            let found = reconciled(&orders, lines);
            let named: Vec<_> = found.differences.iter().map(|found| (found.kind, found.number.clone())).collect();
            let number = OrderId::mint(AT, [number; 10]).number();
            assert_eq!(named, [(kind, number)], "case {place}: {found}");
        }
    }

    #[test]
    fn a_payout_that_comes_back_on_another_day_is_on_two_bills() {
        let (mut orders, _) = day();
        orders[3].happened_at = Some(AT.plus_millis(-3 * 86_400_000));
        let found = reconciled(&orders[3..4], vec![line(&orders[3], BillKind::Return)]);
        assert_eq!((found.differences.len(), found.matched), (0, 1), "{found}");
    }

    #[test]
    fn numbers_that_are_not_ours_are_listed_and_the_oldest_comes_first() {
        let (orders, mut lines) = day();
        let strange = |number: &str, millis| {
            let number = number.to_owned();
            BillLine { number, at: AT.plus_millis(millis), ..line(&orders[0], BillKind::Charge) }
        };
        lines.push(strange("SHOP-2", -1_000));
        lines.push(strange("SHOP-1", -2_000));
        let found = reconciled(&orders, lines);
        let numbers: Vec<_> = found.differences.iter().map(|found| found.number.as_str()).collect();
        assert_eq!(numbers, ["SHOP-1", "SHOP-2"]);
        let shown = found.to_string();
        assert!(shown.starts_with("DIFFERS  missing_in_books charge SHOP-1 bill 5.00 books - at "), "{shown}");
        assert!(shown.contains("(26 h ago): its number is none of ours"), "{shown}");
        assert!(shown.ends_with("verdict  2 differences, 6 lines are as the books say"), "{shown}");
    }
}
