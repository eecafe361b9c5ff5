//! Owns the nodes of the image: one for each node of the graph and each counter that its ways in add to.
//! Never field tables.

use std::collections::HashMap;

use lb_abi::bundle::{Counter, Dense, Identity, Image, Relocation, Turn};
use lb_abi::image::{
    END_DROP, END_FORWARD, END_PASS, END_REPLY_ECHO, EVERY_FLOW, EVERY_PACKET, EVERY_RANDOM, N_COUNTER,
    N_EXIT_A, N_EXIT_B, N_NEXT, N_OP, N_P0, N_P1, N_P2, NODE_WORDS, OP_DECIDE, OP_END, OP_EVERY, OP_LIMIT,
    OP_TRACK, OP_TRANSLATE, OP_TRANSLATE_BACK, OP_VERIFY, P_PICK, PICK_CERTIFICATE, PICK_FLOW, PICK_LEAST,
    PICK_SOURCE, VERIFY_EXITS,
};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD, FEATURE_REPLY};
use petgraph::graph::NodeIndex;
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{
    AuthorityId, End, Every, EveryMode, LimitId, Policy, PoolId, TrackKey, TrackerId, TreeId,
};
use policy_lang::source::Span;

use super::diagram::{Diagrams, Ref};
use super::identity::identity;
use super::not_yet::NotYet;
use super::rows::Rows;
use super::words::{Full, Words};
use super::{authorities, descriptors, not_yet, pools, refusals};
use crate::graph::{Graph, NodeKind, Way, every_label};

/// Lays out all nodes from the entry on, behind the header, and writes what they refer to.
pub fn lower(
    policy: &Policy,
    graph: &Graph<'_>,
    diagrams: &Diagrams,
    roots: &HashMap<NodeIndex, Ref>,
    tallies: &[Identity],
    words: &mut Words,
    image: &mut Image,
) -> Result<(), Box<Diagnostic>> {
    let full = |Full| refusals::words(policy.span);
    descriptors::declare(policy, image);
    let plan = Plan::new(graph, diagrams, roots, tallies, image);
    let first = words.reserve(plan.nodes.len() * NODE_WORDS).map_err(full)?;
    let numbers = words.reserve(image.backends.len()).map_err(full)?;
    for ordinal in 0..image.backends.len() as u32 {
        words.words[(numbers + ordinal) as usize] = 1 + ordinal;
        image.relocations.push(Relocation { word: numbers + ordinal, kind: Dense::Backend });
    }
    let mut bodies = Bodies::new(policy, graph, &plan, [first, numbers], image);
    let mut written: HashMap<NodeIndex, [u32; NODE_WORDS]> = HashMap::new();
    let mut taken = 0;
    for (at, &(node, counter)) in plan.nodes.iter().enumerate() {
        let mut body = match written.get(&node) {
            Some(&body) => body,
            None => {
                let body = match graph.graph[node].kind {
                    NodeKind::Region(_) => {
                        let leaves = plan.leaves(node, first);
                        let mut rows = Rows { diagrams, words, taken };
                        let (fields, row) = rows.lower(roots[&node], &leaves).map_err(|_| {
                            refusals::outgrown(graph.graph[node].span, graph.graph[node].span)
                        })?;
                        taken = rows.taken;
                        image.fields |= fields;
                        let mut body = [0; NODE_WORDS];
                        (body[N_OP], body[N_P0], body[N_P1]) = (OP_DECIDE, fields, row);
                        body
                    }
                    _ => bodies.body(node, words, image)?,
                };
                written.insert(node, body);
                body
            }
        };
        let word = offset(first, at as u32);
        if let Some(counter) = counter {
            body[N_COUNTER] = 1 + counter;
            image.relocations.push(Relocation { word: word + N_COUNTER as u32, kind: Dense::Counter });
        }
        if body[N_OP] == OP_EVERY {
            image.relocations.push(Relocation { word: word + N_P1 as u32, kind: Dense::Turn });
        }
        image.ops |= 1 << body[N_OP];
        words.words[word as usize..][..NODE_WORDS].copy_from_slice(&body);
    }
    Ok(())
}

