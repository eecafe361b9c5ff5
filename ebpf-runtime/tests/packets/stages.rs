//! `limit`, `every`, counters and `reply echo`, with the clock of a test; and what the verifier makes of it all.

use ebpf_runtime::trial::{Action, Trial};
use lb_abi::image::*;
use lb_abi::mode::{
    FEATURE_DST4, FEATURE_DST6, FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD, FEATURE_REPLY, FEATURE_SRC4,
    FEATURE_SRC6, FEATURE_TEST, FEATURE_XSK,
};
use lb_abi::reason::Reason;

use crate::build::{ACK, SYN, Tree, checksums_are_right, echo, ipv4, ipv6, tcp};

const SECOND: u64 = 1_000_000_000;
const A6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn from(client: [u8; 4], flags: u8) -> Vec<u8> {
    ipv4(client, [203, 0, 113, 10], 6, &tcp(4000, 80, flags, 1, 1), 16)
}

/// `limit` at 10 a second and a burst of 5, exceeding packets dropped.
fn limited(unit: u32, key: u32) -> Trial {
    let mut tree = Tree::new();
    let interval = SECOND / 10 * 64;
    let limit = tree.limit(unit, key, interval, 5 * interval);
    let (drop, pass) = (tree.end(END_DROP), tree.end(END_PASS));
    let entry = tree.node(OP_LIMIT, [pass, drop, 0], [limit, 0, 0]);
    let mut trial = Trial::load(&tree.finish(entry, 0), FEATURE_TEST).expect("root");
    trial.set_clock(SECOND);
    trial
}

fn passed(trial: &Trial, frame: &[u8], times: usize) -> usize {
    (0..times).filter(|_| trial.run(frame, 0).expect("a run").action == Action::Pass).count()
}

#[test]
fn a_limit_lets_its_burst_through_and_then_its_rate() {
    let mut trial = limited(LIMIT_PACKETS, LIMIT_KEY_NONE);
    let frame = from([192, 0, 2, 1], ACK);
    assert_eq!(passed(&trial, &frame, 20), 5);
    trial.set_clock(SECOND + SECOND / 5);
    assert_eq!(passed(&trial, &frame, 20), 2);
    trial.set_clock(100 * SECOND);
    assert_eq!(passed(&trial, &frame, 20), 5, "no more than a burst is saved up");
}

#[test]
fn each_key_has_a_bucket_of_its_own() {
    let trial = limited(LIMIT_PACKETS, LIMIT_KEY_SRC);
    assert_eq!(passed(&trial, &from([192, 0, 2, 1], ACK), 20), 5);
    assert_eq!(passed(&trial, &from([192, 0, 2, 99], ACK), 20), 0, "the same /24");
    assert_eq!(passed(&trial, &from([192, 0, 3, 1], ACK), 20), 5);
    let over6 = |src| ipv6(src, B6, 6, &tcp(4000, 80, ACK, 1, 1), 16);
    assert_eq!(passed(&trial, &over6(A6), 20), 5);
    let mut sibling = A6;
    sibling[15] = 9;
    assert_eq!(passed(&trial, &over6(sibling), 20), 0, "the same /64");
}

#[test]
fn units_are_packets_bytes_or_openings() {
    let trial = limited(LIMIT_SYNS, LIMIT_KEY_NONE);
    assert_eq!(passed(&trial, &from([192, 0, 2, 1], ACK), 20), 20);
    assert_eq!(passed(&trial, &from([192, 0, 2, 1], SYN | ACK), 20), 20);
    assert_eq!(passed(&trial, &from([192, 0, 2, 1], SYN), 20), 5);
    let trial = limited(LIMIT_BYTES, LIMIT_KEY_NONE);
    assert_eq!(passed(&trial, &from([192, 0, 2, 1], ACK), 1), 0, "40 bytes, where 5 are the burst");
}

#[test]
fn every_goes_round_and_counts_each_way() {
    let mut tree = Tree::new();
    let ends = [END_PASS, END_DROP, END_PASS].map(|end| tree.end(end));
    for end in ends {
        tree.counted(end, "way");
    }
    let entry = tree.every(&ends);
    let trial = Trial::load(&tree.finish(entry, 0), 0).expect("root");
    let frame = from([192, 0, 2, 1], ACK);
    let actions: Vec<Action> = (0..6).map(|_| trial.run(&frame, 0).expect("a run").action).collect();
    let round = [Action::Pass, Action::Drop, Action::Pass];
    assert_eq!(actions, [round, round].concat());
    for count in trial.counters().expect("counters") {
        assert_eq!((count.packets, count.bytes), (2, 2 * frame.len() as u64));
    }
}

