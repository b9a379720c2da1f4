//! Where events are read.

use std::fmt;

use crate::envelope::Audience;
use crate::user::{GroupId, UserId};

/// Where events are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feed {
    /// What concerns a user.
    User(UserId),
    /// What concerns the members of a group.
    Group(GroupId),
}

impl Feed {
    /// The feed of those for whom an envelope is; a link is for nobody by name.
    pub fn of_audience(audience: &Audience) -> Option<Feed> {
        match audience {
            Audience::Link => None,
            Audience::Group(group) => Some(Feed::Group(group.clone())),
            Audience::User(user) => Some(Feed::User(user.clone())),
        }
    }

    /// The name whose slot says in which database it lies: as that of a user.
    pub fn name(&self) -> &str {
        match self {
            Feed::User(user) => user.as_str(),
            Feed::Group(group) => group.as_str(),
        }
    }

    /// Reads what stands in a row; `None` for anything else.
    pub fn parse(text: &str) -> Option<Feed> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            "u" => UserId::parse(name).map(Feed::User),
            "g" => GroupId::parse(name).map(Feed::Group),
            _ => None,
        }
    }
}

/// As it stands in a row: `u:li`, `g:family`.
impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Feed::User(_)) { "u" } else { "g" };
        write!(f, "{kind}:{}", self.name())
    }
}
