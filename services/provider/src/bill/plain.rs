//! The bill of Hongbao's provider protocol: CSV without quotes.
//!
//! The first line names the columns. Then comes a line for each charge, payout, refund and return of the day. The last
//! four lines are the totals, one of each kind in this order: `total`, the kind, the sum, the currency, the day, and
//! how many there are.
//!
//! ```text
//! number,kind,amount_fen,currency,time,reference
//! 0199…,charge,500,CNY,2026-11-28T02:00:00.000Z,sandbox-0199…
//! total,charge,500,CNY,20261128,1
//! total,payout,0,CNY,20261128,0
//! total,refund,0,CNY,20261128,0
//! total,return,0,CNY,20261128,0
//! ```

use std::fmt::Write as _;

use hongbao_core::Timestamp;
use hongbao_core::date::Date;

use super::{BadBill, Bill, BillKind, BillLine, Expected, Lines, fen_of, field};
use crate::wire::CURRENCY;

const COLUMNS: &str = "number,kind,amount_fen,currency,time,reference";

/// Writes a bill.
pub fn write(date: Date, lines: &[BillLine]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for BillLine { number, kind, amount_fen, at, reference } in lines {
        let _ = writeln!(text, "{number},{},{amount_fen},{CURRENCY},{at},{reference}", kind.name());
    }
    for kind in BillKind::ALL {
        let of_kind: Vec<i64> = lines.iter().filter(|line| line.kind == kind).map(|line| line.amount_fen).collect();
        let (sum, count) = (of_kind.iter().sum::<i64>(), of_kind.len());
        let _ = writeln!(text, "total,{},{sum},{CURRENCY},{date},{count}", kind.name());
    }
    text
}

/// Reads a bill, and checks that it is whole and in order.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(text: &str, expected: Expected) -> Result<Bill, BadBill> {
    let mut lines = Lines::new(expected);
    let mut totals = BillKind::ALL.into_iter();
    let mut last = 0;
    for (place, line) in text.split_inclusive('\n').enumerate().map(|(place, line)| (place + 1, line)) {
        last = place;
        // The last line ends with a line feed, too: without it a number could have lost its end.
        let line = line.strip_suffix('\n').ok_or(BadBill::CutOff { line: place })?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if place == 1 {
            if line != COLUMNS {
                return Err(BadBill::NoBill);
            }
            continue;
        }
        let fields: Vec<&str> = line.split(',').collect();
        let found = fields.len();
        let Ok([number, kind, amount, currency, time, reference]) = <[&str; 6]>::try_from(fields) else {
            return Err(BadBill::Fields { line: place, found, wanted: 6 });
        };
        if currency != CURRENCY {
            return Err(BadBill::ForeignCurrency { line: place, currency: crate::connect::shortened(currency) });
        }
        let amount_fen = field(place, "amount_fen", amount, fen_of(amount))?;
        let kind = field(place, "kind", kind, BillKind::parse(kind))?;
        if number == "total" {
            let wanted = totals.next().ok_or(BadBill::GoesOn { line: place })?;
            field(place, "kind", kind.name(), (kind == wanted).then_some(()))?;
            lines.is_of_day(place, field(place, "time", time, Date::parse(time))?)?;
            let count = field(place, "reference", reference, fen_of(reference))?;
            check_total(place, kind, (count, amount_fen), lines.sums(kind))?;
            continue;
        }
        if totals.len() < BillKind::ALL.len() {
            return Err(BadBill::GoesOn { line: place });
        }
        field(place, "number", number, (!number.is_empty()).then_some(()))?;
        let at = field(place, "time", time, Timestamp::parse_rfc3339(time))?;
        let (number, reference) = (number.to_owned(), reference.to_owned());
        lines.take(place, &number.clone(), BillLine { number, kind, amount_fen, at, reference })?;
    }
    match (last, totals.next()) {
        (0, _) => Err(BadBill::NoBill),
        (line, Some(_)) => Err(BadBill::CutOff { line }),
        (_, None) => Ok(Bill { date: expected.date, lines: lines.lines }),
    }
}

