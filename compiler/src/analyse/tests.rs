//! Each fault is found, with what causes it; each near miss is not told.

mod replies;

use std::path::Path;

use policy_lang::diagnostic::Diagnostic;
use policy_lang::source::Loader;

use super::analyse;

/// Every list holds one network.
struct List;

impl Loader for List {
    fn load(&self, _: &Path) -> Result<String, String> {
        Ok("10.0.0.0/8\n".to_owned())
    }
}

fn found(text: &str) -> (String, Vec<Diagnostic>) {
    let text = format!("lbp 1\n{text}\n");
    let checked = policy_lang::check("p.lbp", text.clone(), &List);
    let policy = checked.policy.unwrap_or_else(|| panic!("{:?}\n{text}", checked.diagnostics));
    (text, analyse(&policy))
}

/// Findings of arms that are never taken, as `code arm < blocker, blocker`.
fn never(text: &str) -> Vec<String> {
    let (text, told) = found(text);
    let words = |span: policy_lang::source::Span| text[span.start as usize..span.end as usize].to_owned();
    let never = told.iter().filter(|one| !["W0902", "W0903"].contains(&one.code));
    let line = |one: &Diagnostic| {
        let by: Vec<String> = one.secondary.iter().map(|(span, _)| words(*span)).collect();
        format!("{} {} < {}", one.code, words(one.primary.0), by.join(", "))
    };
    never.map(line).collect()
}

fn arms(arms: &str) -> Vec<String> {
    never(&format!(
        "set list : net from \"list.txt\" max 100\nset banned : addr dynamic max 100\n\
         policy p {{ default drop; fragments match }} = match {{\n{arms}\nelse -> drop\n}}"
    ))
}

const NONE: [&str; 0] = [];

#[test]
fn one_arm_shadows_another_over_several_fields() {
    assert_eq!(
        arms("tcp.dport in 1-99 -> pass\n tcp.dport == 80 and ttl == 5 and src in { 10.0.0.0/8 } -> drop"),
        ["E0414 tcp.dport == 80 and ttl == 5 and src in { 10.0.0.0/8 } < tcp.dport in 1-99"]
    );
    assert_eq!(arms("tcp.dport in 1-79 -> pass\n tcp.dport == 80 and ttl == 5 -> drop"), NONE);
    assert_eq!(arms("tcp.dport == 80 and ttl == 5 -> pass\n tcp.dport == 80 -> drop"), NONE);
}

#[test]
fn several_arms_shadow_another_together() {
    let told = arms(
        "ttl in 0-9 -> pass\n tcp.dport == 80 and ttl in 10-255 -> drop\n udp.dport == 1 -> pass\n tcp.dport == 80 and src in { 10.0.0.0/8 } -> pass",
    );
    assert_eq!(
        told,
        ["E0414 tcp.dport == 80 and src in { 10.0.0.0/8 } < ttl in 0-9, tcp.dport == 80 and ttl in 10-255"]
    );
    assert_eq!(
        arms("ttl in 0-9 -> pass\n tcp.dport == 80 and ttl in 11-255 -> drop\n tcp.dport == 80 -> pass"),
        NONE
    );
}

#[test]
fn what_a_list_holds_shadows_nothing() {
    assert_eq!(arms("src in list -> drop\n src in { 10.1.0.0/16 } -> pass"), NONE);
    assert_eq!(arms("src in { 10.0.0.0/8 } -> drop\n src in list -> pass"), NONE);
    assert_eq!(arms("src in banned -> drop\n src in { 10.1.0.0/16 } -> pass"), NONE);
    // But whatever it holds, the second is not taken.
    assert_eq!(
        arms("src in list -> drop\n src in list and ttl == 5 -> pass"),
        ["E0414 src in list and ttl == 5 < src in list"]
    );
    assert_eq!(
        arms("src in banned -> drop\n src in banned and ttl == 5 -> pass"),
        ["E0414 src in banned and ttl == 5 < src in banned"]
    );
    assert_eq!(arms("src in banned -> drop\n dst in banned -> pass"), NONE);
}

#[test]
fn matches_within_arms_see_what_their_arm_lets_in() {
    assert_eq!(
        arms("tcp.dport in 1-99 -> match { tcp.dport == 100 -> pass\n else -> drop }"),
        ["E0415 tcp.dport == 100 < tcp.dport in 1-99"]
    );
    assert_eq!(arms("tcp.dport in 1-99 -> match { tcp.dport == 99 -> pass\n else -> drop }"), NONE);
    assert_eq!(
        arms("ttl == 1 -> drop\n proto == tcp -> match { ttl == 1 -> pass\n else -> drop }"),
        ["E0414 ttl == 1 < ttl == 1"]
    );
}

