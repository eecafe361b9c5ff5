//! Pairs of policies as text: those that mean the same, and those that do not, with what is told of them.

use std::path::Path;

use policy_lang::policy::Policy;
use policy_lang::source::{Loader, Sources};

use super::{Change, Report, Why, run};
use crate::prove::Written;

struct Nowhere;

impl Loader for Nowhere {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn checked(text: &str) -> (Policy, Sources) {
    let checked = policy_lang::check("p.lbp", text.to_owned(), &Nowhere);
    let Some(policy) = checked.policy else { panic!("{:?}\n{text}", checked.diagnostics) };
    (policy, checked.sources)
}

fn diff(old: &str, new: &str) -> Report {
    let (old, new) = (checked(old), checked(new));
    run((&old.0, &old.1), (&new.0, &new.1)).unwrap()
}

const ITEMS: &str = "lbp 1
set bogons : net = { 10.0.0.0/8, 192.0.2.0/24 }
vip web { address 203.0.113.80; ports tcp 80, 443 }
pool app { pick maglev 1_009 by flow; via nat; source 10.0.0.1; ports 1000-1999; backend a1 10.0.0.11:8080; backend a2 10.0.0.12:8080 }
track conns { idle tcp 5m; max 64 }
limit calm { per src v4 /24 v6 /64; rate 10 syn/s; burst 2; max 1_000 }
limit idle { per src v4 /24 v6 /64; rate 10 syn/s; burst 2; max 1_000 }
side inside when src in app
side outside otherwise
";

/// Policies of these chains, with the same items.
fn of_chains(old: &str, new: &str) -> Report {
    diff(&policy(old), &policy(new))
}

fn policy(chain: &str) -> String {
    format!("{ITEMS}policy p {{ default drop }} =\n  {chain}\n")
}

fn assert_equal(old: &str, new: &str) {
    let report = of_chains(old, new);
    assert!(report.is_equal(), "{}", told(&report));
    let report = of_chains(new, old);
    assert!(report.is_equal(), "{}", told(&report));
}

/// A line for each change and each region.
fn told(report: &Report) -> String {
    // Whose items do not matter, as no interface is among them.
    let (policy, _) = checked(&policy("drop"));
    let mut lines = Vec::new();
    for setting in &report.settings {
        lines.push(format!("{}: {} => {}", setting.name, setting.before, setting.after));
    }
    let mut changes = |changes: &[Change], mark: &str| {
        for change in changes {
            lines.push(match &change.why {
                Why::Fate { before, after } => format!("{mark}{before} => {after}"),
                Why::Observed { before, after } => format!("{mark}{before:?} => {after:?}"),
                Why::Items(items) => {
                    let items = items.iter().map(|item| {
                        let slots: Vec<_> =
                            item.slots.iter().map(|moved| (moved.v6, moved.slots, moved.moved)).collect();
                        format!("{} {}: {:?} {slots:?}", item.word, item.names.1, item.settings)
                    });
                    mark.to_owned() + &items.collect::<Vec<_>>().join(", ")
                }
            });
            for region in &change.regions {
                let witness = &region.witness;
                let seen = match &witness.at_once {
                    Some((before, after)) => format!("{before} => {after}"),
                    None => format!("when {}", witness.takes.join(" and ")),
                };
                lines.push(format!("  {}", region.guard.short));
                lines.push(format!("    {}: {seen}", Written(&policy, &witness.packets.1)));
            }
            if change.more != Some(0) {
                lines.push(format!("  and {:?} more", change.more));
            }
        }
    };
    changes(&report.changes, "");
    changes(&report.observed, "only observed: ");
    lines.extend(
        report
            .lost
            .iter()
            .map(|lost| format!("{} {} => {}: {}", lost.word, lost.before, lost.after, lost.loses)),
    );
    lines.join("\n") + "\n"
}

#[test]
fn form_order_and_nesting_do_not_matter() {
    assert_equal(
        "match { tcp.dport == 80 -> drop; udp.dport == 80 -> pass; else -> drop }",
        "match { udp.dport == 80 -> pass; else -> drop }",
    );
    assert_equal(
        "match { tcp.dport == 80 and src in bogons -> pass; tcp.dport == 80 -> forward; else -> drop }",
        "match { tcp.dport == 80 -> match { src in bogons -> pass; else -> forward }; else -> drop }",
    );
    assert_equal(
        "match { tcp.dport == 80 -> drop; tcp.dport == 81 -> forward; else -> pass }",
        "match { tcp.dport == 81 -> forward; tcp.dport == 80 -> drop; else -> pass }",
    );
    assert_equal(
        "match { src in { 10.0.0.0/9, 10.128.0.0/9, 192.0.2.0/24 } -> drop; else -> pass }",
        "match { src in bogons -> drop; else -> pass }",
    );
}

#[test]
fn a_stage_in_front_of_a_match_is_that_stage_in_each_arm() {
    assert_equal(
        "limit calm (exceed -> drop) -> match { ttl > 9 -> pass; else -> drop }"
            .replace("ttl > 9", "ttl in 9-255")
            .as_str(),
        "match { ttl in 9-255 -> limit calm (exceed -> drop) -> pass; else -> limit calm (exceed -> drop) -> drop }",
    );
}

#[test]
fn what_can_not_happen_does_not_count() {
    // Only SYNs are counted by the limit.
    assert_equal(
        "limit calm (exceed -> drop) -> pass",
        "match { tcp.flags in { syn, syn-fin, syn-rst, syn-fin-rst } -> limit calm (exceed -> drop) -> pass; else -> pass }",
    );
    // `forward` drops these itself.
    assert_equal("match { ttl in 0-1 -> drop; else -> forward }", "forward");
    assert_equal("every 2 { 1 -> drop; 2 -> drop }", "drop");
    assert_equal(
        "match { icmp.type == echo-request -> reply echo; icmp6.type == echo-request -> reply echo; else -> drop }",
        "reply echo",
    );
}

#[test]
fn a_new_name_is_no_change_but_loses_state() {
    let chain = "match { from inside -> translate back -> forward; to web -> limit calm (exceed -> drop) -> track conns -> translate app -> forward; else -> drop }";
    let old = policy(chain);
    let new = ["calm", "app", "conns", "inside"]
        .iter()
        .fold(old.clone(), |text, name| text.replace(name, &format!("{name}2")));
    let report = diff(&old, &new);
    assert!(report.is_equal());
    insta::assert_snapshot!(told(&report));
}

#[test]
fn a_set_filled_at_run_time_is_itself_under_another_name() {
    let sets = "set bad : addr dynamic max 64 ttl 10m\nset worse : addr dynamic max 64\n\
                set all : net = { 192.0.2.0/24 } union bad\n";
    let chain = "match { src in all -> drop; src in worse and tcp.dport == 80 -> drop; \
                 flow in conns -> limit calm (exceed -> ban bad -> drop) -> pass; \
                 to web -> track conns -> forward; else -> drop }";
    let old = policy(chain).replace("vip web", &format!("{sets}vip web"));
    let new = old.replace("bad", "evil").replace("worse", "sly");
    let report = diff(&old, &new);
    assert!(report.is_equal(), "{}", told(&report));
    let lost: Vec<_> = report.lost.iter().map(|lost| format!("{} {}", lost.before, lost.after)).collect();
    assert!(lost.contains(&"bad evil".to_owned()), "{lost:?}");
    // With another time to live it is another set.
    assert!(!diff(&old, &new.replace("ttl 10m", "ttl 5m")).is_equal());
    // One name for the other's members is no new name.
    let swapped = old.replace("bad", "sly").replace("worse", "bad").replace("sly", "worse");
    assert!(!diff(&old, &swapped).is_equal());
}

/// Those with the same settings are told apart by what they are used for, not by their order.
#[test]
fn items_that_are_renamed_and_reordered_are_found_by_their_uses() {
    let sets = "set bad : addr dynamic max 64\nset worse : addr dynamic max 64\n\
                track known { idle tcp 5m; max 64 }\ntrack others { idle tcp 5m; max 64 }\n";
    let chain = "match { src in worse and tcp.dport == 80 -> drop; src in bad -> pass; \
                 flow in others -> limit calm (exceed -> ban worse -> drop) -> pass; flow in known -> forward; \
                 to web -> track known -> forward; else -> track others -> forward }";
    let old = policy(chain).replace("vip web", &format!("{sets}vip web"));
    // In the order in which they are declared each would be taken for the other.
    let new = [("bad", "sly"), ("worse", "evil"), ("known", "mine"), ("others", "all")]
        .iter()
        .fold(old.clone(), |text, (from, to)| text.replace(from, to));
    let swapped = |text: &str, one: &str, other: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        let [one, other] =
            [one, other].map(|start| lines.iter().position(|line| line.starts_with(start)).unwrap());
        lines.swap(one, other);
        lines.join("\n") + "\n"
    };
    let new = swapped(&swapped(&new, "set sly", "set evil"), "track mine", "track all");
    let report = diff(&old, &new);
    assert!(report.is_equal(), "{}", told(&report));
    let lost: Vec<_> = report.lost.iter().map(|lost| format!("{} {}", lost.before, lost.after)).collect();
    assert!(lost.contains(&"worse evil".to_owned()) && lost.contains(&"known mine".to_owned()), "{lost:?}");
    // What changed elsewhere does not hide whose name is whose.
    let report = diff(&old, &new.replace("src in sly -> pass", "src in sly -> drop"));
    assert_eq!(report.changes.len(), 1, "{}", told(&report));
}

