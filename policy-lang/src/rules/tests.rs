//! What each rule finds, beside the nearest policy in which it has to be silent.

use crate::diagnostic::Severity;
use crate::source::Loader;

struct Nothing;

impl Loader for Nothing {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

const ITEMS: &str = "\
lbp 1
mapper names { reads dtls; max 64 }
authority devices { key 0 KEY }
synguard cookies { above 1_000 syn/s; mss 1460 }
track t { idle 30s; max 64 }
track u { idle 30s; max 64 }
set banned : addr dynamic max 64 ttl 10m
limit calm { per src v4 /32 v6 /64; rate 50 pkt/s; burst 100; max 64 }
limit all { rate 500 syn/s; burst 100 }
interface lan { device eth0 }
interface wan { device eth1 }
pool near { pick random; via nat; source 10.0.0.5; ports 1000-2000; backend n1 10.0.1.1 }
pool far { pick random; via ipip; backend f1 10.0.2.1 }
";

/// Codes of the findings about a policy whose root is a match of these arms, unwritten exits and unused items left
/// out. Lines that start with `+` are items.
fn codes(text: &str) -> Vec<&'static str> {
    let (items, arms): (Vec<&str>, Vec<&str>) =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).partition(|line| line.starts_with('+'));
    let items: String = items.iter().map(|line| format!("{}\n", line[1..].trim())).collect();
    let root =
        format!("policy p {{ default drop }} = match {{\n  {}\n  else -> drop\n}}\n", arms.join("\n  "));
    let key = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    let text = ITEMS.replace("KEY", key) + &items + &root;
    let checked = crate::check("p.lbp", text, &Nothing);
    let told =
        checked.diagnostics.iter().filter(|one| one.severity != Severity::Allowed && one.code != "W0404");
    told.map(|finding| finding.code).collect()
}

/// The first policy earns the code and no other, the second earns nothing.
fn finds(code: &str, wrong: &str, near: &str) {
    assert_eq!(codes(wrong), [code], "{wrong}");
    assert_eq!(codes(near), [""; 0], "{near}");
}

const NAMED: &str = "match { sni == \"a.example\" -> pass; else -> drop }";
const SIGNED: &str = "match { cert.id == 0 -> pass; else -> drop }";

#[test]
fn names_and_certificates_are_asked_behind_their_stages() {
    let behind = |stage: &str, rest: &str| format!("udp.dport == 443 -> {stage} -> {rest}");
    finds("E0430", &behind("count x", NAMED), &behind("map names", NAMED));
    finds("E0430", &behind("map names", SIGNED), &behind("verify devices", SIGNED));
    // What leaves by an exit has not been learned.
    let exit = |chain: &str| behind(&format!("verify devices (missing -> {chain})"), "drop");
    finds("E0430", &exit(SIGNED), &exit("count unsigned -> drop"));
}

#[test]
fn a_tree_knows_what_all_its_ways_know() {
    let both = |second: &str| {
        format!(
            "+tree asks = {NAMED}\nudp.dport == 1 -> map names -> asks\nudp.dport == 2 -> {second} -> asks"
        )
    };
    finds("E0430", &both("count x"), &both("map names"));
}

#[test]
fn a_flow_knows_what_was_known_where_it_was_tracked() {
    let asks = |guard: &str, second: &str| {
        format!(
            "{guard} and cert.id == 0 -> pass
             udp.dport == 1 -> verify devices -> track t -> forward
             udp.dport == 2 -> {second} -> track t -> forward"
        )
    };
    finds("E0430", &asks("flow in t", "count x"), &asks("flow in t", "verify devices"));
    for guard in ["not flow in t", "flow not in t", "(flow in t or ttl == 1)"] {
        assert_eq!(codes(&asks(guard, "verify devices")), ["E0430"], "{guard}");
    }
    // In an arm behind it, and by way of a second tracker.
    let chained = |first: &str| {
        format!(
            "flow in u -> {SIGNED}
             flow in t -> track u -> forward
             udp.dport == 1 -> {first} -> track t -> forward"
        )
    };
    finds("E0430", &chained("count x"), &chained("verify devices"));
    // A tracker that stands behind itself proves nothing of itself.
    let circle = |first: &str| {
        format!(
            "flow in t and ttl == 1 -> track t -> forward
             flow in t -> {SIGNED}
             udp.dport == 1 -> {first} -> track t -> forward"
        )
    };
    finds("E0430", &circle("count x"), &circle("verify devices"));
}

