//! Owns authorities: `authority NAME { certificate …; key …; revoked …; … }`, with the files they name. Never the
//! check of a signature.

use super::Typing;
use super::settings::written;
use crate::ast::{Block, Setting, Word};
use crate::policy::{Authority, Certificate, LimitUnit, Rate};
use crate::report::suggestion;
use crate::source::Span;
use crate::value::certificate::{self, Identity};
use crate::value::{Fault, date};

const KNOWN: &[&str] =
    &["certificate", "key", "revoked", "verify", "strip", "replay", "checks", "checks_per_source"];
const MANY: &[&str] = &["certificate", "key", "revoked"];
/// Longest revocation list; each hash is one line.
const REVOKED: usize = 1 << 16;

impl Typing<'_> {
    pub(super) fn type_authorities(&mut self) {
        for (name, block) in &self.declared.authorities {
            let authority = self.authority(name, block);
            self.authorities.push(authority);
        }
    }

    fn authority(&mut self, name: &Word, block: &Block) -> Authority {
        let owner = format!("authority `{}`", name.text);
        let mut authority = Authority {
            name: name.text.clone(),
            span: name.span,
            certificates: Vec::new(),
            revoked: Vec::new(),
            every_packet: true,
            strip: false,
            replay: None,
            checks: a_second(20_000),
            checks_per_source: a_second(2_000),
        };
        for setting in self.settings(block, &owner, KNOWN, MANY) {
            match setting.name.text.as_str() {
                "certificate" => self.certificate(&mut authority, setting),
                "key" => self.key(&mut authority, setting),
                "revoked" => self.revoked(&mut authority, setting),
                "verify" => self.verify_mode(&mut authority, setting),
                "strip" => match setting.groups.as_slice() {
                    [] => authority.strip = true,
                    _ => self.shape(setting, "`strip` alone; without it the trailer is sent on"),
                },
                "checks" => authority.checks = self.check_rate(setting).unwrap_or(authority.checks),
                "checks_per_source" => {
                    authority.checks_per_source =
                        self.check_rate(setting).unwrap_or(authority.checks_per_source);
                }
                _ => authority.replay = self.time_setting(setting).or(authority.replay),
            }
        }
        if !written(block, "certificate") && !written(block, "key") {
            let why = "an authority accepts signatures of the certificates and keys that it lists";
            let form = "`certificate 0 file \"certs/device-0.pem\"`, or `key 0 file \"keys/device-0.pub\"`";
            self.missing(name, "authority", "certificate", why, form);
        }
        authority.certificates.sort_by_key(|certificate| certificate.id);
        authority.revoked.sort_unstable();
        authority.revoked.dedup();
        authority
    }

    /// `certificate ID file "PATH"`.
    fn certificate(&mut self, authority: &mut Authority, setting: &Setting) {
        const FORM: &str = "`certificate 0 file \"certs/device-0.pem\"`; the id is 0 to 255";
        let Some(words) = self.one_group(setting, FORM) else { return };
        let [id, file, path] = words else { return self.shape(setting, FORM) };
        if file.text != "file" || file.quoted || !path.quoted {
            return self.shape(setting, FORM);
        }
        let id = self.certificate_id(id);
        let identity = self.identity_file(path, certificate::certificate);
        if let Some((id, identity)) = id.zip(identity) {
            self.accept(authority, certificate_of(id, setting.span, identity));
        }
    }

    /// `key ID HEX`, `key ID file "PATH"` or `key ID generate`, each with `until DATE` behind it if it ends.
    fn key(&mut self, authority: &mut Authority, setting: &Setting) {
        const FORM: &str = "`key 0 file \"keys/device-0.pub\"`, `key 0 04…` with the point in hex, or `key 0 generate`, and `until 2027-01-31` behind it if it ends; the id is 0 to 255";
        let Some(words) = self.one_group(setting, FORM) else { return };
        let (words, valid) = match words {
            [words @ .., until, day] if until.text == "until" && !until.quoted => (words, self.until(day)),
            _ => (words, None),
        };
        let (id, identity) = match words {
            [id, generate] if generate.text == "generate" && !generate.quoted => {
                if let Some(id) = self.certificate_id(id) {
                    let hash = certificate::stand_in(&authority.name, id);
                    let (span, subject) = (setting.span, String::new());
                    self.accept(authority, Certificate { id, span, hash, key: None, valid, subject });
                }
                return;
            }
            [id, file, path] if file.text == "file" && !file.quoted && path.quoted => {
                (id, self.identity_file(path, certificate::public_key))
            }
            [id, hex] => (id, self.read(hex, certificate::point)),
            _ => return self.shape(setting, FORM),
        };
        let id = self.certificate_id(id);
        if let Some((id, identity)) = id.zip(identity) {
            self.accept(authority, certificate_of(id, setting.span, Identity { valid, ..identity }));
        }
    }

    /// When a key is valid that ends on this date; it has no beginning of its own.
    fn until(&mut self, day: &Word) -> Option<(i64, i64)> {
        date::date(&day.text).map(|end| (0, end)).map_err(|fault| self.fault(day, fault)).ok()
    }

    fn certificate_id(&mut self, word: &Word) -> Option<u8> {
        self.count_in(word, 0, 255).and_then(|id| u8::try_from(id).ok())
    }

    /// Adds a certificate unless its id or its key is there already.
    fn accept(&mut self, authority: &mut Authority, certificate: Certificate) {
        let id = certificate.id;
        let twin = authority.certificates.iter().find_map(|other| {
            let told = if other.id == id {
                (
                    format!("id {id} is given twice"),
                    "a packet's trailer names one certificate by its id and by its hash",
                    "give each certificate an id of its own",
                )
            } else if other.key.is_some() && other.key == certificate.key {
                (
                    format!("certificates {} and {id} have the same key", other.id),
                    "a signature covers the payload alone: behind the same one could stand the id and hash of either",
                    "make a new key for a new certificate, or put it in the old one's place, under its id",
                )
            } else {
                return None;
            };
            Some((other.span, told))
        });
        if let Some((first, (what, why, cure))) = twin {
            self.report
                .error("E0328", certificate.span, what)
                .also(first, "the first one")
                .because(why)
                .help(cure);
            return;
        }
        authority.certificates.push(certificate);
    }

    fn identity_file(
        &mut self,
        path: &Word,
        read: impl Fn(&str) -> Result<Identity, Fault>,
    ) -> Option<Identity> {
        let (full, text) = self.file_beside(path, "certificates and keys")?;
        match read(&text) {
            Ok(identity) => Some(identity),
            Err(fault) => {
                let message = format!("`{}` cannot be used: {}", full.display(), fault.message);
                self.fault(path, Fault { message, ..fault });
                None
            }
        }
    }

    /// `revoked HASH, HASH` or `revoked file "PATH"`: one hash a line.
    fn revoked(&mut self, authority: &mut Authority, setting: &Setting) {
        const FORM: &str = "`revoked HASH, HASH`, or `revoked file \"revoked.txt\"` with one hash a line";
        if let [group] = setting.groups.as_slice()
            && let [file, path] = group.as_slice()
            && file.text == "file"
            && path.quoted
        {
            return self.revoked_file(authority, path);
        }
        if setting.groups.is_empty() || setting.groups.iter().any(|group| group.len() != 1) {
            return self.shape(setting, FORM);
        }
        for word in setting.groups.iter().flatten() {
            for word in self.expanded(word) {
                authority.revoked.extend(self.read(&word, certificate::hash));
            }
        }
    }

    fn revoked_file(&mut self, authority: &mut Authority, path: &Word) {
        let Some((full, text)) = self.file_beside(path, "revocation lists") else { return };
        let file = self.add_source(full, text.clone());
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let code = line.split('#').next().unwrap_or("");
            let entry = code.trim();
            if !entry.is_empty() {
                match certificate::hash(entry) {
                    Ok(_) if authority.revoked.len() >= REVOKED => {
                        let message = format!("more than {REVOKED} certificates are revoked");
                        self.report.error("E0314", path.span, message).help("leave out those that expired");
                        return;
                    }
                    Ok(hash) => authority.revoked.push(hash),
                    Err(fault) => {
                        let at = start + code.len() - code.trim_start().len();
                        let place = Span { file, start: at as u32, end: (at + entry.len()) as u32 };
                        let finding = self.report.error("E0313", place, fault.message);
                        finding
                            .also(path.span, "the list is named here")
                            .help(fault.help.unwrap_or_default());
                        // What is no list at all would be told line by line.
                        return;
                    }
                }
            }
            start += line.len();
        }
    }

    fn check_rate(&mut self, setting: &Setting) -> Option<Rate> {
        let form = format!("`{} 2_000 pkt/s`", setting.name.text);
        let words = self.one_group(setting, &form)?;
        let rate = self.rate(words, setting.span)?;
        if rate.unit != LimitUnit::Packets {
            self.report
                .error("E0311", setting.span, "each signature that is checked is one packet's")
                .help(format!("write {form}"));
            return None;
        }
        Some(Rate { count: rate.amount, per: rate.per })
    }

    /// `verify every packet` or `verify once per session`.
    fn verify_mode(&mut self, authority: &mut Authority, setting: &Setting) {
        const FORM: &str = "`verify every packet` or `verify once per session`";
        let Some(words) = self.one_group(setting, FORM) else { return };
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match text.as_slice() {
            ["every", "packet"] => authority.every_packet = true,
            ["once", "per", "session"] => authority.every_packet = false,
            other => {
                let near = suggestion(&other.join(" "), ["every packet", "once per session"]);
                self.report
                    .error("E0310", setting.span, format!("`verify` cannot be `{}`", other.join(" ")))
                    .help(near);
            }
        }
    }
}

fn a_second(count: u64) -> Rate {
    Rate { count, per: std::time::Duration::from_secs(1) }
}

fn certificate_of(id: u8, span: Span, identity: Identity) -> Certificate {
    let Identity { hash, key, valid, subject } = identity;
    Certificate { id, span, hash, key: Some(key), valid, subject }
}
