use policy_lang::source::Loader;

use super::*;
use crate::eval::Answer as Answered;

struct Nothing;

impl Loader for Nothing {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn ask(policy: &str, packets: &str) -> Vec<Answer> {
    let (checked, asked) =
        policy_lang::check_asked("p.lbp", policy.to_owned(), &Nothing, &[packets.to_owned()]);
    assert_eq!(asked.diagnostics, []);
    let questions: Vec<Question> = asked.steps.into_iter().map(Question::Step).collect();
    explain(&checked.policy.expect("a policy"), &questions)
}

fn frame(policy: &str, frame: Vec<u8>) -> Answer {
    let checked = policy_lang::check("p.lbp", policy.to_owned(), &Nothing);
    let question = Question::Frame { frame, at: None };
    explain(&checked.policy.expect("a policy"), &[question]).remove(0)
}

fn told(answer: &Answer) -> Vec<(&str, &str)> {
    answer.way.iter().map(|step| (step.step.text.as_str(), step.because.as_str())).collect()
}

const NAT: &str = include_str!("../../../policies/nat.lbp");

#[test]
fn a_round_trip_is_followed_through_one_state() {
    let answers = ask(
        NAT,
        "packet tcp syn src 198.51.100.7:40000 dst web:80 seq 1
         packet tcp syn-ack src a1:8080 dst 10.0.0.5:10000 seq 999 ack 2; after 1s
         packet tcp ack src 198.51.100.7:40000 dst web:80 seq 2 ack 1000
         packet tcp ack src 198.51.100.7:40000 dst web:80",
    );
    assert_eq!(answers[0].end, "forward a1, 10.0.0.5:10000 to 10.0.1.11:8080");
    let changes: Vec<_> =
        answers[1].changes.iter().map(|change| (change.field, &change.leaves[..])).collect();
    assert_eq!(changes, [("src", "203.0.113.10:80"), ("dst", "198.51.100.7:40000"), ("ttl", "63")]);
    assert!(told(&answers[0]).contains(&("track flows", "a new flow")));
    assert!(told(&answers[1]).contains(&("translate back", "a flow of flows, new, the way back")));
    assert!(told(&answers[2]).contains(&("track flows", "a flow of flows, answered")));
    assert!(told(&answers[3]).contains(&("track flows", "a flow of flows, proven")));
    assert_eq!((answers[1].at, answers[2].at), (Duration::ZERO, Duration::from_secs(1)));
}

#[test]
fn packets_that_meet_the_same_are_told_once() {
    let answers = ask(NAT, "packet icmp echo-request src 198.51.100.7 dst web * 25");
    let ends: Vec<_> = answers.iter().map(|one| (one.first, one.last, one.verdict)).collect();
    assert_eq!(ends, [(1, 20, Verdict::Reply(Answered::Echo)), (21, 25, Verdict::Drop)]);
    assert!(told(&answers[1]).contains(&("limit pings", "the bucket of 198.51.100.7/32")));
}

const EXITS: &str = "lbp 1
set few : net = { 192.0.2.0/24 }
track flows { idle tcp 5m, udp 30s; half_open 5s; max 64 }
policy p { default drop; fragments match } =
  match {
    src in few and tcp.dport == 80 -> pass
    flow in flows                  -> pass
    else                           -> track flows -> forward
  }
";

#[test]
fn what_decided_is_told_with_each_guard_and_unwritten_exits_are_the_default() {
    let answers = ask(EXITS, "packet tcp ack src 192.0.2.9:1 dst 198.51.100.1:443");
    assert_eq!(
        told(&answers[0]),
        [
            ("src in few", "src 192.0.2.9"),
            ("tcp.dport == 80", "tcp.dport 443"),
            ("flow in flows", "no live flow"),
            ("else", ""),
            ("track flows", "tcp.flags ack, no live flow"),
            ("drop", "not written: the policy's default"),
        ]
    );
    let udp = ask(EXITS, "packet udp src 192.0.2.9:1 dst 198.51.100.1:443");
    assert!(told(&udp[0]).contains(&("tcp.dport == 80", "no tcp.dport")));
}

#[test]
fn what_is_given_to_a_set_counts_from_there_on() {
    let text = "packet tcp syn src 203.0.113.1:1 dst 198.51.100.1:80
                given 203.0.113.1 in few
                packet tcp syn src 203.0.113.1:1 dst 198.51.100.1:80";
    let verdicts: Vec<_> = ask(EXITS, text).iter().map(|answer| answer.verdict).collect();
    assert_eq!(verdicts, [Verdict::Forward, Verdict::Pass]);
}

#[test]
fn settings_before_the_tree_are_told_where_they_decide() {
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(told(&frame(NAT, arp)), [("neighbour", "`neighbours pass`")]);
    let short = frame(NAT, vec![0; 13]);
    assert_eq!(told(&short), [("short frame", "`unparsed drop`")]);
    assert_eq!((short.packet.as_str(), short.end.as_str()), ("a frame of 13 bytes", "drop (short frame)"));
    let fragment = "packet tcp syn src 192.0.2.9:1 dst 198.51.100.1:443 frag first";
    assert_eq!(told(&ask(NAT, fragment)[0]), [("fragment", "`fragments drop`")]);
    assert_eq!(told(&ask(EXITS, fragment)[0])[0], ("fragment", "`fragments match`: the tree decides"));
}

#[test]
fn frames_move_the_clock_and_never_back() {
    let checked = policy_lang::check("p.lbp", NAT.to_owned(), &Nothing);
    let at = |seconds| Question::Frame { frame: vec![], at: Some(Duration::from_secs(seconds)) };
    let answers = explain(&checked.policy.expect("a policy"), &[at(0), at(9), at(4)]);
    assert_eq!(answers.iter().map(|one| one.at.as_secs()).collect::<Vec<_>>(), [0, 9, 9]);
}

#[test]
fn what_is_around_a_packet_is_told_apart_from_what_is_in_it() {
    let policy = "lbp 1
interface lan { device eth1 }
pool app { pick source; via ipip; backend a 10.0.0.1 }
policy p { default drop } = match {
  iface == lan -> log odd 1 pkt/s -> translate app -> forward
  else -> drop
}";
    let told = ask(policy, "packet udp iface lan src 192.0.2.1:1 dst 203.0.113.1:53");
    let [answer] = &told[..] else { panic!("{told:?}") };
    assert_eq!(answer.end, "forward a, 192.0.2.1:1 to 203.0.113.1:53, within ipip to 10.0.0.1");
    let changes: Vec<(&str, &str)> =
        answer.changes.iter().map(|change| (change.field, change.leaves.as_str())).collect();
    assert_eq!(changes, [("ttl", "63"), ("around", "within ipip to 10.0.0.1")]);
    let because: Vec<&str> = answer.way.iter().map(|step| step.because.as_str()).collect();
    assert_eq!(because[..3], ["iface lan", "", "written down"]);
}

#[test]
fn a_captured_frame_is_held_to_the_certificates_own_keys() {
    let policy = "lbp 1
authority devices { key 0 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 }
policy p { default drop } = match {
  proto == udp -> verify devices (missing -> drop, invalid -> drop, expired -> drop, revoked -> drop, replayed -> drop) -> pass
  else -> drop
}";
    let text = "packet udp src 192.0.2.1:1 dst 192.0.2.2:2 signed devices 0";
    let told = ask(policy, text);
    assert_eq!(told[0].verdict, Verdict::Pass);
    let checked = policy_lang::check_asked("p.lbp", policy.to_owned(), &Nothing, &[text.to_owned()]);
    let Some(Step::Packet { packet, .. }) = checked.1.steps.first() else { panic!() };
    let captured = packet::build_in(checked.0.policy.as_ref().unwrap(), packet);
    let answer = frame(policy, captured);
    assert_eq!(answer.verdict, Verdict::Drop);
    let verify = answer.way.iter().find(|step| step.step.text == "verify devices").unwrap();
    assert_eq!(verify.because, "not the signature of certificate 0");
}
