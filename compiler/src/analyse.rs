//! Owns what is wrong with a policy that names and types do not show: which packets get to which place, by diagrams over
//! classes of their fields. Never claims, which `prove` holds, nor what does not fit an image.
//!
//! What sets from files and sets filled at run time hold may be anything here: a refreshed list never breaks a policy.

mod arms;
mod home;
mod memory;
mod redundant;
mod tables;
#[cfg(test)]
mod tests;
mod vips;

use std::collections::{HashMap, HashSet};

use lb_abi::image::Field;
use petgraph::graph::NodeIndex;
use policy_lang::diagnostic::{Diagnostic, IDLE_ELSE};
use policy_lang::policy::{Before, Chain, Policy, StageKind, Tail};
use policy_lang::source::Span;

use crate::graph::{self, Graph, GraphError, NodeKind, Trees, Way};
use crate::lower::bounds;
use crate::lower::diagram::{NOTHING, Ref, TooLarge};
use crate::lower::formula::Sets;
use crate::lower::refusals;
use crate::lower::region::{Region, Regions};
use crate::prove::conditions::Conditions;
use crate::prove::guards::Guards;
use crate::prove::outcomes::{Outcome, outcomes};

/// Places behind one match that are told apart by the packets that get to them; behind a match that leads to more, each
/// is held to be reached by all that the match sees.
const APART: usize = 256;

/// All findings of a policy that `policy_lang::check` found free of errors; in the order of the text.
pub fn analyse(policy: &Policy) -> Vec<Diagnostic> {
    let mut found = look(policy, Trees::Joined)
        // As `compile` does: what fits apart is not refused for being too large joined.
        .or_else(|refused| if policy.trees.is_empty() { Err(refused) } else { look(policy, Trees::Apart) })
        .unwrap_or_else(|refused| vec![*refused]);
    found.extend(bounds::beyond(policy));
    found.extend(tables::tables(policy));
    found.extend(memory::memory(policy));
    found.sort_by_key(|one| (one.primary.0, one.code));
    found
}

/// Every `else` that no packet comes to, whichever way leads to its tree.
pub fn idle_elses(policy: &Policy) -> HashSet<Span> {
    let found = look(policy, Trees::Joined).unwrap_or_default();
    found.into_iter().filter(|one| one.code == IDLE_ELSE).map(|one| one.primary.0).collect()
}

fn look(policy: &Policy, trees: Trees) -> Result<Vec<Diagnostic>, Box<Diagnostic>> {
    let graph =
        graph::build(policy, trees).map_err(|GraphError::Cycle(tree)| refusals::cycle(policy, tree))?;
    refusals::too_many_steps(&graph)?;
    let mut sets = Sets::opaque(policy);
    let guards = Guards::read(policy, &mut sets);
    let fragments = policy.before.fragments == Before::Match;
    let conditions = Conditions::read(fragments, policy.trackers.len(), policy.span, &mut sets);
    let parts = vips::parts(policy, &mut sets);
    let replies = home::replies(policy, &graph, &mut sets);
    let mut read = HashMap::new();
    for node in graph.graph.node_indices() {
        if let NodeKind::Region(region) = graph.graph[node].kind {
            read.insert(node, Region::read(region, &graph.nesting, &mut sets));
        }
    }
    let cut = sets.classes().map_err(|(axis, error)| refusals::classes(axis, sets.place(axis, error.set)))?;
    let mut regions = Regions::new(&cut, &sets);
    let too_large = |TooLarge| refusals::outgrown(policy.root.span, policy.root.span);
    let conditions = conditions.diagrams(&mut regions).map_err(too_large)?;
    let mut stages = HashMap::new();
    for chain in std::iter::once(&policy.root).chain(policy.trees.iter().map(|tree| &tree.chain)) {
        each_chain(chain, &mut |chain| {
            stages.extend(chain.stages.iter().map(|stage| (stage.span, &stage.kind)));
        });
    }
    // Trees were found to be without cycles, and nothing else leads back.
    let order = petgraph::algo::toposort(&graph.graph, None).unwrap_or_default();
    let mut flow = Flow {
        policy,
        graph: &graph,
        guards: &guards,
        conditions: &conditions,
        parts: &parts,
        regions: &mut regions,
        stages,
        before: HashMap::from([(graph.entry.node, conditions.universe)]),
        home: home::Home::new(&graph, &order, conditions.universe),
        found: Vec::new(),
    };
    let leads_on = flow.leads_on(&order);
    for &node in &order {
        let Some(&before) = flow.before.get(&node).filter(|before| **before != NOTHING) else { continue };
        match read.get(&node) {
            Some(region) => flow.region(node, region, before, &leads_on)?,
            None if leads_on.contains(&node) => flow.stage(node, before).map_err(too_large)?,
            None => {}
        }
    }
    // What cannot be proved is not held against the policy.
    let _unproved = flow.lost(&replies, &cut);
    Ok(flow.found)
}

