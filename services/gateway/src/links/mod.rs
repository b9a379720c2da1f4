//! Links: how openings and grabs are handed to a server in frames (see [`hongbao_http::link`]).
//!
//! Each thread of a gateway has its own links, so that none waits for another. A link is
//! opened in the background, while requests take connections of HTTP, and so they do when
//! the links to a server are full, when it refuses them, and when a request holds something
//! that a frame has no field for: a link makes a request cheaper, and decides nothing.
//!
//! Reading order: `link` (the requests of one), `opening`, `task` (what reads and writes), `pool`.

mod link;
mod opening;
mod pool;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use link::End;
pub(crate) use pool::Links;
