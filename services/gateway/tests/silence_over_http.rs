//! Servers that do not answer: the same tests as where openings go over links, over HTTP alone.

#[path = "silence.rs"]
mod silence;
