//! Owns where trees go and how the wires between them run: each tree in a column right of all that lead to it, near
//! them, its wires in the gutters. A layered drawing (Sugiyama, Tagawa and Toda 1981) with boxes of fixed ports; heights
//! by isotonic regression (pool adjacent violators), which is exact for a given order. Never what is in a tree.

use std::collections::BTreeMap;

use super::block::Call;
use super::shape::{Line, Wire};

/// A framed tree, before it has a place.
#[derive(Debug)]
pub struct Part {
    pub width: i32,
    pub height: i32,
    /// Where wires come in, from the top.
    pub entry: i32,
    /// Places from the part's upper left; `tree` is an index into the parts.
    pub calls: Vec<Call>,
}

#[derive(Debug)]
pub struct Placed {
    /// Upper left of each part.
    pub at: Vec<(i32, i32)>,
    pub wires: Vec<Wire>,
    pub width: i32,
    pub height: i32,
}

/// Between frames of a column.
const SPACE: i32 = 22;
/// From a frame to the first wire of a gutter, and between wires.
const MARGIN: i32 = 22;
const TRACK: i32 = 12;
/// Height of a wire that passes a column.
const PASS: i32 = 14;

/// What stands in a column: a part, or the wire to a part further on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Item {
    Part(usize),
    Pass(usize),
}

/// Places the parts; part 0 is the root, and calls lead to later columns without a circle.
pub fn place(parts: &[Part]) -> Placed {
    let column = columns(parts);
    let count = column.iter().max().map_or(1, |last| last + 1);
    let mut columns: Vec<BTreeMap<Item, i32>> = vec![BTreeMap::new(); count];
    let mut gutters: Vec<BTreeMap<usize, Net>> = (0..count).map(|_| BTreeMap::new()).collect();
    let mut widths = vec![0; count];
    for (part, &at) in parts.iter().zip(&column) {
        widths[at] = widths[at].max(part.width);
    }
    for at in 0..count {
        let wanted = wanted(parts, &column, at, &gutters);
        let placed = stacked(&wanted, parts);
        for (&item, &top) in &placed {
            match item {
                Item::Part(index) => {
                    if let Some(net) = at.checked_sub(1).and_then(|gutter| gutters[gutter].get_mut(&index)) {
                        net.to = top + parts[index].entry;
                    }
                    for call in &parts[index].calls {
                        let from =
                            Source { y: top + call.y, back: Some((index, call.x)), reached: call.reached };
                        gutters[at].entry(call.tree).or_default().from.push(from);
                    }
                }
                Item::Pass(target) => {
                    let mut reached = false;
                    if let Some(net) = at.checked_sub(1).and_then(|gutter| gutters[gutter].get_mut(&target)) {
                        net.to = top + PASS / 2;
                        net.passes = true;
                        reached = net.reached();
                    }
                    let from = Source { y: top + PASS / 2, back: None, reached };
                    gutters[at].entry(target).or_default().from.push(from);
                }
            }
        }
        columns[at] = placed;
    }
    draw(parts, &columns, &gutters, &widths)
}

/// All wires of a gutter that lead to one part: they join.
#[derive(Debug, Default)]
struct Net {
    from: Vec<Source>,
    to: i32,
    /// It goes on past the next column.
    passes: bool,
}

#[derive(Debug)]
struct Source {
    y: i32,
    /// The part and the place in it where the wire starts; none where it comes from a gutter further left.
    back: Option<(usize, i32)>,
    reached: bool,
}

impl Net {
    fn reached(&self) -> bool {
        self.from.iter().any(|source| source.reached)
    }

    fn range(&self) -> (i32, i32) {
        let heights = self.from.iter().map(|source| source.y).chain([self.to]);
        heights.fold((i32::MAX, i32::MIN), |(low, high), y| (low.min(y), high.max(y)))
    }
}

/// The column of each part: the longest way to it.
fn columns(parts: &[Part]) -> Vec<usize> {
    let mut callers = vec![0usize; parts.len()];
    for call in parts.iter().flat_map(|part| &part.calls) {
        callers[call.tree] += 1;
    }
    let mut ready: Vec<usize> = (0..parts.len()).filter(|&part| callers[part] == 0).collect();
    let mut column = vec![0; parts.len()];
    while let Some(part) = ready.pop() {
        for call in &parts[part].calls {
            column[call.tree] = column[call.tree].max(column[part] + 1);
            callers[call.tree] -= 1;
            if callers[call.tree] == 0 {
                ready.push(call.tree);
            }
        }
    }
    column
}

