//! A canary SET loses its weight: the same tests as where openings go over links, over HTTP alone.

#[path = "canary.rs"]
mod canary;
