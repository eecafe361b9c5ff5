//! What a figure makes of policies: filters, exits, what is not reached, and bounds.

use std::collections::BTreeSet;

use policy_lang::diagnostic::never;
use policy_lang::source::Loader;
use proptest::prelude::*;

use super::*;
use crate::random::compiled;

struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no files here".to_owned())
    }
}

const ITEMS: &str = "\
lbp 1
set a : net = { 10.0.0.0/8 }
limit calm { per src v4 /32 v6 /64; rate 90 pkt/min; burst 1_000; max 65_536 }
limit wide { rate 2 Mbit/s; burst 64KiB }
track flows { idle tcp 5m, udp 1500ms; max 2_000_000 }
pool app { pick maglev 65_537 by flow; via nat; source 10.0.0.1; ports 1000-1999
  backend a1 10.0.0.11:8080 weight 3
  backend a2 10.0.0.12 drain }
side inside when src in app
side outside otherwise
";

fn drawn(chains: &str) -> Figure {
    let mut checked = policy_lang::check("p.lbp", format!("{ITEMS}{chains}\n"), &NoFiles);
    let typed = checked.policy.as_ref().or(checked.partly_reached.as_ref());
    checked.diagnostics.extend(typed.map(crate::analyse).unwrap_or_default());
    let never = never(&checked.diagnostics);
    let policy = checked.policy.or(checked.partly_reached);
    figure(&policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics)), &never)
}

/// A chain for what does not come from the pool; it is tree 0.
fn behind_nat(chain: &str) -> Figure {
    drawn(&format!(
        "policy p {{ default drop; fragments pass }} =
  match {{ from inside -> translate back -> forward; else -> main }}
tree main = {chain}"
    ))
}

fn ways(chain: &Chain) -> &[Way] {
    match &chain.tail {
        Tail::Select(select) => &select.ways,
        other => panic!("no match: {other:?}"),
    }
}

fn titles(chain: &Chain) -> Vec<&str> {
    chain.steps.iter().map(|step| step.title.as_str()).collect()
}

#[test]
fn one_arm_over_drop_is_a_filter_and_more_are_not() {
    let figure = drawn(
        "policy p { default drop } = match { src in a -> limit wide (exceed -> drop) -> pass; else -> count x -> drop }",
    );
    assert_eq!(titles(&figure.root), ["src in a", "limit wide"]);
    assert_eq!(figure.root.steps[0].kind, Kind::Filter);
    let exit = &figure.root.steps[0].exits[0];
    assert_eq!(
        (exit.names.as_slice(), titles(&exit.chain), &exit.chain.tail),
        (&["else"][..], vec!["count x"], &Tail::End(End::Drop))
    );
    assert_eq!(figure.root.tail, Tail::End(End::Pass));

    for not_one in [
        "match { src in a -> pass; else -> reply echo }",
        "match { src in a -> pass; ttl == 1 -> drop; else -> drop }",
        "match { src in a -> pass; else -> limit wide (exceed -> drop) -> drop }",
    ] {
        let figure = drawn(&format!("policy p {{ default drop }} = {not_one}"));
        assert!(figure.root.steps.is_empty() && ways(&figure.root).len() > 1, "{not_one}");
    }
}

#[test]
fn exits_that_lead_to_the_same_are_one_but_written_or_not_stays_apart() {
    let figure =
        behind_nat("track flows (full -> drop, invalid -> drop) -> translate app (empty -> drop) -> forward");
    let exits = |step: usize| -> Vec<(Vec<&str>, bool)> {
        figure.trees[0].chain.steps[step]
            .exits
            .iter()
            .map(|exit| (exit.names.clone(), exit.written))
            .collect()
    };
    assert_eq!(exits(0), [(vec!["full", "invalid"], true)]);
    assert_eq!(exits(1), [(vec!["empty"], true), (vec!["ports"], false)]);
}

