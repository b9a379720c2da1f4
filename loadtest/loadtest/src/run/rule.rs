//! A rule of the audit, while it is checked.

use crate::outcome::Check;

/// Broken things that are shown by name.
const EXAMPLES_MAX: usize = 10;

pub struct Rule(pub Check);

impl Rule {
    /// Nothing looked at yet.
    pub fn new(rule: &str) -> Rule {
        Rule(Check { rule: rule.to_owned(), checked: 0, broken: 0, examples: Vec::new() })
    }

    /// Looks at one thing; `why` names it if it is broken.
    pub fn look(&mut self, holds: bool, why: impl FnOnce() -> String) {
        self.0.checked += 1;
        if !holds {
            self.0.broken += 1;
            if self.0.examples.len() < EXAMPLES_MAX {
                self.0.examples.push(why());
            }
        }
    }
}