fn offset(first: u32, place: u32) -> u32 {
    first + place * NODE_WORDS as u32
}

/// Which nodes the image has, in order from the entry, and where each way out of a graph node goes.
struct Plan {
    nodes: Vec<(NodeIndex, Option<u32>)>,
    ways: HashMap<NodeIndex, Vec<(Way, u32)>>,
}

impl Plan {
    /// Breadth first from the entry. A node is there once for each counter that is bumped on the way to it.
    /// Leaves that no packet takes are left out.
    fn new(
        graph: &Graph<'_>,
        diagrams: &Diagrams,
        roots: &HashMap<NodeIndex, Ref>,
        tallies: &[Identity],
        image: &mut Image,
    ) -> Plan {
        let mut counters: HashMap<Vec<usize>, u32> = HashMap::new();
        let mut counter = |listed: &[usize]| {
            (!listed.is_empty()).then(|| {
                *counters.entry(listed.to_vec()).or_insert_with(|| {
                    image.counters.push(Counter {
                        identity: counter_identity(listed, tallies),
                        tallies: listed.iter().map(|&tally| tally as u32).collect(),
                    });
                    image.counters.len() as u32 - 1
                })
            })
        };
        let entry = (graph.entry.node, counter(&graph.entry.tallies));
        let mut plan = Plan { nodes: vec![entry], ways: HashMap::new() };
        let mut places = HashMap::from([(entry, 0)]);
        let mut at = 0;
        while let Some(&(node, _)) = plan.nodes.get(at) {
            at += 1;
            if plan.ways.contains_key(&node) {
                continue;
            }
            let mut ways = Vec::new();
            let taken = roots.get(&node).map(|&root| diagrams.leaves(root));
            for (edge, target) in graph.ways(node) {
                if let (Way::Leaf(leaf), Some(taken)) = (edge.way, &taken)
                    && !taken.contains(&leaf)
                {
                    continue;
                }
                let to = (target, counter(&edge.tallies));
                let place = *places.entry(to).or_insert_with(|| {
                    plan.nodes.push(to);
                    plan.nodes.len() as u32 - 1
                });
                ways.push((edge.way, place));
            }
            plan.ways.insert(node, ways);
        }
        plan
    }
}

impl Plan {
    /// Offset of the node of each leaf that is taken.
    fn leaves(&self, node: NodeIndex, first: u32) -> HashMap<u32, u32> {
        let leaf = |&(way, to): &(Way, u32)| match way {
            Way::Leaf(leaf) => Some((leaf, offset(first, to))),
            _ => None,
        };
        self.ways[&node].iter().filter_map(leaf).collect()
    }
}

/// What a counter adds to is what it is.
fn counter_identity(listed: &[usize], tallies: &[Identity]) -> Identity {
    let parts: Vec<String> = listed.iter().map(|&tally| format!("{:016x}", tallies[tally])).collect();
    let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    parts.insert(0, "counter");
    identity(&parts)
}

/// Writes stages and ends, with their descriptors, each once.
struct Bodies<'a, 'p> {
    policy: &'p Policy,
    graph: &'a Graph<'p>,
    plan: &'a Plan,
    first: u32,
    /// Offset of the words that hold the backends' numbers.
    numbers: u32,
    limits: HashMap<LimitId, u32>,
    trackers: HashMap<TrackerId, u32>,
    pools: HashMap<PoolId, u32>,
    authorities: HashMap<AuthorityId, u32>,
    turns: HashMap<NodeIndex, u32>,
}

