//! Owns the one error of a lab: what was being done, where, and why it failed.
//! Never decides what follows from it.

use std::fmt;
use std::io;

/// A step of building or using a lab that failed.
#[derive(Debug)]
pub struct Error {
    /// The step, as a phrase: "add the address 10.0.0.1 to lan0 of balancer".
    pub doing: String,
    pub cause: io::Error,
}

impl Error {
    pub(super) fn new(doing: impl Into<String>, cause: impl Into<io::Error>) -> Error {
        Error { doing: doing.into(), cause: cause.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
