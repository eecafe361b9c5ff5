//! Owns the frames that must never slip through, against the evaluator, the compiled tables and the loaded program: under a
//! tree that drops what it does not name, and one that passes it. Never random ones.

use std::collections::BTreeSet;

use lb_abi::maps::ANSWERS_BURST;
use lb_abi::reason::Reason;
use lb_abi::seen::Seen;
use lb_tests::accepted::Accepted;
use lb_tests::case::{Case, hex};
use lb_tests::differential::Played;
use lb_tests::frame::{Packet, SYN};
use lb_tests::kernel::Network;
use lb_tests::probes::{Fate, Probe, martians, probes};
use lb_tests::traffic::Step;
use lb_tests::{oracle, walker};

/// What is named gets one end, everything else the other.
fn policy(named: &str, unnamed: &str) -> String {
    format!(
        "lbp 1
policy probes {{ default drop }} =
  match {{
    tcp.dport == 80 or udp.dport == 53 -> {named}
    else -> {unnamed}
  }}
"
    )
}

/// Every implementation's answers to the frames, each frame against fresh state.
fn everywhere(text: &str, frames: &[Vec<u8>]) -> Vec<(&'static str, Played)> {
    let accepted = Accepted::new(text).unwrap_or_else(|why| panic!("{why}"));
    let mut case = Case::new(text.to_owned(), 0);
    case.steps = frames.iter().cloned().map(Step::Frame).collect();
    let loaded = Network::new().play(&case, &accepted.image).unwrap_or_else(|error| panic!("{error}"));
    vec![
        ("evaluator", oracle::play(&case, &accepted)),
        ("tables", walker::play(&case, &accepted.image)),
        ("loaded program", loaded),
    ]
}

fn meets(probe: &Probe, named: &Seen, unnamed: &Seen) -> Seen {
    match probe.fate {
        Fate::Refused(_) => Seen::Drop,
        Fate::Neighbour => Seen::Pass,
        Fate::Named => named.clone(),
        Fate::Unnamed => unnamed.clone(),
    }
}

fn under_a_tree(named: &str, unnamed: &str) {
    let end = |word: &str| if word == "pass" { Seen::Pass } else { Seen::Drop };
    let probes = probes();
    assert!(probes.len() > 1_500, "only {} probes", probes.len());
    let frames: Vec<_> = probes.iter().map(|probe| probe.frame.clone()).collect();
    for (who, played) in everywhere(&policy(named, unnamed), &frames) {
        for (probe, seen) in probes.iter().zip(&played.seen) {
            let wanted = meets(probe, &end(named), &end(unnamed));
            assert_eq!(*seen, wanted, "{who}: {} ({:?}): {}", probe.name, probe.fate, hex(&probe.frame));
        }
    }
}

#[test]
fn under_a_tree_that_drops_the_rest() {
    under_a_tree("pass", "drop");
}

#[test]
fn under_a_tree_that_passes_the_rest() {
    under_a_tree("drop", "pass");
}

/// Each refused probe is counted once, for one of the reasons it may have.
#[test]
fn refusals_are_counted_by_reason() {
    let refused: Vec<Probe> =
        probes().into_iter().filter(|probe| matches!(probe.fate, Fate::Refused(_))).collect();
    let reasons: BTreeSet<Vec<Reason>> = refused.iter().map(|probe| reasons_of(probe).to_vec()).collect();
    let frames = |of: &[Reason]| -> Vec<Vec<u8>> {
        refused.iter().filter(|probe| reasons_of(probe) == of).map(|probe| probe.frame.clone()).collect()
    };
    for of in &reasons {
        let frames = frames(of);
        for (who, played) in everywhere(&policy("drop", "pass"), &frames) {
            let counted: u64 = of.iter().map(|reason| played.reasons[*reason as usize]).sum();
            assert_eq!(counted, frames.len() as u64, "{who}: {of:?}");
            assert_eq!(played.reasons.iter().sum::<u64>(), counted, "{who}: other reasons than {of:?}");
        }
    }
}

fn reasons_of(probe: &Probe) -> &'static [Reason] {
    match probe.fate {
        Fate::Refused(reasons) => reasons,
        _ => &[],
    }
}

