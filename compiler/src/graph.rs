//! Owns the stage graph: pure regions, stages and ends as nodes, the ways between them as edges, and the tallies each
//! way adds to. Never values of fields, words of the image or packets.

use std::collections::{BTreeMap, HashMap};

use lb_abi::bundle::TallyKind;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use policy_lang::policy::{
    AuthorityId, Chain, End, Every, EveryMode, LimitId, MapperId, Match, Policy, PoolId, SetId, Stage,
    StageKind, SynguardId, Tail, TrackerId, TreeId,
};
use policy_lang::source::Span;

mod nesting;

pub use nesting::{Nesting, Trees, trees_inside_out};

/// The whole of what a packet can go through, without cycles. A tree is in it once, however often it is named, unless it
/// is part of the one region that leads to it.
pub struct Graph<'p> {
    pub graph: DiGraph<Node<'p>, Edge>,
    pub entry: Entry,
    /// In order of their places.
    pub tallies: Vec<TallyPlace>,
    /// Which chains are further matches of the region they stand in.
    pub nesting: Nesting<'p>,
}

#[derive(Clone, Copy, Debug)]
pub struct Node<'p> {
    pub kind: NodeKind<'p>,
    /// `None`: the policy's own chain.
    pub tree: Option<TreeId>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug)]
pub enum NodeKind<'p> {
    /// Guards alone: a match with those nested in it and those of trees that only it leads to.
    Region(&'p Match),
    Log(&'p str),
    Ban(SetId),
    Limit(LimitId),
    Verify(AuthorityId),
    Map(MapperId),
    Synguard(SynguardId),
    Track(TrackerId),
    Translate(PoolId),
    TranslateBack,
    Every(&'p Every),
    /// One node for each end, wherever it is written.
    End(End),
}

/// A way from one node to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    pub way: Way,
    /// Indices into `Graph::tallies`.
    pub tallies: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Way {
    /// The leaf of a region: arms without a match of their own, numbered as they are read.
    Leaf(u32),
    Next,
    /// Exit of a stage, 0-based, in the order of `StageKind::exits`.
    Exit(u32),
    /// Way of an `every`, 0-based.
    Turn(u32),
}

/// Where a chain begins: its first node, and what is tallied on the way there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub node: NodeIndex,
    pub tallies: Vec<usize>,
}

/// What is counted, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TallyPlace {
    pub kind: TallyKind,
    pub label: String,
    pub tree: Option<TreeId>,
    pub span: Span,
    /// Number among equal kinds and labels of the tree, in order of places.
    pub ordinal: u32,
}

/// Why a typed tree has no graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GraphError {
    /// A tree that leads back to itself; `policy_lang::check` lets none pass.
    Cycle(TreeId),
}

/// The stage graph of a policy; trees that nothing leads to are left out.
pub fn build(policy: &Policy, trees: Trees) -> Result<Graph<'_>, GraphError> {
    let order = trees_inside_out(policy)?;
    let mut builder = Builder {
        policy,
        nesting: Nesting::new(policy, &order, trees),
        graph: DiGraph::new(),
        tallies: Vec::new(),
        named: HashMap::new(),
        ends: BTreeMap::new(),
        trees: HashMap::new(),
    };
    for tree in order {
        if builder.nesting.is_joined(tree) {
            continue;
        }
        let entry = builder.chain(&policy.trees[tree.index()].chain, Some(tree));
        builder.trees.insert(tree, entry);
    }
    let entry = builder.chain(&policy.root, None);
    Ok(builder.in_order_of_places(entry))
}

struct Builder<'p> {
    policy: &'p Policy,
    nesting: Nesting<'p>,
    graph: DiGraph<Node<'p>, Edge>,
    tallies: Vec<TallyPlace>,
    named: HashMap<&'p str, usize>,
    ends: BTreeMap<u8, NodeIndex>,
    trees: HashMap<TreeId, Entry>,
}

