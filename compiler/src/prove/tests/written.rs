//! Claims about policies as text: those that hold, and those that are false with their witness and its way.

use super::*;

const WEB: &str = "
vip web { address 203.0.113.10, 2001:db8::10; ports tcp 80 }
track flows { idle 30s; max 1_000 }
limit calm { per src v4 /32 v6 /64; rate 20 syn/s; burst 40; max 1_000 }
limit slow { per src v4 /32 v6 /64; rate 20 syn/s; burst 40; max 1_000 }
pool app { pick round-robin; via nat; source 10.0.0.5; ports 1000-1999; backend a 10.0.1.1:8080 }
side B when src in app
side A otherwise
policy p { default drop } = match {
  from B                       -> translate back (invalid -> drop) -> forward
  src in 192.0.2.0/24          -> count bad -> drop
  to web and tcp.flags == syn  -> limit calm (exceed -> drop) -> web_out
  to web                       -> web_out
  icmp.type == echo-request    -> reply echo
  else                         -> drop
}
tree web_out = track flows (full -> drop, invalid -> drop) -> translate app (empty -> drop, ports -> drop) -> forward
";

/// For each claim `None` if it holds, else its witness as written, the tracker of its flow, and whether it goes at once.
fn proved(claims: &str) -> Vec<Option<(String, Option<String>, bool)>> {
    let policy = checked(&format!("{WEB}\nassert \"claims\" {{ {claims} }}"));
    let told = |finding: &Finding| match finding {
        Finding::Holds => None,
        Finding::False(witness) => Some((witness.text.clone(), witness.flow.clone(), witness.at_once)),
        Finding::TooLarge => panic!("too large"),
    };
    run(&policy).asserts[0].claims.iter().map(|proof| told(&proof.finding)).collect()
}

#[test]
fn what_is_true_holds() {
    let claims = [
        "never proto != tcp reaches app",
        "never src in 192.0.2.0/24 reaches app",
        "never src in 192.0.2.0/24 reaches web_out",
        "always src in 192.0.2.0/24 ends drop",
        "never from A and tcp.flags == syn reaches app without calm",
        "never frag == first ends forward",
        "never icmp.type == echo-request ends forward",
        "never from A and not to web ends forward",
        // The pool has no backend of this family, and no flow of it can be known behind `track` alone.
        "never src in 2001:db8:5::/64 and not flow in flows ends forward",
        "never ttl in 0-1 ends forward",
        "never tcp.flags != syn reaches calm",
        "never src in 127.0.0.0/8 ends forward",
        "always icmp6.type == 135 and ttl == 255 ends pass",
    ];
    for claim in claims {
        assert_eq!(proved(claim), [None], "{claim}");
    }
}

#[test]
fn what_is_false_has_a_witness() {
    let found = proved(
        "never src in 198.51.100.0/24 reaches app
         always from A ends drop
         never to web reaches app without calm
         never from A ends reply echo
         never from B ends forward
         never tcp.flags == syn reaches app without slow",
    );
    let said: Vec<String> = found
        .into_iter()
        .map(|one| {
            one.map_or("holds".to_owned(), |(packet, flow, at_once)| format!("{packet} {flow:?} {at_once}"))
        })
        .collect();
    let syn = "packet tcp syn src 198.51.100.7:50000 dst 203.0.113.10:80 None true";
    let ping = "packet icmp echo-request src 198.51.100.7 dst 203.0.113.1 None true";
    assert_eq!(
        said,
        [
            syn,
            ping,
            "packet tcp ack src 198.51.100.7:50000 dst 203.0.113.10:80 Some(\"flows\") false",
            ping,
            "packet tcp syn src 10.0.1.1:50000 dst 203.0.113.1:443 Some(\"flows\") false",
            syn,
        ]
    );
}

#[test]
fn what_no_header_tells_is_proved_as_well() {
    let proved = |claim: &str| {
        let policy = checked(&format!(
            "
set banned : addr dynamic max 100
interface lan {{ device eth0 }}
mapper names {{ reads dtls; max 100; idle 30s; wait 2s }}
policy p {{ default drop }} = match {{
  src in banned -> drop
  iface == lan -> match {{ src in banned -> reject; payload == 0x1603 -> pass; else -> drop }}
  udp.dport == 443 -> map names (missing -> drop, invalid -> drop, full -> drop) -> match {{
    sni in \"*.a.example\" -> pass
    else -> drop
  }}
  else -> drop
}}
assert \"claims\" {{ {claim} }}"
        ));
        match &run(&policy).asserts[0].claims[0].finding {
            Finding::Holds => "holds".to_owned(),
            Finding::False(witness) => format!("{} {:?}", witness.text, witness.at_once),
            Finding::TooLarge => panic!("too large"),
        }
    };
    // The same set of the same address is asked once and again.
    assert_eq!(proved("never src in 0.0.0.0/0 ends reject"), "holds");
    assert_eq!(proved("never proto == icmp ends pass"), "holds");
    assert_eq!(proved("never iface != lan and proto == tcp ends pass"), "holds");
    assert_eq!(
        proved("never iface == lan ends pass"),
        "packet tcp syn src 198.51.100.7:50000 dst 203.0.113.1:443 iface lan payload 0x1603000000000000 true"
    );
    assert_eq!(
        proved("never iface != lan ends pass"),
        "packet udp src 198.51.100.7:50000 dst 203.0.113.1:443 sni \"other.a.example\" true"
    );
}

