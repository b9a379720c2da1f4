//! The edge: checks tokens, limits rates, mints ids. It never sees a store.
//!
//! In the all-in-one process it is a layer in front of the server's routes: a
//! function call, not a hop.

pub mod edge;
pub mod rate;
