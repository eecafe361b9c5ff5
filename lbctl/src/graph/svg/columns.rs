//! Owns where trees go and how the wires between them run: each tree in a column right of all that lead to it, near
//! them, its wires in the gutters. A layered drawing (Sugiyama, Tagawa and Toda 1981) with boxes of fixed ports; heights
//! by isotonic regression (pool adjacent violators), which is exact for a given order. Never what is in a tree.

use std::collections::BTreeMap;

use super::block::Call;
use super::shape::{Line, Rect, Wire};

/// A framed tree, before it has a place.
#[derive(Debug)]
pub struct Part {
    pub width: i32,
    pub height: i32,
    /// Where wires come in, from the top, and how far.
    pub entry: i32,
    pub inset: i32,
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
/// So many parts are looked at for a narrower drawing.
const MOST_NEAR: usize = 200;
/// Height of a wire that passes a column.
const PASS: i32 = 14;

/// What stands in a column: a part, or the wire to a part further on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Item {
    Part(usize),
    Pass(usize),
    /// A part of an earlier column that is as wide as to stand in this one too.
    Fixed(usize),
}

impl Item {
    /// From the top to where wires come in.
    fn entry(self, parts: &[Part]) -> i32 {
        match self {
            Item::Part(part) | Item::Fixed(part) => parts[part].entry,
            Item::Pass(_) => PASS / 2,
        }
    }

    /// With what has to stay free below.
    fn height(self, parts: &[Part]) -> i32 {
        match self {
            Item::Part(part) | Item::Fixed(part) => parts[part].height + SPACE,
            Item::Pass(_) => PASS,
        }
    }

    /// How much it matters that it stands where it should.
    fn weight(self) -> i64 {
        if matches!(self, Item::Fixed(_)) { 10_000 } else { 1 }
    }
}

/// Places the parts; part 0 is the root, and calls lead to later columns without a circle.
///
/// A wide tree that leads nowhere need not keep the columns behind it away: they are laid above and below it where no
/// wire then has to run over it.
pub fn place(parts: &[Part]) -> Placed {
    let column = columns(parts);
    let near = (parts.len() <= MOST_NEAR).then(|| lay(parts, &column, true));
    near.filter(|placed| is_clear(parts, placed)).unwrap_or_else(|| lay(parts, &column, false))
}

