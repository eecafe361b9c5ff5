//! Owns the order of trees: no circle, no depth that a packet could not walk. Never what is in a tree.

use std::collections::BTreeSet;

use super::each_chain;
use crate::policy::{Chain, Policy, Tail, TreeId};
use crate::report::Report;
use crate::source::Span;

/// Trees may lead into trees this deep.
const DEPTH: usize = 64;

/// The trees that are reached from the root, each before the trees it leads to; None if that cannot be.
pub(super) fn order(policy: &Policy, report: &mut Report) -> Option<Vec<TreeId>> {
    let next: Vec<Vec<(TreeId, Span)>> = policy.trees.iter().map(|tree| leads_to(&tree.chain)).collect();
    let mut callers = vec![0usize; next.len()];
    for (id, _) in next.iter().flatten() {
        if let Some(count) = callers.get_mut(id.index()) {
            *count += 1;
        }
    }
    // Kahn's algorithm: a tree is ready when all that lead to it are done; a circle never gets ready.
    let mut ready: Vec<usize> = (0..next.len()).filter(|&tree| callers.get(tree) == Some(&0)).collect();
    let mut depth = vec![1usize; next.len()];
    let mut order = Vec::with_capacity(next.len());
    while let Some(tree) = ready.pop() {
        order.push(TreeId(tree as u32));
        let below = depth.get(tree).copied().unwrap_or(1) + 1;
        for (id, place) in next.get(tree).into_iter().flatten() {
            let (Some(count), Some(deepest)) = (callers.get_mut(id.index()), depth.get_mut(id.index()))
            else {
                continue;
            };
            if below > DEPTH && *deepest <= DEPTH {
                report
                    .error("E0205", *place, "trees lead into each other too deep")
                    .because(format!("a packet walks through {DEPTH} trees at most"));
                return None;
            }
            *deepest = (*deepest).max(below);
            *count -= 1;
            if *count == 0 {
                ready.push(id.index());
            }
        }
    }
    if order.len() < next.len() {
        report_circle(policy, &next, &order, report);
        return None;
    }
    Some(reached(policy, &next, order, report))
}

fn leads_to(chain: &Chain) -> Vec<(TreeId, Span)> {
    let mut found = Vec::new();
    each_chain(chain, &mut |chain| {
        if let Tail::Tree(id, span) = chain.tail {
            found.push((id, span));
        }
    });
    found
}

/// Goes back along the trees that never got ready until one comes twice. Each of them is led to by another of them,
/// or else it would have got ready.
fn report_circle(policy: &Policy, next: &[Vec<(TreeId, Span)>], order: &[TreeId], report: &mut Report) {
    let mut waits = vec![true; next.len()];
    for id in order {
        if let Some(mark) = waits.get_mut(id.index()) {
            *mark = false;
        }
    }
    let is_left = |tree: usize| waits.get(tree) == Some(&true);
    let mut caller: Vec<Option<(usize, Span)>> = vec![None; next.len()];
    for (tree, list) in next.iter().enumerate().filter(|(tree, _)| is_left(*tree)) {
        for (id, place) in list {
            if let Some(known) = caller.get_mut(id.index()) {
                known.get_or_insert((tree, *place));
            }
        }
    }
    let Some(start) = (0..next.len()).find(|&tree| is_left(tree)) else { return };
    let mut path = vec![(start, policy.span)];
    let mut seen = BTreeSet::from([start]);
    while let Some((tree, place)) = path.last().and_then(|&(tree, _)| caller.get(tree).copied().flatten()) {
        path.push((tree, place));
        if !seen.insert(tree) {
            break;
        }
    }
    let Some(&(meets, back)) = path.last() else { return };
    // Backwards from where the circle closes to where it was met first: the way a packet would go.
    let mut circle: Vec<usize> = path.iter().rev().skip(1).map(|&(tree, _)| tree).collect();
    circle.truncate(circle.iter().position(|&tree| tree == meets).map_or(circle.len(), |at| at + 1));
    let name = |tree: usize| policy.trees.get(tree).map_or("", |tree| tree.name.as_str());
    let names: Vec<&str> = std::iter::once(meets).chain(circle).map(name).collect();
    let declared = policy.trees.get(meets).map_or(policy.span, |tree| tree.span);
    report
        .error("E0205", back, format!("tree `{}` leads back to itself", name(meets)))
        .also(declared, "declared here")
        .because(format!("the way round is {}; a packet never goes back up", names.join(" → ")))
        .help("end the chain here, or give the repeated part a tree of its own");
}

fn reached(
    policy: &Policy,
    next: &[Vec<(TreeId, Span)>],
    order: Vec<TreeId>,
    report: &mut Report,
) -> Vec<TreeId> {
    let mut marks = vec![false; next.len()];
    let mut open: Vec<TreeId> = leads_to(&policy.root).into_iter().map(|(id, _)| id).collect();
    while let Some(id) = open.pop() {
        if let Some(mark) = marks.get_mut(id.index())
            && !std::mem::replace(mark, true)
        {
            open.extend(next.get(id.index()).into_iter().flatten().map(|(id, _)| *id));
        }
    }
    for ((tree, mark), id) in policy.trees.iter().zip(&marks).zip(0..) {
        // A tree that nothing names at all has been told as unused.
        let named = next.iter().flatten().any(|(other, _)| other.0 == id);
        if !mark && named {
            report
                .warning("W0404", tree.span, format!("tree `{}` is reached from no policy", tree.name))
                .help("remove it, or use it");
        }
    }
    order.into_iter().filter(|id| marks.get(id.index()) == Some(&true)).collect()
}