/// `forward` refuses addresses that are never routed, and a packet at the end of its life.
#[test]
fn forward_refuses_martians_and_the_dying() {
    let mut frames = Vec::new();
    for odd in martians() {
        let other = if odd.is_ipv4() { "198.51.100.9" } else { "2001:db8::9" }.parse().expect("an address");
        for (src, dst) in [(odd, other), (other, odd), (odd, odd)] {
            frames.push(Packet::tcp((src, 4000), (dst, 80), SYN, 1, 0).bytes());
        }
    }
    let odd = frames.len() as u64;
    for (src, dst) in [("198.51.100.9", "203.0.113.10"), ("2001:db8::9", "2001:db8:f::10")] {
        for ttl in [0, 1] {
            let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
            let mut packet = Packet::tcp((src, 4000), (dst, 80), SYN, 1, 0);
            packet.ttl = ttl;
            frames.push(packet.bytes());
        }
    }
    for (who, played) in everywhere(&policy("forward", "drop"), &frames) {
        assert!(played.seen.iter().all(|seen| *seen == Seen::Drop), "{who}: {:?}", played.seen);
        assert_eq!(played.reasons[Reason::Martian as usize], odd, "{who}");
        assert_eq!(played.reasons[Reason::Ttl as usize], 4, "{who}");
    }
}

/// Echo requests alone are answered, with no more bytes than came, and never to or from an odd address.
#[test]
fn reply_answers_echo_requests_and_nothing_else() {
    let mut frames = Vec::new();
    for odd in martians() {
        let other = if odd.is_ipv4() { "198.51.100.9" } else { "2001:db8::9" }.parse().expect("an address");
        frames.push(Packet::echo(odd, other, true, 1).bytes());
        frames.push(Packet::echo(other, odd, true, 1).bytes());
    }
    let odd = frames.len();
    for (src, dst) in [("198.51.100.9", "203.0.113.10"), ("2001:db8::9", "2001:db8:f::10")] {
        let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
        frames.push(Packet::echo(src, dst, false, 1).bytes());
        frames.push(Packet::tcp((src, 4000), (dst, 81), SYN, 1, 0).bytes());
    }
    let refused = frames.len();
    for (src, dst) in [("198.51.100.9", "203.0.113.10"), ("2001:db8::9", "2001:db8:f::10")] {
        let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
        frames.push(Packet::echo(src, dst, true, 1).payload(b"0123456789").bytes());
    }
    for (who, played) in everywhere(&policy("drop", "reply echo"), &frames) {
        assert!(played.seen[..refused].iter().all(|seen| *seen == Seen::Drop), "{who}: {:?}", played.seen);
        assert_eq!(played.reasons[Reason::Martian as usize], odd as u64, "{who}");
        assert_eq!(played.reasons[Reason::NotEcho as usize], (refused - odd) as u64, "{who}");
        for (frame, seen) in frames.iter().zip(&played.seen).skip(refused) {
            let Seen::Sent(bytes) = seen else { panic!("{who}: {seen:?} for {}", hex(frame)) };
            assert_eq!(bytes.len() + 12, frame.len(), "{who}");
            let sent = [&frame[..12], bytes].concat();
            let reply = if frame[12] == 0x08 { (34, 0) } else { (54, 129) };
            assert_eq!(sent[reply.0], reply.1, "{who}: {}", hex(&sent));
        }
    }
}

/// One bucket bounds all answers: its burst at one instant, and its rate from then on.
#[test]
fn answers_have_a_rate() {
    let (src, dst) =
        ("198.51.100.9".parse().expect("an address"), "203.0.113.10".parse().expect("an address"));
    let frames = vec![Packet::echo(src, dst, true, 1).bytes(); ANSWERS_BURST as usize + 100];
    for (who, played) in everywhere(&policy("drop", "reply echo"), &frames) {
        assert_eq!(played.reasons[Reason::AnswerLimit as usize], 100, "{who}");
        let sent = played.seen.iter().take_while(|seen| matches!(seen, Seen::Sent(_))).count();
        assert_eq!(sent as u64, ANSWERS_BURST, "{who}");
    }
}
