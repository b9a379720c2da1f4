//! The tests of the pure core: exact ones, and properties over random input.
//! One file an idea; [`sample`] makes what they share.

mod sample;

mod fairness;
mod seed;
mod split;
mod split_vectors;

mod date;
mod fence_random;
mod fold;
mod held;
mod id;
mod left;
mod placement;
mod routing;
mod topology;

mod damaged_rows;
mod life;
mod request;
mod ticket;
mod transfer;

mod audit;
mod audit_random;
mod manifest;
mod order;
mod verify;

mod admission;
mod bounds;
mod limits;
