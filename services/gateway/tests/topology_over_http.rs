//! A gateway follows its file: the same tests as where openings go over links, over HTTP alone.

#[path = "topology.rs"]
mod topology;
