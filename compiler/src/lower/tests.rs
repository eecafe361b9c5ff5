//! Large policies: what compiles, what is refused, and that neither takes time or memory without bound.

use std::sync::Arc;
use std::time::Duration;

use lb_abi::image::{ENTRY_LEAF, Field, H_FIELD};
use policy_lang::policy::*;
use policy_lang::source::{FileId, Sources, Span};

use super::compile;
use super::not_yet::tests::NoFile;

/// Places count arms, so that a refusal can be held against them.
fn place(number: u32) -> Span {
    Span { file: FileId(0), start: number, end: number + 1 }
}

fn end(end: End) -> Chain {
    Chain { stages: Vec::new(), tail: Tail::End(end, Span::default()), span: Span::default() }
}

fn addresses(field: policy_lang::policy::Field, v4: Vec<(u32, u32)>) -> Guard {
    test(field, Values::Addrs(Arc::new(AddrSet { v4, v6: Vec::new() })), false)
}

fn port(port: u32, negated: bool) -> Guard {
    test(policy_lang::policy::Field::TcpDport, Values::Ranges(vec![(port, port)]), negated)
}

fn test(field: policy_lang::policy::Field, values: Values, negated: bool) -> Guard {
    let (text, span) = (String::new(), Span::default());
    Guard::Test(Test { field, negated, values, sets: Vec::new(), text, span })
}

const SRC: policy_lang::policy::Field = policy_lang::policy::Field::Src;
const DST: policy_lang::policy::Field = policy_lang::policy::Field::Dst;

fn policy(guards: impl Iterator<Item = Guard>) -> Policy {
    let arms = (1..).zip(guards).map(|(number, guard)| Arm {
        guard,
        text: format!("arm {number}"),
        span: place(number),
        chain: end(End::Pass),
    });
    let region = Match {
        arms: arms.collect(),
        otherwise: Box::new(end(End::Drop)),
        otherwise_span: Span::default(),
        span: Span::default(),
    };
    Policy {
        name: "large".to_owned(),
        span: Span::default(),
        default: DefaultEnd::Drop,
        before: BeforeTree {
            neighbours: Before::Pass,
            unparsed: Before::Drop,
            other: Before::Drop,
            fragments: Before::Drop,
        },
        root: Chain { stages: Vec::new(), tail: Tail::Match(region), span: Span::default() },
        trees: Vec::new(),
        sets: Vec::new(),
        vips: Vec::new(),
        sides: Vec::new(),
        limits: Vec::new(),
        trackers: Vec::new(),
        pools: Vec::new(),
        interfaces: Vec::new(),
        authorities: Vec::new(),
        synguards: Vec::new(),
        mappers: Vec::new(),
        expects: Vec::new(),
        asserts: Vec::new(),
    }
}

/// Scattered addresses, the same each time.
fn scattered(count: u32, salt: u32) -> Vec<u32> {
    (0..count).map(|number| (number ^ salt).wrapping_mul(0x9e37_79b1)).collect()
}

fn hosts(mut addresses: Vec<u32>) -> Vec<(u32, u32)> {
    addresses.sort_unstable();
    addresses.dedup_by(|next, before| *next <= *before + 1);
    addresses.into_iter().map(|addr| (addr, addr)).collect()
}

const ARMS: u32 = 3_000;

#[test]
fn arms_of_a_source_a_destination_and_a_port_each() {
    let sources = scattered(ARMS, 1).into_iter().zip(scattered(ARMS, 2)).zip(0..);
    let guards = sources.map(|((src, dst), number)| {
        Guard::And(vec![
            addresses(SRC, vec![(src, src)]),
            addresses(DST, vec![(dst, dst)]),
            port(number % 500, false),
        ])
    });
    let image = compile(&policy(guards), &Sources::default()).expect("fits");
    assert_eq!(crate::image::validate(&image), Ok(()));
    assert_eq!(image.counters.len() as u32, ARMS + 1);
    // Rows of 3,000 classes each would be 9 million words.
    assert!(image.words.len() < 1_500_000, "{} words", image.words.len());
    assert!(crate::image::to_text(&image).len() < 100_000);
}

#[test]
fn arms_of_all_ports_but_one() {
    let guards = (0..ARMS).map(|number| port(number, true));
    let image = compile(&policy(guards), &Sources::default()).expect("fits");
    // The second arm takes what the first one does not; the rest is out of reach.
    assert_eq!(image.counters.len(), 3);
}

#[test]
fn arms_that_cross_are_refused_by_name() {
    let pairs = scattered(20_000, 1).into_iter().zip(scattered(20_000, 2));
    let guards =
        pairs.flat_map(|(src, dst)| [addresses(SRC, vec![(src, src)]), addresses(DST, vec![(dst, dst)])]);
    let refused = compile(&policy(guards), &Sources::default())
        .map(|image| image.words.len())
        .expect_err("does not fit");
    assert_eq!(refused[0].code, "E0904");
    assert!(refused[0].primary.0.start > 0 && refused[0].secondary.len() == 1, "{refused:?}");
}

#[test]
fn a_long_block_list_is_one_class() {
    let list = hosts(scattered(60_000, 1));
    let image =
        compile(&policy(std::iter::once(addresses(SRC, list.clone()))), &Sources::default()).expect("fits");
    assert_eq!(image.words[H_FIELD + Field::Src as usize] & ENTRY_LEAF, 0);
    let text = crate::image::to_text(&image);
    assert!(text.contains("more ranges") && text.len() < 3_000, "{text}");
}

