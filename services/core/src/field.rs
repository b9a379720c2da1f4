//! Fields of a body or a query, read so that a refusal can name what is wanted
//! as the API does: after `expected` stands nothing that names a Rust type.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::de::value::{Error as TextError, MapAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, IntoDeserializer as _, MapAccess, Unexpected, Visitor};

/// A field that is wrong, and why: for the client's developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field's path in the body.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    /// A wrong field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), reason: reason.into() }
    }
}

/// A number as it came in. Whether it is an integer, and one within the bounds,
/// asks who knows the bounds: so one refusal says both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(from = "Anything")]
pub struct Number(Option<i64>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Anything {
    Integer(i64),
    Float(f64),
    Other(IgnoredAny),
}

/// Below this, 2 to the power of 50, no integer is read as another one: floats stand a quarter apart at most, and
/// are read to within one of them.
const FLOAT_MAX: f64 = 1_125_899_906_842_624.0;

impl From<Anything> for Number {
    fn from(anything: Anything) -> Number {
        match anything {
            Anything::Integer(number) => Number(Some(number)),
            // To JSON, and to its schemas, 5.0 and 5e0 are the integer 5.
            Anything::Float(number) if number.fract() == 0.0 && number.abs() < FLOAT_MAX => Number(Some(number as i64)),
            Anything::Float(_) | Anything::Other(_) => Number(None),
        }
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Number {
        Number(Some(number))
    }
}

impl Number {
    /// The number that stands in a query, written as in JSON: no plus, no zeros before it.
    pub fn of_text(text: &str) -> Number {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_json = digits == "0" || digits.starts_with(|first: char| first.is_ascii_digit() && first != '0');
        Number(text.parse().ok().filter(|_| is_json))
    }

    /// The number, if it is an integer within these bounds.
    pub fn within(self, bounds: &RangeInclusive<i64>) -> Option<i64> {
        self.0.filter(|number| bounds.contains(number))
    }

    /// The same; otherwise the refusal of the field that it stands in.
    pub fn check(self, field: &str, bounds: RangeInclusive<i64>) -> Result<i64, FieldError> {
        self.within(&bounds).ok_or_else(|| FieldError::new(field, must_be_within(&bounds)))
    }
}

/// The refusal of a number that is none, or not within the bounds.
pub(crate) fn must_be_within(bounds: &RangeInclusive<i64>) -> String {
    format!("must be an integer from {} to {}", bounds.start(), bounds.end())
}

/// Reads a text that stands for a value. `wanted` says which texts do.
pub(crate) fn text<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    wanted: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text { wanted, value: PhantomData })
}

struct Text<T> {
    wanted: &'static str,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let read: Result<T, TextError> = T::deserialize(text.into_deserializer());
        read.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Reads an object, or null: what is derived would also take a list for one.
/// `wanted` says how one looks.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    wanted: &'static str,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Object { wanted, value: PhantomData })
}

struct Object<T> {
    wanted: &'static str,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_integer_within_its_bounds_or_the_refusal_names_them() {
        let read = |json: &str| serde_json::from_str::<Number>(json).unwrap().check("n", 1..=500);
        for (json, number) in [("1", 1), ("500", 500), ("1.0", 1), ("1e2", 100), ("5.000e2", 500), ("50000e-3", 50)] {
            assert_eq!(read(json), Ok(number));
        }
        for json in ["0", "501", "88.88", "0.9", "1e3", "-1.0", "\"5\"", "null", "true", "[5]", "{\"n\":5}"] {
            assert_eq!(read(json).unwrap_err().to_string(), "n: must be an integer from 1 to 500", "{json}");
        }
        for json in ["9223372036854775808", "-9223372036854775809", "99999999999999999999999999"] {
            assert!(read(json).is_err(), "{json}");
        }
        // What a float may have rounded is refused, however wide the bounds.
        let any = |json: &str| serde_json::from_str::<Number>(json).unwrap().within(&(i64::MIN..=i64::MAX));
        for (json, number) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("1125899906842623.0", Some(1_125_899_906_842_623)),
            ("1125899906842623.000000", Some(1_125_899_906_842_623)),
            ("-1125899906842623.0", Some(-1_125_899_906_842_623)),
            ("1125899906842624.0", None),
            ("9007199254740991.0", None),
            ("-1e300", None),
        ] {
            assert_eq!(any(json), number, "{json}");
        }
        for (text, number) in [
            ("7", Some(7)),
            ("-1", None),
            ("ten", None),
            ("", None),
            ("1.5", None),
            ("1 ", None),
            ("+7", None),
            ("07", None),
        ] {
            assert_eq!(Number::of_text(text).within(&(1..=500)), number, "{text}");
        }
    }
}
