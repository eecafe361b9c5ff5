//! Claims against what the evaluator does, on random policies and every packet of a small universe; and packets against
//! how they are written.

mod small;
mod written;

use std::path::Path;

use policy_lang::policy::*;
use policy_lang::source::Loader;
use proptest::prelude::*;

use super::{Finding, Witness, Written, run};
use crate::eval::{Answer, Evaluator, PathStep, Run, State, StepKind, Verdict};
use crate::packet::{build, parse};
use crate::random::{Dice, claim, compiled, every_packet, packet};

/// The same policy with a tree that says whether the guard holds.
fn asks(policy: &Policy, guard: &Guard) -> Policy {
    let span = policy.span;
    let end = |end| Chain { stages: Vec::new(), tail: Tail::End(end, span), span };
    let arm = Arm { guard: guard.clone(), text: String::new(), span, chain: end(End::Pass) };
    let region = Match { arms: vec![arm], otherwise: Box::new(end(End::Drop)), otherwise_span: span, span };
    let root = Chain { stages: Vec::new(), tail: Tail::Match(region), span };
    Policy { root, trees: Vec::new(), ..policy.clone() }
}

fn is_named(policy: &Policy, step: &PathStep, goal: &Goal) -> bool {
    match goal {
        Goal::ReachesPool(pool) => step.text == format!("translate {}", policy.pools[pool.index()].name),
        Goal::ReachesTree(tree) => {
            step.kind == StepKind::Tree && step.text == policy.trees[tree.index()].name
        }
        Goal::ReachesStage(name) => {
            step.text == format!("limit {name}") || step.text == format!("track {name}")
        }
        Goal::Ends(_) => false,
    }
}

/// Whether what the evaluator did is what the claim excludes; by the record of the way alone.
fn is_against(policy: &Policy, claim: &Claim, met: &Run) -> bool {
    let steps: Vec<&PathStep> =
        met.path.iter().filter(|step| !matches!(step.kind, StepKind::Guard { .. } | StepKind::Arm)).collect();
    let is_without = |step: &PathStep| {
        let words: Vec<&str> = step.text.split(' ').collect();
        let name = match step.kind {
            StepKind::Tree => Some(step.text.as_str()),
            StepKind::Stage { .. } if words[0] != "count" => words.get(1).copied(),
            _ => None,
        };
        name.is_some_and(|name| claim.without.iter().any(|without| without == name))
    };
    let end = match &claim.goal {
        Goal::Ends(end) => *end,
        goal => {
            let reached = steps.iter().position(|step| is_named(policy, step, goal));
            return reached.is_some_and(|at| !steps[..at].iter().any(|step| is_without(step)));
        }
    };
    if steps.iter().any(|step| is_without(step)) || steps[0].kind == StepKind::Before {
        return false;
    }
    let is_refused = met.path.last().is_some_and(|step| step.kind == StepKind::Refused);
    let is_by_end = is_refused && met.path.iter().any(|step| step.kind == StepKind::End);
    let ended = match met.verdict {
        Verdict::Drop => End::Drop,
        Verdict::Pass => End::Pass,
        Verdict::Forward => End::Forward,
        Verdict::Reply(Answer::Echo) => End::ReplyEcho,
        Verdict::Reply(Answer::Reject) => End::Reject,
        Verdict::Reply(Answer::Rst) => End::ReplyRst,
        Verdict::Reply(Answer::Cookie | Answer::Acknowledgement) | Verdict::Held => return false,
    };
    !is_by_end && (ended == end) == claim.never
}

struct Held<'a> {
    policy: &'a Policy,
    evaluator: Evaluator<'a>,
    /// For each claim, the policy that says whether its guard holds.
    guards: Vec<Policy>,
    findings: Vec<Finding>,
}

impl Held<'_> {
    /// No packet that the evaluator is given may do what is proved never to happen.
    fn meets(&self, state: &mut State, spec: &PacketSpec) -> Result<(), TestCaseError> {
        let frame = build(spec);
        let before = state.clone();
        let met = self.evaluator.run(state, &frame);
        let claims = &self.policy.asserts[0].claims;
        for ((claim, guard), finding) in claims.iter().zip(&self.guards).zip(&self.findings) {
            let holds = || Evaluator::new(guard).run(&mut before.clone(), &frame).verdict == Verdict::Pass;
            if matches!(finding, Finding::Holds)
                && is_against(self.policy, claim, &met)
                && parse(&frame).is_ok()
            {
                prop_assert!(
                    !holds(),
                    "proved, but {}\n{claim:#?}\n{:#?}",
                    Written(self.policy, spec),
                    met.path
                );
            }
        }
        Ok(())
    }
}