/// A policy whose first arms lead to one tree, which is a match of `guards`.
fn with_tree(arms: Vec<Guard>, guards: impl Iterator<Item = Guard>) -> Policy {
    let inner = policy(guards).root;
    let mut policy = policy(arms.into_iter());
    let Tail::Match(region) = &mut policy.root.tail else { panic!("a match") };
    for arm in &mut region.arms {
        arm.chain.tail = Tail::Tree(TreeId(0), Span::default());
    }
    policy.trees.push(Tree { name: "inner".to_owned(), span: Span::default(), chain: inner });
    policy
}

fn decides(policy: &Policy) -> usize {
    let image = compile(policy, &Sources::default()).expect("fits");
    assert_eq!(crate::image::validate(&image), Ok(()));
    crate::image::to_text(&image).matches(" decide by ").count()
}

#[test]
fn a_tree_that_one_arm_leads_to_joins_its_region() {
    let once = with_tree(vec![port(22, false)], [port(23, true)].into_iter());
    assert_eq!(decides(&once), 1);
    let image = compile(&once, &Sources::default()).expect("fits");
    let inner = image.tallies.iter().position(|tally| tally.tree == "inner" && tally.label == "arm 1");
    let both = image.counters.iter().find(|counter| counter.tallies.contains(&(inner.unwrap() as u32)));
    assert_eq!(both.map(|counter| counter.tallies.len()), Some(2), "the arm outside and the one inside");

    let twice = with_tree(vec![port(22, false), port(24, false)], [addresses(SRC, vec![(1, 1)])].into_iter());
    // One node for each arm that is counted on the way, and one region's rows.
    assert_eq!(decides(&twice), 3);
    let text = crate::image::to_text(&compile(&twice, &Sources::default()).expect("fits"));
    assert_eq!(text.matches("\nregion ").count(), 2);
}

#[test]
fn a_tree_that_fits_only_apart_stays_apart() {
    let hosts = |field, salt| {
        scattered(8_000, salt).into_iter().map(move |addr| addresses(field, vec![(addr, addr)]))
    };
    let mut policy = with_tree(Vec::new(), hosts(SRC, 1));
    // Sources are looked at first: joined, each would need a row of all destinations.
    policy.root = self::policy(hosts(DST, 2)).root;
    let Tail::Match(region) = &mut policy.root.tail else { panic!("a match") };
    region.otherwise.tail = Tail::Tree(TreeId(0), Span::default());
    let image = compile(&policy, &Sources::default()).expect("fits apart");
    assert!(image.counters.iter().all(|counter| counter.tallies.len() == 1), "`else` is counted on the way");
}

#[test]
fn more_trackers_than_a_class_table_holds_are_refused() {
    let mut policy = policy(std::iter::empty());
    let tracker = |number: u32| Tracker {
        name: format!("t{number}"),
        span: place(number),
        idle_tcp: Duration::from_secs(1),
        idle_udp: Duration::from_secs(1),
        half_open: Duration::from_secs(1),
        max: 1,
        key: TrackKey::Flow,
    };
    policy.trackers = (0..63).map(tracker).collect();
    assert!(compile(&policy, &Sources::default()).is_ok());
    policy.trackers.push(tracker(63));
    let refused = compile(&policy, &Sources::default()).expect_err("one too many");
    assert_eq!((refused[0].code, refused[0].primary.0), ("E0909", place(63)));
}

#[test]
fn more_certificates_or_backends_than_the_packet_path_tells_apart_are_refused() {
    let checked = |items: &str| {
        let text = format!("lbp 1\n{items}\npolicy p {{ default drop }} = drop\n");
        let policy = policy_lang::check("p.lbp", text, &NoFile).policy.expect("sound");
        compile(&policy, &Sources::default()).map_err(|refused| refused[0].code)
    };
    let keys = |count: u32| {
        let authorities = (0..count).collect::<Vec<_>>();
        let key = |id: &u32| format!("key {} generate", id % 200);
        let written = authorities.chunks(200).zip(0..).map(|(ids, number)| {
            let keys: Vec<String> = ids.iter().map(key).collect();
            format!("authority a{number} {{ {} }}", keys.join("; "))
        });
        written.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(checked(&keys(512)).map(|image| image.certificates.len()), Ok(512));
    assert_eq!(checked(&keys(513)).map(|_| ()), Err("E0910"));
    let pool = |count: u32| {
        let backend = |number| format!("backend b{number} 10.0.{}.{}", number / 250, number % 250 + 1);
        let backends: Vec<String> = (0..count).map(backend).collect();
        format!("pool app {{ pick least-connections; via nat; {} }}", backends.join("; "))
    };
    assert_eq!(checked(&pool(1_024)).map(|image| image.backends.len()), Ok(1_024));
    assert_eq!(checked(&pool(1_025)).map(|_| ()), Err("E0911"));
}

#[test]
fn a_way_of_too_many_steps_is_refused() {
    let every = |chain| Every { mode: EveryMode::Packet, ways: vec![chain, end(End::Drop)], span: place(7) };
    let deep = |steps| {
        let mut policy = policy(std::iter::empty());
        policy.root = (0..steps).fold(end(End::Pass), |chain, _| Chain {
            stages: Vec::new(),
            tail: Tail::Every(every(chain)),
            span: Span::default(),
        });
        compile(&policy, &Sources::default()).map(|image| crate::image::validate(&image))
    };
    assert_eq!(deep(31), Ok(Ok(())));
    assert_eq!(deep(32).expect_err("too long")[0].code, "E0902");
}