#[test]
fn an_exit_that_no_packet_takes_is_drawn_only_where_it_is_written_and_faded() {
    let of = |via: &str, exits: &str| {
        let figure = drawn(&format!(
            "pool far {{ pick random; via {via}; backend f1 10.9.0.1 }}\n\
             policy p {{ default drop }} = translate far ({exits}) -> forward"
        ));
        let exits = &figure.root.steps[0].exits;
        exits.iter().map(|exit| (exit.names.clone(), exit.chain.reached)).collect::<Vec<_>>()
    };
    assert_eq!(of("ipip", "empty -> drop"), [(vec!["empty"], true)]);
    assert_eq!(of("ipip", "empty -> drop, ports -> pass"), [(vec!["empty"], true), (vec!["ports"], false)]);
    assert_eq!(of("ipip", "empty -> drop, ports -> drop"), [(vec!["empty"], true), (vec!["ports"], false)]);
}

#[test]
fn settings_are_said_in_the_words_of_the_language() {
    let figure = behind_nat(
        "limit calm (exceed -> drop) -> limit wide (exceed -> drop)
           -> track flows -> translate app -> forward",
    );
    assert_eq!(figure.settings[0], "default drop");
    assert_eq!(figure.settings[4], "fragments pass");
    let settings: Vec<String> =
        figure.trees[0].chain.steps.iter().map(|step| step.settings.join("; ")).collect();
    assert_eq!(
        settings,
        [
            "90 pkt/min, burst 1_000; per src v4 /32 v6 /64; max 65_536",
            "2 Mbit/s, burst 64KiB",
            "idle tcp 5m, udp 1500ms; half_open 5s; max 2_000_000",
            "maglev 65_537 by flow; via nat",
        ]
    );
    let pool = &figure.pools[0];
    assert_eq!(
        pool.settings.join("; "),
        "pick maglev 65_537 by flow; via nat; source 10.0.0.1; ports 1000-1999"
    );
    let names: Vec<(&str, &[[String; 3]])> =
        figure.names.iter().map(|table| (table.title.as_str(), table.rows.as_slice())).collect();
    let row = |cells: [&str; 3]| cells.map(str::to_owned);
    assert_eq!(
        names,
        [
            ("sides", &[row(["inside", "when src in app", ""]), row(["outside", "otherwise", ""])][..]),
            ("sets", &[row(["a", "1 range", ""])]),
        ]
    );
    assert_eq!(pool.rows, [["a1", "10.0.0.11:8080", "weight 3"], ["a2", "10.0.0.12", "drain"]]);
}

#[test]
fn what_no_packet_reaches_is_known_with_all_behind_it() {
    let figure = drawn(
        "policy p { default drop } =
  match {
    src in a -> pass
    src in { 10.1.0.0/16 } -> lost
    tcp.dport == 1 and udp.dport == 1 -> both
    tcp.dport == 1 or (tcp.dport == 2 and udp.dport == 2) -> pass
    else -> both
  }
tree lost = count lost -> lost_too
tree lost_too = limit wide (exceed -> drop) -> both
tree both = match { ttl == 1 -> drop; else -> pass }",
    );
    let reached: Vec<bool> = ways(&figure.root).iter().map(|way| way.chain.reached).collect();
    assert_eq!(reached, [true, false, false, true, true]);
    let trees: Vec<(&str, bool)> =
        figure.trees.iter().map(|tree| (tree.name.as_str(), tree.reached)).collect();
    assert_eq!(trees, [("lost", false), ("lost_too", false), ("both", true)]);
    assert!(!figure.trees[1].chain.steps[0].exits[0].chain.reached);
}

fn arms(count: usize, end: impl Fn(usize) -> String) -> String {
    let arms =
        (0..count).map(|arm| format!("    dst == 192.0.{}.{} -> {}\n", arm / 256, arm % 256, end(arm)));
    format!("policy p {{ default drop }} =\n  match {{\n{}    else -> drop\n  }}", arms.collect::<String>())
}

fn labels(chain: &Chain) -> Vec<Label> {
    ways(chain).iter().map(|way| way.label.clone()).collect()
}