fn lay(parts: &[Part], column: &[usize], near: bool) -> Placed {
    let count = column.iter().max().map_or(1, |last| last + 1);
    let mut gutters: Vec<BTreeMap<usize, Net>> = (0..count).map(|_| BTreeMap::new()).collect();
    let mut placed = Placed { at: vec![(0, 0); parts.len()], wires: Vec::new(), width: 0, height: 0 };
    // From where to where each column goes.
    let mut sides = Vec::with_capacity(count);
    let mut left = 0;
    for at in 0..count {
        let in_the_way = |&part: &usize| {
            near && column[part] < at && placed.at[part].0 + parts[part].width + MARGIN > left
        };
        let fixed: Vec<usize> = (0..parts.len()).filter(in_the_way).collect();
        let mut wanted = wanted(parts, column, at, &gutters);
        wanted.extend(fixed.into_iter().map(|part| (Item::Fixed(part), placed.at[part].1)));
        wanted.sort_by_key(|&(item, top)| (top + item.entry(parts), item));
        let mut right = left;
        for (item, top) in stacked(&wanted, parts) {
            match item {
                Item::Fixed(_) => {}
                Item::Part(index) => {
                    let part = &parts[index];
                    placed.at[index] = (left, top);
                    placed.width = placed.width.max(left + part.width);
                    placed.height = placed.height.max(top + part.height);
                    if !near || !part.calls.is_empty() {
                        right = right.max(left + part.width);
                    }
                    if let Some(net) = at.checked_sub(1).and_then(|gutter| gutters[gutter].get_mut(&index)) {
                        net.to = top + part.entry;
                    }
                    for call in &part.calls {
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
        sides.push((left, right));
        left = right + gutter_width(gutters[at].len());
    }
    placed.wires = wires(parts, &placed.at, &gutters, &sides);
    placed
}

/// Nothing covers anything, and no wire between columns runs over a part.
fn is_clear(parts: &[Part], placed: &Placed) -> bool {
    let rects: Vec<Rect> = parts
        .iter()
        .zip(&placed.at)
        .map(|(part, &(x, y))| Rect { x, y, w: part.width, h: part.height })
        .collect();
    let apart = |one: &Rect, other: &Rect| {
        one.right() + MARGIN / 2 <= other.x
            || other.right() + MARGIN / 2 <= one.x
            || one.bottom() + SPACE / 2 <= other.y
            || other.bottom() + SPACE / 2 <= one.y
    };
    let upright = placed.wires.iter().flat_map(|wire| wire.points.windows(2)).filter_map(|leg| match *leg {
        [(x, from), (to_x, to)] if x == to_x => Some(Rect { x, y: from.min(to), w: 0, h: (to - from).abs() }),
        _ => None,
    });
    (1..rects.len()).all(|at| rects[at..].iter().all(|other| apart(&rects[at - 1], other)))
        && upright.into_iter().all(|leg| rects.iter().all(|rect| apart(&leg, rect)))
}

fn gutter_width(wires: usize) -> i32 {
    2 * MARGIN + TRACK * (wires as i32 - 1).max(0)
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

/// What stands in a column, and the height it should have for straight wires.
fn wanted(parts: &[Part], column: &[usize], at: usize, gutters: &[BTreeMap<usize, Net>]) -> Vec<(Item, i32)> {
    let Some(before) = at.checked_sub(1) else {
        return (0..parts.len())
            .filter(|&part| column[part] == 0)
            .map(|part| (Item::Part(part), 0))
            .collect();
    };
    let wanted = gutters[before].iter().map(|(&target, net)| {
        let sum: i64 = net.from.iter().map(|source| i64::from(source.y)).sum();
        let mean = (sum / net.from.len().max(1) as i64) as i32;
        let item = if column[target] == at { Item::Part(target) } else { Item::Pass(target) };
        (item, mean - item.entry(parts))
    });
    wanted.collect()
}

/// The tops nearest to those wanted (least squares) in this order without overlap, none above 0.
fn stacked(wanted: &[(Item, i32)], parts: &[Part]) -> Vec<(Item, i32)> {
    struct Pool {
        sum: i64,
        weight: i64,
        count: usize,
    }
    // Without heights, tops need only not fall; what falls is pooled to its mean.
    let mut pools: Vec<Pool> = Vec::new();
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut offset = 0i64;
    for &(item, top) in wanted {
        offsets.push(offset);
        let weight = item.weight();
        let mut pool = Pool { sum: (i64::from(top) - offset) * weight, weight, count: 1 };
        while let Some(above) = pools.pop_if(|above| above.sum * pool.weight > pool.sum * above.weight) {
            pool.sum += above.sum;
            pool.weight += above.weight;
            pool.count += above.count;
        }
        pools.push(pool);
        offset += i64::from(item.height(parts));
    }
    let level = |pool: &Pool| (pool.sum / pool.weight).max(0);
    let levels = pools.iter().flat_map(|pool| std::iter::repeat_n(level(pool), pool.count));
    let tops = levels.zip(&offsets).map(|(level, offset)| (level + offset) as i32);
    wanted.iter().map(|&(item, _)| item).zip(tops).collect()
}

fn wires(
    parts: &[Part],
    at: &[(i32, i32)],
    gutters: &[BTreeMap<usize, Net>],
    sides: &[(i32, i32)],
) -> Vec<Wire> {
    let mut wires = Vec::new();
    // Where the gutter before the column begins for each net that comes out of it.
    let mut arriving: BTreeMap<usize, i32> = BTreeMap::new();
    for (gutter, &(left, right)) in gutters.iter().zip(sides) {
        let mut leaving = BTreeMap::new();
        for (target, track) in in_order(gutter).into_iter().zip(0..) {
            let Some(net) = gutter.get(&target) else { continue };
            let x = right + MARGIN + track * TRACK;
            let wire = |points, reached, arrow| Wire { points, line: Line::Call, reached, arrow };
            for source in &net.from {
                let start = match source.back {
                    Some((part, inside)) => at[part].0 + inside,
                    None => arriving.get(&target).copied().unwrap_or(left),
                };
                let points = match source.y == net.to {
                    true => vec![(start, source.y), (x, source.y)],
                    false => vec![(start, source.y), (x, source.y), (x, net.to), (x + TRACK / 2, net.to)],
                };
                wires.push(wire(points, source.reached, false));
            }
            if net.passes {
                leaving.insert(target, x);
            } else {
                let end = right + gutter_width(gutter.len()) + parts[target].inset;
                wires.push(wire(vec![(x, net.to), (end, net.to)], net.reached(), true));
            }
        }
        arriving = leaving;
    }
    wires
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(width: i32, height: i32, calls: &[(usize, i32)]) -> Part {
        let calls = calls.iter().map(|&(tree, y)| Call { tree, x: width - 20, y, reached: true }).collect();
        Part { width, height, entry: 40, inset: 10, calls }
    }

    #[test]
    fn a_wide_end_keeps_nothing_away_that_fits_beside_it() {
        // The root leads to a small tree, which leads on, and below it to a wide one, which does not.
        let parts = [
            part(300, 400, &[(1, 60), (2, 300)]),
            part(200, 100, &[(3, 40)]),
            part(900, 100, &[]),
            part(200, 100, &[]),
        ];
        let placed = place(&parts);
        let [_, (small, _), (wide, low), (behind, high)] = placed.at[..] else { panic!("{placed:?}") };
        assert_eq!(wide, small);
        assert!(behind < wide + 900 && high + 100 <= low, "{placed:?}");
        assert!(is_clear(&parts, &placed));
    }

    #[test]
    fn no_wire_runs_over_a_wide_end() {
        // What the small tree leads to is wanted above and below the wide one, and reached from both sides of it.
        let parts = [
            part(300, 600, &[(1, 40), (2, 300), (3, 560)]),
            part(200, 100, &[(4, 40)]),
            part(900, 100, &[]),
            part(200, 100, &[(4, 40)]),
            part(200, 100, &[]),
        ];
        let placed = place(&parts);
        assert!(placed.at[4].0 > placed.at[2].0 + 900, "{placed:?}");
        assert!(is_clear(&parts, &placed));
    }

    #[test]
    fn tops_are_the_nearest_without_overlap() {
        let parts = [part(10, 100, &[]), part(10, 100, &[])];
        let stack = |first, second| stacked(&[(Item::Part(0), first), (Item::Part(1), second)], &parts);
        assert_eq!(stack(0, 500), [(Item::Part(0), 0), (Item::Part(1), 500)]);
        // 20 too near: each gives way by half of it.
        assert_eq!(stack(200, 200 + 100 + SPACE - 20), [(Item::Part(0), 190), (Item::Part(1), 312)]);
        let fixed = stacked(&[(Item::Part(0), 480), (Item::Fixed(1), 500)], &parts);
        assert_eq!(fixed.last(), Some(&(Item::Fixed(1), 500)));
    }
}
