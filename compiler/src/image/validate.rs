//! Owns the proof that the packet path can follow an image: every offset, class, ordinal and step within its bounds.
//! Never what the image means.

mod descriptors;
mod nodes;
mod tables;

use std::collections::BTreeSet;

use lb_abi::bundle::{Certificate, Dense, Image, Relocation};
use lb_abi::image::{
    BEFORE_MATCH, BEFORE_PASS, FIELDS, H_ENTRY, H_FIELD, H_FRAGMENTS, H_LEN, H_MAGIC, H_NEIGHBOURS, H_OTHER,
    H_SCHEMA, H_UNPARSED, HEADER_WORDS, MAGIC, MAX_POLICY_CERTIFICATES, MAX_TRACKERS,
};
use lb_abi::maps::{BACKEND_ACTIVE, BACKEND_DRAINING};

use super::{Corrupt, Place};
use crate::lower::MAX_WORDS;

/// Whether the packet path can follow an image, whatever packet comes.
///
/// # Errors
/// The first thing that is out of its bounds.
pub fn validate(image: &Image) -> Result<(), Corrupt> {
    let mut checked =
        Checked { image, words: &image.words, relocations: BTreeSet::new(), classes: [0; FIELDS] };
    checked.header()?;
    checked.lists()?;
    for field in lb_abi::image::ALL_FIELDS {
        checked.field(field)?;
    }
    checked.nodes()?;
    checked.relocations()
}

/// An image under proof, and what has been found out about it.
struct Checked<'a> {
    image: &'a Image,
    words: &'a [u32],
    /// Words met that hold a dense number.
    relocations: BTreeSet<Relocation>,
    /// Number of classes by field.
    classes: [u32; FIELDS],
}

fn word(at: usize, problem: &'static str) -> Corrupt {
    Corrupt { place: Place::Word(at), problem }
}

impl Checked<'_> {
    fn at(&self, at: usize) -> Result<u32, Corrupt> {
        self.words.get(at).copied().ok_or(word(at, "beyond the words"))
    }

    /// `count` words at an offset that stands in the word `named`.
    fn slice(&self, named: usize, offset: u32, count: usize) -> Result<&[u32], Corrupt> {
        let start = offset as usize;
        let slice = start.checked_add(count).and_then(|end| self.words.get(start..end));
        slice.filter(|_| start >= HEADER_WORDS).ok_or(word(named, "leads out of the image"))
    }

    fn header(&self) -> Result<(), Corrupt> {
        if self.words.len() < HEADER_WORDS {
            return Err(word(self.words.len(), "too short for a header"));
        }
        if self.words.len() > MAX_WORDS {
            return Err(word(MAX_WORDS, "more words than an image may have"));
        }
        let expected = [
            (H_MAGIC, MAGIC, "not the first word of an image"),
            (H_SCHEMA, lb_abi::SCHEMA, "another schema"),
            (H_LEN, self.words.len() as u32, "not the number of words"),
        ];
        for (at, value, problem) in expected {
            if self.words[at] != value {
                return Err(word(at, problem));
            }
        }
        let most = [
            (H_NEIGHBOURS, BEFORE_PASS),
            (H_UNPARSED, BEFORE_PASS),
            (H_OTHER, BEFORE_PASS),
            (H_FRAGMENTS, BEFORE_MATCH),
        ];
        for (at, most) in most {
            if self.words[at] > most {
                return Err(word(at, "no verdict before the tree"));
            }
        }
        if self.words[H_ENTRY] == 0 {
            return Err(word(H_ENTRY, "no entry"));
        }
        for field in FIELDS..32 {
            if self.words[H_FIELD + field] != 0 || self.image.fields & 1 << field != 0 {
                return Err(word(H_FIELD + field, "a field that is not known"));
            }
        }
        Ok(())
    }

    fn lists(&self) -> Result<(), Corrupt> {
        let image = self.image;
        if image.trackers.len() > MAX_TRACKERS {
            return Err(Corrupt { place: Place::Entry("tracker", MAX_TRACKERS), problem: "one too many" });
        }
        for (at, backend) in image.backends.iter().enumerate() {
            let entry = |problem| Corrupt { place: Place::Entry("backend", at), problem };
            if backend.pool as usize >= image.pools.len() {
                return Err(entry("of no pool"));
            }
            if ![BACKEND_ACTIVE, BACKEND_DRAINING].contains(&backend.state) {
                return Err(entry("in no known state"));
            }
        }
        for (at, certificate) in image.certificates.iter().enumerate() {
            let entry = |problem| Corrupt { place: Place::Entry("certificate", at), problem };
            if at >= MAX_POLICY_CERTIFICATES {
                return Err(entry("one too many"));
            }
            if certificate.authority as usize >= image.authorities.len() {
                return Err(entry("of no authority"));
            }
            if certificate.key.is_some_and(|key| key[0] != 4) {
                return Err(entry("no uncompressed point"));
            }
            let place = |one: &Certificate| (one.authority, one.id);
            let before = at.checked_sub(1).and_then(|before| image.certificates.get(before));
            if before.is_some_and(|before| place(before) >= place(certificate)) {
                return Err(entry("out of order"));
            }
        }
        for (at, counter) in image.counters.iter().enumerate() {
            if counter.tallies.iter().any(|&tally| tally as usize >= image.tallies.len()) {
                return Err(Corrupt { place: Place::Entry("counter", at), problem: "adds to no tally" });
            }
        }
        Ok(())
    }

    /// How many there are of what a kind of dense number counts.
    fn count(&self, kind: Dense) -> usize {
        match kind {
            Dense::Counter => self.image.counters.len(),
            Dense::Limit => self.image.limits.len(),
            Dense::Turn => self.image.turns.len(),
            Dense::Tracker => self.image.trackers.len(),
            Dense::Pool => self.image.pools.len(),
            Dense::Backend => self.image.backends.len(),
            Dense::Certificate => self.image.certificates.len(),
            Dense::FlowTable | Dense::CertificateTable => 0,
        }
    }

    /// A word that holds a dense number: within its count, and to be relocated.
    fn dense(&mut self, at: usize, kind: Dense) -> Result<(), Corrupt> {
        let number = self.at(at)? as usize;
        let ordinal = match kind {
            // These are 1 + the ordinal.
            Dense::Counter | Dense::Backend | Dense::Certificate => number.wrapping_sub(1),
            _ => number,
        };
        if !matches!(kind, Dense::FlowTable | Dense::CertificateTable) && ordinal >= self.count(kind) {
            return Err(word(at, "an ordinal of nothing"));
        }
        self.relocations.insert(Relocation { word: at as u32, kind });
        Ok(())
    }

    /// Every dense number met is listed, and every one listed is one.
    fn relocations(&mut self) -> Result<(), Corrupt> {
        let listed = &self.image.relocations;
        if let Some(at) = listed.windows(2).position(|pair| pair[0].word >= pair[1].word) {
            return Err(Corrupt { place: Place::Entry("relocation", at + 1), problem: "out of order" });
        }
        for (at, one) in listed.iter().enumerate() {
            if self.relocations.remove(one) {
                continue;
            }
            // The numbers of backends that no slot names; nothing else is out of reach.
            if one.kind != Dense::Backend {
                let place = Place::Entry("relocation", at);
                return Err(Corrupt { place, problem: "of a word that holds no such number" });
            }
            self.dense(one.word as usize, Dense::Backend)?;
            self.relocations.remove(one);
        }
        match self.relocations.first() {
            Some(missing) => Err(word(missing.word as usize, "a dense number without relocation")),
            None => Ok(()),
        }
    }
}
