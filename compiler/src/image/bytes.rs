//! Owns the image as bytes: little-endian numbers, lists behind their lengths, texts as UTF-8. Never files.

use lb_abi::bundle::{
    Authority, Backend, Certificate, Counter, Dense, Image, Limit, Pool, Relocation, Tally, TallyKind,
    Tracker, Turn,
};

use super::{Corrupt, Place, id, validate};

/// First bytes of every image file, its version behind them.
const MAGIC: [u8; 8] = *b"lbp-img\n";
/// Bumped whenever this layout or `lb_abi`'s changes.
const VERSION: u32 = 2;

/// The image as bytes: magic, version, id, then its parts. Equal images give equal bytes on every machine.
pub fn to_bytes(image: &Image) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(image.words.len() * 4 + 4096));
    out.0.extend(MAGIC);
    out.u32(VERSION);
    out.u32(lb_abi::SCHEMA);
    out.0.extend(id(image));
    out.text(&image.name);
    out.list(&image.words, |out, &word| out.u32(word));
    [image.fields, image.ops, image.features].iter().for_each(|&mode| out.u32(mode));
    out.list(&image.relocations, |out, one| {
        out.u32(one.word);
        out.0.push(one.kind as u8);
    });
    out.list(&image.limits, |out, one| {
        out.u64(one.identity);
        out.text(&one.name);
        out.u32(one.max);
    });
    out.list(&image.turns, |out, one| out.u64(one.identity));
    out.list(&image.trackers, |out, one| {
        out.u64(one.identity);
        out.text(&one.name);
        out.u32(one.max);
    });
    out.list(&image.pools, |out, one| {
        out.u64(one.identity);
        out.text(&one.name);
    });
    out.list(&image.backends, |out, one| {
        out.u64(one.identity);
        out.u32(one.pool);
        out.text(&one.name);
        out.0.extend(one.addr);
        out.u16(one.port);
        out.u16(one.state);
    });
    out.list(&image.authorities, |out, one| {
        out.u64(one.identity);
        out.text(&one.name);
        out.maybe(one.replay, |out, replay| out.u64(replay));
        out.u64(one.checks);
    });
    out.list(&image.certificates, |out, one| {
        out.u64(one.identity);
        out.u32(one.authority);
        out.0.push(one.id);
        out.0.extend(one.hash);
        out.maybe(one.key, |out, key| out.0.extend(key));
        out.maybe(one.valid, |out, (first, last)| [first, last].iter().for_each(|&end| out.u64(end as u64)));
        out.0.push(one.revoked.into());
        out.text(&one.name);
    });
    out.list(&image.counters, |out, one| {
        out.u64(one.identity);
        out.list(&one.tallies, |out, &tally| out.u32(tally));
    });
    out.list(&image.tallies, |out, one| {
        out.u64(one.identity);
        out.0.push(one.kind as u8);
        [&one.label, &one.tree, &one.file].iter().for_each(|text| out.text(text));
        out.u32(one.line);
    });
    out.0
}

