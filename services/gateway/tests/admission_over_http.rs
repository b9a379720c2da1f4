//! What a gateway gives a server: the same tests as where openings go over links, over HTTP alone.

#[path = "admission.rs"]
mod admission;