#[test]
fn an_end_that_changes_is_told_by_its_region() {
    insta::assert_snapshot!(told(&of_chains(
        "match { to web -> pass; src in bogons -> drop; else -> pass }",
        "match { to web -> pass; src in 10.0.0.0/8 -> drop; udp.dport == 53 -> reject; else -> pass }"
            .replace("reject", "drop")
            .as_str(),
    )));
}

/// What is shortest for packets of one protocol may let in those of others.
#[test]
fn a_region_holds_nothing_that_stays() {
    let guards = |old: &str, new: &str| -> Vec<String> {
        let report = of_chains(old, new);
        report
            .changes
            .iter()
            .flat_map(|change| &change.regions)
            .map(|region| region.guard.whole.clone())
            .collect()
    };
    let some = "match { proto not in { icmp, tcp, udp, gre } -> pass; else -> drop }";
    assert_eq!(guards("drop", some), ["proto == icmp6", "proto not in { icmp, tcp, udp, gre }"]);
    let most = "match { src in 10.1.2.0/24 -> drop; else -> pass }";
    let fewer = "match { src in 10.1.2.0/24 -> drop; proto not in { icmp, tcp, gre } -> drop; else -> pass }";
    let told = ["proto in { udp, icmp6 }", "proto not in { icmp, tcp, gre }"];
    assert_eq!(guards(most, fewer), told.map(|proto| format!("{proto} and src not in 10.1.2.0/24")));
    let port = "match { udp.dport == 53 -> drop; else -> pass }";
    let but = "match { udp.dport == 53 and not (payload == \"GET \") -> drop; else -> pass }";
    assert_eq!(guards(port, but), ["udp.dport == 53 and payload in 0x47455420"]);
}