/// Reads what `to_bytes` wrote.
///
/// # Errors
/// The first byte, word or entry that is not as an image has it; an image that is returned has been validated.
pub fn from_bytes(bytes: &[u8]) -> Result<Image, Corrupt> {
    let mut from = Reader { bytes, at: 0 };
    if from.array()? != MAGIC {
        return Err(Corrupt { place: Place::Byte(0), problem: "this is no image" });
    }
    from.expect(VERSION, "an image of another version")?;
    from.expect(lb_abi::SCHEMA, "an image of another schema")?;
    let stated: [u8; 32] = from.array()?;
    let image = Image {
        name: from.text()?,
        words: from.list(4, Reader::u32)?,
        fields: from.u32()?,
        ops: from.u32()?,
        features: from.u32()?,
        relocations: from.list(5, |from| Ok(Relocation { word: from.u32()?, kind: from.dense()? }))?,
        limits: from
            .list(16, |from| Ok(Limit { identity: from.u64()?, name: from.text()?, max: from.u32()? }))?,
        turns: from.list(8, |from| Ok(Turn { identity: from.u64()? }))?,
        trackers: from
            .list(16, |from| Ok(Tracker { identity: from.u64()?, name: from.text()?, max: from.u32()? }))?,
        pools: from.list(12, |from| Ok(Pool { identity: from.u64()?, name: from.text()? }))?,
        backends: from.list(36, |from| {
            Ok(Backend {
                identity: from.u64()?,
                pool: from.u32()?,
                name: from.text()?,
                addr: from.array()?,
                port: from.u16()?,
                state: from.u16()?,
            })
        })?,
        authorities: from.list(21, |from| {
            Ok(Authority {
                identity: from.u64()?,
                name: from.text()?,
                replay: from.maybe(Reader::u64)?,
                checks: from.u64()?,
            })
        })?,
        certificates: from.list(52, |from| {
            Ok(Certificate {
                identity: from.u64()?,
                authority: from.u32()?,
                id: from.array::<1>()?[0],
                hash: from.array()?,
                key: from.maybe(Reader::array)?,
                valid: from.maybe(|from| Ok((from.u64()? as i64, from.u64()? as i64)))?,
                revoked: from.flag()?,
                name: from.text()?,
            })
        })?,
        counters: from
            .list(12, |from| Ok(Counter { identity: from.u64()?, tallies: from.list(4, Reader::u32)? }))?,
        tallies: from.list(25, |from| {
            Ok(Tally {
                identity: from.u64()?,
                kind: from.tally_kind()?,
                label: from.text()?,
                tree: from.text()?,
                file: from.text()?,
                line: from.u32()?,
            })
        })?,
    };
    if from.at != bytes.len() {
        return Err(from.corrupt("bytes behind the end"));
    }
    if id(&image) != stated {
        return Err(Corrupt { place: Place::Byte(16), problem: "the id is not that of the contents" });
    }
    validate(&image)?;
    Ok(image)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u16(&mut self, number: u16) {
        self.0.extend(number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
    }

    fn maybe<T>(&mut self, item: Option<T>, one: impl FnOnce(&mut Writer, T)) {
        self.0.push(item.is_some().into());
        if let Some(item) = item {
            one(self, item);
        }
    }

    fn list<T>(&mut self, items: &[T], mut one: impl FnMut(&mut Writer, &T)) {
        self.u32(items.len() as u32);
        items.iter().for_each(|item| one(self, item));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn corrupt(&self, problem: &'static str) -> Corrupt {
        Corrupt { place: Place::Byte(self.at), problem }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Corrupt> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { return Err(self.corrupt("the bytes end too early")) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Corrupt> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Corrupt> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Corrupt> {
        self.array().map(u64::from_le_bytes)
    }

    fn expect(&mut self, number: u32, problem: &'static str) -> Result<(), Corrupt> {
        let at = self.at;
        if self.u32()? == number { Ok(()) } else { Err(Corrupt { place: Place::Byte(at), problem }) }
    }

    fn text(&mut self) -> Result<String, Corrupt> {
        let length = self.u32()? as usize;
        let at = self.at;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes)
            .map_err(|_| Corrupt { place: Place::Byte(at), problem: "a text that is not UTF-8" })
    }

    fn flag(&mut self) -> Result<bool, Corrupt> {
        self.one_of(&[false, true], "neither yes nor no", u8::from)
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> Result<T, Corrupt>) -> Result<Option<T>, Corrupt> {
        Ok(if self.flag()? { Some(one(self)?) } else { None })
    }

    /// `least`: bytes that an item takes at least, so that a false length asks for no more memory than there are bytes.
    fn list<T>(
        &mut self,
        least: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, Corrupt>,
    ) -> Result<Vec<T>, Corrupt> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.at) / least {
            return Err(self.corrupt("a list longer than the bytes"));
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn dense(&mut self) -> Result<Dense, Corrupt> {
        let all = [
            Dense::Counter,
            Dense::Limit,
            Dense::Turn,
            Dense::Tracker,
            Dense::Pool,
            Dense::Backend,
            Dense::FlowTable,
            Dense::Certificate,
            Dense::CertificateTable,
        ];
        self.one_of(&all, "a relocation of no known kind", |kind| kind as u8)
    }

    fn tally_kind(&mut self) -> Result<TallyKind, Corrupt> {
        let all = [TallyKind::Arm, TallyKind::Exit, TallyKind::Named, TallyKind::Way];
        self.one_of(&all, "a tally of no known kind", |kind| kind as u8)
    }

    fn one_of<T: Copy>(
        &mut self,
        all: &[T],
        problem: &'static str,
        number: impl Fn(T) -> u8,
    ) -> Result<T, Corrupt> {
        let [byte] = *self.take(1)? else { return Err(self.corrupt(problem)) };
        all.iter()
            .copied()
            .find(|&kind| number(kind) == byte)
            .ok_or(Corrupt { place: Place::Byte(self.at - 1), problem })
    }
}
