//! Owns random typed policies over a few values, those that random packets have too, so that guards hold about as often as
//! not. Never what becomes of a packet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_abi::bundle::Image;
use policy_lang::policy::*;
use policy_lang::source::{FileId, Sources, Span};
use proptest::test_runner::TestCaseError;

use crate::lower::compile;

mod certificates;
mod packets;

pub use certificates::signed;
pub use packets::{every_packet, packet};

/// A list of choices, read one after the other; 0 for ever once it is used up, which always ends.
pub struct Dice<'a> {
    left: &'a [u32],
    /// A new place in the text for each thing that is asked for.
    place: u32,
    /// Policies have an authority, and ask for certificates.
    certified: bool,
}

impl<'a> Dice<'a> {
    pub fn new(choices: &'a [u32]) -> Dice<'a> {
        Dice { left: choices, place: 0, certified: false }
    }

    fn below(&mut self, bound: usize) -> usize {
        let Some((&choice, left)) = self.left.split_first() else { return 0 };
        self.left = left;
        choice as usize % bound
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn span(&mut self) -> Span {
        self.place += 1;
        Span { file: FileId(0), start: self.place, end: self.place }
    }
}

const V4: [u32; 6] = [0x0a00_0001, 0x0a00_0002, 0x0a00_00ff, 0x0a01_0000, 0xc0a8_0001, 0x0808_0808];
const V6: [u128; 4] =
    [0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 0xffff, 0x2001_0db8_0001 << 80, 0xfd00 << 112 | 0x11];
const PORTS: [u16; 5] = [22, 80, 443, 1000, 65_535];
const PROTOS: [u8; 5] = [1, 6, 17, 58, 47];
const BACKEND4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// A random policy and its image. Trees that lead to trees may take more steps than a packet has: no case of anything.
pub fn compiled(choices: &[u32]) -> Result<(Policy, Image), TestCaseError> {
    made(Dice::new(choices))
}

/// The same with an authority: stages, guards, trackers and picks that go by certificates, caps, and picks by connections.
pub fn certified(choices: &[u32]) -> Result<(Policy, Image), TestCaseError> {
    made(Dice { certified: true, ..Dice::new(choices) })
}

fn made(mut dice: Dice<'_>) -> Result<(Policy, Image), TestCaseError> {
    let policy = policy(&mut dice);
    match compile(&policy, &Sources::default()) {
        Ok(image) => Ok((policy, image)),
        Err(refused) if refused.iter().all(|one| one.code == "E0902") => {
            Err(TestCaseError::reject("more steps than a packet may take"))
        }
        Err(refused) => Err(TestCaseError::fail(format!("small policies fit: {refused:?}"))),
    }
}

fn policy(dice: &mut Dice<'_>) -> Policy {
    // Items first: the tree takes what is left of the choices.
    let vips = vec![
        vip(dice, vec![]),
        vip(
            dice,
            vec![VipPorts { proto: 6, first: 80, last: 443 }, VipPorts { proto: 17, first: 22, last: 22 }],
        ),
    ];
    let sides = vec![
        Side { name: "B".to_owned(), span: dice.span(), guard: Some(address_test(dice, Field::Src)) },
        Side { name: "A".to_owned(), span: dice.span(), guard: None },
    ];
    let limits = (0..2).map(|_| limit(dice)).collect();
    let trackers = (0..2).map(|_| tracker(dice)).collect();
    let pools = (0..2).map(|number| pool(dice, number)).collect();
    let authorities = if dice.certified { certificates::authorities(dice) } else { Vec::new() };
    let sided = if dice.certified { certificates::arms(dice) } else { Vec::new() };
    let fragments = dice.of(&[Before::Match, Before::Drop, Before::Pass]);
    let mut trees: Vec<Tree> = Vec::new();
    for tree in 0..dice.below(3) {
        let chain = chain(dice, 2, trees.len(), 2);
        trees.push(Tree { name: format!("t{tree}"), span: dice.span(), chain });
    }
    let mut region = region(dice, 3, trees.len());
    region.arms.splice(0..0, sided);
    Policy {
        name: "random".to_owned(),
        span: dice.span(),
        default: DefaultEnd::Drop,
        before: BeforeTree {
            neighbours: Before::Pass,
            unparsed: Before::Drop,
            other: Before::Drop,
            fragments,
        },
        root: Chain { stages: Vec::new(), tail: Tail::Match(region), span: dice.span() },
        trees,
        sets: Vec::new(),
        vips,
        sides,
        limits,
        trackers,
        pools,
        interfaces: Vec::new(),
        authorities,
        synguards: Vec::new(),
        mappers: Vec::new(),
        expects: Vec::new(),
        asserts: Vec::new(),
    }
}

fn vip(dice: &mut Dice<'_>, ports: Vec<VipPorts>) -> Vip {
    let v4 = Some(dice.of(&V4).into());
    Vip { name: "v".to_owned(), span: dice.span(), v4, v6: Some(dice.of(&V6).into()), ports }
}

fn limit(dice: &mut Dice<'_>) -> Limit {
    let keys = [None, Some((true, 32, 64)), Some((false, 24, 48))];
    let unit = dice.of(&[LimitUnit::Packets, LimitUnit::Bits, LimitUnit::Syns, LimitUnit::Connections]);
    let scale = if unit == LimitUnit::Bits { 800 } else { 1 };
    Limit {
        name: format!("l{}", dice.place),
        span: dice.span(),
        key: dice.of(&keys).map(|(source, v4, v6)| LimitKey { source, v4, v6 }),
        unit,
        rate: scale * 5,
        per: Duration::from_secs(1),
        burst: scale * (1 + dice.below(3) as u64),
        max: Some(1_000),
    }
}

fn tracker(dice: &mut Dice<'_>) -> Tracker {
    Tracker {
        name: format!("k{}", dice.place),
        span: dice.span(),
        idle_tcp: Duration::from_secs(30),
        idle_udp: Duration::from_millis(dice.of(&[50, 5_000])),
        half_open: Duration::from_secs(5),
        max: dice.of(&[0, 1, 1_000]),
        key: if dice.certified { certificates::key(dice) } else { TrackKey::Flow },
    }
}

fn pool(dice: &mut Dice<'_>, number: usize) -> Pool {
    let picks = [
        Pick::RoundRobin,
        Pick::Random,
        Pick::Source,
        Pick::Maglev { slots: 101, by_flow: true },
        Pick::Maglev { slots: 101, by_flow: false },
    ];
    let has_source = dice.below(2) == 0;
    let backends = (0..1 + dice.below(3)).map(|backend| Backend {
        name: format!("b{number}{backend}"),
        span: dice.span(),
        v4: (dice.below(4) > 0).then(|| (BACKEND4, dice.of(&[0, 8_080 + backend as u16]))),
        v6: (dice.below(2) > 0).then(|| (Ipv6Addr::from(V6[3]), 8_080 + backend as u16)),
        weight: dice.of(&[1, 2, 0, 50]),
        drain: dice.below(4) == 3,
        max_conn: if dice.certified { dice.of(&[None, Some(1), Some(2)]) } else { None },
    });
    let backends = backends.collect();
    Pool {
        name: format!("p{number}"),
        span: dice.span(),
        pick: if dice.certified { certificates::pick(dice) } else { dice.of(&picks) },
        via: Via::Nat,
        sources_v4: if has_source { vec![V4[3].into(), Ipv4Addr::from(V4[3] + 1)] } else { Vec::new() },
        sources_v6: Vec::new(),
        ports: has_source.then_some((1_000, 1_002)),
        backends,
        health: None,
    }
}

fn chain(dice: &mut Dice<'_>, depth: usize, trees: usize, stages: usize) -> Chain {
    let mut stages: Vec<Stage> = (0..dice.below(stages + 1)).map(|_| stage(dice, trees)).collect();
    let span = dice.span();
    let tail = match dice.below(if depth > 1 { 12 } else { 6 }) {
        0 => {
            stages.extend(flow_stages(dice, trees));
            Tail::End(End::Forward, span)
        }
        4 | 5 if depth == 0 => Tail::End(End::Forward, span),
        1 => Tail::End(dice.of(&[End::Drop, End::Pass, End::ReplyEcho]), span),
        2 if trees > 0 => Tail::Tree(TreeId(dice.below(trees) as u32), span),
        3 if depth > 0 => Tail::Every(Every {
            mode: dice.of(&[EveryMode::Packet, EveryMode::Flow, EveryMode::Random]),
            ways: (0..1 + dice.below(3)).map(|_| chain(dice, depth - 1, trees, 1)).collect(),
            span,
        }),
        _ if depth > 0 => Tail::Match(region(dice, depth, trees)),
        _ => Tail::End(End::Pass, span),
    };
    Chain { stages, tail, span }
}

fn region(dice: &mut Dice<'_>, depth: usize, trees: usize) -> Match {
    Match {
        arms: (0..1 + dice.below(5)).map(|_| arm(dice, depth, trees)).collect(),
        otherwise: Box::new(chain(dice, depth - 1, trees, 1)),
        otherwise_span: dice.span(),
        span: dice.span(),
    }
}

fn arm(dice: &mut Dice<'_>, depth: usize, trees: usize) -> Arm {
    let guard = guard(dice, 3);
    Arm { guard, text: "guard".to_owned(), span: dice.span(), chain: chain(dice, depth - 1, trees, 2) }
}

fn stage(dice: &mut Dice<'_>, trees: usize) -> Stage {
    let kind = match dice.below(if dice.certified { 7 } else { 5 }) {
        0 => StageKind::Count { name: dice.of(&["seen", "blocked"]).to_owned() },
        1 => StageKind::Limit { limit: LimitId(dice.below(2) as u32), exceed: exit(dice, trees) },
        2 | 3 => StageKind::Track {
            tracker: TrackerId(dice.below(2) as u32),
            full: exit(dice, trees),
            invalid: exit(dice, trees),
        },
        5 | 6 => certificates::verify(dice, trees),
        _ => StageKind::TranslateBack { invalid: exit(dice, trees) },
    };
    Stage { kind, span: dice.span() }
}

/// There and back, as a balancer has them: one way for either side.
fn flow_stages(dice: &mut Dice<'_>, trees: usize) -> Vec<Stage> {
    if dice.below(3) == 0 {
        return Vec::new();
    }
    there(dice, trees)
}

fn there(dice: &mut Dice<'_>, trees: usize) -> Vec<Stage> {
    let track = StageKind::Track {
        tracker: TrackerId(dice.below(2) as u32),
        full: exit(dice, trees),
        invalid: exit(dice, trees),
    };
    let translate = StageKind::Translate {
        pool: PoolId(dice.below(2) as u32),
        empty: exit(dice, trees),
        ports: exit(dice, trees),
    };
    [track, translate].into_iter().map(|kind| Stage { kind, span: dice.span() }).collect()
}

fn exit(dice: &mut Dice<'_>, trees: usize) -> Exit {
    Exit { chain: Box::new(chain(dice, 0, trees, 0)), written: true, span: dice.span() }
}

fn guard(dice: &mut Dice<'_>, depth: usize) -> Guard {
    let parts = |dice: &mut Dice<'_>| (0..2 + dice.below(2)).map(|_| guard(dice, depth - 1)).collect();
    match dice.below(if depth > 0 { 9 } else { 6 }) {
        0 | 1 => address_test(dice, Field::Src),
        2 => address_test(dice, Field::Dst),
        3 => Guard::From(SideId(dice.below(2) as u32), dice.span()),
        4 => Guard::To(VipId(dice.below(2) as u32), dice.span()),
        6 => Guard::And(parts(dice)),
        7 => Guard::Or(parts(dice)),
        8 => Guard::Not(Box::new(guard(dice, depth - 1))),
        _ => Guard::Test(number_test(dice)),
    }
}

fn address_test(dice: &mut Dice<'_>, field: Field) -> Guard {
    let (v4, v6) = (dice.of(&V4), dice.of(&V6));
    let (bits4, bits6) = (dice.of(&[0, 8, 16, 31]), dice.of(&[0, 16, 80, 127]));
    let addrs = AddrSet {
        v4: if dice.below(4) > 0 { vec![(v4 >> bits4 << bits4, v4 | ((1 << bits4) - 1))] } else { vec![] },
        v6: if dice.below(3) > 0 { vec![(v6 >> bits6 << bits6, v6 | ((1 << bits6) - 1))] } else { vec![] },
    };
    Guard::Test(test(dice, field, Values::Addrs(Arc::new(addrs))))
}

fn number_test(dice: &mut Dice<'_>) -> Test {
    let fields = [
        Field::Proto,
        Field::Len,
        Field::Ttl,
        Field::Dscp,
        Field::Vlan,
        Field::Frag,
        Field::TcpSport,
        Field::TcpDport,
        Field::TcpFlags,
        Field::UdpSport,
        Field::UdpDport,
        Field::Sport,
        Field::Dport,
        Field::IcmpType,
        Field::IcmpCode,
        Field::Icmp6Type,
        Field::Icmp6Code,
        Field::Flow,
    ];
    if dice.certified && dice.below(4) == 0 {
        let numbers = dice.of(&[(0, 0), (1, 1), (0, 1)]);
        return test(dice, Field::Cert, Values::Ranges(vec![numbers]));
    }
    let field = dice.of(&fields);
    let number = match field {
        Field::Flow => {
            let tracker = TrackerId(dice.below(2) as u32);
            return test(dice, field, Values::Tracker(tracker));
        }
        Field::Proto => u32::from(dice.of(&PROTOS)),
        Field::Len => dice.of(&[28, 40, 48, 60]),
        Field::Ttl => dice.of(&[1, 64, 255]),
        Field::Dscp => dice.of(&[0, 46]),
        Field::Vlan => dice.of(&[0, 5, 4_095]),
        Field::Frag => dice.of(&[0, 1, 2]),
        Field::TcpFlags => dice.of(&[1, 2, 3, 6]),
        Field::IcmpType | Field::Icmp6Type => dice.of(&[0, 8, 128]),
        Field::IcmpCode | Field::Icmp6Code => 0,
        _ => u32::from(dice.of(&PORTS)),
    };
    let ranges = match dice.below(3) {
        0 => vec![(number, number)],
        1 => vec![(0, number)],
        _ => vec![(number, number), (number + 2, number + 9)],
    };
    test(dice, field, Values::Ranges(ranges))
}

fn test(dice: &mut Dice<'_>, field: Field, values: Values) -> Test {
    Test {
        field,
        negated: dice.below(4) == 3,
        values,
        sets: Vec::new(),
        text: "test".to_owned(),
        span: dice.span(),
    }
}

/// What a policy's `assert` could say of it, true or not.
pub fn claim(dice: &mut Dice<'_>, policy: &Policy) -> Claim {
    let mut names: Vec<String> = policy.pools.iter().map(|pool| pool.name.clone()).collect();
    names.extend(policy.trees.iter().map(|tree| tree.name.clone()));
    names.extend(policy.limits.iter().map(|limit| limit.name.clone()));
    names.extend(policy.trackers.iter().map(|tracker| tracker.name.clone()));
    let ends = [End::Drop, End::Pass, End::Forward, End::ReplyEcho];
    let trees = policy.trees.len();
    let (never, goal) = match dice.below(6) {
        0 | 1 => (true, Goal::Ends(dice.of(&ends))),
        2 => (false, Goal::Ends(dice.of(&ends))),
        3 if trees > 0 => (true, Goal::ReachesTree(TreeId(dice.below(trees) as u32))),
        3 | 4 => (true, Goal::ReachesPool(PoolId(dice.below(2) as u32))),
        _ => (true, Goal::ReachesStage(policy.trackers[dice.below(2)].name.clone())),
    };
    let without = if dice.below(3) == 0 { vec![dice.of(&names)] } else { Vec::new() };
    Claim { never, guard: guard(dice, 2), goal, without, span: dice.span() }
}
