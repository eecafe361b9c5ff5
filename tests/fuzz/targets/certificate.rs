//! Owns the fuzzing of certificate and key files: as text, and as DER within sound PEM, since base64 hides what is changed.
//! Each is read or refused with a place. Never a file or a kernel.
#![no_main]

use any_text::{Texts, examine};
use base64ct::{Base64, Encoding};
use libfuzzer_sys::fuzz_target;

fn pem(label: &str, der: &[u8]) -> String {
    let digits = Base64::encode_string(der);
    let lines: Vec<&str> =
        digits.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Checks a policy that names the file.
fn read(setting: &str, text: &str) {
    let policy = format!(
        "lbp 1\nauthority a {{ {setting} }}\npolicy p {{ default drop }} = \
         verify a (missing -> drop, invalid -> drop, expired -> drop, revoked -> drop) -> pass\n"
    );
    let files = Texts([("f".into(), text.to_owned())].into());
    examine(&policy, &files);
}

fuzz_target!(|data: &[u8]| {
    read("certificate 0 file \"f\"", &pem("CERTIFICATE", data));
    read("key 0 file \"f\"", &pem("PUBLIC KEY", data));
    if let Ok(text) = str::from_utf8(data) {
        read("certificate 0 file \"f\"", text);
        read("key 0 file \"f\"", text);
        read("key 0 generate; revoked file \"f\"", text);
    }
});