#[test]
fn items_with_other_settings_are_told_once() {
    let chain = "match { from inside -> translate back -> forward; to web -> limit calm (exceed -> drop) -> track conns -> translate app -> forward; else -> drop }";
    let old = policy(chain);
    let new = old.replacen("rate 10 syn/s", "rate 20 syn/s", 1);
    insta::assert_snapshot!(told(&diff(&old, &new)));
    let new =
        old.replace("backend a2 10.0.0.12:8080", "backend a2 10.0.0.12:8080; backend a3 10.0.0.13:8080");
    insta::assert_snapshot!(told(&diff(&old, &new)));
}

#[test]
fn caps_and_health_checks_are_settings_of_their_pool() {
    let old = policy(
        "match { from inside -> translate back -> forward; else -> track conns -> translate app -> forward }",
    );
    let settings = |old: &str, new: &str| match diff(old, new).changes.as_slice() {
        [Change { why: Why::Items(items), .. }] => {
            assert!(items.iter().all(|item| item.slots.is_empty()), "no slot moves");
            items.iter().flat_map(|item| item.settings.clone()).collect::<Vec<_>>()
        }
        changes => panic!("{changes:?}"),
    };
    let capped = old.replace("backend a2 10.0.0.12:8080", "backend a2 10.0.0.12:8080 max_conn 9");
    let more = capped.replace("max_conn 9", "max_conn 10_000");
    let expected = ("max_conn over IPv4", "10.0.0.12:8080 9".to_owned(), "10.0.0.12:8080 10_000".to_owned());
    assert_eq!(settings(&capped, &more), [expected]);
    let checked =
        old.replace("via nat;", "via nat; health tcp { interval 1s; timeout 300ms; fall 3; rise 2 };");
    let slower = checked.replace("interval 1s", "interval 2s");
    assert_eq!(settings(&checked, &slower), [("interval", "1s".to_owned(), "2s".to_owned())]);
    assert!(settings(&old, &checked).contains(&("health", String::new(), "tcp".to_owned())));
    assert!(settings(&checked, &old).contains(&("health", "tcp".to_owned(), String::new())));
}

#[test]
fn state_apart_is_another_meaning() {
    // One bucket for both ports, or one for each.
    insta::assert_snapshot!(told(&of_chains(
        "match { tcp.dport in { 80, 81 } -> limit calm (exceed -> drop) -> pass; else -> drop }",
        "match { tcp.dport == 80 -> limit calm (exceed -> drop) -> pass; tcp.dport == 81 -> limit idle (exceed -> drop) -> pass; else -> drop }",
    )));
}

