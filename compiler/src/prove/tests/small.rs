//! Policies of guards alone, whose every comparison divides a universe of fifteen packets: there a claim is proved if
//! and only if no packet is against it.

use policy_lang::policy::Step;
use proptest::prelude::*;

use super::{NoFiles, run};
use crate::eval::{Evaluator, State, Verdict};
use crate::packet::build;
use crate::prove::Finding;

const ATOMS: &[&str] = &[
    "src in 10.0.0.0/8",
    "src in 192.0.2.0/24",
    "proto == tcp",
    "proto == udp",
    "tcp.dport == 80",
    "udp.dport == 53",
];

fn universe() -> String {
    let mut packets = String::new();
    for src in ["10.0.0.1", "192.0.2.1", "198.51.100.1"] {
        for (kind, port) in [("tcp syn", 80), ("tcp syn", 81), ("udp", 53), ("udp", 54)] {
            packets.push_str(&format!("packet {kind} src {src}:5000 dst 203.0.113.1:{port} => drop\n"));
        }
        packets.push_str(&format!("packet icmp echo-request src {src} dst 203.0.113.1 => drop\n"));
    }
    packets
}

fn guard() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(ATOMS).prop_map(str::to_owned);
    atom.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("not ({one})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} and {other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one} or {other})")),
        ]
    })
}

/// What the policy does with each packet of the universe; None where a guard of it or its claims holds for none.
fn ends(policy: &str, claim: &str) -> Option<(bool, Vec<Verdict>)> {
    let text = format!(
        "lbp 1\npolicy p {{ default drop }} = {policy}\nassert \"a\" {{ {claim} }}\nexpect \"e\" {{\n{}}}\n",
        universe()
    );
    let checked = policy_lang::check("p.lbp", text, &NoFiles);
    let policy = checked.policy.or(checked.partly_reached)?;
    let holds = matches!(run(&policy).asserts[0].claims[0].finding, Finding::Holds);
    let evaluator = Evaluator::new(&policy);
    let packets = policy.expects[0].steps.iter().filter_map(|step| match step {
        Step::Packet { packet, .. } => Some(build(packet)),
        _ => None,
    });
    let verdicts = packets.map(|frame| evaluator.run(&mut State::new([0; 2]), &frame).verdict);
    Some((holds, verdicts.collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_claim_is_proved_if_and_only_if_no_packet_is_against_it(
        arms in prop::collection::vec((guard(), any::<bool>()), 1..4),
        about in guard(),
        never in any::<bool>(),
    ) {
        let arms: String = arms.iter().map(|(guard, pass)| format!("{guard} -> {}\n", if *pass { "pass" } else { "drop" })).collect();
        let word = if never { "never" } else { "always" };
        let found = ends(&format!("match {{\n{arms} else -> drop }}"), &format!("{word} {about} ends pass"));
        let spoken = ends(&format!("match {{ {about} -> pass\n else -> drop }}"), "never src in 10.0.0.0/8 ends pass");
        prop_assume!(found.is_some() && spoken.is_some());
        let ((holds, verdicts), (_, spoken)) = (found.unwrap(), spoken.unwrap());
        prop_assert_eq!(verdicts.len(), 15);
        let is_against = |(end, of): (&Verdict, &Verdict)| *of == Verdict::Pass && (*end == Verdict::Pass) == never;
        prop_assert_eq!(holds, !verdicts.iter().zip(&spoken).any(is_against));
    }
}