#[test]
fn an_image_with_a_fault_drops() {
    let mut tree = Tree::new();
    tree.node(OP_DECIDE, [0; 3], [0; 3]);
    let trial = Trial::load(&tree.finish(0, 0), 0).expect("root");
    assert_eq!(trial.run(&from([192, 0, 2, 1], ACK), 0).expect("a run").action, Action::Drop);
    assert_eq!(trial.reasons().expect("reasons")[Reason::BadImage as usize], 1);
    let mut tree = Tree::new();
    let circle = tree.every(&[0]);
    // Its only way leads back to it.
    tree.set(circle as usize - NODE_WORDS, circle);
    let trial = Trial::load(&tree.finish(circle, 0), 0).expect("root");
    assert_eq!(trial.run(&from([192, 0, 2, 1], ACK), 0).expect("a run").action, Action::Drop);
    assert_eq!(trial.reasons().expect("reasons")[Reason::Steps as usize], 1);
}

fn echoing() -> Trial {
    let mut tree = Tree::new();
    let entry = tree.end(END_REPLY_ECHO);
    let mut trial = Trial::load(&tree.finish(entry, FEATURE_REPLY), FEATURE_TEST).expect("root");
    trial.set_clock(SECOND);
    trial
}

#[test]
fn an_echo_request_is_answered() {
    let trial = echoing();
    let (a, b) = ([192, 0, 2, 1], [203, 0, 113, 10]);
    let mut request = ipv4(a, b, 1, &echo(8), 2);
    let ran = trial.run(&request, 0).expect("a run");
    assert_eq!(ran.action, Action::Tx);
    checksums_are_right(&ran.frame);
    assert_eq!(ran.frame[26..34], [b, a].concat());
    assert_eq!(ran.frame[..12], [&request[6..12], &request[..6]].concat());
    assert_eq!((ran.frame[22], ran.frame[34]), (64, 0));
    request[22] = 3;
    request[24..26].copy_from_slice(&[0, 0]);
    assert_eq!(trial.run(&request, 0).expect("a run").frame[22], 64, "whatever it was");
    let ran = trial.run(&ipv6(A6, B6, 58, &echo(128), 2), 0).expect("a run");
    assert_eq!(ran.action, Action::Tx);
    checksums_are_right(&ran.frame);
    assert_eq!(ran.frame[22..54], [B6, A6].concat());
    assert_eq!(ran.frame[54], 129);
}

#[test]
fn nothing_else_is_answered() {
    let trial = echoing();
    let b = [203, 0, 113, 10];
    let refused = [
        (ipv4([192, 0, 2, 1], b, 1, &echo(0), 2), Reason::NotEcho),
        (from([192, 0, 2, 1], SYN), Reason::NotEcho),
        (ipv6(A6, B6, 1, &echo(8), 2), Reason::NotEcho),
        (ipv4([0, 0, 0, 0], b, 1, &echo(8), 2), Reason::Martian),
        (ipv4([127, 0, 0, 1], b, 1, &echo(8), 2), Reason::Martian),
        (ipv4([192, 0, 2, 1], [224, 0, 0, 1], 1, &echo(8), 2), Reason::Martian),
        (ipv4([192, 0, 2, 1], [255; 4], 1, &echo(8), 2), Reason::Martian),
    ];
    for (frame, reason) in refused {
        let before = trial.reasons().expect("reasons")[reason as usize];
        let ran = trial.run(&frame, 0).expect("a run");
        assert_eq!((ran.action, ran.frame), (Action::Drop, frame));
        assert_eq!(trial.reasons().expect("reasons")[reason as usize], before + 1);
    }
    let request = ipv4([192, 0, 2, 1], b, 1, &echo(8), 2);
    let answers = (0..1_200).filter(|_| trial.run(&request, 0).expect("a run").action == Action::Tx).count();
    assert_eq!(answers, 1_000);
    assert_eq!(trial.reasons().expect("reasons")[Reason::AnswerLimit as usize], 200);
}

/// The kernel refuses a program above a million; a later feature must find room.
#[test]
fn all_features_at_once_are_verified_in_half_of_what_the_kernel_allows() {
    let mut tree = Tree::new();
    let entry = tree.end(END_PASS);
    let features = FEATURE_SRC4 | FEATURE_SRC6 | FEATURE_DST4 | FEATURE_DST6;
    let features = features | FEATURE_FORWARD | FEATURE_REPLY | FEATURE_HASH | FEATURE_LOAD | FEATURE_XSK;
    let mut image = tree.finish(entry, features);
    image.fields = ALL_FIELDS.iter().map(|field| field.bit()).sum();
    image.ops = (0..=OP_VERIFY).map(|op| 1 << op).sum();
    let trial = Trial::load(&image, 0).expect("root");
    let instructions = trial.verified_instructions().expect("a number");
    let resume = trial.verified_instructions_of_resume().expect("a number").expect("the second program");
    println!("{instructions} and {resume} verified instructions");
    assert!(instructions < 500_000, "{instructions} verified instructions");
    assert!(resume < 500_000, "{resume} verified instructions of the program that resumes");
}
