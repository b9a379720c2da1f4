//! The check of settings: each has a range, and the message prints it.

use std::ops::RangeInclusive;

/// A setting's name, its value and the range that it must lie in.
#[derive(Clone, Debug)]
pub struct Setting {
    name: &'static str,
    value: i128,
    range: RangeInclusive<i128>,
    reason: &'static str,
}

impl Setting {
    /// Says why the range ends where it does, as the end of the message.
    pub fn because(self, reason: &'static str) -> Setting {
        Setting { reason, ..self }
    }
}

/// A setting of any integer type, in the unit of its name.
pub fn setting<T: TryInto<i128>>(name: &'static str, value: T, range: RangeInclusive<T>) -> Setting {
    let wide = |number: T| number.try_into().unwrap_or(i128::MAX);
    let (start, end) = range.into_inner();
    Setting { name, value: wide(value), range: wide(start)..=wide(end), reason: "" }
}

/// A setting that has no upper bound.
pub fn at_least<T: TryInto<i128>>(name: &'static str, value: T, least: T) -> Setting {
    let wide = |number: T| number.try_into().unwrap_or(i128::MAX);
    Setting { name, value: wide(value), range: wide(least)..=i128::MAX, reason: "" }
}

/// Checks the settings of a section.
///
/// # Errors
/// A sentence that names the section, the first setting that is out of its range, and the range.
pub fn check(section: &str, settings: &[Setting]) -> Result<(), String> {
    match settings.iter().find(|setting| !setting.range.contains(&setting.value)) {
        Some(Setting { name, value, range, reason }) => {
            let (start, end) = (range.start(), range.end());
            let wanted = if *end == i128::MAX { format!("at least {start}") } else { format!("{start} to {end}") };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            Err(format!("{section}: {name} must be {wanted}, not {value}{reason}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_its_range_is_named_with_the_range() {
        let of = |value: u32| check("server", &[setting("a", 1_u64, 1..=1), setting("lane_queue_max", value, 1..=10)]);
        assert_eq!(of(1), Ok(()));
        assert_eq!(of(10), Ok(()));
        for value in [0, 11] {
            assert_eq!(of(value), Err(format!("server: lane_queue_max must be 1 to 10, not {value}")));
        }
        let least = at_least("live_idle_ms", 5_u64, 1_000).because("a reason");
        assert_eq!(
            check("server", &[least]),
            Err("server: live_idle_ms must be at least 1000, not 5: a reason".into())
        );
    }
}