impl<'p> Builder<'p> {
    /// Stages are entered from behind, so that each finds the node it goes on to.
    fn chain(&mut self, chain: &'p Chain, tree: Option<TreeId>) -> Entry {
        let mut entry = self.tail(&chain.tail, tree);
        for stage in chain.stages.iter().rev() {
            entry = self.stage(stage, entry, tree);
        }
        entry
    }

    fn tail(&mut self, tail: &'p Tail, tree: Option<TreeId>) -> Entry {
        let node = match tail {
            Tail::Tree(named, _) => return self.trees[named].clone(),
            Tail::End(end, span) => self.end(*end, *span),
            Tail::Match(region) => self.region(region, tree),
            Tail::Every(every) => self.every(every, tree),
        };
        Entry { node, tallies: Vec::new() }
    }

    fn end(&mut self, end: End, span: Span) -> NodeIndex {
        let graph = &mut self.graph;
        *self
            .ends
            .entry(end as u8)
            .or_insert_with(|| graph.add_node(Node { kind: NodeKind::End(end), tree: None, span }))
    }

    fn stage(&mut self, stage: &'p Stage, next: Entry, tree: Option<TreeId>) -> Entry {
        let kind = match &stage.kind {
            StageKind::Count { name } => {
                let mut tallies = vec![self.named(name, stage.span)];
                tallies.extend(next.tallies);
                return Entry { node: next.node, tallies };
            }
            StageKind::Log { name, .. } => NodeKind::Log(name),
            StageKind::Ban { set } => NodeKind::Ban(*set),
            StageKind::Limit { limit, .. } => NodeKind::Limit(*limit),
            StageKind::Verify { authority, .. } => NodeKind::Verify(*authority),
            StageKind::Map { mapper, .. } => NodeKind::Map(*mapper),
            StageKind::Synguard { synguard, .. } => NodeKind::Synguard(*synguard),
            StageKind::Track { tracker, .. } => NodeKind::Track(*tracker),
            StageKind::Translate { pool, .. } => NodeKind::Translate(*pool),
            StageKind::TranslateBack { .. } => NodeKind::TranslateBack,
        };
        let verb = self.policy.stage_words(&stage.kind);
        let node = self.graph.add_node(Node { kind, tree, span: stage.span });
        self.edge(node, Way::Next, next, Vec::new());
        for ((name, exit), way) in stage.kind.exits().into_iter().zip((0..).map(Way::Exit)) {
            let tally = self.tally(TallyKind::Exit, format!("{verb} ({name})"), tree, exit.span);
            let entry = self.chain(&exit.chain, tree);
            self.edge(node, way, entry, vec![tally]);
        }
        Entry { node, tallies: Vec::new() }
    }

    fn every(&mut self, every: &'p Every, tree: Option<TreeId>) -> NodeIndex {
        let node = self.graph.add_node(Node { kind: NodeKind::Every(every), tree, span: every.span });
        for (turn, way) in every.ways.iter().enumerate() {
            let label = format!("{}: {}", every_label(every), turn + 1);
            let tally = self.tally(TallyKind::Way, label, tree, way.span);
            let entry = self.chain(way, tree);
            self.edge(node, Way::Turn(turn as u32), entry, vec![tally]);
        }
        node
    }

    fn region(&mut self, region: &'p Match, tree: Option<TreeId>) -> NodeIndex {
        let node = self.graph.add_node(Node { kind: NodeKind::Region(region), tree, span: region.span });
        self.leaves(node, region, tree, &[], &mut 0);
        node
    }

    fn leaves(
        &mut self,
        node: NodeIndex,
        region: &'p Match,
        tree: Option<TreeId>,
        above: &[usize],
        leaf: &mut u32,
    ) {
        let arms = region.arms.iter().map(|arm| (arm.text.as_str(), arm.span, &arm.chain));
        let otherwise = ("else", region.otherwise_span, region.otherwise.as_ref());
        for (text, span, chain) in arms.chain([otherwise]) {
            let mut path = above.to_vec();
            path.push(self.tally(TallyKind::Arm, text.to_owned(), tree, span));
            if let Some(inner) = self.nesting.of(chain) {
                path.extend(inner.counts.iter().map(|&(name, span)| self.named(name, span)));
                self.leaves(node, inner.region, inner.tree.or(tree), &path, leaf);
            } else {
                let entry = self.chain(chain, tree);
                self.edge(node, Way::Leaf(*leaf), entry, path);
                *leaf += 1;
            }
        }
    }