/// What stands in a column from top to bottom, and the height it should have for straight wires.
fn wanted(parts: &[Part], column: &[usize], at: usize, gutters: &[BTreeMap<usize, Net>]) -> Vec<(Item, i32)> {
    let Some(before) = at.checked_sub(1) else {
        return (0..parts.len())
            .filter(|&part| column[part] == 0)
            .map(|part| (Item::Part(part), 0))
            .collect();
    };
    let mut wanted: Vec<(Item, i32)> = gutters[before]
        .iter()
        .map(|(&target, net)| {
            let sum: i64 = net.from.iter().map(|source| i64::from(source.y)).sum();
            let mean = (sum / net.from.len().max(1) as i64) as i32;
            match column[target] == at {
                true => (Item::Part(target), mean - parts[target].entry),
                false => (Item::Pass(target), mean - PASS / 2),
            }
        })
        .collect();
    wanted.sort_by_key(|&(item, top)| match item {
        Item::Part(part) => (top + parts[part].entry, item),
        Item::Pass(_) => (top + PASS / 2, item),
    });
    wanted
}

/// The tops nearest to those wanted (least squares) in this order without overlap, none above 0.
fn stacked(wanted: &[(Item, i32)], parts: &[Part]) -> BTreeMap<Item, i32> {
    // Without heights, tops need only not fall; what falls is pooled to its mean.
    let mut pools: Vec<(i64, i64)> = Vec::new();
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut offset = 0i64;
    for &(item, top) in wanted {
        offsets.push(offset);
        pools.push((i64::from(top) - offset, 1));
        while let [.., (above, many), (below, few)] = pools.as_slice() {
            if above * few <= below * many {
                break;
            }
            let pooled = (above + below, many + few);
            pools.truncate(pools.len() - 2);
            pools.push(pooled);
        }
        offset += i64::from(match item {
            Item::Part(part) => parts[part].height + SPACE,
            Item::Pass(_) => PASS,
        });
    }
    let levels = pools.iter().flat_map(|&(sum, count)| (0..count).map(move |_| (sum / count).max(0)));
    let tops = levels.zip(&offsets).map(|(level, offset)| (level + offset) as i32);
    wanted.iter().map(|&(item, _)| item).zip(tops).collect()
}

fn draw(
    parts: &[Part],
    columns: &[BTreeMap<Item, i32>],
    gutters: &[BTreeMap<usize, Net>],
    widths: &[i32],
) -> Placed {
    let mut placed = Placed { at: vec![(0, 0); parts.len()], wires: Vec::new(), width: 0, height: 0 };
    let mut left = 0;
    // Where the gutter before the column begins for each net that comes out of it.
    let mut arriving: BTreeMap<usize, i32> = BTreeMap::new();
    for ((column, gutter), width) in columns.iter().zip(gutters).zip(widths) {
        for (&item, &top) in column {
            if let Item::Part(part) = item {
                placed.at[part] = (left, top);
                placed.height = placed.height.max(top + parts[part].height);
            }
        }
        let right = left + width;
        placed.width = placed.width.max(right);
        let order = in_order(gutter);
        let next = right + 2 * MARGIN + TRACK * (order.len() as i32 - 1).max(0);
        let mut leaving = BTreeMap::new();
        for (target, track) in order.into_iter().zip(0..) {
            let Some(net) = gutter.get(&target) else { continue };
            let x = right + MARGIN + track * TRACK;
            let wire = |points, reached, arrow| Wire { points, line: Line::Call, reached, arrow };
            for source in &net.from {
                let start = match source.back {
                    Some((part, inside)) => placed.at[part].0 + inside,
                    None => arriving.get(&target).copied().unwrap_or(left),
                };
                let points = match source.y == net.to {
                    true => vec![(start, source.y), (x, source.y)],
                    false => vec![(start, source.y), (x, source.y), (x, net.to), (x + TRACK / 2, net.to)],
                };
                placed.wires.push(wire(points, source.reached, false));
            }
            if net.passes {
                leaving.insert(target, x);
            } else {
                placed.wires.push(wire(
                    vec![(x, net.to), (next + parts[target].width.min(14), net.to)],
                    net.reached(),
                    true,
                ));
            }
        }
        arriving = leaving;
        left = next;
    }
    placed
}

/// The nets of a gutter from left to right, with few crossings: neighbours change places while that helps.
fn in_order(gutter: &BTreeMap<usize, Net>) -> Vec<usize> {
    let mut order: Vec<(usize, &Net)> = gutter.iter().map(|(&target, net)| (target, net)).collect();
    order.sort_by_key(|(_, net)| net.to);
    for _ in 0..order.len().min(64) {
        let mut better = false;
        for at in 1..order.len() {
            let (left, right) = (order[at - 1].1, order[at].1);
            if crossings(right, left) < crossings(left, right) {
                order.swap(at - 1, at);
                better = true;
            }
        }
        if !better {
            break;
        }
    }
    order.into_iter().map(|(target, _)| target).collect()
}

/// How often the wires of two nets cross if the one's upright part is left of the other's. A level part of the one that
/// runs into one of the other could not be told from it, and counts for many.
fn crossings(left: &Net, right: &Net) -> usize {
    let within = |y: i32, (low, high): (i32, i32)| low < y && y < high;
    let sources = right.from.iter().filter(|source| within(source.y, left.range())).count();
    let same = right.from.iter().filter(|source| (source.y - left.to).abs() < 4).count();
    sources + usize::from(within(left.to, right.range())) + 100 * same
}
