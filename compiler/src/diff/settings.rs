//! Owns what changes for packets that never reach a tree. Never fragments, which a tree may decide about.

use policy_lang::policy::{Before, BeforeTree};

use super::report::Setting;

const EVERYBODY: [u8; 6] = [0xff; 6];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
/// Local experiments (IEEE 802).
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// The settings that differ, in the order of the language's page.
pub fn changed(old: &BeforeTree, new: &BeforeTree) -> Vec<Setting> {
    let settings = [
        (
            "neighbours",
            "ARP, and ICMPv6 types 133-137 with hop limit 255",
            old.neighbours,
            new.neighbours,
            frame(ARP, &[0, 1, 8, 0, 6, 4, 0, 1], 28),
        ),
        ("unparsed", "what can't be parsed", old.unparsed, new.unparsed, frame(IPV4, &[0x45], 1)),
        ("other", "other ethertypes", old.other, new.other, frame(EXPERIMENTAL, &[], 0)),
    ];
    let differ = settings.into_iter().filter(|(_, _, before, after, _)| before != after);
    differ
        .map(|(name, packets, before, after, frame)| Setting {
            name,
            packets,
            before: word(before),
            after: word(after),
            frame,
        })
        .collect()
}

fn word(before: Before) -> &'static str {
    match before {
        Before::Drop => "drop",
        Before::Pass => "pass",
        Before::Match => "match",
    }
}

/// With this start of its content, zeros up to `length`.
fn frame(ethertype: [u8; 2], start: &[u8], length: usize) -> Vec<u8> {
    let mut content = start.to_vec();
    content.resize(length, 0);
    [&EVERYBODY[..], &SENDER, &ethertype, &content].concat()
}
