//! Owns finding packets for the mixes in a policy: from its expect blocks, vips and sets, proved by the reference
//! evaluator. Never times anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compiler::eval::{Evaluator, Run, State, StepKind, Verdict};
use compiler::packet;
use lb_abi::hash::draw;
use lb_abi::image::FLAG_SYN;
use policy_lang::policy::{PacketSpec, Policy, ProtoSpec, Set, Step};

use super::Missing;
use super::measure::{FRESH, PACKETS};

/// A mix that needs nothing before it.
pub struct Simple {
    pub name: &'static str,
    pub budget: Option<u32>,
    pub frames: Vec<Vec<u8>>,
}

pub struct Found {
    pub simple: Vec<Simple>,
    pub flows: Option<Start>,
    pub missing: Vec<Missing>,
}

/// How flows through a pool begin.
pub struct Start {
    first: PacketSpec,
    /// Other sources are treated alike, not only other ports.
    sources: bool,
}

/// How many rounds the mix of new flows has, each of them a call.
const FRESH_ROUNDS: u32 = 32;
/// Sources that begin flows, the same number each.
const SOURCES: u32 = 4_096;

impl Start {
    /// First packet of a flow that is not among the others.
    pub fn one(&self) -> PacketSpec {
        with_port(&self.first, 999)
    }

    /// First packets of as many flows as the mix of many has.
    pub fn many(&self) -> Vec<PacketSpec> {
        let count = if self.sources { PACKETS } else { PACKETS / 2 };
        (0..count).map(|n| self.vary(n)).collect()
    }

    /// First packets of flows that no other round has; none after the last round.
    pub fn fresh(&self, round: u32) -> Vec<Vec<u8>> {
        let first = if self.sources { PACKETS } else { PACKETS / 2 } + round * FRESH;
        let last = if self.sources { u32::MAX } else { PACKETS - 1_024 };
        if round >= FRESH_ROUNDS || first + FRESH > last {
            return Vec::new();
        }
        (first..first + FRESH).map(|n| packet::build(&self.vary(n))).collect()
    }

    fn vary(&self, n: u32) -> PacketSpec {
        match self.sources {
            true => with_port(&other_source(&self.first, n % SOURCES), (4_000 + n / SOURCES) as u16),
            false => with_port(&self.first, (1_024 + n % (PACKETS - 1_024)) as u16),
        }
    }
}

pub fn find(policy: &Policy) -> Found {
    let oracle = Evaluator::new(policy);
    // A state for each packet: what one does must not change what becomes of the next.
    let run = |spec: &PacketSpec| oracle.run(&mut State::new([1, 2]), &packet::build(spec));
    let candidates = candidates(policy);
    let first = |fits: &dyn Fn(&Run) -> bool| candidates.iter().find(|spec| fits(&run(spec)));
    let mut found = Found { simple: Vec::new(), flows: None, missing: Vec::new() };
    let mut add = |name, budget, specs: Option<Vec<PacketSpec>>, why: &'static str| match specs {
        Some(specs) => {
            let frames = specs.iter().map(packet::build).collect();
            found.simple.push(Simple { name, budget, frames });
        }
        None => found.missing.push(Missing { mix: name, why }),
    };
    // The shortest way, since this mix is what packets cost that are not ours.
    let passes = candidates.iter().filter_map(|spec| {
        let run = run(spec);
        (run.verdict == Verdict::Pass && run.reason.is_none()).then_some((run.path.len(), spec))
    });
    let pass = passes.min_by_key(|&(steps, _)| steps).map(|(_, spec)| spec);
    add("pass-through", Some(8), pass.map(|spec| vec![spec.clone()]), "no packet that was tried passes");

    let biggest = policy.sets.iter().max_by_key(|set| set.addrs.v4.len());
    let blocked = biggest.and_then(|set| blocked(set, &candidates, &run));
    add("block list, random sources", Some(100), blocked, "no set's sources are dropped");

    let met = |run: &Run| {
        run.path
            .iter()
            .any(|step| step.kind == StepKind::Stage { exit: None } && step.text.starts_with("limit "))
    };
    let limited = first(&|run| met(run) && run.sent.is_none()).or_else(|| first(&met));
    let limited = limited.map(|spec| {
        let alike = sources_alike(spec, &run);
        if alike { (0..PACKETS).map(|n| other_source(spec, n)).collect() } else { vec![spec.clone()] }
    });
    add("limit", None, limited, "no packet that was tried meets a limit");

    let start = first(&|run| run.verdict == Verdict::Forward && run.sent.is_some());
    match start {
        Some(spec) => found.flows = Some(Start { first: spec.clone(), sources: sources_alike(spec, &run) }),
        None => {
            let why = "no packet that was tried reaches a pool";
            found.missing.push(Missing { mix: "tracked and new flows", why });
        }
    }
    found
}

