//! The typed form of what guards and packets say.

use crate::policy::{
    AuthorityId, Field, Guard, InterfaceId, Outcome, PacketSpec, Policy, ProtoSpec, Signed, Step, Tail,
    Values,
};
use crate::source::Loader;

struct Nothing;

impl Loader for Nothing {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

const ITEMS: &str = "\
lbp 1
interface wan { device eth1 }
interface lan { device eth0 }
mapper names { reads dtls; max 64 }
authority a { key 7 036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 }
authority b {
  key 9 046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5
  key 7 037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978
}
";

fn policy(rest: &str) -> Policy {
    let checked = crate::check("p.lbp", format!("{ITEMS}{rest}\n"), &Nothing);
    checked.policy.unwrap_or_else(|| panic!("{rest}: {:#?}", checked.diagnostics))
}

/// What a comparison behind `verify` and `map` compares with.
fn compared(guard: &str) -> (Field, bool, Values) {
    let policy = policy(&format!(
        "policy p {{ default drop }} = verify a -> map names -> match {{ {guard} -> pass; else -> drop }}"
    ));
    let Tail::Match(choice) = &policy.root.tail else { panic!("{guard}") };
    let Guard::Test(test) = &choice.arms[0].guard else { panic!("{guard}") };
    (test.field, test.negated, test.values.clone())
}

fn ranges(guard: &str) -> Vec<(u32, u32)> {
    match compared(guard) {
        (Field::Iface | Field::Cert, false, Values::Ranges(ranges)) => ranges,
        other => panic!("{guard}: {other:?}"),
    }
}

#[test]
fn interfaces_are_numbered_from_one() {
    assert_eq!(ranges("iface == wan"), [(1, 1)]);
    assert_eq!(ranges("iface in { lan, wan }"), [(1, 2)]);
}

#[test]
fn certificates_are_numbered_over_all_authorities() {
    // Of each authority in order, by id: a's 7, b's 7, b's 9.
    assert_eq!(ranges("cert.id == 7"), [(0, 1)]);
    assert_eq!(ranges("cert.id in 8-200"), [(2, 2)]);
    // Bare keys have the hash of their point.
    let hash = "698bea63dc44a344663ff1429aea10842df27b6b991ef25866b2c6c02cdcc5be";
    assert_eq!(ranges(&format!("cert.hash == \"{hash}\"")), [(0, 0), (2, 2)]);
}

#[test]
fn payloads_and_names_are_in_one_form() {
    let Values::Prefixes(prefixes) = compared("payload in { \"GET \", 0x16fe, \"GET /\" }").2 else {
        panic!()
    };
    assert_eq!(prefixes, [b"\x16\xfe".to_vec(), b"GET ".to_vec()]);
    let (field, negated, Values::Names(names)) = compared("sni not in { \"B.example.\", \"*.a.example\" }")
    else {
        panic!()
    };
    assert_eq!((field, negated), (Field::Sni, true));
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["*.a.example", "b.example"]);
}

fn steps(steps: &str) -> Vec<Step> {
    policy(&format!("policy p {{ default drop }} = verify a -> pass\nexpect \"x\" {{ {steps} }}")).expects[0]
        .steps
        .clone()
}

fn packet(words: &str) -> PacketSpec {
    let Some(Step::Packet { packet, .. }) = steps(&format!("packet {words} => drop")).pop() else {
        panic!("{words}")
    };
    packet
}

#[test]
fn packets_have_interfaces_names_and_trailers() {
    assert_eq!(packet("tcp syn src 10.0.0.1:1 dst 10.0.0.2:2 iface lan").iface, Some(InterfaceId(1)));
    assert_eq!(
        packet("udp sni \"A.example\" src 10.0.0.1:1 dst 10.0.0.2:2").sni.as_deref(),
        Some("a.example")
    );
    let signed =
        |words: &str| packet(&format!("udp src 10.0.0.1:1 {words} dst 10.0.0.2:2 payload \"x\"")).signed;
    let by = |authority, certificate, forged| {
        Some(Signed { authority: AuthorityId(authority), certificate, forged })
    };
    assert_eq!(signed(""), None);
    assert_eq!(signed("signed a 7"), by(0, 0, false));
    assert_eq!(signed("signed b 9 forged"), by(1, 1, true));
}

#[test]
fn packets_may_have_port_0() {
    let ProtoSpec::Tcp { sport, dport, .. } = packet("tcp syn src 10.0.0.1:0 dst 10.0.0.2:0").proto else {
        panic!()
    };
    assert_eq!((sport, dport), (0, 0));
}

#[test]
fn a_word_said_twice_of_a_packet_is_an_error() {
    let text = "lbp 1\npolicy p { default drop } = drop\n\
        expect \"x\" { packet tcp syn src 1.1.1.1:1 dst 2.2.2.2:2 ttl 3 ttl 4 => drop }\n";
    let checked = crate::check("p.lbp", text.to_owned(), &Nothing);
    let found: Vec<&str> = checked.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(found, ["E0309"]);
}

#[test]
fn tests_have_a_date_and_see_cookies() {
    let steps = steps(
        "given date 2027-01-31T12:00:00Z; packet tcp syn src 10.0.0.1:1 dst 10.0.0.2:2 => reply cookie",
    );
    assert!(matches!(steps[0], Step::GivenDate(1_801_396_800)));
    assert!(matches!(steps[1], Step::Packet { outcome: Some(Outcome::ReplyCookie), .. }));
}
