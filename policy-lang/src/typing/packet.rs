//! Owns the packets that an `expect` writes: `packet tcp syn src A:P dst B:P ttl 3`. Never their bytes.

use super::Typing;
use super::endpoint::same_family;
use crate::ast::{Step, Word};
use crate::names::Kind;
use crate::policy::{Field, InterfaceId, PacketSpec, ProtoSpec, Signed};
use crate::report::suggestion;
use crate::source::Span;
use crate::value::{Fault, bytes, named, quantity};

const WORDS: &[&str] = &[
    "src", "dst", "ttl", "dscp", "vlan", "frag", "len", "payload", "seq", "ack", "code", "id", "iface",
    "sni", "signed",
];

/// What the words after the protocol say.
#[derive(Default)]
struct Said<'a> {
    src: Option<&'a Word>,
    dst: Option<&'a Word>,
    ttl: Option<u8>,
    dscp: Option<u8>,
    vlan: Option<u16>,
    frag: Option<u32>,
    len: Option<(u32, &'a Word)>,
    payload: Option<Vec<u8>>,
    iface: Option<InterfaceId>,
    sni: Option<(String, Span)>,
    signed: Option<(Signed, Span)>,
    seq: Option<u32>,
    ack: Option<u32>,
    code: Option<u8>,
    id: Option<u16>,
}