/// Visits a chain and every chain within it, but not the trees that it leads to.
fn each_chain<'p>(chain: &'p Chain, visit: &mut impl FnMut(&'p Chain)) {
    visit(chain);
    for stage in &chain.stages {
        stage.kind.exits().into_iter().for_each(|(_, exit)| each_chain(&exit.chain, visit));
    }
    match &chain.tail {
        Tail::End(..) | Tail::Tree(..) => {}
        Tail::Match(inner) => {
            inner.arms.iter().for_each(|arm| each_chain(&arm.chain, visit));
            each_chain(&inner.otherwise, visit);
        }
        Tail::Every(every) => every.ways.iter().for_each(|way| each_chain(way, visit)),
    }
}

/// The packets that get to each node, followed from the entry on.
struct Flow<'s, 'a, 'p> {
    policy: &'p Policy,
    graph: &'s Graph<'p>,
    guards: &'s Guards,
    conditions: &'s Conditions<Ref>,
    parts: &'s [vips::Part],
    regions: &'s mut Regions<'a, 'p>,
    stages: HashMap<Span, &'p StageKind>,
    before: HashMap<NodeIndex, Ref>,
    home: home::Home,
    found: Vec<Diagnostic>,
}

impl Flow<'_, '_, '_> {
    /// Nodes from which some way leads to a match: elsewhere nothing asks what gets there.
    fn leads_on(&self, order: &[NodeIndex]) -> HashSet<NodeIndex> {
        let mut leads_on = HashSet::new();
        for &node in order.iter().rev() {
            let is_region = matches!(self.graph.graph[node].kind, NodeKind::Region(_));
            if is_region || self.graph.graph.neighbors(node).any(|next| leads_on.contains(&next)) {
                leads_on.insert(node);
            }
        }
        leads_on
    }

    fn reach(&mut self, node: NodeIndex, packets: Ref) -> Result<(), TooLarge> {
        let known = self.before.get(&node).copied().unwrap_or(NOTHING);
        let both = self.regions.diagrams.over(known, packets)?;
        self.before.insert(node, both);
        Ok(())
    }

    fn region(
        &mut self,
        node: NodeIndex,
        region: &Region,
        before: Ref,
        leads_on: &HashSet<NodeIndex>,
    ) -> Result<(), Box<Diagnostic>> {
        let diagram = self
            .regions
            .diagram(region)
            .map_err(|outgrown| refusals::outgrown(outgrown.first, outgrown.last))?;
        let span = self.graph.graph[node].span;
        self.arms(node, diagram, before, leads_on).map_err(|TooLarge| refusals::outgrown(span, span))
    }

    fn arms(
        &mut self,
        node: NodeIndex,
        diagram: Ref,
        before: Ref,
        leads_on: &HashSet<NodeIndex>,
    ) -> Result<(), TooLarge> {
        let taken = self.regions.diagrams.mask(before, diagram)?;
        let reached = self.regions.diagrams.leaves(taken);
        let NodeKind::Region(choice) = self.graph.graph[node].kind else { return Ok(()) };
        let (never, idle) = arms::never_taken(choice, &self.graph.nesting, &reached);
        self.found.extend(idle.into_iter().map(arms::idle_else));
        for arm in never {
            let told = self.never_taken(&arm, before);
            self.found.push(told);
        }
        self.redundant(node, choice, before)?;
        self.vips(choice, before, taken, &reached)?;
        self.carry(node, taken, &reached)?;
        let mut targets: HashMap<NodeIndex, HashSet<u32>> = HashMap::new();
        for (edge, target) in self.graph.ways(node) {
            if let Way::Leaf(leaf) = edge.way
                && leads_on.contains(&target)
                && reached.contains(&leaf)
            {
                targets.entry(target).or_default().insert(leaf);
            }
        }
        let is_apart = targets.len() <= APART;
        self.home.is_rough |= !is_apart;
        for (target, leaves) in targets {
            let packets = if is_apart { self.regions.diagrams.select_any(taken, &leaves)? } else { before };
            self.reach(target, packets)?;
        }
        Ok(())
    }

    fn stage(&mut self, node: NodeIndex, before: Ref) -> Result<(), TooLarge> {
        let graph = self.graph;
        let place = graph.graph[node];
        let kind = self.stages.get(&place.span).filter(|_| !matches!(place.kind, NodeKind::Every(_)));
        let mut on = before;
        let mut exits = Vec::new();
        if let Some(kind) = kind {
            on = NOTHING;
            for (outcome, when) in outcomes(kind, self.policy, self.conditions, self.regions)? {
                let packets = self.regions.diagrams.mask(before, when)?;
                match outcome {
                    Outcome::On => on = self.regions.diagrams.over(on, packets)?,
                    Outcome::Opens => {
                        let opened = self.regions.diagrams.any_of(packets, Field::TcpFlags)?;
                        let opened = self.regions.diagrams.mask(opened, self.conditions.only_syn)?;
                        on = self.regions.diagrams.over(on, opened)?;
                    }
                    Outcome::Exit(..) => exits.push(packets),
                    Outcome::Refused => {}
                }
            }
        }
        for (edge, target) in graph.ways(node) {
            let packets = match edge.way {
                Way::Exit(number) => exits.get(number as usize).copied().unwrap_or(before),
                Way::Next => on,
                Way::Turn(_) | Way::Leaf(_) => before,
            };
            self.reach(target, packets)?;
        }
        Ok(())
    }
}