/// A packet against a claim exists, is spoken of, and goes the way told where no state has a say in it.
fn is_real(policy: &Policy, claim: &Claim, guard: &Policy, witness: &Witness) -> Result<(), TestCaseError> {
    let frame = build(&witness.packet);
    prop_assert!(parse(&frame).is_ok(), "{:?}", witness.packet);
    let fresh = State { clock: 1 << 50, ..State::new([0; 2]) };
    if witness.flow.is_none() {
        let mut state = fresh.clone();
        let holds = Evaluator::new(guard).run(&mut state, &frame).verdict == Verdict::Pass;
        prop_assert!(holds, "{}\n{claim:#?}", witness.text);
    }
    let met = Evaluator::new(policy).run(&mut fresh.clone(), &frame);
    let is_pure = witness.flow.is_none()
        && witness.way.iter().enumerate().all(|(at, step)| match step.kind {
            StepKind::Stage { .. } => step.text.starts_with("count ") || at + 1 == witness.way.len(),
            StepKind::Turn(_) | StepKind::Refused => false,
            _ => true,
        });
    prop_assert!(witness.at_once || !is_pure, "{:#?}\n{:#?}", witness, met.path);
    if witness.at_once {
        let answers = is_against(policy, claim, &met);
        prop_assert!(answers, "{}\n{claim:#?}\n{:#?}", witness.text, met.path);
    }
    Ok(())
}

fn agree(choices: &[u32], claims: &[u32], packets: &[u32]) -> Result<(), TestCaseError> {
    let (mut policy, _) = compiled(choices)?;
    let claims: Vec<Claim> = claims.chunks(24).map(|chunk| claim(&mut Dice::new(chunk), &policy)).collect();
    let guards: Vec<Policy> = claims.iter().map(|claim| asks(&policy, &claim.guard)).collect();
    policy.asserts = vec![Assert { title: "random".to_owned(), span: policy.span, claims }];
    let report = run(&policy);
    let findings: Vec<Finding> = report.asserts[0].claims.iter().map(|proof| proof.finding.clone()).collect();
    for ((claim, guard), finding) in policy.asserts[0].claims.iter().zip(&guards).zip(&findings) {
        match finding {
            Finding::Holds => {}
            Finding::False(witness) => is_real(&policy, claim, guard, witness)?,
            Finding::TooLarge => prop_assert!(false, "a small policy"),
        }
    }
    let held = Held { policy: &policy, evaluator: Evaluator::new(&policy), guards, findings };
    let mut state = State { clock: 1 << 50, ..State::new([7, 11]) };
    for spec in every_packet() {
        held.meets(&mut state, &spec)?;
    }
    for choices in packets.chunks(12) {
        held.meets(&mut state, &packet(&mut Dice::new(choices)))?;
        state.clock += 40_000_000;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn proofs_agree_with_every_packet_of_a_small_universe(
        choices in prop::collection::vec(any::<u32>(), 60..600),
        claims in prop::collection::vec(any::<u32>(), 24 * 6),
        packets in prop::collection::vec(any::<u32>(), 12 * 80),
    ) {
        agree(&choices, &claims, &packets)?;
    }

    #[test]
    fn a_packet_reads_as_it_is_written(choices in prop::collection::vec(any::<u32>(), 12)) {
        let spec = packet(&mut Dice::new(&choices));
        let empty = checked("policy p { default drop } = drop");
        let written = Written(&empty, &spec);
        let text = format!("policy p {{ default drop }} = drop\nexpect \"x\" {{ {written} => drop }}");
        let policy = checked(&text);
        let Step::Packet { packet, .. } = &policy.expects[0].steps[0] else { panic!("{text}") };
        prop_assert_eq!(build(packet), build(&spec), "{}", text);
    }
}

#[test]
fn what_is_in_a_packet_reads_as_it_is_written() {
    const ITEMS: &str = "
interface lan { device eth0 }
authority devices {
  key 3 036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978
}
policy p { default drop } =
  match { iface == lan -> verify devices -> pass; else -> drop }
";
    for words in [
        "udp src 10.0.0.1:5 dst 10.0.0.2:443 iface lan sni \"a.example\"",
        "udp src 10.0.0.1:5 dst 10.0.0.2:443 signed devices 7",
        "udp src [2001:db8::1]:5 dst [2001:db8::2]:443 ttl 9 payload 0x0000 signed devices 3 forged",
        "udp src 10.0.0.1:5 dst 10.0.0.2:443 sni \"a.example\" signed devices 3",
        "udp src 10.0.0.1:5 dst 10.0.0.2:443 payload 0x0100",
        "udp src 10.0.0.1:5 dst 10.0.0.2:443 len 40",
        "tcp syn-ack src 10.0.0.1:5 dst 10.0.0.2:443 seq 7 ack 4294967295 vlan 12 iface lan",
        "icmp echo-request src 10.0.0.1 dst 10.0.0.2 code 1 id 9",
        "icmp6 129 src 2001:db8::1 dst 2001:db8::2 dscp 46 frag first len 68",
        "proto 47 src 10.0.0.1 dst 10.0.0.2 frag later len 30",
    ] {
        let policy = checked(&format!("{ITEMS}expect \"x\" {{ packet {words} => drop }}"));
        let Step::Packet { packet, .. } = &policy.expects[0].steps[0] else { panic!("{words}") };
        assert_eq!(Written(&policy, packet).to_string(), format!("packet {words}"));
    }
}

struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn checked(text: &str) -> Policy {
    let checked = policy_lang::check("test.lbp", format!("lbp 1\n{text}\n"), &NoFiles);
    checked.policy.unwrap_or_else(|| panic!("{text}\n{:#?}", checked.diagnostics))
}
