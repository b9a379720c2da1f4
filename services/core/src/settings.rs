//! The check of settings: each has a range, and the message prints it.

use std::ops::RangeInclusive;

/// A setting's name, its value and the range that it must lie in.
#[derive(Clone, Debug)]
pub struct Setting {
    name: &'static str,
    value: i128,
    range: RangeInclusive<i128>,
}

/// A setting of any integer type, in the unit of its name.
pub fn setting<T: TryInto<i128>>(name: &'static str, value: T, range: RangeInclusive<T>) -> Setting {
    let wide = |number: T| number.try_into().unwrap_or(i128::MAX);
    let (start, end) = range.into_inner();
    Setting { name, value: wide(value), range: wide(start)..=wide(end) }
}

/// Checks the settings of a section.
///
/// # Errors
/// A sentence that names the section, the first setting that is out of its range, and the range.
pub fn check(section: &str, settings: &[Setting]) -> Result<(), String> {
    match settings.iter().find(|setting| !setting.range.contains(&setting.value)) {
        Some(Setting { name, value, range }) => {
            Err(format!("{section}: {name} must be {} to {}, not {value}", range.start(), range.end()))
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
    }
}
