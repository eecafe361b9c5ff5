//! Owns the literals: counts, durations, rates, sizes, addresses, prefixes and ranges, bytes, keys, hashes, server names
//! and dates, from text to value. Never where they stand or what they are for.

pub(crate) mod addr;
pub(crate) mod bytes;
pub(crate) mod certificate;
pub(crate) mod date;
pub(crate) mod named;
pub(crate) mod quantity;
pub(crate) mod server_name;

/// Why a literal cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), help: None }
    }

    pub fn help(mut self, cure: impl Into<String>) -> Fault {
        self.help = Some(cure.into());
        self
    }
}
