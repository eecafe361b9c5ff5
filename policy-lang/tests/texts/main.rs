//! The tests of this crate over whole texts: bad examples, the repository's policies, arbitrary input.

mod any_input;
mod bad;
mod codes;
mod common;
mod format;
mod inventory;
mod policies;
mod slips;