#[test]
fn sides_and_claims_speak_of_packets_as_they_come_in() {
    let side =
        |guard: &str| format!("+side x when {guard}\n+side y otherwise\nfrom x -> translate back -> forward");
    finds("E0430", &side("sni == \"a.example\""), &side("iface == lan"));
    let claim = |guard: &str| format!("+assert \"c\" {{ never {guard} ends pass }}\nttl == 1 -> pass");
    finds("E0430", &claim("cert.id == 0"), &claim("payload == 0x16"));
}

#[test]
fn who_goes_by_certificate_has_one() {
    let kept = |stage: &str| {
        format!(
            "+track s {{ key cert; idle 5m; max 64 }}\nudp.dport == 1 -> {stage} -> track s -> translate near (empty -> drop) -> forward\nsrc in near -> translate back -> forward"
        )
    };
    finds("E0431", &kept("count x"), &kept("verify devices"));
    let picked = |stage: &str| {
        format!(
            "+pool c {{ pick hash by cert; via ipip; backend c1 10.0.3.1, 2001:db8::1 }}\nudp.dport == 1 -> {stage} -> translate c -> forward"
        )
    };
    finds("E0431", &picked("count x"), &picked("verify devices"));
}

#[test]
fn stages_stand_where_their_protocol_comes() {
    for stage in ["map names", "verify devices"] {
        let at = |port: &str| format!("{port} == 443 -> {stage} -> pass");
        finds("E0432", &at("tcp.dport"), &at("udp.dport"));
    }
    finds(
        "E0432",
        "udp.dport == 53 -> synguard cookies -> pass",
        "dst == 192.0.2.1 -> synguard cookies -> pass",
    );
    finds(
        "W0430",
        "dst == 192.0.2.1 -> map names -> pass",
        "dst == 192.0.2.1 and proto != tcp -> map names -> pass",
    );
    let limited = |port: &str| format!("{port} == 53 -> limit all (exceed -> drop) -> pass");
    finds("W0434", &limited("udp.dport"), &limited("tcp.dport"));
    assert_eq!(codes("ttl == 9 -> limit all (exceed -> drop) -> pass"), [""; 0]);
}

#[test]
fn a_tracker_that_is_asked_stands_somewhere() {
    let asked =
        |tracker: &str| format!("flow in {tracker} or ttl == 3 -> pass\nproto == tcp -> track t -> forward");
    finds("W0435", &asked("u"), &asked("t"));
}

#[test]
fn cookies_need_nat() {
    let home = "src in near -> translate back -> forward\ntcp.dport == 443 -> ";
    finds(
        "E0433",
        "tcp.dport == 443 -> synguard cookies -> translate far (empty -> drop) -> forward",
        &format!("{home} synguard cookies -> track t -> translate near (empty -> drop) -> forward"),
    );
    // On another way, or for those without a right cookie.
    let near = "tcp.dport == 80 -> synguard cookies -> pass
                tcp.dport == 443 -> translate far (empty -> drop) -> forward";
    assert_eq!(codes(near), [""; 0]);
    let by_a_tree = |second: &str| {
        format!(
            "+tree out = translate far (empty -> drop) -> forward\ntcp.dport == 1 -> out\ntcp.dport == 2 -> {second} -> out"
        )
    };
    finds("E0433", &by_a_tree("synguard cookies"), &by_a_tree("limit all (exceed -> drop)"));
}

#[test]
fn a_synguard_can_start() {
    let behind = |limit: &str| {
        format!("{limit}\ntcp.dport == 443 -> limit l (exceed -> drop) -> synguard cookies -> pass")
    };
    finds(
        "W0436",
        &behind("+limit l { rate 1_000 syn/s; burst 100 }"),
        &behind("+limit l { rate 1_001 syn/s; burst 100 }"),
    );
    finds(
        "W0436",
        &behind("+limit l { rate 50_000 pkt/min; burst 100 }"),
        &behind("+limit l { per src v4 /32 v6 /64; rate 10 pkt/s; burst 100; max 64 }"),
    );
    // Only what all ways have met bounds what comes.
    let both = |second: &str| {
        format!(
            "+tree on = synguard cookies -> pass\ntcp.dport == 1 -> limit all (exceed -> drop) -> on\ntcp.dport == 2 -> {second} -> on"
        )
    };
    finds("W0436", &both("limit all (exceed -> drop)"), &both("count x"));
}