#[test]
fn a_long_run_to_the_same_stands_as_one_and_a_short_one_as_it_is() {
    let short = drawn(&arms(6, |_| "pass".to_owned()));
    assert_eq!(ways(&short.root).len(), 7);

    let long = drawn(&arms(3_000, |_| "count x -> drop".to_owned()));
    let labels = labels(&long.root);
    assert_eq!(labels[3..], [Label::More(2_997), Label::Else]);
    assert_eq!(titles(&ways(&long.root)[3].chain), ["count x"]);
}

#[test]
fn arms_beyond_the_bound_are_counted_whatever_they_lead_to() {
    // Runs of ten, four rows each.
    let figure = drawn(&arms(1_000, |arm| format!("count x{} -> pass", arm / 10)));
    let labels = labels(&figure.root);
    assert_eq!(labels.len(), MOST_WAYS + 1);
    let stand_for = |label: &Label| if let Label::More(count) = label { *count } else { 1 };
    assert_eq!(labels.iter().map(stand_for).sum::<usize>(), 1_001);
    assert_eq!(ways(&figure.root)[MOST_WAYS - 1].chain.tail, Tail::More);
}

fn parts(chain: &Chain) -> usize {
    let exits = chain.steps.iter().flat_map(|step| &step.exits).map(|exit| parts(&exit.chain)).sum::<usize>();
    let ways = match &chain.tail {
        Tail::Select(select) => select.ways.iter().map(|way| 1 + parts(&way.chain)).sum(),
        _ => 1,
    };
    chain.steps.len() + exits + ways
}

fn is_left_out(tree: &Tree) -> bool {
    tree.chain.steps.is_empty() && tree.chain.tail == Tail::More
}

#[test]
fn a_drawing_has_an_end_whatever_the_trees_hold() {
    let arms_of = |tree: usize| {
        let arms = (0..60).map(|arm| format!("  tcp.dport == {} -> count c{tree}_{arm} -> pass\n", arm + 1));
        format!("tree t{tree} = match {{\n{}  else -> drop }}\n", arms.collect::<String>())
    };
    let trees: String = (0..60).map(arms_of).collect();
    let figure = drawn(&format!("{}\n{trees}", arms(60, |arm| format!("t{arm}"))));
    let all = parts(&figure.root) + figure.trees.iter().map(|tree| parts(&tree.chain)).sum::<usize>();
    // What is cut off has one part for what is missing.
    assert!((MOST_PARTS..MOST_PARTS + 200).contains(&all), "{all}");
    assert!(!is_left_out(&figure.trees[0]) && is_left_out(&figure.trees[59]));
}

#[test]
fn trees_that_only_folded_arms_lead_to_are_left_out() {
    let trees: String = (0..200)
        .map(|tree| format!("tree t{tree} = count c{tree} -> u{tree}\ntree u{tree} = drop\n"))
        .collect();
    let figure = drawn(&format!("{}\n{trees}", arms(200, |arm| format!("t{arm}"))));
    let drawn = figure.trees.iter().filter(|tree| !is_left_out(tree)).count();
    assert_eq!(drawn, 2 * (MOST_WAYS - 1));
}

/// What a policy has, as it is counted one by one.
#[derive(Default, PartialEq, Debug)]
struct Contents {
    stages: BTreeSet<String>,
    ends: BTreeSet<&'static str>,
    /// Arms, `else` and turns, those behind exits left out: exits that lead to the same are drawn once.
    ways: usize,
}

