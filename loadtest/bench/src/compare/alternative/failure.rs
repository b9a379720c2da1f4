//! Why an opening has no outcome.

use hongbao_http::{Code, Problem};

/// Why an opening has no outcome.
#[derive(Debug)]
pub enum Failure {
    /// Refused; nothing was done.
    Busy,
    NotFound,
    /// It may have happened or not.
    Unknown(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure::Unknown(error.to_string())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        match failure {
            Failure::Busy => Problem::new(Code::Busy, "another user is opening it"),
            Failure::NotFound => Problem::new(Code::NotFound, "no such envelope"),
            Failure::Unknown(reason) => {
                eprintln!("outcome unknown: {reason}");
                Problem::new(Code::OutcomeUnknown, reason)
            }
        }
    }
}
