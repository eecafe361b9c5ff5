//! Owns the ClientHello of DTLS (RFC 6347, section 4.2; RFC 9147, section 5) and QUIC (RFC 9001, section 4): making one of DTLS
//! that asks for a name, and finding the name in what a client sends. Never what a name leads to.

use policy_lang::policy::MapperProtocol;

use super::quic;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// DTLS 1.0 and 1.2; a hello of DTLS 1.3 has that of 1.2.
const VERSIONS: [[u8; 2]; 2] = [[0xfe, 0xff], [0xfe, 0xfd]];
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
/// Longest hello that is put together.
const LONGEST: usize = 16_384;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What a client has sent so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// Asks for this name: lower case, without a final dot.
    Named(String),
    /// Asks for no name.
    Unnamed,
    /// Is no hello.
    Other,
    /// Looks like a hello and is none.
    Broken,
    /// The rest is still to come.
    Partial,
}

/// The fragments of one flow's hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hellos {
    protocol: MapperProtocol,
    message: Option<Message>,
    /// QUIC: the handshake's bytes from their start on, as far as they are there.
    stream: Vec<Option<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    sequence: u16,
    /// A byte for each that is there.
    bytes: Vec<Option<u8>>,
}

impl Hellos {
    /// Nothing yet of a hello of this protocol.
    pub fn of(protocol: MapperProtocol) -> Hellos {
        Hellos { protocol, message: None, stream: Vec::new() }
    }

    /// Takes the payload of one datagram: its records in order, up to the first that is no plain handshake record.
    pub fn read(&mut self, datagram: &[u8]) -> Hello {
        if self.protocol == MapperProtocol::Quic {
            return self.read_quic(datagram);
        }
        let mut rest = datagram;
        let mut is_first = true;
        while let Some((&[kind, major, minor, epoch1, epoch2, ..], _)) =
            rest.split_first_chunk::<RECORD_HEADER>()
        {
            let is_plain =
                kind == HANDSHAKE && VERSIONS.contains(&[major, minor]) && [epoch1, epoch2] == [0; 2];
            if !is_plain {
                break;
            }
            let Some((record, behind)) = take(rest, RECORD_HEADER - 2, 2) else { return Hello::Broken };
            match self.record(record) {
                Some(hello) if is_first || hello != Hello::Other => return hello,
                Some(_) => break,
                None => {}
            }
            (rest, is_first) = (behind, false);
        }
        if is_first { Hello::Other } else { Hello::Partial }
    }

    /// Takes the payload of one datagram: the CRYPTO frames of its Initial packets.
    fn read_quic(&mut self, datagram: &[u8]) -> Hello {
        let fragments = match quic::crypto(datagram) {
            Ok(fragments) => fragments,
            Err(quic::NoInitial::Other) => return Hello::Other,
            Err(quic::NoInitial::Broken) => return Hello::Broken,
        };
        for (offset, fragment) in fragments {
            let end = offset.saturating_add(fragment.len());
            if end > LONGEST {
                return Hello::Broken;
            }
            self.stream.resize(self.stream.len().max(end), None);
            let places = self.stream.iter_mut().skip(offset).zip(&fragment);
            for (place, byte) in places {
                if place.replace(*byte).is_some_and(|there| there != *byte) {
                    return Hello::Broken;
                }
            }
        }
        let there: Vec<u8> = self.stream.iter().map_while(|byte| *byte).collect();
        let Some((&[kind, l1, l2, l3], rest)) = there.split_first_chunk::<4>() else { return Hello::Partial };
        if kind != CLIENT_HELLO {
            return Hello::Other;
        }
        match rest.get(..u32::from_be_bytes([0, l1, l2, l3]) as usize) {
            Some(whole) => asked_for(whole, false).unwrap_or(Hello::Broken),
            None => Hello::Partial,
        }
    }

