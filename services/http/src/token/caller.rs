//! The caller that a token stands for.

use std::sync::Arc;

use hongbao_core::{GroupId, UserClass, UserId};

use crate::problem::{Code, Problem};

/// Who calls, as the token says. Cheap to clone; handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `groups`.
    pub groups: Arc<[GroupId]>,
    /// Whether the token's `role` is `operator`.
    pub operator: bool,
    /// The token's `class`, where it is a name: which limits the user has.
    pub class: Option<UserClass>,
}

impl Caller {
    /// Refuses all but operators.
    pub fn require_operator(&self) -> Result<(), Problem> {
        if self.operator { Ok(()) } else { Err(Problem::new(Code::Forbidden, "this call is for operators")) }
    }
}
