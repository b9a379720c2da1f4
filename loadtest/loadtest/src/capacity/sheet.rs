//! Arithmetic that is printed line by line: name = formula = value unit, and where it comes from.

use std::fmt;

use hongbao_load::number;

/// One line.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    /// With the numbers put in; empty for what was given.
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
    pub fn given(&mut self, name: &str, value: f64, unit: &'static str, source: &str) -> f64 {
        self.line(name, String::new(), value, unit, source)
    }

    /// A value that was worked out.
    pub fn line(&mut self, name: &str, formula: String, value: f64, unit: &'static str, source: &str) -> f64 {
        let line = Line { name: name.to_owned(), formula, value, unit, source: source.to_owned() };
        let (_, lines) = self.parts.last_mut().expect("a heading comes first");
        lines.push(line);
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
        sheet.line("a SET takes", "3 x 0.5".into(), 1.5, "opens/s", "the run");
        sheet.remark("That is all.".into());
        let text = "What is wanted\n  peak        = 1,000 opens/s  [--peak]\n  a SET takes = 3 x 0.5 = 1.5 opens/s  [the run]\n\nThat is all.\n";
        assert_eq!(sheet.to_string(), text);
    }
}
