//! Each behaviour of a store, stated once.