    fn edge(&mut self, from: NodeIndex, way: Way, to: Entry, mut tallies: Vec<usize>) {
        tallies.extend(to.tallies);
        self.graph.add_edge(from, to.node, Edge { way, tallies });
    }

    /// A named counter is one, wherever it is counted; its place is the first.
    fn named(&mut self, name: &'p str, span: Span) -> usize {
        if let Some(&tally) = self.named.get(name) {
            self.tallies[tally].span = self.tallies[tally].span.min(span);
            return tally;
        }
        let tally = self.tally(TallyKind::Named, name.to_owned(), None, span);
        self.named.insert(name, tally);
        tally
    }

    fn tally(&mut self, kind: TallyKind, label: String, tree: Option<TreeId>, span: Span) -> usize {
        self.tallies.push(TallyPlace { kind, label, tree, span, ordinal: 0 });
        self.tallies.len() - 1
    }

    /// Chains are built from behind and trees from inside; readers want what is counted in the order of the text.
    fn in_order_of_places(self, mut entry: Entry) -> Graph<'p> {
        let Builder { mut graph, tallies, nesting, .. } = self;
        let mut order: Vec<usize> = (0..tallies.len()).collect();
        order.sort_by_key(|&index| (tallies[index].span, tallies[index].kind, &tallies[index].label));
        let mut position = vec![0; tallies.len()];
        let mut sorted = Vec::with_capacity(tallies.len());
        let mut equals: HashMap<(TallyKind, Option<TreeId>, &str), u32> = HashMap::new();
        for (place, &index) in order.iter().enumerate() {
            position[index] = place;
            let tally = &tallies[index];
            let ordinal = equals.entry((tally.kind, tally.tree, &tally.label)).or_default();
            sorted.push(TallyPlace { ordinal: *ordinal, ..tally.clone() });
            *ordinal += 1;
        }
        for edge in graph.edge_weights_mut() {
            edge.tallies.iter_mut().for_each(|tally| *tally = position[*tally]);
        }
        entry.tallies.iter_mut().for_each(|tally| *tally = position[*tally]);
        Graph { graph, entry, tallies: sorted, nesting }
    }
}

/// `every 2`, `every 4 by flow`, `every 3 at random`.
pub fn every_label(every: &Every) -> String {
    let mode = match every.mode {
        EveryMode::Packet => "",
        EveryMode::Flow => " by flow",
        EveryMode::Random => " at random",
    };
    format!("every {}{mode}", every.ways.len())
}

impl<'p> Graph<'p> {
    /// The ways out of a node, in order: leaves and turns by number, the way on before the exits.
    pub fn ways(&self, node: NodeIndex) -> Vec<(&Edge, NodeIndex)> {
        let mut ways: Vec<_> = self.graph.edges(node).map(|edge| (edge.weight(), edge.target())).collect();
        ways.sort_by_key(|(edge, _)| edge.way);
        ways
    }

    /// The longest way from the entry to an end: its nodes, both included.
    pub fn longest_way(&self) -> Vec<NodeIndex> {
        let mut further: Vec<(usize, Option<NodeIndex>)> = vec![(1, None); self.graph.node_count()];
        // Trees were found to be without cycles, and nothing else leads back.
        let order = petgraph::algo::toposort(&self.graph, None).unwrap_or_default();
        for &node in order.iter().rev() {
            for next in self.graph.neighbors(node) {
                let steps = further[next.index()].0 + 1;
                if steps > further[node.index()].0 {
                    further[node.index()] = (steps, Some(next));
                }
            }
        }
        let mut way = vec![self.entry.node];
        while let Some(next) = way.last().and_then(|node| further[node.index()].1) {
            way.push(next);
        }
        way
    }
}
