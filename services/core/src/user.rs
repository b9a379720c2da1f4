//! Who sends and who opens.

use crate::limits::NAME_CHARS_MAX;

/// The reason why a name is refused: the id of a user or a group, a request's key.
pub fn must_be_a_name() -> String {
    format!("must be 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 _ -")
}

/// What such a name looks like, as a regular expression.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "compact_str::CompactString", into = "compact_str::CompactString")]
        pub struct $name(compact_str::CompactString);

        impl $name {
            /// 1 to 64 of `A-Za-z0-9_-`; `None` for anything else.
            pub fn parse(text: &str) -> Option<$name> {
                is_name(text).then(|| $name(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<compact_str::CompactString> for $name {
            type Error = String;

            fn try_from(text: compact_str::CompactString) -> Result<$name, Self::Error> {
                if is_name(&text) { Ok($name(text)) } else { Err(must_be_a_name()) }
            }
        }

        impl From<$name> for compact_str::CompactString {
            fn from(name: $name) -> compact_str::CompactString {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name_type;

name_type! {
    /// A user, as the caller's identity provider names it (the token's `sub`).
    UserId
}
name_type! {
    /// A group that an envelope can be sent to (one of the token's `groups`).
    GroupId
}
name_type! {
    /// A class of users that has limits of its own (the token's `class`).
    UserClass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_1_to_64_plain_characters() {
        for good in ["a", "user_1", "A-9", &"x".repeat(64)] {
            assert!(UserId::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", "a b", "红包", "a/b", "#clearing", "a\n", &"x".repeat(65)] {
            assert!(UserId::parse(bad).is_none(), "{bad}");
        }
    }
}
