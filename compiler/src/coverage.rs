//! Owns what there is in a policy's tree to reach, its arms, exits and ways, which of it some packets did reach, and what
//! no packet can. Never runs a packet, nor rounds.

use std::collections::{BTreeSet, HashSet};

use policy_lang::policy::{Chain, Policy, Tail};
use policy_lang::source::Span;

use crate::analyse::idle_elses;
use crate::eval::{PathStep, StepKind};

/// What packets reached, gathered step by step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    marks: BTreeSet<Mark>,
}

/// A place as the evaluator's path tells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mark {
    /// An arm by its guard, an `else` by its word.
    Arm(Span),
    /// An exit by its stage and its name.
    Exit(Span, &'static str),
    /// A way of an `every`, 1-based.
    Way(Span, u32),
}

impl Reached {
    pub fn add(&mut self, path: &[PathStep]) {
        self.marks.extend(path.iter().filter_map(|step| match (step.kind, step.span) {
            (StepKind::Arm | StepKind::Else, Some(span)) => Some(Mark::Arm(span)),
            (StepKind::Stage { exit: Some(exit) }, Some(span)) => Some(Mark::Exit(span, exit)),
            (StepKind::Turn(way), Some(span)) => Some(Mark::Way(span, way)),
            _ => None,
        }));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A guarded arm or an `else`.
    Arm,
    /// An exit that is written.
    Exit,
    /// One of an `every`.
    Way,
}

/// One arm, exit or way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub kind: Kind,
    pub span: Span,
    /// As in counters: `tcp.dport == 80`, `else`, `limit calm (exceed)`, `every 2: 1`.
    pub text: String,
    pub met: Met,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    Reached,
    Missed,
    /// An `else` that is there because a match must have one, an exit that nothing takes as its item is set, or what lies
    /// within one: no packet comes there.
    Unreachable,
}

/// Every place of the policy in the order of the text, each once however many trees lead to it. Trees that nothing
/// leads to are among them. Exits that are not written have no place: they are the policy's `default`.
pub fn places(policy: &Policy, reached: &Reached) -> Vec<Place> {
    let idle = idle_elses(policy);
    let mut places = Places { policy, reached, idle, is_idle: false, found: Vec::new() };
    places.chain(&policy.root);
    for tree in &policy.trees {
        places.chain(&tree.chain);
    }
    places.found.sort_by_key(|place| (place.span, place.kind));
    places.found
}

struct Places<'a> {
    policy: &'a Policy,
    reached: &'a Reached,
    idle: HashSet<Span>,
    /// Within what no packet comes to.
    is_idle: bool,
    found: Vec<Place>,
}