impl Contents {
    fn of_chain(&mut self, policy: &Policy, chain: &policy::Chain, is_exit: bool) {
        for stage in &chain.stages {
            self.stages.insert(policy.stage_words(&stage.kind));
            stage.kind.exits().into_iter().for_each(|(_, exit)| self.of_chain(policy, &exit.chain, true));
        }
        let ways: Vec<&policy::Chain> = match &chain.tail {
            policy::Tail::End(end, _) => {
                self.ends.insert(end_label(*end));
                Vec::new()
            }
            policy::Tail::Tree(..) => Vec::new(),
            policy::Tail::Match(choice) => {
                choice.arms.iter().map(|arm| &arm.chain).chain([&*choice.otherwise]).collect()
            }
            policy::Tail::Every(every) => every.ways.iter().collect(),
        };
        self.ways += if is_exit { 0 } else { ways.len() };
        ways.into_iter().for_each(|way| self.of_chain(policy, way, is_exit));
    }

    fn of_figure(&mut self, chain: &Chain, is_exit: bool) {
        for step in &chain.steps {
            let is_filter = step.kind == Kind::Filter;
            if is_filter {
                self.ways += if is_exit { 0 } else { 2 };
            } else {
                self.stages.insert(step.title.clone());
            }
            // The `else` of a filter is a way of its match.
            step.exits.iter().for_each(|exit| self.of_figure(&exit.chain, is_exit || !is_filter));
        }
        match &chain.tail {
            Tail::End(end) => {
                self.ends.insert(end_label(*end));
            }
            Tail::Select(select) => {
                self.ways += if is_exit { 0 } else { select.ways.len() };
                select.ways.iter().for_each(|way| self.of_figure(&way.chain, is_exit));
            }
            Tail::Tree(_) | Tail::More => {}
        }
    }
}

/// Trees that are led to, found by going round until nothing is added.
fn led_to(policy: &Policy, never: &[Span]) -> BTreeSet<u32> {
    fn calls(chain: &policy::Chain, never: &[Span], found: &mut BTreeSet<u32>) {
        for (_, exit) in chain.stages.iter().flat_map(|stage| stage.kind.exits()) {
            calls(&exit.chain, never, found);
        }
        match &chain.tail {
            policy::Tail::End(..) => {}
            policy::Tail::Tree(tree, _) => {
                found.insert(tree.0);
            }
            policy::Tail::Match(choice) => {
                let arms = choice.arms.iter().filter(|arm| !never.contains(&arm.span));
                arms.for_each(|arm| calls(&arm.chain, never, found));
                calls(&choice.otherwise, never, found);
            }
            policy::Tail::Every(every) => every.ways.iter().for_each(|way| calls(way, never, found)),
        }
    }
    let mut found = BTreeSet::new();
    calls(&policy.root, never, &mut found);
    for _ in 0..policy.trees.len() {
        for tree in found.clone() {
            calls(&policy.trees[tree as usize].chain, never, &mut found);
        }
    }
    found
}

fn arm_spans(chain: &policy::Chain, found: &mut Vec<Span>) {
    if let policy::Tail::Match(choice) = &chain.tail {
        for arm in &choice.arms {
            found.push(arm.span);
            arm_spans(&arm.chain, found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_policy_is_missing(
        choices in prop::collection::vec(any::<u32>(), 60..600),
        dead in prop::collection::vec(any::<bool>(), 8),
    ) {
        let (policy, _) = compiled(&choices)?;
        let mut never = Vec::new();
        arm_spans(&policy.root, &mut never);
        let never: Vec<Span> = never.into_iter().zip(dead).filter(|(_, dead)| *dead).map(|(span, _)| span).collect();
        let figure = figure(&policy, &never);
        let (mut has, mut drawn) = (Contents::default(), Contents::default());
        let chains = std::iter::once(&policy.root).chain(policy.trees.iter().map(|tree| &tree.chain));
        chains.for_each(|chain| has.of_chain(&policy, chain, false));
        let chains = std::iter::once(&figure.root).chain(figure.trees.iter().map(|tree| &tree.chain));
        chains.for_each(|chain| drawn.of_figure(chain, false));
        prop_assert_eq!(has, drawn);
        let reached: BTreeSet<u32> = (0..).zip(&figure.trees).filter(|(_, tree)| tree.reached).map(|(id, _)| id).collect();
        prop_assert_eq!(reached, led_to(&policy, &never));
    }
}
