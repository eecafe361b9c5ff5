//! Replies of backends that do not get to `translate back` are told; those of which it is not known are not.

use super::{NONE, warned};

/// E0406 of a policy with a pool of these settings and a match of these arms.
fn lost(pool: &str, arms: &str) -> Vec<String> {
    warned(
        "E0406",
        &format!(
            "set list : net from \"list.txt\" max 100\nset banned : addr dynamic max 100\n\
             track t {{ idle 30s; max 100 }}\ntrack u {{ idle 30s; max 100 }}\n\
             pool app {{ pick random; via nat; {pool} }}\n\
             policy p {{ default drop }} = match {{\n{arms}\n}}"
        ),
    )
}

const OWN: &str = "source 10.0.0.5; ports 1000-2000; backend a1 10.0.1.1:8080; backend a2 10.0.1.2:8081";
const OUT: &str = "else -> track t (full -> drop) -> translate app (empty -> drop) -> forward";
const BACK: &str = "translate back -> forward";

#[test]
fn a_reply_that_an_earlier_arm_takes_is_told() {
    let told =
        lost(OWN, &format!("src in {{ 10.0.1.2 }} and ttl in 0-255 -> drop\nsrc in app -> {BACK}\n{OUT}"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("`tcp ack src 10.0.1.2:8081 dst 10.0.0.5:1000`"), "{told:?}");
    assert!(told[0].ends_with("< a2, src in { 10.0.1.2 } and ttl in 0-255"), "{told:?}");
    // Some reply of `a2` comes home, whatever its server chooses.
    assert_eq!(
        lost(OWN, &format!("src in {{ 10.0.1.2 }} and ttl == 5 -> drop\nsrc in app -> {BACK}\n{OUT}")),
        NONE
    );
    assert_eq!(lost(OWN, &format!("src in {{ 10.0.1.3 }} -> drop\nsrc in app -> {BACK}\n{OUT}")), NONE);
}

#[test]
fn every_port_and_protocol_of_a_reply_has_to_come_home() {
    let of = |arm: &str| lost(OWN, &format!("{arm} -> {BACK}\n{OUT}")).len();
    assert_eq!(of("src in app"), 0);
    assert_eq!(
        of(
            "proto in { tcp, udp } and dst in { 10.0.0.5 } and dport in 1000-2000 and sport in { 8080, 8081 }"
        ),
        0
    );
    // One port short, at either end.
    assert_eq!(of("proto in { tcp, udp } and src in app and dport in 1000-1999"), 1);
    assert_eq!(of("proto in { tcp, udp } and src in app and sport == 8080"), 1);
    assert_eq!(of("src in app and proto == tcp"), 1);
    let tcp = format!("src in app and proto == tcp -> {BACK}\nproto == tcp -> {}\nelse -> drop", &OUT[8..]);
    assert_eq!(lost(OWN, &tcp), NONE);
    // No packet over IPv6 is translated, so none comes back.
    let both = "backend a1 10.0.1.1, 2001:db8::1";
    assert_eq!(lost(both, &format!("src in {{ 10.0.1.1 }} -> {BACK}\n{OUT}")).len(), 1);
    let four = format!("src in {{ 10.0.1.1 }} -> {BACK}\nsrc in 0.0.0.0/0 -> {}\nelse -> drop", &OUT[8..]);
    assert_eq!(lost(both, &four), NONE);
}

#[test]
fn what_is_not_known_of_a_reply_is_not_held_against_it() {
    let of = |arms: &str| lost(OWN, &format!("{arms}\nsrc in app -> {BACK}\n{OUT}"));
    assert_eq!(of("src in list -> drop"), NONE);
    assert_eq!(of("src in banned -> drop"), NONE);
    assert_eq!(of("flow in u -> drop"), NONE);
    assert_eq!(of("tcp.flags == rst -> drop"), NONE);
    // Where the client's address stays, replies go anywhere.
    assert_eq!(
        lost("backend a1 10.0.1.1", &format!("src in app and dst in 192.0.2.0/24 -> {BACK}\n{OUT}")),
        NONE
    );
    // Nobody translates back at all.
    assert_eq!(lost(OWN, &format!("src in app -> drop\n{OUT}")).len(), 1);
    // A way home over another match, and over an exit.
    assert_eq!(
        of(
            "src in app and ttl in 0-255 -> count x -> match { tcp.sport == 1 -> drop\n else -> translate back -> forward }"
        ),
        NONE
    );
}