impl<'a, 'p> Bodies<'a, 'p> {
    fn new(
        policy: &'p Policy,
        graph: &'a Graph<'p>,
        plan: &'a Plan,
        [first, numbers]: [u32; 2],
        image: &mut Image,
    ) -> Self {
        Bodies {
            policy,
            graph,
            plan,
            first,
            numbers,
            limits: HashMap::new(),
            trackers: HashMap::new(),
            pools: HashMap::new(),
            authorities: HashMap::new(),
            turns: turns(policy, graph, image),
        }
    }

    fn body(
        &mut self,
        node: NodeIndex,
        words: &mut Words,
        image: &mut Image,
    ) -> Result<[u32; NODE_WORDS], Box<Diagnostic>> {
        let place = self.graph.graph[node];
        let full = |Full| refusals::words(place.span);
        let mut body = [0; NODE_WORDS];
        let is_verify = matches!(place.kind, NodeKind::Verify(_));
        for &(way, to) in &self.plan.ways[&node] {
            match way {
                Way::Next => body[N_NEXT] = offset(self.first, to),
                // `verify` has more than a node has words.
                Way::Exit(_) if is_verify => {}
                Way::Exit(0) => body[N_EXIT_A] = offset(self.first, to),
                Way::Exit(_) => body[N_EXIT_B] = offset(self.first, to),
                Way::Leaf(_) | Way::Turn(_) => {}
            }
        }
        (body[N_OP], body[N_P0]) = match place.kind {
            // `lower` writes regions itself, as they need the diagrams.
            NodeKind::Region(_) => (OP_DECIDE, 0),
            NodeKind::Log(_) => return Err(Box::new(not_yet::LOG.at(place.span))),
            NodeKind::Ban(_) => return Err(Box::new(not_yet::BAN.at(place.span))),
            NodeKind::Verify(authority) => {
                body[N_P1] = self.verify_exits(node, place.span, words)?;
                (OP_VERIFY, self.authority(authority, words, image)?)
            }
            NodeKind::Map(_) => return Err(Box::new(not_yet::MAP.at(place.span))),
            NodeKind::Synguard(_) => return Err(Box::new(not_yet::COOKIES.at(place.span))),
            NodeKind::Limit(limit) => (OP_LIMIT, self.limit(limit, words, image)?),
            NodeKind::Track(tracker) => (OP_TRACK, self.tracker(tracker, words, image)?),
            NodeKind::Translate(pool) => (OP_TRANSLATE, self.pool(pool, words, image)?),
            NodeKind::TranslateBack => (OP_TRANSLATE_BACK, 0),
            NodeKind::Every(every) => {
                let ways: Vec<u32> =
                    self.plan.ways[&node].iter().map(|&(_, to)| offset(self.first, to)).collect();
                body[N_NEXT] = words.append(&ways).map_err(full)?;
                (body[N_P1], body[N_P2]) = (self.turns[&node], ways.len() as u32);
                (OP_EVERY, every_mode(every, image))
            }
            NodeKind::End(end) => {
                let word = end_word(end, image).map_err(|lacks| Box::new(lacks.at(place.span)))?;
                (OP_END, word)
            }
        };
        Ok(body)
    }

    /// Writes the nodes of the exits of a `verify`.
    fn verify_exits(
        &mut self,
        node: NodeIndex,
        place: Span,
        words: &mut Words,
    ) -> Result<u32, Box<Diagnostic>> {
        let mut exits = [0; VERIFY_EXITS];
        for &(way, to) in &self.plan.ways[&node] {
            if let Way::Exit(number) = way
                && let Some(exit) = exits.get_mut(number as usize)
            {
                *exit = offset(self.first, to);
            }
        }
        words.append(&exits).map_err(|Full| refusals::words(place))
    }

    /// Every `verify` keeps account of what is sent to its certificates' backends, and its packets by their flows.
    fn authority(
        &mut self,
        authority: AuthorityId,
        words: &mut Words,
        image: &mut Image,
    ) -> Result<u32, Box<Diagnostic>> {
        image.features |= FEATURE_HASH | FEATURE_LOAD;
        if let Some(&known) = self.authorities.get(&authority) {
            return Ok(known);
        }
        let made = authorities::authority(authority, self.policy, words, image)?;
        self.authorities.insert(authority, made);
        Ok(made)
    }

