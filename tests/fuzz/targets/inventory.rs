//! Owns the fuzzing of inventories: a TOML file that a policy includes, and files of both forms that are imported. Never
//! a file or a kernel.
#![no_main]

use any_text::{examine_import, examine_included};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    examine_included(text);
    examine_import(text);
});