#[test]
fn a_false_claim_is_told_with_its_way() {
    let policy = checked(&format!("{WEB}\nassert \"one\" {{ never tcp.flags == syn reaches app }}"));
    let found = run(&policy).diagnostics();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "E0701");
    assert_eq!(found[0].primary.0, policy.asserts[0].claims[0].span);
    let told: Vec<&str> = found[0].secondary.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(told, ["taken", "reached", "to this tree", "reached", "reached"]);
}

#[test]
fn what_a_set_has_to_hold_is_given_to_explain() {
    let policy = checked(
        "set banned : addr dynamic max 100
policy p { default drop } = match { src in banned or dst in banned -> reject; else -> drop }
assert \"nobody\" { never ttl in 0-255 ends reject }",
    );
    let found = run(&policy).diagnostics();
    let help = found[0].help.as_deref().unwrap_or_default();
    assert_eq!(
        help,
        "`lbctl explain FILE 'given 203.0.113.1 in banned' 'packet tcp syn src 198.51.100.7:50000 dst 203.0.113.1:443'` \
         shows each guard on its way"
    );
    let reason = found[0].reason.as_deref();
    assert_eq!(reason, Some("the packet goes this way as the first one, where `banned` holds 203.0.113.1"));
}

#[test]
fn nobody_is_banned_of_whom_it_is_claimed() {
    let proved = |claim: &str| {
        let text = format!(
            "set banned : addr dynamic max 100
set staff : net = {{ 192.0.2.0/24 }}
limit calm {{ per src v4 /32 v6 /64; rate 20 pkt/s; burst 40; max 1_000 }}
policy p {{ default drop }} = match {{
  src in banned -> drop
  src in staff -> pass
  else -> limit calm (exceed -> ban banned -> drop) -> pass
}}
assert \"x\" {{ {claim} }}"
        );
        run(&checked(&text)).holds()
    };
    assert!(proved("never src in staff reaches banned"));
    assert!(!proved("never src in 192.0.0.0/16 reaches banned"));
    assert!(proved("never ttl in 0-255 reaches banned without calm"));
}

#[test]
fn an_exit_that_nothing_brings_about_is_never_taken() {
    const POOL: &str = "via nat; source 10.0.0.5; ports 1000-1999; backend a 10.0.1.1";
    let policy = |pool: &str, authority: &str, exits: &str| {
        let text = format!(
            "track t {{ idle 30s; max 9 }}
pool app {{ pick random; {pool} }}
authority devices {{ key 3 036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 {authority} }}
side B when src in 10.0.1.1
side A otherwise
policy p {{ default drop }} = match {{
  from B -> translate back (invalid -> drop) -> forward
  udp.dport == 9 -> verify devices ({exits}) -> drop
  else -> track t -> translate app (empty -> drop, ports -> pass) -> forward
}}
assert \"x\" {{ never ttl in 0-255 ends pass }}"
        );
        let text = if pool.starts_with("via nat") {
            text
        } else {
            text.replace("from B -> translate back (invalid -> drop) -> forward", "")
        };
        run(&checked(&text)).holds()
    };
    assert!(policy("via ipip; backend a 10.0.1.1", "", "missing -> drop"));
    assert!(!policy(POOL, "", "missing -> drop"));
    for (setting, exit) in [("until 2027-01-31", "expired"), ("; replay 5s", "replayed")] {
        let ipip = "via ipip; backend a 10.0.1.1";
        assert!(policy(ipip, "", &format!("{exit} -> pass")), "{exit}");
        assert!(!policy(ipip, setting, &format!("{exit} -> pass")), "{exit}");
    }
}

#[test]
fn every_exit_may_be_taken() {
    let exits = [
        ("limit calm (exceed -> drop)", "limit calm (exceed -> pass)"),
        ("full -> drop, invalid -> drop", "full -> pass, invalid -> drop"),
        ("full -> drop, invalid -> drop", "full -> drop, invalid -> pass"),
        ("empty -> drop, ports -> drop", "empty -> pass, ports -> drop"),
        ("empty -> drop, ports -> drop", "empty -> drop, ports -> pass"),
        ("back (invalid -> drop)", "back (invalid -> pass)"),
    ];
    for (before, after) in exits {
        let text = format!("{WEB}\nassert \"x\" {{ never tcp.dport in 0-65535 ends pass }}");
        assert!(run(&checked(&text)).holds());
        assert!(!run(&checked(&text.replacen(before, after, 1))).holds(), "{after}");
    }
}