#[test]
fn replies_without_nat_never_come_back() {
    let back = |guard: &str| {
        format!(
            "{guard} -> translate back -> forward
             src in near and ttl == 9 -> translate back -> forward
             src in near -> translate back -> forward
             udp.dport == 1 -> translate far (empty -> drop) -> forward
             udp.dport == 2 -> track t -> translate near (empty -> drop) -> forward"
        )
    };
    finds("E0434", &back("src in far"), &back("src in { far, near } and ttl == 8"));
    let alone = "udp.sport == 1 -> translate back -> forward\nudp.dport == 1 -> ";
    assert_eq!(codes(&format!("{alone} translate far (empty -> drop) -> forward")), ["E0434"]);
    assert_eq!(codes(&format!("{alone} pass")), [""; 0]);
}

#[test]
fn only_a_proven_source_is_banned() {
    let banned = |guard: &str, stage: &str| {
        format!(
            "src in banned -> drop\nttl == 1 -> track t -> forward\n{guard} -> {stage} -> limit calm (exceed -> ban banned -> drop) -> pass"
        )
    };
    finds("W0431", &banned("tcp.dport == 443", "count x"), &banned("tcp.dport == 443", "synguard cookies"));
    finds("W0431", &banned("udp.dport == 443", "count x"), &banned("udp.dport == 443", "verify devices"));
    // A synguard lets through all that is not TCP.
    finds("W0431", &banned("ttl == 9", "synguard cookies"), &banned("proto == tcp", "synguard cookies"));
    finds("W0431", &banned("flow not in t", "count x"), &banned("flow in t", "count x"));
}

#[test]
fn somebody_asks_who_is_banned() {
    let banned = |set: &str| {
        format!(
            "+set both : net = {{ 10.0.0.0/8 }} union banned\nsrc in {set} -> drop\ntcp.dport == 443 -> synguard cookies -> limit calm (exceed -> ban banned -> drop) -> pass"
        )
    };
    finds("W0440", &banned("10.0.0.0/8"), &banned("banned"));
    assert_eq!(codes(&banned("both")), [""; 0]);
}

#[test]
fn a_burst_comes_back_within_a_day() {
    let limited =
        |settings: &str| format!("+limit l {{ {settings} }}\nttl == 1 -> limit l (exceed -> drop) -> pass");
    finds("W0433", &limited("rate 60 pkt/h; burst 1_441"), &limited("rate 60 pkt/h; burst 1_440"));
    finds("W0433", &limited("rate 8 bit/s; burst 1GiB"), &limited("rate 1 Mbit/s; burst 1GiB"));
}

#[test]
fn a_list_says_each_thing_once() {
    let list = |values: &str| format!("+set s : net = {{ {values} }}\nsrc in s -> drop");
    finds("W0432", &list("10.0.0.0/8, 10.1.0.0/16"), &list("10.0.0.0/8, 11.1.0.0/16"));
    finds("W0432", &list("10.0.0.1, 10.0.0.1"), &list("10.0.0.1, 10.0.0.2"));
    finds("W0432", &list("10.0.0.0/25, 10.0.0.128/25"), &list("10.0.0.128/25, 10.0.1.0/25"));
    finds("W0432", &list("2001:db8::/33, 2001:db8:8000::/33"), &list("2001:db8::/33, 2001:db9::/33"));
    finds(
        "W0432",
        &list("10.0.0.1-10.0.0.9, 10.0.0.9-10.0.0.20"),
        &list("10.0.0.1-10.0.0.9, 10.0.0.10-10.0.0.20"),
    );
    finds("W0432", &list("0.0.0.0/0, 10.0.0.0/8"), &list("0.0.0.0/0, ::/0"));
    finds("W0432", "tcp.dport in { 80, 80 } -> drop", "tcp.dport in { 80, 81, 82-90 } -> drop");
    finds("W0432", "proto in { tcp, 6 } -> drop", "proto in { tcp, 7 } -> drop");
    finds("W0432", "payload in { 0x1603, 0x16 } -> drop", "payload in { 0x1603, 0x1604 } -> drop");
    let named = |names: &str| {
        format!("udp.dport == 1 -> map names -> match {{ sni in {{ {names} }} -> pass; else -> drop }}")
    };
    finds("W0432", &named("\"a.x\", \"*.x\""), &named("\"x\", \"*.x\""));
    finds("W0432", &named("\"a.x\", \"A.x.\""), &named("\"a.x\", \"b.x\""));
    // Halves on lines of their own may have meanings of their own; and so may what constants stand for.
    assert_eq!(codes(&list("224.0.0.0/4").replace("4 }", "4\n+ 240.0.0.0/4 }")), [""; 0]);
    assert_eq!(codes("+const a = 10.0.0.1\n+const b = 10.0.0.1\nsrc in { a, b } -> drop"), [""; 0]);
}

