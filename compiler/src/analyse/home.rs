//! Owns the way home: whether each reply that a backend can send gets to a `translate back`. Never whether its flow is
//! known there.
//!
//! What backends and sources are listed for, every reply must have; what is unknown of it (the client where its address
//! stays, the fields that a server chooses, what sets hold at run time) may be as suits it best.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_abi::image::Field;
use petgraph::graph::NodeIndex;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{AddrSet, Policy, Pool, PoolId, Via};
use policy_lang::source::Span;

use super::Flow;
use crate::eval::{Evaluator, State, StepKind};
use crate::graph::{Graph, NodeKind, Way};
use crate::lower::axis::Axis;
use crate::lower::diagram::{NOTHING, Ref, TooLarge};
use crate::lower::formula::{Classes, Formula, Sets};
use crate::packet;
use crate::prove::witness::{self, Written};

/// Replies of one pool, of one family and from one port.
pub struct Reply {
    pool: PoolId,
    is_v4: bool,
    /// The port that they come from, if the backends have one of their own.
    has_port: bool,
    /// They go to sources of ours, and the ports of these.
    has_source: bool,
    packets: Formula,
}

/// Kinds of packets that are told apart where they are translated: TCP and UDP, over IPv4 and IPv6.
const KINDS: usize = 4;

/// What is gathered while packets are followed.
pub struct Home {
    /// By node: what it leads to without a further match.
    behind: HashMap<NodeIndex, Behind>,
    /// Whatever gets to a `translate back`.
    back: Ref,
    /// By pool: the kinds of packets that get to it. TCP over IPv4, over IPv6, UDP likewise.
    carried: BTreeMap<PoolId, [bool; KINDS]>,
    /// Some match was held to be reached by more than what gets there.
    pub is_rough: bool,
}

#[derive(Clone, Default)]
struct Behind {
    back: bool,
    pools: BTreeSet<PoolId>,
}

/// The replies of all pools that are translated to, to be read before the fields are cut into classes.
pub fn replies(policy: &Policy, graph: &Graph<'_>, sets: &mut Sets<'_>) -> Vec<Reply> {
    let nodes = graph.graph.node_weights();
    let used: BTreeSet<PoolId> = nodes
        .filter_map(|node| match node.kind {
            NodeKind::Translate(pool) => Some(pool),
            _ => None,
        })
        .collect();
    let mut replies = Vec::new();
    for id in used {
        let Some(pool) = policy.pools.get(id.index()).filter(|pool| pool.via == Via::Nat) else { continue };
        for ((is_v4, port), addrs) in by_port(pool) {
            let mut parts = vec![sets.addresses(Field::Src, &Arc::new(addrs), pool.span)];
            if port != 0 {
                parts.push(sets.ranges(Field::Sport, vec![(port.into(), port.into())], pool.span));
            }
            let sources = sources(pool, is_v4);
            let has_source = !(sources.v4.is_empty() && sources.v6.is_empty());
            if has_source {
                parts.push(sets.addresses(Field::Dst, &Arc::new(sources), pool.span));
                if let Some((first, last)) = pool.ports {
                    parts.push(sets.ranges(Field::Dport, vec![(first.into(), last.into())], pool.span));
                }
            }
            let packets = Formula::And(parts);
            replies.push(Reply { pool: id, is_v4, has_port: port != 0, has_source, packets });
        }
    }
    replies
}

/// The addresses of backends by family (IPv4: true) and port, 0 for that of the client's packet.
fn by_port(pool: &Pool) -> BTreeMap<(bool, u16), AddrSet> {
    let mut by_port: BTreeMap<(bool, u16), AddrSet> = BTreeMap::new();
    let mut add = |is_v4, port, more: AddrSet| {
        let known = by_port.entry((is_v4, port)).or_default();
        known.v4.extend(more.v4);
        known.v6.extend(more.v6);
    };
    for backend in &pool.backends {
        if let Some((address, port)) = backend.v4 {
            let address = u32::from(address);
            add(true, port, AddrSet { v4: vec![(address, address)], v6: Vec::new() });
        }
        if let Some((address, port)) = backend.v6 {
            let address = u128::from(address);
            add(false, port, AddrSet { v4: Vec::new(), v6: vec![(address, address)] });
        }
    }
    by_port.into_iter().map(|(key, addrs)| (key, AddrSet::default().union(&addrs_in_order(addrs)))).collect()
}

