//! Each behaviour of a wallet, stated once.
