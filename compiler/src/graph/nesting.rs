//! Owns the order of trees and which matches are one region: those nested in arms, and trees that one arm alone
//! leads to. Never nodes or tallies.

use std::collections::{HashMap, HashSet};

use petgraph::graph::DiGraph;
use petgraph::visit::DfsPostOrder;
use policy_lang::policy::{Chain, Match, Policy, Stage, StageKind, Tail, TreeId};
use policy_lang::source::Span;

use super::GraphError;

/// So many trees within each other are one region at most; reading regions recurs.
const DEEPEST: usize = 16;

/// Whether a tree that one arm alone leads to joins the region of that arm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trees {
    Joined,
    /// Each in a region of its own: smaller decision tables, and a step more.
    Apart,
}

/// What a chain of nothing but counting and a further match comes to.
pub struct Nested<'p> {
    pub region: &'p Match,
    /// The tree that the region is written in, if it is another than the chain's.
    pub tree: Option<TreeId>,
    /// What is counted on the way, in order.
    pub counts: Vec<(&'p str, Span)>,
}

/// The trees of a policy that lie within the region of another.
pub struct Nesting<'p> {
    policy: &'p Policy,
    joined: HashSet<TreeId>,
}

impl<'p> Nesting<'p> {
    /// `order`: trees that are reached, after those they lead to.
    pub fn new(policy: &'p Policy, order: &[TreeId], trees: Trees) -> Nesting<'p> {
        let mut uses: HashMap<TreeId, u32> = HashMap::new();
        let mut in_arms: HashMap<TreeId, Vec<TreeId>> = HashMap::new();
        let chain = |tree: TreeId| &policy.trees[tree.index()].chain;
        for (place, chain) in
            order.iter().map(|&tree| (Some(tree), chain(tree))).chain([(None, &policy.root)])
        {
            each_tree(chain, false, &mut |tree, in_arm| {
                *uses.entry(tree).or_default() += 1;
                if in_arm {
                    in_arms.entry(tree).or_default().extend(place);
                }
            });
        }
        let mut nesting = Nesting { policy, joined: HashSet::new() };
        let mut heights: HashMap<TreeId, usize> = HashMap::new();
        for &tree in order {
            let height = heights.get(&tree).copied().unwrap_or(0) + 1;
            let (Some(places), Some(1)) = (in_arms.get(&tree), uses.get(&tree)) else { continue };
            let is_match = matches!(chain(tree).tail, Tail::Match(_));
            if trees == Trees::Joined && is_match && height <= DEEPEST && counts(chain(tree)).is_some() {
                nesting.joined.insert(tree);
                for &place in places {
                    let above = heights.entry(place).or_default();
                    *above = height.max(*above);
                }
            }
        }
        nesting
    }

    /// Whether the tree is part of the region that leads to it, and has no node of its own.
    pub fn is_joined(&self, tree: TreeId) -> bool {
        self.joined.contains(&tree)
    }

    /// The match that a chain is no more than the way to: it belongs to the region that the chain stands in.
    pub fn of(&self, chain: &'p Chain) -> Option<Nested<'p>> {
        let mut counted = counts(chain)?;
        match &chain.tail {
            Tail::Match(region) => Some(Nested { region, tree: None, counts: counted }),
            Tail::Tree(tree, _) if self.is_joined(*tree) => {
                let inner = &self.policy.trees[tree.index()].chain;
                let Tail::Match(region) = &inner.tail else { return None };
                counted.extend(counts(inner)?);
                Some(Nested { region, tree: Some(*tree), counts: counted })
            }
            _ => None,
        }
    }
}

/// Names that a chain counts; `None` if it has stages that do more.
fn counts(chain: &Chain) -> Option<Vec<(&str, Span)>> {
    let name = |stage| match stage {
        &Stage { kind: StageKind::Count { ref name }, span } => Some((name.as_str(), span)),
        _ => None,
    };
    chain.stages.iter().map(name).collect()
}

/// Every tree that the root leads to, after those it leads to itself.
pub fn trees_inside_out(policy: &Policy) -> Result<Vec<TreeId>, GraphError> {
    let mut graph = DiGraph::<Option<TreeId>, ()>::new();
    let root = graph.add_node(None);
    let trees: Vec<_> =
        (0..policy.trees.len()).map(|index| graph.add_node(Some(TreeId(index as u32)))).collect();
    let chains = std::iter::once((root, &policy.root))
        .chain(trees.iter().zip(&policy.trees).map(|(&node, tree)| (node, &tree.chain)));
    for (node, chain) in chains {
        let mut named = Vec::new();
        each_tree(chain, false, &mut |tree, _| named.push(tree));
        named.sort();
        named.dedup();
        for tree in named {
            graph.add_edge(node, trees[tree.index()], ());
        }
    }
    if let Err(cycle) = petgraph::algo::toposort(&graph, None) {
        return Err(GraphError::Cycle(graph[cycle.node_id()].unwrap_or(TreeId(0))));
    }
    let mut order = Vec::new();
    let mut visit = DfsPostOrder::new(&graph, root);
    while let Some(node) = visit.next(&graph) {
        order.extend(graph[node]);
    }
    Ok(order)
}

/// Every place of a chain that names a tree, and whether an arm leads there by counting alone.
fn each_tree(chain: &Chain, in_arm: bool, found: &mut impl FnMut(TreeId, bool)) {
    for stage in &chain.stages {
        for (_, exit) in stage.kind.exits() {
            each_tree(&exit.chain, false, found);
        }
    }
    match &chain.tail {
        Tail::End(..) => {}
        Tail::Tree(tree, _) => found(*tree, in_arm && counts(chain).is_some()),
        Tail::Match(inner) => {
            inner.arms.iter().for_each(|arm| each_tree(&arm.chain, true, found));
            each_tree(&inner.otherwise, true, found);
        }
        Tail::Every(every) => every.ways.iter().for_each(|way| each_tree(way, false, found)),
    }
}
