//! Owns the names of well-known numbers: protocols, ICMP types, flags, fragments, code points.
//! Never names that a policy declares.

use crate::policy::Field;

/// Bits of `tcp.flags`, as in the image.
pub(crate) const FLAG_SYN: u32 = 1;
pub(crate) const FLAG_ACK: u32 = 2;
pub(crate) const FLAG_FIN: u32 = 4;
pub(crate) const FLAG_RST: u32 = 8;

/// Values of `frag`, as in the image.
pub(crate) const FRAG_NONE: u32 = 0;
pub(crate) const FRAG_FIRST: u32 = 1;
pub(crate) const FRAG_LATER: u32 = 2;

pub(crate) const PROTOCOLS: &[(&str, u32)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ip6ip", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// RFC 792 and RFC 1812.
pub(crate) const ICMP_TYPES: &[(&str, u32)] = &[
    ("echo-reply", 0),
    ("unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// RFC 4443 and RFC 4861.
pub(crate) const ICMP6_TYPES: &[(&str, u32)] = &[
    ("unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];

pub(crate) const FRAGMENTS: &[(&str, u32)] =
    &[("none", FRAG_NONE), ("first", FRAG_FIRST), ("later", FRAG_LATER)];

/// RFC 2474, 2597, 3246.
const CODE_POINTS: &[(&str, u32)] = &[
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("ef", 46),
];

/// The names that stand for a value of this field; `tcp.flags` has a form of its own (`flags`).
pub(crate) fn names(field: Field) -> &'static [(&'static str, u32)] {
    match field {
        Field::Proto => PROTOCOLS,
        Field::IcmpType => ICMP_TYPES,
        Field::Icmp6Type => ICMP6_TYPES,
        Field::Frag => FRAGMENTS,
        Field::Dscp => CODE_POINTS,
        _ => &[],
    }
}

pub(crate) fn lookup(table: &[(&str, u32)], word: &str) -> Option<u32> {
    table.iter().find(|(name, _)| *name == word).map(|&(_, value)| value)
}

/// `syn`, `syn-ack`, `fin-ack`, `none`: bits of `lb_abi::image::FLAG_*`.
pub(crate) fn flags(word: &str) -> Option<u32> {
    if word == "none" {
        return Some(0);
    }
    word.split('-').try_fold(0, |bits, part| {
        let bit = match part {
            "syn" => FLAG_SYN,
            "ack" => FLAG_ACK,
            "fin" => FLAG_FIN,
            "rst" => FLAG_RST,
            _ => return None,
        };
        (bits & bit == 0).then_some(bits | bit)
    })
}

impl Field {
    /// A value of the field as a policy writes it: `syn-ack`, `echo-request`, `443`.
    pub fn value_word(self, number: u32) -> String {
        if self == Field::TcpFlags {
            let all = [(FLAG_SYN, "syn"), (FLAG_FIN, "fin"), (FLAG_RST, "rst"), (FLAG_ACK, "ack")];
            let set: Vec<&str> =
                all.iter().filter(|(bit, _)| number & bit != 0).map(|(_, name)| *name).collect();
            return if set.is_empty() { "none".to_owned() } else { set.join("-") };
        }
        let named = names(self).iter().find(|(_, value)| *value == number);
        named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_flags_can_be_written() {
        for number in 0..16 {
            assert_eq!(flags(&Field::TcpFlags.value_word(number)), Some(number));
        }
        assert_eq!(Field::IcmpType.value_word(8), "echo-request");
        assert_eq!(Field::Ttl.value_word(8), "8");
    }
}
