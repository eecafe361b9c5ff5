//! Owns how many of all thinkable packets are at each terminal of a diagram, roughly: what decides what is told first.
//! Never whether a packet can exist.

use std::collections::HashMap;

use lb_abi::image::Field;

use crate::lower::axis::Axis;
use crate::lower::classes::Runs;
use crate::lower::diagram::{Diagrams, NOTHING, Ref};
use crate::lower::formula::Classes;

/// The share of packets at each terminal but `NOTHING`, if every value of a field were as frequent as any other.
pub fn by_terminal(diagrams: &Diagrams, cut: &Classes, root: Ref) -> Vec<(Ref, f64)> {
    let shares: Vec<Vec<f64>> = (0..cut.counts.len()).map(|at| shares(cut, at)).collect();
    let mut rows: Vec<Vec<Ref>> = vec![Vec::new(); cut.counts.len()];
    let mut weights: HashMap<Ref, f64> = HashMap::from([(root, 0.0)]);
    let mut open = vec![root];
    while let Some(at) = open.pop() {
        let Some(row) = diagrams.row(at) else { continue };
        rows[row.field.index()].push(at);
        for child in row.exceptions.iter().map(|exception| exception.1).chain([row.default]) {
            weights.entry(child).or_insert_with(|| {
                open.push(child);
                0.0
            });
        }
    }
    weights.insert(root, 1.0);
    // A row leads to rows of later fields only.
    for at in rows.iter().flatten() {
        let Some(row) = diagrams.row(*at) else { continue };
        let weight = weights.get(at).copied().unwrap_or(0.0);
        let mut left = 1.0;
        for &(class, child) in row.exceptions {
            let share = shares[row.field.index()].get(class as usize).copied().unwrap_or(0.0);
            left -= share;
            *weights.entry(child).or_default() += weight * share;
        }
        *weights.entry(row.default).or_default() += weight * f64::max(left, 0.0);
    }
    let mut terminals: Vec<(Ref, f64)> =
        weights.into_iter().filter(|&(at, _)| at != NOTHING && diagrams.row(at).is_none()).collect();
    terminals.sort_unstable_by_key(|terminal| terminal.0);
    terminals
}

/// The share of packets for which a guard holds.
pub fn of(diagrams: &Diagrams, cut: &Classes, guard: Ref) -> f64 {
    by_terminal(diagrams, cut, guard).first().map_or(0.0, |terminal| terminal.1)
}

/// The share of each class of an axis. Both families count alike, however many addresses they have.
fn shares(cut: &Classes, at: usize) -> Vec<f64> {
    let mut shares = vec![0.0; cut.counts[at] as usize];
    let mut add = |class: u32, share: f64| {
        if let Some(place) = shares.get_mut(class as usize) {
            *place += share;
        }
    };
    match Axis::fixed(at) {
        Some(Axis::Of(Field::Src | Field::Dst)) => {
            let whole = 2f64.powi(33);
            each(&cut.v4[at], whole / 2.0, f64::from, |class, length| add(class, length / whole));
            let whole = 2f64.powi(129);
            each(&cut.v6[at], whole / 2.0, |value| value as f64, |class, length| add(class, length / whole));
        }
        Some(axis) => {
            let whole = f64::from(axis.absent()) + 1.0;
            each(&cut.small[at], whole, f64::from, |class, length| add(class, length / whole));
        }
        // Hardly any address is in a set that is filled at run time.
        None => {
            add(0, 0.9);
            add(1, 0.1);
        }
    }
    shares
}

fn each<T: Copy>(runs: &Runs<T>, end: f64, number: impl Fn(T) -> f64, mut add: impl FnMut(u32, f64)) {
    let ends = runs.runs.iter().skip(1).map(|run| number(run.0)).chain([end]);
    for (&(start, class), end) in runs.runs.iter().zip(ends) {
        add(class, end - number(start));
    }
}