impl Places<'_> {
    fn add(&mut self, kind: Kind, span: Span, text: String, mark: &Mark) {
        let met = match self.reached.marks.contains(mark) {
            true => Met::Reached,
            false if self.is_idle => Met::Unreachable,
            false => Met::Missed,
        };
        self.found.push(Place { kind, span, text, met });
    }

    fn chain(&mut self, chain: &Chain) {
        for stage in &chain.stages {
            for (name, exit) in stage.kind.exits() {
                if exit.written {
                    let (text, outer) =
                        (format!("{} ({name})", self.policy.stage_words(&stage.kind)), self.is_idle);
                    self.is_idle |= !self.policy.can_leave(&stage.kind, name);
                    self.add(Kind::Exit, exit.span, text, &Mark::Exit(stage.span, name));
                    self.chain(&exit.chain);
                    self.is_idle = outer;
                }
            }
        }
        match &chain.tail {
            Tail::End(..) | Tail::Tree(..) => {}
            Tail::Match(choice) => {
                for arm in &choice.arms {
                    self.add(Kind::Arm, arm.span, arm.text.clone(), &Mark::Arm(arm.span));
                    self.chain(&arm.chain);
                }
                let (otherwise, outer) = (choice.otherwise_span, self.is_idle);
                self.is_idle |= self.idle.contains(&otherwise);
                self.add(Kind::Arm, otherwise, "else".to_owned(), &Mark::Arm(otherwise));
                self.chain(&choice.otherwise);
                self.is_idle = outer;
            }
            Tail::Every(every) => {
                for (number, way) in (1..).zip(&every.ways) {
                    let text = format!("{}: {number}", crate::graph::every_label(every));
                    self.add(Kind::Way, way.span, text, &Mark::Way(every.span, number));
                    self.chain(way);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use policy_lang::source::Loader;

    use super::*;
    use crate::expect;

    struct NoFiles;

    impl Loader for NoFiles {
        fn load(&self, name: &Path) -> Result<String, String> {
            Err(format!("no {}", name.display()))
        }
    }

    const POLICY: &str = "lbp 1
limit calm { rate 1 pkt/s; burst 1 }
track flows { max 100 }
policy p { default drop } = match {
  tcp.dport == 80 -> web
  tcp.dport == 81 -> web
  udp.dport == 53 -> limit calm (exceed -> match { ttl == 1 -> drop; else -> pass }) -> track flows -> forward
  else            -> drop
}
tree web = every 2 { 1 -> pass; 2 -> drop }
";

    /// Texts of the places, those that were not reached or cannot be with a sign in front.
    fn told(expects: &str) -> Vec<String> {
        told_of(&format!("{POLICY}{expects}"))
    }

    fn told_of(text: &str) -> Vec<String> {
        let checked = policy_lang::check("p.lbp", text.to_owned(), &NoFiles);
        let policy = checked.policy.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
        let report = expect::run(&policy, &checked.sources, None);
        let sign = |place: &Place| match place.met {
            Met::Reached => "",
            Met::Missed => "- ",
            Met::Unreachable => "x ",
        };
        places(&policy, &report.reached)
            .iter()
            .map(|place| format!("{}{}", sign(place), place.text))
            .collect()
    }

    #[test]
    fn without_packets_every_place_is_there_in_order_and_none_is_reached() {
        let expected = [
            "- tcp.dport == 80",
            "- tcp.dport == 81",
            "- udp.dport == 53",
            "- limit calm (exceed)",
            "- ttl == 1",
            "- else",
            "- else",
            "- every 2: 1",
            "- every 2: 2",
        ];
        assert_eq!(told(""), expected);
    }

    #[test]
    fn all_packets_of_a_line_count_and_a_tree_counts_once() {
        let reached = told(
            "expect \"x\" {
  packet tcp syn src 192.0.2.1:1 dst 192.0.2.2:80 => pass
  packet tcp syn src 192.0.2.1:1 dst 192.0.2.2:81 => drop
  packet udp src 192.0.2.1:1 dst 192.0.2.2:53 * 3 => pass
}",
        );
        let expected = [
            "tcp.dport == 80",
            "tcp.dport == 81",
            "udp.dport == 53",
            "limit calm (exceed)",
            "- ttl == 1",
            "else",
            "- else",
            "every 2: 1",
            "every 2: 2",
        ];
        assert_eq!(reached, expected);
    }

    #[test]
    fn an_else_that_nothing_comes_to_is_told_apart_with_all_that_lies_within() {
        let expected = [
            "- ttl in 0-9",
            "- proto == tcp",
            "- proto != tcp",
            "x else",
            "- ttl in 10-255",
            "x else",
            "x limit calm (exceed)",
            "x proto == udp",
            "x else",
        ];
        assert_eq!(
            told_of(
                "lbp 1
limit calm { rate 1 pkt/s; burst 1 }
policy p { default drop } = match {
  ttl in 0-9    -> match { proto == tcp -> pass; proto != tcp -> drop; else -> drop }
  ttl in 10-255 -> drop
  else          -> limit calm (exceed -> drop) -> match { proto == udp -> pass; else -> drop }
}
"
            ),
            expected
        );
    }

    #[test]
    fn an_exit_that_the_item_as_it_is_set_never_takes_is_told_apart() {
        let expected = ["- verify devices (missing)", "x verify devices (revoked)", "x ttl == 9", "x else"];
        assert_eq!(
            told_of(
                "lbp 1
authority devices { key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 }
policy p { default drop } =
  verify devices (missing -> drop, revoked -> match { ttl == 9 -> pass; else -> drop }) -> pass
"
            ),
            expected
        );
    }

    /// One way to a tree leaves nothing to its `else`, the other one does.
    #[test]
    fn an_else_that_one_way_to_its_tree_leads_to_is_to_be_reached() {
        let expected = ["- proto == tcp", "- else", "- proto == tcp", "- else"];
        assert_eq!(
            told_of(
                "lbp 1
policy p { default drop } = match { proto == tcp -> count seen -> known; else -> known }
tree known = match { proto == tcp -> pass; else -> drop }
"
            ),
            expected
        );
    }
}
