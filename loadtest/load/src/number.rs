//! How figures are written, the same in the terminal and on the page, and how they are read.

/// Groups of three digits: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A figure with about three digits that matter: `0.042`, `1.50`, `12.3`, `4,321`.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let size = value.abs();
    match size {
        0.0 => "0".into(),
        _ if size < 0.0995 => format!("{value:.3}"),
        _ if size < 9.995 => format!("{value:.2}"),
        _ if size < 99.95 => format!("{value:.1}"),
        _ if value < 0.0 => format!("-{}", count(size.round() as u64)),
        _ => count(size.round() as u64),
    }
}

/// A figure, or a dash where there is none.
pub fn known(value: Option<f64>) -> String {
    value.map_or("-".into(), figure)
}

/// Milliseconds in the unit that reads best: `0.42 ms`, `1.20 s`.
pub fn millis(value: f64) -> String {
    if value.abs() < 1_000.0 { format!("{} ms", figure(value)) } else { format!("{} s", figure(value / 1_000.0)) }
}

/// A share of a whole: `12.3%`. Small ones keep the digits that set them apart from none.
pub fn share(value: f64) -> String {
    format!("{}%", figure(100.0 * value))
}

/// So many a second; none when there was no time.
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A moment or a length on the time axis: `8 s`, `1:05`, `1:02:03`.
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60),
    }
}

/// A length of time: `8 s`, `1 min 5 s`, `1 h 2 min`.
pub fn length(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => pair(whole / 60, "min", whole % 60, "s"),
        _ => pair(whole / 3_600, "h", whole / 60 % 60, "min"),
    }
}

/// A tick of an axis, short: `20`, `1.5k`, `2M`.
pub fn tick(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    match value.abs() {
        size if size >= 1e9 => format!("{}G", short(value / 1e9)),
        size if size >= 1e6 => format!("{}M", short(value / 1e6)),
        size if size >= 1e3 => format!("{}k", short(value / 1e3)),
        _ => short(value),
    }
}

/// Reads a number from `least` to `most`: the parser of an option.
pub fn within(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
        if (least..=most).contains(&value) { Ok(value) } else { Err(format!("must be {least} to {most}")) }
    }
}

/// What others wrote, as one line of a terminal: it can neither end the line nor steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_the_digits_that_matter() {
        let cases = [(0.0, "0"), (0.0421, "0.042"), (1.5, "1.50"), (12.34, "12.3"), (9.999, "10.0"), (99.96, "100")];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        assert_eq!(figure(4_321.4), "4,321");
        assert_eq!(figure(-4_321.4), "-4,321");
        assert_eq!(figure(f64::NAN), "-");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(share(0.001), "0.10%");
        assert_eq!(millis(1_200.0), "1.20 s");
    }

    #[test]
    fn moments_and_ticks_are_short() {
        assert_eq!([clock(8.0), clock(65.0), clock(3_723.0)], ["8 s", "1:05", "1:02:03"]);
        assert_eq!(
            [length(8.0), length(65.0), length(3_723.0), length(120.0)],
            ["8 s", "1 min 5 s", "1 h 2 min", "2 min"]
        );
        assert_eq!([tick(0.02), tick(1_500.0), tick(20.0), tick(2e6)], ["0.02", "1.5k", "20", "2M"]);
    }
}