fn check_total(line: usize, kind: BillKind, said: (i64, i64), is: (i64, i64)) -> Result<(), BadBill> {
    let name = kind.name();
    for (what, said, is) in [("the number", said.0, is.0), ("the sum", said.1, is.1)] {
        if said != is {
            return Err(BadBill::WrongTotal { line, what: format!("{what} of {name}s"), said, is });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_795_831_200_000);
    const EXPECTED: Expected = Expected { date: Date::of(AT, 28_800), zone_offset_s: 28_800 };

    fn line(number: u8, kind: BillKind, amount_fen: i64) -> BillLine {
        let number = format!("{number:032x}");
        BillLine { reference: format!("sandbox-{number}"), number, kind, amount_fen, at: AT }
    }

    fn some() -> Vec<BillLine> {
        vec![
            line(1, BillKind::Charge, 500),
            line(2, BillKind::Charge, 7),
            line(3, BillKind::Payout, 30),
            line(3, BillKind::Return, 30),
            line(4, BillKind::Refund, 7),
        ]
    }

    fn whole() -> String {
        write(EXPECTED.date, &some())
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&whole(), EXPECTED).unwrap().lines, some());
        assert_eq!(read(&write(EXPECTED.date, &[]), EXPECTED).unwrap().lines, []);
        assert_eq!(read(&whole().replace('\n', "\r\n"), EXPECTED).unwrap().lines, some());
    }

    #[test]
    fn wherever_it_is_cut_off_it_is_refused() {
        let whole = whole();
        for end in 0..whole.len() {
            let error = read(&whole[..end], EXPECTED).unwrap_err();
            assert!(matches!(error, BadBill::CutOff { .. } | BadBill::NoBill), "{end}: {error}");
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_named_with_its_line() {
        let day = EXPECTED.date.to_string();
        let next = EXPECTED.date.plus_days(1).to_string();
        let second = whole().lines().nth(2).unwrap().to_owned();
        for (from, to, reason) in [
            ("total,charge,507", "total,charge,508", "line 7: the sum of charges is said to be 508, and is 507"),
            (&*format!("{day},2\n"), &*format!("{day},3\n"), "line 7: the number of charges is said to be 3, and is 2"),
            (",500,CNY", ",499,CNY", "line 7: the sum of charges is said to be 507, and is 506"),
            (",500,CNY", ",500,USD", "line 2: the currency is \"USD\", and not CNY"),
            ("total,refund,7,CNY", "total,refund,7,EUR", "line 9: the currency is \"EUR\""),
            ("total,charge", &format!("{second}\ntotal,charge"), "stands on line 3 already"),
            (&day, &next, "this is of"),
            ("2026-11-28T", "2026-11-27T", "line 2: this is of 20261127"),
            (",500,", ",-500,", "line 2: amount_fen cannot be read: \"-500\""),
            (",500,", ",5e2,", "line 2: amount_fen"),
            (",500,", ",,", "line 2: amount_fen"),
            (",charge,500", ",gift,500", "line 2: kind cannot be read: \"gift\""),
            (",500,CNY,", ",500,CNY,,", "line 2: 7 fields instead of 6"),
            ("total,payout", "total,charge", "line 8: kind cannot be read"),
            ("number,kind", "kind,number", "line 1: this is no bill"),
        ] {
            let text = whole().replacen(from, to, 1);
            assert_ne!(text, whole(), "{from}");
            let error = read(&text, EXPECTED).unwrap_err().to_string();
            assert!(error.contains(reason), "{from} -> {to}: {error}");
        }
        let more = format!("{}{second}\n", whole());
        assert_eq!(read(&more, EXPECTED), Err(BadBill::GoesOn { line: 11 }));
        let more = format!("{}total,return,30,CNY,{day},1\n", whole());
        assert_eq!(read(&more, EXPECTED), Err(BadBill::GoesOn { line: 11 }));
    }
}
