//! The lbp language: text to typed tree, with diagnostics. Owns text, names, types and what is said about them.
//! Never files (it is given a `Loader`), the clock, maps or BPF.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod policy;
pub mod source;