#[test]
fn a_guard_can_hold() {
    let behind =
        |guard: &str| format!("udp.dport == 1 -> map names -> match {{ {guard} -> pass; else -> drop }}");
    finds(
        "E0415",
        &behind("sni == \"a.x\" and sni == \"b.x\""),
        &behind("sni == \"a.x\" and sni in \"*.x\""),
    );
    finds(
        "E0415",
        &behind("sni == \"a.x\" and sni not in \"*.x\""),
        &behind("sni == \"x\" and sni not in \"*.x\""),
    );
    finds(
        "E0415",
        "payload == 0x16 and payload == \"GET\" -> drop",
        "payload == 0x16 and payload == 0x1603 -> drop",
    );
    finds(
        "E0415",
        "payload == 0x1603 and payload != 0x16 -> drop",
        "payload == 0x16 and payload != 0x1603 -> drop",
    );
    finds("E0415", "iface == lan and iface == wan -> drop", "iface == lan and iface in { lan, wan } -> drop");
    finds("E0415", "ttl == 3 and ttl != 3 -> drop", "ttl in 1-3 and ttl != 3 -> drop");
    finds("E0415", "icmp.type == 3 and payload == 0x16 -> drop", "proto == tcp and payload == 0x16 -> drop");
}

#[test]
fn sides_by_interface_are_disjoint_and_trusted() {
    let sides = |a: &str, b: &str| {
        format!("+side a when {a}\n+side b when {b}\n+side c otherwise\nfrom a -> pass\nfrom b -> pass")
    };
    finds("E0412", &sides("iface == lan", "iface in { lan, wan }"), &sides("iface == lan", "iface == wan"));
    let alone = |guard: &str| format!("+side a when {guard}\n+side c otherwise\nfrom a -> pass");
    finds("W0401", &alone("src in 10.0.0.0/8"), &alone("iface == lan and src in 10.0.0.0/8"));
}

#[test]
fn exits_are_asked_for_that_some_packet_can_take() {
    let asked = |items: &str, chain: &str| {
        let key = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        let text = format!(
            "lbp 1\n{}\npolicy p {{ default drop }} = match {{ proto == udp -> {chain} -> forward; else -> drop }}\n",
            items.replace("KEY", key)
        );
        let checked = crate::check("p.lbp", text, &Nothing);
        let asked = checked.diagnostics.into_iter().filter(|one| one.code == "W0901");
        asked.filter_map(|one| Some(one.message.split('`').nth(1)?.to_owned())).collect::<Vec<_>>()
    };
    let pool = |via: &str| format!("pool a {{ pick random; via {via}; backend a1 10.0.1.1 }}");
    assert_eq!(asked(&pool("ipip"), "translate a"), ["empty"]);
    let nat = pool("nat") + "\ntrack t { idle 30s; max 9 }";
    assert_eq!(asked(&nat, "track t -> translate a"), ["full", "invalid", "empty", "ports"]);
    let verify = |more: &str| asked(&format!("authority d {{ key 0 KEY {more} }}"), "verify d");
    assert_eq!(verify(""), ["missing", "invalid"]);
    assert_eq!(verify("until 2027-01-31"), ["missing", "invalid", "expired"]);
    assert_eq!(verify("; replay 9s"), ["missing", "invalid", "replayed"]);
    assert_eq!(verify(&format!("; revoked {}", "ab".repeat(32))), ["missing", "invalid", "revoked"]);
}
