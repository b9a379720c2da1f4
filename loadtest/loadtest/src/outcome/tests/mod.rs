//! What the tests of the outcome, and of what is made from it, have in common.

pub mod sample;
