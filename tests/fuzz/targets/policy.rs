//! Owns the fuzzing of a policy's text: whatever it is, all that can be done with it without a kernel is done, and what
//! `any_text` says holds. Never a file: what the text includes is the text itself, and a list.
#![no_main]

use any_text::{Texts, examine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let files = [("p.lbp", text), ("list.txt", "192.0.2.0/24\n2001:db8::/32\n"), ("p.toml", text)];
    examine(text, &Texts(files.iter().map(|(name, text)| ((*name).into(), (*text).to_owned())).collect()));
});