fn sources(pool: &Pool, is_v4: bool) -> AddrSet {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    if is_v4 {
        v4.extend(pool.sources_v4.iter().map(|&address| (u32::from(address), u32::from(address))));
    } else {
        v6.extend(pool.sources_v6.iter().map(|&address| (u128::from(address), u128::from(address))));
    }
    AddrSet::default().union(&addrs_in_order(AddrSet { v4, v6 }))
}

fn addrs_in_order(mut addrs: AddrSet) -> AddrSet {
    addrs.v4.sort_unstable();
    addrs.v4.dedup();
    addrs.v6.sort_unstable();
    addrs.v6.dedup();
    addrs
}

impl Home {
    /// `order`: the nodes, each before those that it leads to.
    pub fn new(graph: &Graph<'_>, order: &[NodeIndex], universe: Ref) -> Home {
        let mut behind: HashMap<NodeIndex, Behind> = HashMap::new();
        for &node in order.iter().rev() {
            let mut here = Behind::default();
            match graph.graph[node].kind {
                NodeKind::Region(_) => continue,
                NodeKind::TranslateBack => here.back = true,
                NodeKind::Translate(pool) => here.pools = BTreeSet::from([pool]),
                _ => {}
            }
            for next in graph.graph.neighbors(node).filter_map(|next| behind.get(&next)) {
                here.back |= next.back;
                here.pools.extend(&next.pools);
            }
            if here.back || !here.pools.is_empty() {
                behind.insert(node, here);
            }
        }
        let mut home = Home { behind, back: NOTHING, carried: BTreeMap::new(), is_rough: false };
        if let Some(entry) = home.behind.get(&graph.entry.node) {
            home.back = if entry.back { universe } else { NOTHING };
            home.carried = entry.pools.iter().map(|&pool| (pool, [true; KINDS])).collect();
        }
        home
    }
}

