//! Owns the values of guards that are neither numbers nor addresses: interfaces, bytes of the payload and server names.
//! Never which packets have them, nor where a guard may ask for them.

use super::Typing;
use crate::ast::{Test as Written, Word};
use crate::names::Kind;
use crate::policy::{NamePattern, Values};
use crate::value::{Fault, addr, bytes, server_name};

/// Longest prefix of a payload, in bytes: what a packet is compared with stays small.
const LONGEST_PREFIX: usize = 64;

impl Typing<'_> {
    /// `iface == wan`, `iface in { wan, lan }`: 1 + the number of each interface.
    pub(super) fn interface_values(&mut self, test: &Written) -> Option<Values> {
        let words = self.values_of(test);
        let mut numbers = Vec::new();
        let mut sound = true;
        for word in &words {
            if word.quoted {
                self.device_for_interface(test, word);
                sound = false;
            } else if let Some(index) = self.names.expect(Kind::Interface, word, self.report) {
                numbers.push((index + 1, index + 1));
            } else {
                sound = false;
            }
        }
        sound.then(|| Values::Ranges(addr::merge(&mut numbers)))
    }

    fn device_for_interface(&mut self, test: &Written, word: &Word) {
        let field = &test.field.text;
        let known = self.interfaces.iter().find(|interface| interface.devices.contains(&word.text));
        let cure = match known {
            Some(interface) => format!("write `{field} == {}`", interface.name),
            None => {
                format!("declare `interface wan {{ device \"{}\" }}` and write `{field} == wan`", word.text)
            }
        };
        self.report
            .error("E0307", word.span, format!("`{field}` is compared with interfaces, not with devices"))
            .because("an `interface` gives devices one name, so that a policy moves to another machine by one line")
            .help(cure);
    }

    /// `payload == 0x16fe`, `payload in { "GET ", 0x1603 }`.
    pub(super) fn payload_values(&mut self, test: &Written) -> Option<Values> {
        let words = self.values_of(test);
        let mut found: Vec<(Vec<u8>, &Word)> = Vec::new();
        let mut sound = true;
        for word in &words {
            match prefix(word) {
                Ok(prefix) => found.push((prefix, word)),
                Err(fault) => {
                    self.fault(word, fault);
                    sound = false;
                }
            }
        }
        self.lint_within(&found, |short, long| long.starts_with(short));
        let mut prefixes: Vec<Vec<u8>> = found.into_iter().map(|(prefix, _)| prefix).collect();
        prefixes.sort_unstable();
        // Sorted, what begins with another stands behind it.
        prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter));
        sound.then_some(Values::Prefixes(prefixes))
    }

    /// `sni == "a.example"`, `sni in { "a.example", "*.b.example" }`.
    pub(super) fn name_values(&mut self, test: &Written, equals: bool) -> Option<Values> {
        let words = self.values_of(test);
        let mut found: Vec<(NamePattern, &Word)> = Vec::new();
        let mut sound = true;
        for word in &words {
            let Some(pattern) = self.server_name(word) else {
                sound = false;
                continue;
            };
            if equals && pattern.below {
                self.many_for_one(test, word);
                sound = false;
            } else {
                found.push((pattern, word));
            }
        }
        self.lint_within(&found, NamePattern::covers);
        let mut names: Vec<NamePattern> = found.into_iter().map(|(pattern, _)| pattern).collect();
        names.sort_unstable();
        names.dedup();
        sound.then_some(Values::Names(names))
    }

    pub(super) fn server_name(&mut self, word: &Word) -> Option<NamePattern> {
        if !word.quoted {
            self.report
                .error("E0307", word.span, "names from outside stand in quotes")
                .help(format!("write `\"{}\"`", word.text));
            return None;
        }
        match server_name::pattern(&word.text) {
            Ok(pattern) => Some(pattern),
            Err(fault) => {
                self.fault(word, fault);
                None
            }
        }
    }

    /// The words of a comparison, consts expanded.
    pub(super) fn values_of(&mut self, test: &Written) -> Vec<Word> {
        test.values.iter().flat_map(|word| self.expanded(word)).collect()
    }
}

fn prefix(word: &Word) -> Result<Vec<u8>, Fault> {
    let bytes = match word.quoted {
        true => Some(word.text.clone().into_bytes()),
        false => bytes::hex(&word.text).filter(|_| word.text.starts_with("0x")),
    };
    match bytes {
        None => Err(Fault::new("E0344", format!("`{}` is no prefix of a payload", word.text))
            .help("write text in quotes, or pairs of hexadecimal digits: `0x16fe`")),
        Some(bytes) if bytes.is_empty() => Err(Fault::new("E0344", "every payload begins with nothing")
            .help("write the bytes that it begins with")),
        Some(bytes) if bytes.len() > LONGEST_PREFIX => {
            let message = format!("{} bytes are more than a payload is compared with", bytes.len());
            Err(Fault::new("E0344", message).help(format!("write {LONGEST_PREFIX} bytes at most")))
        }
        Some(bytes) => Ok(bytes),
    }
}