impl Typing<'_> {
    /// The packet of a step; `words` are those after `packet`.
    pub(super) fn packet(&mut self, step: &Step, words: &[Word]) -> Option<PacketSpec> {
        let (mut proto, rest) = self.packet_proto(step, words)?;
        let said = self.packet_words(rest)?;
        let (Some(src), Some(dst)) = (said.src, said.dst) else {
            self.report
                .error("E0322", step.span, "this packet does not say where it comes from and goes to")
                .help("write `packet tcp syn src 192.0.2.1:50000 dst 203.0.113.1:80 => …`");
            return None;
        };
        let ports = matches!(proto, ProtoSpec::Tcp { .. } | ProtoSpec::Udp { .. });
        let ((src_all, sport), (dst_all, dport)) = (self.endpoint(src, ports)?, self.endpoint(dst, ports)?);
        let Some((src_address, dst_address)) = same_family(&src_all, &dst_all) else {
            self.report
                .error("E0312", dst.span, "source and destination are of different families")
                .also(src.span, "the source");
            return None;
        };
        let v4 = src_address.is_ipv4();
        match &mut proto {
            ProtoSpec::Tcp { sport: s, dport: d, seq, ack, .. } => {
                (*s, *d) = (sport, dport);
                (*seq, *ack) = (said.seq.unwrap_or(0), said.ack.unwrap_or(0));
            }
            ProtoSpec::Udp { sport: s, dport: d } => (*s, *d) = (sport, dport),
            ProtoSpec::Icmp { code, id, .. } | ProtoSpec::Icmp6 { code, id, .. } => {
                (*code, *id) = (said.code.unwrap_or(*code), said.id.unwrap_or(0));
            }
            ProtoSpec::Other(_) => {}
        }
        let wrong_family = match proto {
            ProtoSpec::Icmp { .. } if !v4 => Some("ICMP over IPv6 is written `icmp6`"),
            ProtoSpec::Icmp6 { .. } if v4 => Some("ICMP over IPv4 is written `icmp`"),
            _ => None,
        };
        if let Some(message) = wrong_family {
            self.report.error("E0312", words.first().map_or(step.span, |word| word.span), message);
            return None;
        }
        self.fits_udp(&said, &proto)?;
        // IPv6 fragments have a header of their own.
        let fragment = if !v4 && said.frag.is_some_and(|kind| kind != named::FRAG_NONE) { 8 } else { 0 };
        let headers = if v4 { 20 } else { 40 } + fragment + header(&proto);
        let mut payload = said.payload.unwrap_or_default();
        if let Some((len, word)) = said.len {
            let least = headers + payload.len();
            match (len as usize).checked_sub(least) {
                Some(padding) => payload.resize(payload.len() + padding, 0),
                None => {
                    let fault =
                        Fault::new("E0302", format!("a packet like this is at least {least} bytes long"));
                    self.fault(word, fault);
                    return None;
                }
            }
        }
        let plain = PacketSpec::new(src_address, dst_address, proto);
        Some(PacketSpec {
            ttl: said.ttl.unwrap_or(plain.ttl),
            dscp: said.dscp.unwrap_or(plain.dscp),
            vlan: said.vlan,
            frag: said.frag.unwrap_or(plain.frag),
            payload,
            iface: said.iface,
            sni: said.sni.map(|(name, _)| name),
            signed: said.signed.map(|(signed, _)| signed),
            ..plain
        })
    }

    /// `sni` is the payload of a UDP packet, and `signed` stands behind one; both decide on its length.
    fn fits_udp(&mut self, said: &Said<'_>, proto: &ProtoSpec) -> Option<()> {
        let (sni, signed) = (said.sni.as_ref().map(|sni| sni.1), said.signed.as_ref().map(|one| one.1));
        let fault = match (sni, signed, &said.payload, said.len) {
            (Some(place), ..) | (_, Some(place), ..) if !matches!(proto, ProtoSpec::Udp { .. }) => {
                Some((place, "only UDP packets have this", "write `packet udp …`"))
            }
            (Some(place), _, Some(_), _) => {
                Some((place, "a hello is the whole payload of its packet", "write `sni` or `payload`"))
            }
            (Some(place), _, _, Some(_)) | (_, Some(place), _, Some(_)) => {
                Some((place, "what stands in this packet decides on its length", "leave out `len`"))
            }
            _ => None,
        };
        let Some((place, message, cure)) = fault else { return Some(()) };
        self.report.error("E0322", place, message).help(cure);
        None
    }

    /// The protocol with its flags or type, and the words after it.
    fn packet_proto<'w>(&mut self, step: &Step, words: &'w [Word]) -> Option<(ProtoSpec, &'w [Word])> {
        let (first, rest) = words.split_first()?;
        let next = rest.first().map(|word| word.text.as_str());
        let after = rest.get(1..).unwrap_or(&[]);
        let table = match first.text.as_str() {
            "tcp" => {
                let Some(flags) = next.and_then(named::flags) else {
                    let place = rest.first().map_or(first.span, |word| word.span);
                    self.report.error("E0322", place, "the packet's TCP flags are due here").help(
                        "write `tcp syn`, `tcp syn-ack`, `tcp ack`, `tcp fin-ack`, `tcp rst` or `tcp none`",
                    );
                    return None;
                };
                let flags = u8::try_from(flags).unwrap_or(0);
                return Some((ProtoSpec::Tcp { sport: 0, dport: 0, flags, seq: 0, ack: 0 }, after));
            }
            "udp" => return Some((ProtoSpec::Udp { sport: 0, dport: 0 }, rest)),
            "icmp" => named::names(Field::IcmpType),
            "icmp6" => named::names(Field::Icmp6Type),
            "proto" => {
                let word = rest.first()?;
                let number = self.packet_number(word, 255)?;
                return Some((ProtoSpec::Other(u8::try_from(number).ok()?), after));
            }
            other => {
                if let Some(number) = named::lookup(named::PROTOCOLS, other) {
                    return Some((ProtoSpec::Other(u8::try_from(number).ok()?), rest));
                }
                let known = named::PROTOCOLS.iter().map(|(name, _)| *name);
                self.report
                    .error("E0322", first.span, format!("`{other}` is no protocol"))
                    .help(suggestion(other, known));
                return None;
            }
        };
        let Some(word) = rest.first() else {
            self.report
                .error("E0322", step.span, "the packet's ICMP type is due")
                .help("write `icmp echo-request`");
            return None;
        };
        let kind = match named::lookup(table, &word.text) {
            Some(kind) => u64::from(kind),
            None if word.text.starts_with(|c: char| c.is_ascii_digit()) => self.packet_number(word, 255)?,
            None => {
                self.report
                    .error("E0214", word.span, format!("`{}` is no type of {}", word.text, first.text))
                    .help(suggestion(&word.text, table.iter().map(|(name, _)| *name)));
                return None;
            }
        };
        let kind = u8::try_from(kind).ok()?;
        let proto = match first.text.as_str() {
            "icmp" => ProtoSpec::Icmp { kind, code: 0, id: 0 },
            _ => ProtoSpec::Icmp6 { kind, code: 0, id: 0 },
        };
        Some((proto, after))
    }

    fn packet_words<'w>(&mut self, words: &'w [Word]) -> Option<Said<'w>> {
        let mut said = Said::default();
        let mut words = words.iter().peekable();
        let mut before: Vec<&Word> = Vec::new();
        while let Some(word) = words.next() {
            let key = word.text.as_str();
            if !WORDS.contains(&key) {
                self.report
                    .error("E0322", word.span, format!("`{key}` says nothing of a packet"))
                    .help(suggestion(key, WORDS.iter().copied()));
                return None;
            }
            if let Some(first) = before.iter().find(|first| first.text == key) {
                self.report
                    .error("E0309", word.span, format!("`{key}` is said twice of this packet"))
                    .also(first.span, "the first time");
                return None;
            }
            before.push(word);
            let Some(value) = words.next() else {
                self.report.error("E0322", word.span, format!("`{key}` has no value"));
                return None;
            };
            let narrow = |number: u64| u32::try_from(number).ok();
            match key {
                "src" => said.src = Some(value),
                "dst" => said.dst = Some(value),
                "ttl" => said.ttl = u8::try_from(self.packet_number(value, 255)?).ok(),
                "dscp" => {
                    let known = named::lookup(named::names(Field::Dscp), &value.text);
                    let number = match known {
                        Some(number) => u64::from(number),
                        None => self.packet_number(value, 63)?,
                    };
                    said.dscp = u8::try_from(number).ok();
                }
                "vlan" => said.vlan = u16::try_from(self.packet_number(value, 4_095)?).ok(),
                "frag" => {
                    said.frag = named::lookup(named::FRAGMENTS, &value.text);
                    if said.frag.is_none() {
                        self.report
                            .error("E0214", value.span, format!("`{}` is no kind of fragment", value.text))
                            .help("write `none`, `first` or `later`");
                        return None;
                    }
                }
                "len" => said.len = Some((narrow(self.packet_number(value, 65_535)?)?, value)),
                "payload" => said.payload = Some(self.payload(value)?),
                "iface" => {
                    said.iface = Some(InterfaceId(self.names.expect(Kind::Interface, value, self.report)?))
                }
                "sni" => said.sni = Some((self.asked_name(value)?, word.span)),
                "signed" => {
                    let id = words.next_if(|next| !WORDS.contains(&next.text.as_str()));
                    let forged = words.next_if(|next| next.text == "forged").is_some();
                    said.signed = Some(self.signed(word.span, value, id, forged)?);
                }
                "seq" => said.seq = narrow(self.packet_number(value, u32::MAX.into())?),
                "ack" => said.ack = narrow(self.packet_number(value, u32::MAX.into())?),
                "code" => said.code = u8::try_from(self.packet_number(value, 255)?).ok(),
                _ => said.id = u16::try_from(self.packet_number(value, 65_535)?).ok(),
            }
        }
        Some(said)
    }

    pub(super) fn packet_number(&mut self, word: &Word, high: u64) -> Option<u64> {
        match quantity::count_in(&word.text, 0, high) {
            Ok(number) => Some(number),
            Err(fault) => {
                self.fault(word, fault);
                None
            }
        }
    }

    /// The name that a hello asks for.
    fn asked_name(&mut self, word: &Word) -> Option<String> {
        let pattern = self.server_name(word)?;
        if pattern.below {
            let fault = Fault::new(
                "E0340",
                format!("`{}` is more than one name, and a client asks for one", word.text),
            );
            self.fault(word, fault.help("write one of the names"));
            return None;
        }
        Some(pattern.name)
    }

    /// `"text"` or `0x0102`.
    fn payload(&mut self, word: &Word) -> Option<Vec<u8>> {
        if word.quoted {
            return Some(word.text.clone().into_bytes());
        }
        let bytes = match word.text.as_str() {
            "0x" => Some(Vec::new()),
            text => bytes::hex(text).filter(|_| text.starts_with("0x")),
        };
        if bytes.is_none() {
            self.report
                .error("E0322", word.span, format!("`{}` is no payload", word.text))
                .help("write text in quotes, or pairs of hexadecimal digits: `0x0102`");
        }
        bytes
    }
}

/// Bytes of the layer-4 header.
fn header(proto: &ProtoSpec) -> usize {
    match proto {
        ProtoSpec::Tcp { .. } => 20,
        ProtoSpec::Udp { .. } | ProtoSpec::Icmp { .. } | ProtoSpec::Icmp6 { .. } => 8,
        ProtoSpec::Other(_) => 0,
    }
}
