//! Owns the bounds of a figure, whatever the policy: long runs of arms that lead to the same stand as one, and what
//! goes beyond is counted. Never folds what is not beside each other, for the order of arms is their meaning.

use std::collections::VecDeque;

use super::{Chain, Figure, Label, Select, Tail, Way};

/// Ways of one `match` or `every` that are drawn.
pub const MOST_WAYS: usize = 64;

/// Rows of a table, and tables, that are drawn.
pub const MOST_ROWS: usize = 24;

/// Steps, ways and ends that are drawn in all.
pub const MOST_PARTS: usize = 3_000;

/// So many ways in a row that lead to the same stand as they are.
const RUN: usize = 6;

/// Of a longer run, so many do.
const SHOWN: usize = 3;

/// Folds runs of ways that lead to the same, and then what is beyond `MOST_WAYS`.
pub(super) fn runs(ways: Vec<Way>) -> Vec<Way> {
    let mut folded: Vec<Way> = Vec::new();
    for run in ways.chunk_by(|one, next| one.chain == next.chain) {
        let shown = if run.len() > RUN { SHOWN } else { run.len() };
        folded.extend(run.iter().take(shown).cloned());
        if let Some(first) = run.get(shown) {
            folded.push(Way { label: Label::More(run.len() - shown), chain: first.chain.clone() });
        }
    }
    if folded.len() > MOST_WAYS {
        let drawn: Vec<Way> = folded.into_iter().take(MOST_WAYS - 1).collect();
        let left = ways.len() - stood_for(&ways, drawn.len());
        let chain = Chain { reached: true, steps: Vec::new(), tail: Tail::More };
        folded = drawn;
        folded.push(Way { label: Label::More(left), chain });
    }
    folded
}

/// How many of the ways the first rows of the folded list stand for.
fn stood_for(ways: &[Way], rows: usize) -> usize {
    let (mut stand, mut left) = (0, rows);
    for run in ways.chunk_by(|one, next| one.chain == next.chain) {
        let in_rows = if run.len() > RUN { SHOWN + 1 } else { run.len() };
        match left {
            0 => break,
            // The row of the rest is the last of its run.
            _ if left >= in_rows => stand += run.len(),
            _ => stand += left,
        }
        left -= left.min(in_rows);
    }
    stand
}

/// Cuts what is beyond `MOST_PARTS`, and trees that only parts lead to that are not drawn. What is near the root is drawn
/// first.
pub(super) fn within_bounds(figure: &mut Figure) {
    let mut left = MOST_PARTS;
    cut(&mut figure.root, &mut left);
    let mut open: VecDeque<usize> = called(&figure.root).into();
    let lost = figure.trees.iter().enumerate().filter(|(_, tree)| !tree.reached);
    open.extend(lost.map(|(tree, _)| tree));
    let mut is_drawn = vec![false; figure.trees.len()];
    while let Some(tree) = open.pop_front() {
        if let (Some(drawn @ false), Some(tree)) = (is_drawn.get_mut(tree), figure.trees.get_mut(tree)) {
            *drawn = true;
            cut(&mut tree.chain, &mut left);
            open.extend(called(&tree.chain));
        }
    }
    for (tree, _) in figure.trees.iter_mut().zip(is_drawn).filter(|(_, is_drawn)| !is_drawn) {
        tree.chain = Chain { reached: true, steps: Vec::new(), tail: Tail::More };
    }
}

/// The trees that a chain leads to, the nearest first.
fn called(chain: &Chain) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open = VecDeque::from([chain]);
    while let Some(chain) = open.pop_front() {
        open.extend(chain.steps.iter().flat_map(|step| &step.exits).map(|exit| &exit.chain));
        match &chain.tail {
            Tail::Tree(tree) => found.push(*tree),
            Tail::Select(select) => open.extend(select.ways.iter().map(|way| &way.chain)),
            Tail::End(_) | Tail::More => {}
        }
    }
    found
}

fn cut(chain: &mut Chain, left: &mut usize) {
    let steps = chain.steps.len().min(*left);
    *left -= steps;
    let is_cut = steps < chain.steps.len() || *left == 0;
    chain.steps.truncate(steps);
    for exit in chain.steps.iter_mut().flat_map(|step| &mut step.exits) {
        cut(&mut exit.chain, left);
    }
    if is_cut {
        chain.tail = Tail::More;
        return;
    }
    *left = left.saturating_sub(1);
    if let Tail::Select(Select { ways, .. }) = &mut chain.tail {
        for way in ways {
            *left = left.saturating_sub(1);
            cut(&mut way.chain, left);
        }
    }
}
