//! Owns certificates where guards and packets name them: by id, hash or subject. Never their files or signatures.

use super::Typing;
use crate::ast::{Test as Written, Word};
use crate::names::Kind;
use crate::policy::{AuthorityId, Certificate, Signed, Values};
use crate::report::{listed, suggestion};
use crate::source::Span;
use crate::value::{addr, certificate, quantity};

impl Typing<'_> {
    /// `cert.id in 1-5`, `cert.hash == "…"`, `cert.subject == "…"`: numbers over all authorities' certificates.
    pub(super) fn certificate_values(&mut self, test: &Written, equals: bool) -> Option<Values> {
        let words = self.values_of(test);
        let mut numbers = Vec::new();
        let mut sound = true;
        for word in &words {
            let found = match test.field.text.as_str() {
                "cert.id" => self.certificates_by_id(test, equals, word),
                "cert.hash" => self.certificates_by_hash(word),
                _ => self.certificates_by_subject(word),
            };
            match found {
                Some(found) => numbers.extend(found.into_iter().map(|number| (number, number))),
                None => sound = false,
            }
        }
        sound.then(|| Values::Ranges(addr::merge(&mut numbers)))
    }

    fn certificates_by_id(&mut self, test: &Written, equals: bool, word: &Word) -> Option<Vec<u32>> {
        let range = match quantity::range(&word.text, 255) {
            Ok(range) if !word.quoted => range,
            Ok(_) => {
                self.report
                    .error("E0307", word.span, "an id is a number")
                    .help(format!("write `{}`, without quotes", word.text));
                return None;
            }
            Err(fault) => {
                self.fault(word, fault);
                return None;
            }
        };
        if equals && range.0 != range.1 {
            self.many_for_one(test, word);
            return None;
        }
        let is_meant = |one: &Certificate| (range.0..=range.1).contains(&u32::from(one.id));
        self.certificates(word, "id", is_meant, |one| one.id.to_string())
    }

    fn certificates_by_hash(&mut self, word: &Word) -> Option<Vec<u32>> {
        match certificate::hash(&word.text) {
            Ok(hash) => self.certificates(
                word,
                "hash",
                |one| one.key.is_some() && one.hash == hash,
                |one| one.hash_text(),
            ),
            Err(fault) => {
                self.fault(word, fault);
                None
            }
        }
    }

    fn certificates_by_subject(&mut self, word: &Word) -> Option<Vec<u32>> {
        if !word.quoted {
            self.report
                .error("E0307", word.span, "names from outside stand in quotes")
                .help(format!("write `\"{}\"`", word.text));
            return None;
        }
        let is_meant = |one: &Certificate| !one.subject.is_empty() && one.subject == word.text;
        self.certificates(word, "subject", is_meant, |one| one.subject.clone())
    }

    /// Numbers of the certificates that are meant; none at all is an error.
    fn certificates(
        &mut self,
        word: &Word,
        what: &str,
        is_meant: impl Fn(&Certificate) -> bool,
        shown: impl Fn(&Certificate) -> String,
    ) -> Option<Vec<u32>> {
        let all = || self.authorities.iter().flat_map(|authority| &authority.certificates);
        let found: Vec<u32> = (0..).zip(all()).filter(|(_, one)| is_meant(one)).map(|(at, _)| at).collect();
        if !found.is_empty() {
            return Some(found);
        }
        if self.certificates_known {
            let there: Vec<String> = all().map(shown).filter(|text| !text.is_empty()).collect();
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            let cure = match there.as_slice() {
                [] if self.authorities.is_empty() => "declare an `authority`".to_owned(),
                [] => format!("no certificate has a {what}"),
                _ if what == "subject" => suggestion(&word.text, there),
                _ => there_is(&there),
            };
            let names: Vec<&str> = self.authorities.iter().map(|authority| authority.name.as_str()).collect();
            let why = match names.as_slice() {
                [] => "there is no authority".to_owned(),
                [_] => format!("the certificates are those of {}", listed(&names)),
                _ => format!("the certificates are those of the authorities {}", listed(&names)),
            };
            self.report
                .error("E0341", word.span, format!("no certificate has the {what} `{}`", word.text))
                .because(why)
                .help(cure);
        }
        None
    }

    /// `signed AUTHORITY ID`, with `forged` behind it or not.
    pub(super) fn signed(
        &mut self,
        place: Span,
        name: &Word,
        id: Option<&Word>,
        forged: bool,
    ) -> Option<(Signed, Span)> {
        let index = self.names.expect(Kind::Authority, name, self.report)?;
        let Some(id) = id else {
            self.report
                .error("E0322", place, "`signed` does not say by which certificate")
                .help(format!("write `signed {} ID`, with the id of a certificate", name.text));
            return None;
        };
        let number = self.packet_number(id, 255)?;
        let authority = self.authorities.get(index as usize)?;
        let at = authority.certificates.iter().position(|one| u64::from(one.id) == number);
        if at.is_none() && self.certificates_known {
            let ids: Vec<String> = authority.certificates.iter().map(|one| one.id.to_string()).collect();
            self.report
                .error(
                    "E0341",
                    id.span,
                    format!("`{}` has no certificate with the id `{}`", name.text, id.text),
                )
                .also(authority.span, "declared here")
                .help(there_is(&ids));
        }
        let certificate = u32::try_from(at?).ok()?;
        Some((Signed { authority: AuthorityId(index), certificate, forged }, place))
    }
}

/// What there is to choose from; the nearest is no better guess than any other.
fn there_is<S: AsRef<str>>(words: &[S]) -> String {
    match words.get(..8) {
        Some(first) if words.len() > 8 => format!("there are {}, among them {}", words.len(), listed(first)),
        _ => format!("there is {}", listed(words)),
    }
}

impl Certificate {
    /// The hash as 64 hexadecimal digits.
    pub fn hash_text(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
