//! From a typed policy to its meaning and its image: the reference evaluator and the proofs in the file, classes,
//! decision tables and the image's words. Never files, root, the kernel or the terminal.
#![forbid(unsafe_code)]

mod analyse;
pub mod coverage;
pub mod diff;
pub mod eval;
pub mod expect;
pub mod explain;
pub mod figure;
pub mod graph;
pub mod image;
mod lower;
pub mod packet;
pub mod prove;
pub mod tables;

pub use analyse::analyse;
pub use lower::{MAX_DECISION_WORDS, MAX_WORDS, compile};

#[cfg(test)]
mod random;