#[test]
fn an_exit_that_changes_takes_what_leads_there() {
    insta::assert_snapshot!(told(&of_chains(
        "match { to web -> limit calm (exceed -> drop) -> pass; else -> drop }",
        "match { to web -> limit calm (exceed -> pass) -> pass; else -> drop }",
    )));
    insta::assert_snapshot!(told(&of_chains(
        "match { icmp.type == 8 -> every 2 { 1 -> drop; 2 -> pass }; else -> drop }",
        "match { icmp.type == 8 -> every 2 { 1 -> drop; 2 -> drop }; else -> drop }",
    )));
    insta::assert_snapshot!(told(&of_chains(
        "match { from inside -> translate back -> forward; to web -> track conns -> translate app -> forward; else -> drop }",
        "match { from inside -> translate back (invalid -> pass) -> forward; to web -> track conns (invalid -> pass) -> translate app -> forward; else -> drop }",
    )));
}

#[test]
fn counters_are_only_observed() {
    let report = of_chains(
        "match { to web -> count seen -> pass; else -> drop }",
        "match { to web -> count met -> pass; else -> drop }",
    );
    assert!(report.is_equal());
    insta::assert_snapshot!(told(&report));
}

#[test]
fn packets_that_never_reach_the_tree_have_settings() {
    let old = policy("pass");
    let new = old.replace("default drop", "default drop; other pass; fragments pass; neighbours drop");
    insta::assert_snapshot!(told(&diff(&old, &new)));
}

#[test]
fn several_names_stand_for_what_is_left_of_others() {
    let guards = |old: &str, new: &str| {
        let report = of_chains(old, new);
        let regions = report.changes.iter().flat_map(|change| &change.regions);
        regions.map(|region| region.guard.short.clone()).collect::<Vec<_>>()
    };
    let policy = |end: &str| {
        format!("match {{ src in web or src in bogons or src in 198.51.100.0/24 -> reject; else -> {end} }}")
    };
    assert_eq!(guards(&policy("pass"), &policy("drop")), ["src not in { bogons, web, 198.51.100.0/24 }"]);
    let policy = |end: &str| {
        format!(
            "match {{ src in 0.0.0.0/1 and src not in 10.0.0.0/8 -> pass; src in web or src in bogons -> {end}; else -> pass }}"
        )
    };
    assert_eq!(guards(&policy("drop"), &policy("reject")), ["src in { bogons, web }"]);
}

#[test]
fn families_that_are_treated_alike_are_told_together() {
    insta::assert_snapshot!(told(&of_chains(
        "match { from inside -> translate back -> forward; src in bogons -> drop; to web -> forward; else -> pass }",
        "match { from inside -> translate back -> forward; src in bogons -> drop; to web -> forward; else -> drop }",
    )));
}

/// What a region says is a guard, also where an id alone does not say whose certificate is meant.
#[test]
fn certificates_that_share_an_id_are_told_by_their_hashes() {
    let certified = |end: &str| {
        format!(
            "lbp 1
authority devices {{ key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 }}
authority others {{ key 2 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978 }}
policy p {{ default drop }} =
  match {{
    udp.dport == 53 -> verify devices -> asks
    else            -> verify others -> asks
  }}
tree asks = match {{ cert.id == 2 and ttl == 9 -> {end}; else -> drop }}
"
        )
    };
    let report = diff(&certified("pass"), &certified("drop"));
    let regions: Vec<_> = report.changes.iter().flat_map(|change| &change.regions).collect();
    assert_eq!(regions.len(), 2, "{}", told(&report));
    for region in regions {
        let guard = &region.guard.whole;
        assert!(guard.contains(" and cert.hash == \""), "{guard}");
        checked(&certified("pass").replace("cert.id == 2 and ttl == 9", guard));
    }
}

/// Behind `verify` a packet has what the witness is signed with, and in front of it came in by the witness's interface.
#[test]
fn a_witness_is_signed_and_comes_in_where_its_region_says() {
    let certified = |id: u8| {
        format!(
            "lbp 1
interface wan {{ device \"eth0\" }}
authority devices {{
  key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978
}}
policy p {{ default drop }} =
  match {{
    iface == wan and proto == udp -> verify devices -> match {{ cert.id == {id} -> pass; else -> drop }}
    else -> drop
  }}
"
        )
    };
    let report = diff(&certified(2), &certified(7));
    let regions = report.changes.iter().flat_map(|change| &change.regions);
    let met: Vec<String> = regions
        .map(|region| match &region.witness.at_once {
            Some((before, after)) => format!("{}: {before} => {after}", region.guard.whole),
            None => format!("{}: it takes {:?}", region.guard.whole, region.witness.takes),
        })
        .collect();
    assert_eq!(
        met,
        ["cert.id == 2 and iface in wan: pass => drop", "cert.id == 7 and iface in wan: drop => pass"]
    );
}