#[test]
fn trees_see_what_leads_to_them_and_stages_lets_on() {
    let policy = |second: &str, inner: &str| {
        never(&format!(
            "limit calm {{ rate 5 pkt/s; burst 5 }}\npolicy p {{ default drop }} = match {{\n\
             tcp.dport == 1 -> limit calm (exceed -> drop) -> inner\n {second}\n else -> drop\n}}\n\
             tree inner = match {{ {inner} -> pass\n else -> drop }}"
        ))
    };
    assert_eq!(policy("udp.dport == 2 -> drop", "tcp.dport == 2"), ["E0415 tcp.dport == 2 < "]);
    assert_eq!(policy("tcp.dport == 2 -> inner", "tcp.dport == 2"), NONE);
    assert_eq!(policy("udp.dport == 2 -> drop", "tcp.dport == 1"), NONE);
}

#[test]
fn names_and_payloads_are_held_apart_exactly() {
    let payload = |first: &str, second: &str| {
        arms(&format!("payload == {first} -> drop\n payload == {second} -> pass"))
    };
    assert_eq!(payload("0x16fe", "0x16feff").len(), 1);
    assert_eq!(payload("0x16feff", "0x16fe"), NONE);
    let names = |first: &str, second: &str| {
        never(&format!(
            "mapper names {{ reads dtls; max 100; idle 30s; wait 2s }}\npolicy p {{ default drop }} = match {{\n\
             udp.dport == 443 -> map names (missing -> drop, invalid -> drop, full -> drop) -> named\n\
             else -> drop\n}}\ntree named = match {{ sni in {{ \"{first}\" }} -> pass\n sni in {{ \"{second}\" }} -> drop\n else -> drop }}"
        ))
    };
    assert_eq!(names("*.example.org", "a.b.example.org").len(), 1);
    assert_eq!(names("*.example.org", "example.org"), NONE);
    assert_eq!(names("a.example.org", "*.example.org"), NONE);
}