    /// Takes the messages of one record; `None` if more is needed.
    fn record(&mut self, mut rest: &[u8]) -> Option<Hello> {
        if rest.is_empty() {
            return Some(Hello::Broken);
        }
        while !rest.is_empty() {
            let Some((header, behind)) = rest.split_first_chunk::<MESSAGE_HEADER>() else {
                return Some(Hello::Broken);
            };
            let &[kind, l1, l2, l3, s1, s2, o1, o2, o3, f1, f2, f3] = header;
            if kind != CLIENT_HELLO {
                return Some(Hello::Other);
            }
            let [length, offset, count] = [[l1, l2, l3], [o1, o2, o3], [f1, f2, f3]]
                .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]) as usize);
            let Some((fragment, behind)) = behind.split_at_checked(count) else { return Some(Hello::Broken) };
            if length > LONGEST || !self.fragment(u16::from_be_bytes([s1, s2]), length, offset, fragment) {
                return Some(Hello::Broken);
            }
            let bytes = self.message.as_ref().map(|message| message.bytes.iter().copied());
            if let Some(whole) = bytes.and_then(Iterator::collect::<Option<Vec<u8>>>) {
                return Some(asked_for(&whole, true).unwrap_or(Hello::Broken));
            }
            rest = behind;
        }
        None
    }

    /// Puts a fragment in its place; false if it does not fit what is there. Another message begins anew.
    fn fragment(&mut self, sequence: u16, length: usize, offset: usize, fragment: &[u8]) -> bool {
        if self.message.as_ref().is_none_or(|message| message.sequence != sequence) {
            self.message = Some(Message { sequence, bytes: vec![None; length] });
        }
        let Some(message) = &mut self.message else { return false };
        let Some(places) = message.bytes.get_mut(offset..offset + fragment.len()) else { return false };
        let fits = places.iter().zip(fragment).all(|(place, byte)| place.is_none_or(|there| there == *byte));
        places.iter_mut().zip(fragment).for_each(|(place, byte)| *place = Some(*byte));
        fits && message.bytes.len() == length
    }
}

/// What a length of `width` bytes at `at` counts off, and what is behind.
fn take(bytes: &[u8], at: usize, width: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(at..at + width)?.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    bytes.get(at + width..)?.split_at_checked(length)
}

/// The name in a whole hello (RFC 8446, section 4.1.2; RFC 6347, section 4.2.1, which adds a cookie; RFC 6066, section 3);
/// `None` if it is malformed.
fn asked_for(hello: &[u8], has_cookie: bool) -> Option<Hello> {
    let (_session, rest) = take(hello, 2 + 32, 1)?;
    let rest = if has_cookie { take(rest, 0, 1)?.1 } else { rest };
    let (_suites, rest) = take(rest, 0, 2)?;
    let (_compression, rest) = take(rest, 0, 1)?;
    if rest.is_empty() {
        return Some(Hello::Unnamed);
    }
    let (mut extensions, behind) = take(rest, 0, 2)?;
    if !behind.is_empty() {
        return None;
    }
    let mut found = Hello::Unnamed;
    while let Some((kind, _)) = extensions.split_first_chunk::<2>() {
        let (extension, behind) = take(extensions, 2, 2)?;
        if u16::from_be_bytes(*kind) == SERVER_NAME {
            if found != Hello::Unnamed {
                return None;
            }
            found = Hello::Named(server_name(extension)?);
        }
        extensions = behind;
    }
    extensions.is_empty().then_some(found)
}

/// The one host name of a list of names.
fn server_name(extension: &[u8]) -> Option<String> {
    let (list, behind) = take(extension, 0, 2)?;
    let (name, more) = take(list, 1, 2)?;
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (1..=255).contains(&name.len()) && name.bytes().all(is_plain);
    let is_alone = behind.is_empty() && more.is_empty() && list.first() == Some(&HOST_NAME);
    (is_name && is_alone).then(|| name.to_owned())
}

/// A datagram with the hello of DTLS 1.2 that asks for a name, in one record. Its random bytes are zeros.
pub fn hello(name: &str) -> Vec<u8> {
    let entry = [&[HOST_NAME][..], &counted(2, name.as_bytes())].concat();
    let extension = [SERVER_NAME.to_be_bytes().to_vec(), counted(2, &counted(2, &entry))].concat();
    let body = [
        &[0xfe, 0xfd][..],
        &[0; 32],
        // Session id and cookie; TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; no compression.
        &[0, 0],
        &[0, 2, 0xc0, 0x2b],
        &[1, 0],
        &counted(2, &extension),
    ]
    .concat();
    let length = counted(3, &body);
    let [l1, l2, l3] = *length.first_chunk::<3>().unwrap_or(&[0; 3]);
    let message = [&[CLIENT_HELLO, l1, l2, l3, 0, 0, 0, 0, 0][..], &length].concat();
    [&[HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0][..], &counted(2, &message)].concat()
}

/// Bytes behind their length in `width` bytes.
fn counted(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    length.iter().skip(8 - width).chain(bytes).copied().collect()
}

#[cfg(test)]
mod tests;
