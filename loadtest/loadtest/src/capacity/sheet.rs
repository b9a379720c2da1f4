//! Arithmetic that is printed line by line: name = formula = value unit, and where it comes from.

use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use hongbao_load::number;

/// A value, and the formula that it was worked out by: what is printed is what was computed.
#[derive(Clone, Debug)]
pub struct Term {
    value: f64,
    formula: String,
    rank: Rank,
}

/// How strongly the parts of a formula hold together.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Rank {
    Sum,
    Product,
    Atom,
}

/// A number as a term.
pub fn n(value: impl Into<f64>) -> Term {
    let value = value.into();
    Term::stated(value, figure(value))
}

impl Term {
    /// A value that was found by search, with what it had to fulfil.
    pub fn stated(value: f64, formula: String) -> Term {
        Term { value, formula, rank: Rank::Atom }
    }

    /// The least whole number that is no less.
    pub fn ceil(self) -> Term {
        Term::stated(self.value.ceil(), format!("ceil({})", self.formula))
    }

    /// The greatest of these, of which there is at least one.
    pub fn max(terms: &[Term]) -> Term {
        Term::chosen("max", terms, f64::max)
    }

    /// The least of these, of which there is at least one.
    pub fn min(terms: &[Term]) -> Term {
        Term::chosen("min", terms, f64::min)
    }

    fn chosen(name: &str, terms: &[Term], choose: fn(f64, f64) -> f64) -> Term {
        let value = terms.iter().map(|term| term.value).reduce(choose).expect("there is at least one");
        let formulas: Vec<&str> = terms.iter().map(|term| term.formula.as_str()).collect();
        Term::stated(value, format!("{name}({})", formulas.join(", ")))
    }

    fn join(self, sign: &str, other: Term, value: f64, rank: Rank, least_right: Rank) -> Term {
        let inside = |term: Term, least| if term.rank < least { format!("({})", term.formula) } else { term.formula };
        Term { value, formula: format!("{} {sign} {}", inside(self, rank), inside(other, least_right)), rank }
    }
}

impl Add for Term {
    type Output = Term;

    fn add(self, other: Term) -> Term {
        let value = self.value + other.value;
        self.join("+", other, value, Rank::Sum, Rank::Sum)
    }
}

impl Sub for Term {
    type Output = Term;

    fn sub(self, other: Term) -> Term {
        let value = self.value - other.value;
        self.join("-", other, value, Rank::Sum, Rank::Product)
    }
}

impl Mul for Term {
    type Output = Term;

    fn mul(self, other: Term) -> Term {
        let value = self.value * other.value;
        self.join("x", other, value, Rank::Product, Rank::Product)
    }
}

impl Div for Term {
    type Output = Term;

    fn div(self, other: Term) -> Term {
        let value = self.value / other.value;
        self.join("/", other, value, Rank::Product, Rank::Atom)
    }
}

/// One line.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    /// Empty for what was given.
    formula: String,
    value: f64,
    unit: &'static str,
    source: String,
}

/// Lines under headings, in the order in which they were worked out.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    parts: Vec<(&'static str, Vec<Line>)>,
    remarks: Vec<String>,
}

impl Sheet {
    /// What follows stands under this heading.
    pub fn heading(&mut self, text: &'static str) {
        self.parts.push((text, Vec::new()));
    }

    /// A value that was given, by a flag or by the run.
    pub fn given(&mut self, name: &str, value: f64, unit: &'static str, source: &str) {
        self.line(name, Term::stated(value, String::new()), unit, source);
    }

    /// A value that was worked out.
    pub fn line(&mut self, name: &str, term: Term, unit: &'static str, source: &str) -> f64 {
        let Term { value, formula, .. } = term;
        let (_, lines) = self.parts.last_mut().expect("a heading comes first");
        lines.push(Line { name: name.to_owned(), formula, value, unit, source: source.to_owned() });
        value
    }

    /// A sentence at the end.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.parts.iter().flat_map(|(_, lines)| lines).map(|line| line.name.len()).max().unwrap_or(0);
        for (heading, lines) in &self.parts {
            writeln!(f, "{heading}")?;
            for line in lines {
                let formula = if line.formula.is_empty() { String::new() } else { format!("{} = ", line.formula) };
                let (value, unit, source) = (figure(line.value), line.unit, &line.source);
                writeln!(f, "  {:<width$} = {formula}{value} {unit}  [{source}]", line.name)?;
            }
            writeln!(f)?;
        }
        self.remarks.iter().try_for_each(|text| writeln!(f, "{text}"))
    }
}

/// A number with five digits, or all before the point, in groups of three.
pub fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 10_000.0 => 0,
        size if size >= 1_000.0 => 1,
        size if size >= 100.0 => 2,
        size if size >= 10.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text.as_str() };
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    // Nothing in a plan is below zero.
    let grouped = whole.parse().map_or_else(|_| whole.to_owned(), number::count);
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_five_digits_or_all_before_the_point() {
        let figures = [(760_000.0, "760,000"), (1_234.56, "1,234.6"), (100.0, "100"), (99.9401, "99.94"), (5.0, "5")];
        for (value, text) in figures {
            assert_eq!(figure(value), text);
        }
        assert_eq!((figure(0.123_44), figure(0.0), figure(12_345.6)), ("0.1234".into(), "0".into(), "12,346".into()));
    }

    #[test]
    fn every_line_says_its_formula_its_unit_and_its_source() {
        let mut sheet = Sheet::default();
        sheet.heading("What is wanted");
        sheet.given("peak", 1_000.0, "opens/s", "--peak");
        sheet.line("a SET takes", n(3) * n(0.5), "opens/s", "the run");
        sheet.remark("That is all.".into());
        let text = "What is wanted\n  peak        = 1,000 opens/s  [--peak]\n  a SET takes = 3 x 0.5 = 1.5 opens/s  [the run]\n\nThat is all.\n";
        assert_eq!(sheet.to_string(), text);
    }

    #[test]
    fn a_formula_has_brackets_where_they_matter_and_only_there() {
        let products = n(2) * n(3) / (n(4) * (n(5) - n(1) + n(2))) + n(1);
        assert_eq!(products.formula, "2 x 3 / (4 x (5 - 1 + 2)) + 1");
        assert_eq!(products.value, 1.25);
        assert_eq!((n(9) - (n(2) + n(1))).formula, "9 - (2 + 1)");
        let chosen = Term::max(&[n(1), n(3)]) - Term::min(&[n(1), n(2) / n(3)]).ceil();
        assert_eq!((chosen.formula.as_str(), chosen.value), ("max(1, 3) - ceil(min(1, 2 / 3))", 2.0));
    }
}