#[test]
fn an_arm_of_the_same_fate_is_redundant() {
    let redundant = |arms: &str| {
        let (text, told) = found(&format!("policy p {{ default drop }} = match {{\n{arms}\n}}"));
        let told = told.iter().filter(|one| one.code == "W0902");
        told.map(|one| text[one.primary.0.start as usize..one.primary.0.end as usize].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        redundant("tcp.dport == 80 -> pass\n tcp.dport == 23 -> drop\n else -> drop"),
        ["tcp.dport == 23"]
    );
    // It keeps its packets from the arm behind it.
    assert_eq!(redundant("tcp.dport == 80 -> drop\n proto == tcp -> pass\n else -> drop"), NONE);
    assert_eq!(redundant("tcp.dport == 23 -> count telnet -> drop\n else -> drop"), NONE);
    assert_eq!(
        redundant(
            "tcp.dport == 80 -> pass\n tcp.dport in 70-90 and ttl == 5 -> drop\n tcp.dport in 70-90 -> drop\n else -> pass"
        ),
        ["tcp.dport in 70-90 and ttl == 5"]
    );
}

#[test]
fn an_else_that_the_arms_leave_nothing_is_idle() {
    let idle = |arms: &str| {
        let (text, told) = found(&format!(
            "set list : net from \"list.txt\" max 100\n\
             policy p {{ default drop; fragments match }} = match {{\n{arms}\n}}"
        ));
        let told = told.iter().filter(|one| one.code == "W0903");
        let line = |one: &Diagnostic| text[..one.primary.0.start as usize].lines().count() - 4;
        told.map(line).collect::<Vec<_>>()
    };
    assert_eq!(idle("proto == tcp -> pass\n proto != tcp -> drop\n else -> drop"), [2]);
    assert_eq!(idle("proto == tcp -> pass\n udp.dport != 1 -> drop\n else -> drop"), [0; 0]);
    assert_eq!(idle("src in 0.0.0.0/0 -> pass\n src in ::/0 -> drop\n else -> drop"), [2]);
    assert_eq!(idle("src in list -> pass\n src not in list -> drop\n else -> drop"), [2]);
    assert_eq!(idle("src in 10.0.0.0/8 -> pass\n src not in list -> drop\n else -> drop"), [0; 0]);
    assert_eq!(
        idle("tcp.dport == 80 -> match {\n proto == tcp -> pass\n else -> drop\n }\n else -> drop"),
        [2]
    );
    // One that is of an arm that is never taken itself is told with the arm.
    assert_eq!(
        idle(
            "tcp.dport == 80 -> pass\n tcp.dport == 80 and ttl == 1 -> match { ttl == 1 -> pass\n else -> drop }\n else -> drop"
        ),
        [0; 0]
    );
}

/// Places of a warning and of what it names beside, as text.
fn warned(code: &str, text: &str) -> Vec<String> {
    let (text, told) = found(text);
    let words = |span: policy_lang::source::Span| text[span.start as usize..span.end as usize].to_owned();
    let told = told.into_iter().filter(|one| one.code == code);
    told.map(|one| {
        let by: Vec<String> = one.secondary.iter().map(|(span, _)| words(*span)).collect();
        format!("{}: {} < {}", words(one.primary.0), one.message, by.join(", "))
    })
    .collect()
}

#[test]
fn a_part_of_a_vip_that_an_earlier_arm_takes_is_told() {
    let policy = |arms: &str| {
        warned(
            "W0450",
            &format!(
                "set list : net from \"list.txt\" max 100\nvip web {{ address 203.0.113.10, 2001:db8::10; ports tcp 80, 443 }}\n\
                 policy p {{ default drop }} = match {{\n{arms}\nelse -> drop\n}}"
            ),
        )
    };
    assert_eq!(
        policy("tcp.dport == 80 and ttl in 0-255 -> drop\n to web -> pass"),
        [
            "to web: no packet to `web` (203.0.113.10 tcp 80, 2001:db8::10 tcp 80) gets to this arm < tcp.dport == 80 and ttl in 0-255"
        ]
    );
    assert_eq!(
        policy("dst in 2001:db8::/32 -> drop\n to web -> pass"),
        [
            "to web: no packet to `web` (2001:db8::10 tcp 80, 2001:db8::10 tcp 443) gets to this arm < dst in 2001:db8::/32"
        ]
    );
    // Two arms together; and what nobody asks for is not taken from anybody.
    let two = "src in 0.0.0.0/1 and tcp.dport == 80 -> drop\n src in 128.0.0.0/1 and tcp.dport == 80 -> drop";
    assert_eq!(
        policy(&format!("{two}\n to web -> pass")),
        [
            "to web: no packet to `web` (203.0.113.10 tcp 80) gets to this arm < src in 0.0.0.0/1 and tcp.dport == 80, src in 128.0.0.0/1 and tcp.dport == 80"
        ]
    );
    assert_eq!(policy("src in 10.0.0.0/8 -> drop\n to web and tcp.dport == 443 -> pass"), NONE);
    assert_eq!(policy(&format!("{two}\n to web and tcp.dport == 443 -> pass")), NONE);
    assert_eq!(policy("tcp.dport == 80 and ttl == 1 -> drop\n to web -> pass"), NONE);
    assert_eq!(policy("src in list -> drop\n to web -> pass"), NONE);
    assert_eq!(policy("to web and tcp.dport == 80 -> drop\n to web -> pass"), NONE);
    assert_eq!(
        policy("to web and tcp.dport == 443 -> drop\n tcp.dport == 80 -> drop\n to web and ttl == 1 -> pass")
            .len(),
        0
    );
}

#[test]
fn more_flows_than_ports_are_told() {
    let policy = |max: &str, ports: &str| {
        warned(
            "W0451",
            &format!(
                "track t {{ idle 30s; max {max} }}\n\
                 pool app {{ pick random; via nat; source 10.0.0.5; ports {ports}; backend a1 10.0.1.1; backend a2 10.0.1.2 }}\n\
                 side B when src in app\nside A otherwise\n\
                 policy p {{ default drop }} = match {{\n from B -> translate back -> forward\n\
                 else -> track t (full -> drop) -> translate app (empty -> drop) -> forward\n}}"
            ),
        )
    };
    assert_eq!(
        policy("2_001", "1000-1999"),
        ["t: `t` may know 2001 flows, and there are ports for 2000 < app"]
    );
    assert_eq!(policy("2_000", "1000-1999"), NONE);
}

#[test]
fn an_outer_header_without_room_is_told() {
    let policy = |via: &str, lan: u32| {
        warned(
            "W0452",
            &format!(
                "interface wan {{ device eth0; mtu 1500 }}\ninterface lan {{ device eth1; mtu {lan} }}\n\
                 pool app {{ pick source; via {via}; backend a1 10.0.1.1 }}\n\
                 policy p {{ default drop }} = match {{\n\
                 iface == wan and proto in {{ tcp, udp }} -> translate app (empty -> drop) -> forward\n\
                 iface == lan -> pass\n else -> drop\n}}"
            ),
        )
    };
    assert_eq!(policy("ipip", 1519).len(), 1);
    assert_eq!(policy("ipip", 1520), NONE);
    assert_eq!(policy("l2dsr", 1500), NONE);
}

#[test]
fn boxes_that_explode_end_in_an_error() {
    let mut text = String::from("policy p { default drop } = match {\n");
    let spread = |number: u32, salt: u32| (number ^ salt << 24).wrapping_mul(0x9e37_79b1);
    for number in 0..300 {
        let ports = |salt| {
            let (a, b) = (spread(number, salt) >> 16, spread(number, salt + 1) >> 16);
            (a.min(b), a.max(b))
        };
        let ((a, b), (c, d), (e, f)) = (ports(1), ports(3), ports(5));
        let (e, f) = (e >> 8, f >> 8);
        text += &format!("tcp.sport in {a}-{b} and tcp.dport in {c}-{d} and ttl in {e}-{f} -> pass\n");
    }
    text += "else -> drop\n}";
    let (_, told) = found(&text);
    assert!(told.iter().all(|one| ["E0904", "E0414", "W0902"].contains(&one.code)), "{told:?}");
}

#[test]
fn tables_beyond_four_gib_are_told() {
    let policy = |flows: &str, keys: &str| {
        warned(
            "W0453",
            &format!(
                "track t {{ idle 30s; max {flows} }}\nlimit l {{ per src v4 /32 v6 /64; rate 10 pkt/s; burst 10; max {keys} }}\n\
                 pool app {{ pick random; via nat; backend a1 10.0.1.1 }}\n\
                 side B when src in app\nside A otherwise\n\
                 policy p {{ default drop }} = match {{\n from B -> translate back -> forward\n\
                 else -> limit l (exceed -> drop) -> track t (full -> drop) -> translate app (empty -> drop) -> forward\n}}"
            ),
        )
    };
    // Two tables of 2^23 entries take 3.1 GiB; 2^22 keys 0.4 GiB more, 2^24 keys 1.5 GiB.
    assert_eq!(policy("4_194_304", "4_000_000"), NONE);
    let told = policy("4_194_305", "1000");
    assert_eq!(told, ["t: the tables of this policy take up to 6.2 GiB of kernel memory < l"]);
    let told = policy("4_194_304", "16_000_000");
    assert_eq!(told, ["t: the tables of this policy take up to 4.6 GiB of kernel memory < l"]);
}

#[test]
fn numbers_that_no_image_holds_are_told_whatever_else_is_to_come() {
    let policy = |burst: &str, backends: usize, more: &str| {
        let trackers: String =
            (0..63).map(|number| format!("track t{number} {{ idle 30s; max 1 }}\n")).collect();
        let backends: String = (1..=backends)
            .map(|number| {
                format!("backend a{number} 10.0.1.{number} weight {}\n", if number == 1 { 999 } else { 1000 })
            })
            .collect();
        let (_, told) = found(&format!(
            "{trackers}{more}\nlimit calm {{ rate 1 pkt/h; burst {burst} }}\n\
             pool app {{ pick round-robin; via ipip\n{backends}}}\n\
             policy p {{ default drop }} = match {{\n\
             proto in {{ tcp, udp }} -> limit calm (exceed -> drop) -> translate app (empty -> drop) -> forward\n\
             else -> drop\n}}"
        ));
        told.iter().map(|one| one.code).filter(|code| code.starts_with("E09")).collect::<Vec<_>>()
    };
    assert_eq!(policy("10_000", 65, ""), NONE);
    assert_eq!(policy("30_000", 65, ""), ["E0908"]);
    assert_eq!(policy("10_000", 66, ""), ["E0907"]);
    assert_eq!(policy("10_000", 65, "track more { idle 30s; max 1 }"), ["E0909"]);
}