impl Flow<'_, '_, '_> {
    /// What of a region's packets is translated, or translated back, before any further match. `taken`: the leaves that
    /// its packets take, which are those `reached`.
    pub(super) fn carry(
        &mut self,
        node: NodeIndex,
        taken: Ref,
        reached: &HashSet<u32>,
    ) -> Result<(), TooLarge> {
        let mut back = HashSet::new();
        let mut pools: BTreeMap<PoolId, Vec<u32>> = BTreeMap::new();
        for (edge, target) in self.graph.ways(node) {
            let Way::Leaf(leaf) = edge.way else { continue };
            let Some(behind) = self.home.behind.get(&target).filter(|_| reached.contains(&leaf)) else {
                continue;
            };
            if behind.back {
                back.insert(leaf);
            }
            for &pool in &behind.pools {
                pools.entry(pool).or_default().push(leaf);
            }
        }
        if !back.is_empty() {
            let packets = self.regions.diagrams.select_any(taken, &back)?;
            self.home.back = self.regions.diagrams.over(self.home.back, packets)?;
        }
        if pools.is_empty() {
            return Ok(());
        }
        for (number, kind) in self.kinds()?.into_iter().enumerate() {
            let of_kind = self.regions.diagrams.mask(kind, taken)?;
            let leaves = self.regions.diagrams.leaves(of_kind);
            for (&pool, own) in &pools {
                let carried = self.home.carried.entry(pool).or_default();
                if let Some(carried) = carried.get_mut(number) {
                    *carried |= own.iter().any(|leaf| leaves.contains(leaf));
                }
            }
        }
        Ok(())
    }

    fn kinds(&mut self) -> Result<[Ref; KINDS], TooLarge> {
        let is = self.conditions;
        let diagrams = &mut self.regions.diagrams;
        let v6 = diagrams.not(is.v4)?;
        let tcp = diagrams.mask(is.translatable, is.tcp)?;
        let others = diagrams.not(is.tcp)?;
        let udp = diagrams.mask(is.translatable, others)?;
        Ok([
            diagrams.mask(is.v4, tcp)?,
            diagrams.mask(v6, tcp)?,
            diagrams.mask(is.v4, udp)?,
            diagrams.mask(v6, udp)?,
        ])
    }

    /// One error for each pool some of whose replies get to no `translate back`.
    pub(super) fn lost(&mut self, replies: &[Reply], cut: &Classes) -> Result<(), TooLarge> {
        let mut told = None;
        for reply in replies {
            if told == Some(reply.pool) {
                continue;
            }
            let lost = self.lost_of(reply)?;
            let Some(pool) = self.policy.pools.get(reply.pool.index()).filter(|_| lost != NOTHING) else {
                continue;
            };
            told = Some(reply.pool);
            let classes = witness::classes(&self.regions.diagrams, cut, lost);
            let found = self.tell(reply.pool, pool, &witness::packet(self.policy, cut, &classes));
            self.found.push(found);
        }
        Ok(())
    }

    fn lost_of(&mut self, reply: &Reply) -> Result<Ref, TooLarge> {
        let carried = self.home.carried.get(&reply.pool).copied().unwrap_or_default();
        let mut sent = NOTHING;
        for (number, (kind, is_carried)) in self.kinds()?.into_iter().zip(carried).enumerate() {
            if is_carried && (number % 2 == 0) == reply.is_v4 {
                sent = self.regions.diagrams.over(sent, kind)?;
            }
        }
        let packets = self.regions.guard(&reply.packets)?;
        let diagrams = &mut self.regions.diagrams;
        // No server answers with a SYN alone.
        let answers = diagrams.not(self.conditions.syn)?;
        for part in [packets, answers, self.conditions.known, self.conditions.universe] {
            sent = diagrams.mask(part, sent)?;
        }
        let arrives = diagrams.mask(sent, self.home.back)?;
        let mut keep: Vec<Axis> = vec![Field::Src.into()];
        keep.extend((!self.home.is_rough).then(|| Axis::from(Field::Proto)));
        keep.extend(reply.has_port.then(|| Axis::from(Field::Sport)));
        keep.extend([Field::Dst, Field::Dport].into_iter().filter(|_| reply.has_source).map(Axis::from));
        let arrives = diagrams.project(arrives, &keep)?;
        let lost = diagrams.not(arrives)?;
        diagrams.mask(lost, sent)
    }

    fn tell(&self, id: PoolId, pool: &Pool, chosen: &witness::Chosen) -> Diagnostic {
        let nodes = self.graph.graph.node_weights();
        let places = nodes.filter(|node| matches!(node.kind, NodeKind::Translate(pool) if pool == id));
        let place = places.map(|node| node.span).min().unwrap_or(pool.span);
        let from = pool.backends.iter().find(|backend| match chosen.spec.src {
            IpAddr::V4(src) => backend.v4.is_some_and(|(address, _)| address == src),
            IpAddr::V6(src) => backend.v6.is_some_and(|(address, _)| address == src),
        });
        let mut beside: Vec<(Span, String)> = from
            .map(|backend| (backend.span, format!("a packet from `{}` never gets there", backend.name)))
            .into_iter()
            .collect();
        let frame = packet::build_in(self.policy, &chosen.spec);
        let run = Evaluator::new(self.policy).run_from(&mut State::new([0; 2]), &frame, chosen.spec.iface);
        let mut arms = run.path.iter().filter(|step| matches!(step.kind, StepKind::Arm | StepKind::Else));
        beside.extend(arms.next_back().and_then(|step| Some((step.span?, "takes it".to_owned()))));
        let text = Written(self.policy, &chosen.spec).to_string();
        let text = text.strip_prefix("packet ").unwrap_or(&text);
        Diagnostic {
            code: "E0406",
            severity: Severity::Error,
            message: format!("replies of `{}` cannot get to `translate back`, such as `{text}`", pool.name),
            primary: (place, String::new()),
            secondary: beside,
            reason: Some("a reply has to be translated back before it can reach the client".to_owned()),
            help: Some(format!("let `src in {} -> translate back -> forward` be the first arm", pool.name)),
        }
    }
}