/// Packets worth trying: what the policy's own tests send, one for each vip and port, and one to nowhere.
fn candidates(policy: &Policy) -> Vec<PacketSpec> {
    let steps = policy.expects.iter().flat_map(|expect| &expect.steps);
    let tested = steps.filter_map(|step| match step {
        Step::Packet { packet, .. } => Some(PacketSpec { payload: vec![0; 32], ..packet.clone() }),
        _ => None,
    });
    let vips = policy.vips.iter().flat_map(|vip| {
        let addresses = vip.v4.map(IpAddr::V4).into_iter().chain(vip.v6.map(IpAddr::V6));
        addresses.flat_map(|dst| vip.ports.iter().map(move |ports| start(dst, ports.proto, ports.first)))
    });
    let nowhere = start(Ipv4Addr::new(192, 0, 2, 1).into(), packet::UDP, 9);
    // A TCP flow can be proven over IPv4 only: behind an IPv6 header its acknowledgement is beyond a template.
    let mut all: Vec<PacketSpec> = tested.chain(vips).chain([nowhere]).collect();
    all.sort_by_key(|spec| spec.src.is_ipv6());
    all
}

fn start(dst: IpAddr, proto: u8, dport: u16) -> PacketSpec {
    let proto = match proto {
        packet::TCP => ProtoSpec::Tcp { sport: 4_000, dport, flags: FLAG_SYN as u8, seq: 0, ack: 0 },
        _ => ProtoSpec::Udp { sport: 4_000, dport },
    };
    let src = if dst.is_ipv4() { Ipv4Addr::new(198, 18, 0, 1).into() } else { source6(1).into() };
    PacketSpec { payload: vec![0; 32], ..PacketSpec::new(src, dst, proto) }
}

/// Random sources of a set, if those tried are all dropped for one of the candidates.
fn blocked(
    set: &Set,
    candidates: &[PacketSpec],
    run: &dyn Fn(&PacketSpec) -> Run,
) -> Option<Vec<PacketSpec>> {
    let count = set.addrs.v4.len() as u64;
    let from = |spec: &PacketSpec, n: u32| {
        let random = |m: u64| u64::from(draw(7, u64::from(n) * 2 + m));
        let &(first, last) = set.addrs.v4.get(((random(0) * count) >> 32) as usize)?;
        let size = u64::from(last - first) + 1;
        let source = Ipv4Addr::from(first + ((random(1) * size) >> 32) as u32);
        Some(PacketSpec { src: source.into(), ..spec.clone() })
    };
    let dropped = |spec: &PacketSpec| {
        let run = run(spec);
        run.verdict == Verdict::Drop && run.reason.is_none()
    };
    let spec = candidates
        .iter()
        .filter(|spec| spec.src.is_ipv4())
        .find(|spec| !dropped(spec) && (0..16).all(|n| from(spec, n).is_some_and(|spec| dropped(&spec))))?;
    (0..PACKETS).map(|n| from(spec, n)).collect()
}

/// Whether packets of other sources take the same path.
fn sources_alike(spec: &PacketSpec, run: &dyn Fn(&PacketSpec) -> Run) -> bool {
    let path = |spec: &PacketSpec| {
        let run = run(spec);
        let steps = run.path.iter().map(|step| (step.kind, step.span)).collect::<Vec<_>>();
        (run.verdict, run.reason, steps)
    };
    let first = path(spec);
    (0..16).all(|n| path(&other_source(spec, n * 8_191)) == first)
}

/// From source `n` below 2^17 of 198.18.0.0/15 (RFC 2544) or 2001:db8:c612::/48.
fn other_source(spec: &PacketSpec, n: u32) -> PacketSpec {
    let src = match spec.src {
        IpAddr::V4(_) => Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | n).into(),
        IpAddr::V6(_) => source6(n).into(),
    };
    PacketSpec { src, ..spec.clone() }
}

fn source6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0xc612, 0, 0, 0, 0, 0)) | u128::from(n))
}

fn with_port(spec: &PacketSpec, port: u16) -> PacketSpec {
    let proto = match spec.proto.clone() {
        ProtoSpec::Tcp { dport, flags, seq, ack, .. } => {
            ProtoSpec::Tcp { sport: port, dport, flags, seq, ack }
        }
        ProtoSpec::Udp { dport, .. } => ProtoSpec::Udp { sport: port, dport },
        other => other,
    };
    PacketSpec { proto, ..spec.clone() }
}
