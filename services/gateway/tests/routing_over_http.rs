//! Which server gets a request, and what of it: the same tests as where openings go over links, over HTTP alone.

#[path = "routing.rs"]
mod routing;