    fn limit(
        &mut self,
        limit: LimitId,
        words: &mut Words,
        image: &mut Image,
    ) -> Result<u32, Box<Diagnostic>> {
        if let Some(&known) = self.limits.get(&limit) {
            return Ok(known);
        }
        let made = descriptors::limit(limit.0, &self.policy.limits[limit.index()], words, image)?;
        self.limits.insert(limit, made);
        Ok(made)
    }

    fn tracker(
        &mut self,
        tracker: TrackerId,
        words: &mut Words,
        image: &mut Image,
    ) -> Result<u32, Box<Diagnostic>> {
        if let Some(&known) = self.trackers.get(&tracker) {
            return Ok(known);
        }
        let declared = &self.policy.trackers[tracker.index()];
        if declared.key == TrackKey::Certificate {
            image.features |= FEATURE_LOAD;
        }
        let made = descriptors::tracker(tracker.0, declared, words, image)?;
        self.trackers.insert(tracker, made);
        Ok(made)
    }

    fn pool(&mut self, pool: PoolId, words: &mut Words, image: &mut Image) -> Result<u32, Box<Diagnostic>> {
        if let Some(&known) = self.pools.get(&pool) {
            return Ok(known);
        }
        let declared = &self.policy.pools[pool.index()];
        let made = pools::pool(pool.0, declared, self.numbers, words, image)?;
        let pick = words.words[made as usize + P_PICK];
        if matches!(pick, PICK_FLOW | PICK_SOURCE | PICK_CERTIFICATE) {
            image.features |= FEATURE_HASH;
        }
        if pick == PICK_LEAST || declared.backends.iter().any(|backend| backend.max_conn.is_some()) {
            image.features |= FEATURE_LOAD;
        }
        self.pools.insert(pool, made);
        Ok(made)
    }
}

/// A counter for each `every`, known by its tree, its text, and its number among equal ones in the order of the file.
fn turns(policy: &Policy, graph: &Graph<'_>, image: &mut Image) -> HashMap<NodeIndex, u32> {
    let mut places: Vec<_> = graph
        .graph
        .node_indices()
        .filter_map(|node| match graph.graph[node].kind {
            NodeKind::Every(every) => {
                Some((graph.graph[node].span, node, graph.graph[node].tree, every_label(every)))
            }
            _ => None,
        })
        .collect();
    places.sort();
    let mut equals: HashMap<(Option<TreeId>, String), u32> = HashMap::new();
    let mut turns = HashMap::new();
    for (_, node, tree, label) in places {
        let tree_name = tree.map_or(&policy.name, |tree| &policy.trees[tree.index()].name);
        let ordinal = equals.entry((tree, label.clone())).or_default();
        turns.insert(node, image.turns.len() as u32);
        image.turns.push(Turn { identity: identity(&["turn", tree_name, &label, &ordinal.to_string()]) });
        *ordinal += 1;
    }
    turns
}

fn every_mode(every: &Every, image: &mut Image) -> u32 {
    match every.mode {
        EveryMode::Packet => EVERY_PACKET,
        EveryMode::Flow => {
            image.features |= FEATURE_HASH;
            EVERY_FLOW
        }
        EveryMode::Random => EVERY_RANDOM,
    }
}

fn end_word(end: End, image: &mut Image) -> Result<u32, NotYet> {
    match end {
        End::Drop => Ok(END_DROP),
        End::Pass => Ok(END_PASS),
        End::Forward => {
            image.features |= FEATURE_FORWARD;
            Ok(END_FORWARD)
        }
        End::ReplyEcho => {
            image.features |= FEATURE_REPLY;
            Ok(END_REPLY_ECHO)
        }
        End::Reject => Err(not_yet::REJECT),
        End::ReplyRst => Err(not_yet::RESET),
    }
}
