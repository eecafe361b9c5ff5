//! Owns where the boxes of one chain go: steps level on a line, ways below each other in their order, exits below their
//! step. No box covers another and no wire runs over one, by construction. Never where a tree as a whole goes.

use compiler::figure::{Chain, Exit, Kind, Label, Select, Step, Tail, end_label};

use unicode_width::UnicodeWidthStr;

use super::shape::{Line, Node, Rect, Shape, Size, Text, Wire};
use crate::graph::style::{Look, verdict};
use crate::graph::way_label;
use crate::table::{without_middle, wrapped};

/// Height of a box of one line, and of the row of a selector.
pub const ROW: i32 = 24;
/// Height of the line that steps stand on, from the top of their boxes.
pub const LEVEL: i32 = ROW / 2;
/// Between a step and the next.
const GAP: i32 = 30;
/// Between a way and the next, and between exits.
const SPACE: i32 = 7;
/// From the left of a step to where its exits leave it.
const STEM: i32 = 12;
/// Of a line in small letters.
const SMALL: i32 = 13;
/// Of a further line of a guard.
const LINE: i32 = 15;
/// Columns of text in a step, and in a line of a guard.
const STEP_WIDTH: usize = 36;
const GUARD_WIDTH: usize = 44;
/// Lines of a guard; a longer one loses its middle.
const GUARD_LINES: usize = 6;
/// Right of what leads out of the block, which must stay free.
const FAR: i32 = i32::MAX / 4;

/// What is drawn of a chain, its upper left at 0, 0; it is entered at the left, `LEVEL` below the top.
#[derive(Debug)]
pub struct Block {
    pub shapes: Vec<Shape>,
    pub width: i32,
    pub height: i32,
    /// Where wires to trees leave; nothing stands right of them.
    pub calls: Vec<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    pub tree: usize,
    pub x: i32,
    pub y: i32,
    pub reached: bool,
}

impl Block {
    fn new() -> Block {
        Block { shapes: Vec::new(), width: 0, height: 0, calls: Vec::new() }
    }

    fn add(&mut self, inner: Block, x: i32, y: i32) {
        self.shapes.extend(inner.shapes.into_iter().map(|mut shape| {
            shape.shift(x, y);
            shape
        }));
        self.calls.extend(inner.calls.into_iter().map(|call| Call { x: call.x + x, y: call.y + y, ..call }));
        self.width = self.width.max(x + inner.width);
        self.height = self.height.max(y + inner.height);
    }

    fn node(&mut self, node: Node) {
        self.width = self.width.max(node.rect.right());
        self.height = self.height.max(node.rect.bottom());
        self.shapes.push(Shape::Node(node));
    }
}

/// What is taken of the height, from the top, between two widths.
struct Skyline(Vec<(i32, i32, i32)>);

impl Skyline {
    fn take(&mut self, from: i32, to: i32, bottom: i32) {
        self.0.push((from, to, bottom));
    }

    /// The first free height.
    fn below(&self, from: i32, to: i32) -> i32 {
        let over = self.0.iter().filter(|(left, right, _)| *left < to && from < *right);
        over.map(|(_, _, bottom)| *bottom).max().unwrap_or(0)
    }
}

/// Lays a chain out. `trees` are the names of the trees that may be called, by index, and whether they are drawn.
pub fn chain(chain: &Chain, trees: &[(String, bool)]) -> Block {
    let mut block = Block::new();
    let mut skyline = Skyline(Vec::new());
    let mut stems = Vec::new();
    let mut x = 0;
    for step in &chain.steps {
        let node = step_box(step, x, chain.reached);
        let (right, bottom) = (node.rect.right(), node.rect.bottom());
        skyline.take(x - GAP, right, bottom);
        block.node(node);
        stems.push((step, x, bottom));
        block.shapes.push(wire(&[(right, LEVEL), (right + GAP, LEVEL)], Line::Way, chain.reached));
        x = right + GAP;
    }
    let tail = tail(&chain.tail, chain.reached, trees);
    skyline.take(x - GAP, if tail.calls.is_empty() { x + tail.width } else { FAR }, tail.height);
    block.add(tail, x, 0);
    // From the right, so that what is long on the left finds its place below what is on the right.
    for (step, x, bottom) in stems.into_iter().rev() {
        let mut stem = bottom;
        for exit in &step.exits {
            stem = exit_below(&mut block, &mut skyline, exit, x, stem, chain.reached, trees);
        }
    }
    block
}

/// Adds an exit of the step at `x`, its wire down from `stem`; gives where the next one's wire starts.
fn exit_below(
    block: &mut Block,
    skyline: &mut Skyline,
    exit: &Exit,
    x: i32,
    stem: i32,
    reached: bool,
    trees: &[(String, bool)],
) -> i32 {
    let default = if exit.written { "" } else { " (default)" };
    let label = format!("{}{default}", exit.names.join(", "));
    let text = Text::new(x + STEM + 7, 0, Size::Small, label).quiet();
    let start = text.rect().right() + 18;
    let inner = chain(&exit.chain, trees);
    let right = if inner.calls.is_empty() { start + inner.width } else { FAR };
    let top = skyline.below(x, right + GAP / 2) + SPACE;
    skyline.take(x, right, top + inner.height);
    let level = top + LEVEL;
    let line = if exit.written { Line::Exit } else { Line::Default };
    block.shapes.push(wire(&[(x + STEM, stem), (x + STEM, level), (start, level)], line, reached));
    block.shapes.push(Shape::Text(Text { y: level - 4, ..text }));
    block.add(inner, start, top);
    level
}

fn tail(tail: &Tail, reached: bool, trees: &[(String, bool)]) -> Block {
    let mut block = Block::new();
    match tail {
        Tail::End(end) => {
            let text = Text::new(11, LEVEL + 4, Size::Normal, end_label(*end)).bold();
            let w = text.rect().w + 22;
            let rect = Rect { x: 0, y: 1, w, h: ROW - 2 };
            let look = Look::Verdict(verdict(*end));
            block.node(Node { rect, look, reached, texts: vec![text], rules: Vec::new(), full: Vec::new() });
        }
        Tail::Tree(tree) => {
            let (name, drawn) = trees.get(*tree).map_or(("", false), |(name, drawn)| (name, *drawn));
            let text = Text::new(9, LEVEL + 4, Size::Normal, without_middle(name, STEP_WIDTH));
            let rect = Rect { x: 0, y: 1, w: text.rect().w + 18, h: ROW - 2 };
            let full = vec![format!("tree {name}")];
            block.node(Node { rect, look: Look::Call, reached, texts: vec![text], rules: Vec::new(), full });
            if drawn {
                block.calls.push(Call { tree: *tree, x: rect.right(), y: LEVEL, reached });
            }
        }
        Tail::More => block.node(more(reached)),
        Tail::Select(select) => selector(&mut block, select, reached, trees),
    }
    block
}

fn more(reached: bool) -> Node {
    let text = Text::new(9, LEVEL + 4, Size::Normal, "…");
    let rect = Rect { x: 0, y: 1, w: text.rect().w + 18, h: ROW - 2 };
    let full = vec!["not drawn".to_owned()];
    Node { rect, look: Look::More, reached, texts: vec![text], rules: Vec::new(), full }
}

/// A box with a row for each way, as high as what the way leads to.
fn selector(block: &mut Block, select: &Select, reached: bool, trees: &[(String, bool)]) {
    let mut texts = vec![Text::new(9, LEVEL + 4, Size::Normal, &select.title).bold()];
    let mut full = vec![select.title.clone()];
    let mut y = ROW;
    let mut rows = Vec::new();
    for way in &select.ways {
        let label = way_label(&way.label, select);
        let (shown, whole) = guard_lines(&label, 9, y + LEVEL + 4);
        if !whole {
            full.push(label);
        }
        let mut least = ROW + (shown.len() as i32 - 1) * LINE;
        let quiet = way.chain.reached != reached || matches!(way.label, Label::More(_));
        texts.extend(shown.into_iter().map(|text| if quiet { text.quiet() } else { text }));
        if reached && !way.chain.reached {
            texts.push(Text::new(9, y + least + 4, Size::Small, "unreachable").quiet());
            least += SMALL;
        }
        let inner = chain(&way.chain, trees);
        let height = inner.height.max(least);
        rows.push((y, inner, way.chain.reached));
        y += height + SPACE;
    }
    let width = texts.iter().map(|text| text.rect().w).max().unwrap_or(0);
    let rect = Rect { x: 0, y: 0, w: width + 18, h: y };
    let rules = rows.iter().map(|(y, ..)| y - SPACE / 2).collect();
    block.node(Node { rect, look: Look::Selector, reached, texts, rules, full });
    for (y, inner, reached) in rows {
        let level = y + LEVEL;
        block.shapes.push(wire(&[(rect.w, level), (rect.w + GAP, level)], Line::Way, reached));
        block.add(inner, rect.w + GAP, y);
    }
}

/// A guard in lines from `x`, the first one at `y`; and whether all of it is there.
fn guard_lines(guard: &str, x: i32, y: i32) -> (Vec<Text>, bool) {
    let mut all: Vec<String> = Vec::new();
    for clause in clauses(guard) {
        match all.last_mut() {
            Some(line) if line.width() + 1 + clause.width() <= GUARD_WIDTH => {
                line.push(' ');
                line.push_str(clause);
            }
            _ => all.extend(wrapped(clause, GUARD_WIDTH)),
        }
    }
    let mut lines = all.clone();
    if all.len() > GUARD_LINES {
        lines.drain(GUARD_LINES / 2..all.len() - (GUARD_LINES - GUARD_LINES / 2 - 1));
        lines.insert(GUARD_LINES / 2, "…".to_owned());
    }
    for line in &mut lines {
        *line = without_middle(line, GUARD_WIDTH);
    }
    let whole = lines == all;
    let texts = lines.into_iter().zip(0..).map(|(line, at)| Text::new(x, y + at * LINE, Size::Normal, line));
    (texts.collect(), whole)
}

/// A guard in parts that stand well on lines of their own: from one `and` or `or` to the next.
fn clauses(guard: &str) -> Vec<&str> {
    let mut clauses = Vec::new();
    let mut from = 0;
    for (at, _) in guard.match_indices(' ') {
        let rest = &guard[at + 1..];
        if rest.starts_with("and ") || rest.starts_with("or ") {
            clauses.push(&guard[from..at]);
            from = at + 1;
        }
    }
    clauses.push(&guard[from..]);
    clauses
}

fn step_box(step: &Step, x: i32, reached: bool) -> Node {
    let (mut texts, _) = match step.kind {
        Kind::Filter => guard_lines(&step.title, x + 9, LEVEL + 4),
        _ => {
            let title = without_middle(&step.title, STEP_WIDTH);
            (vec![Text::new(x + 9, LEVEL + 4, Size::Normal, title).bold()], true)
        }
    };
    let mut height = ROW + (texts.len() as i32 - 1) * LINE;
    for setting in &step.settings {
        texts.push(Text::new(x + 9, height + 8, Size::Small, without_middle(setting, STEP_WIDTH)));
        height += SMALL;
    }
    height += if step.settings.is_empty() { 0 } else { 3 };
    let width = texts.iter().map(|text| text.rect().w).max().unwrap_or(0) + 18;
    let full = std::iter::once(&step.title).chain(&step.settings).cloned().collect();
    let rect = Rect { x, y: 0, w: width, h: height };
    Node { rect, look: Look::Step(step.kind), reached, texts, rules: Vec::new(), full }
}

fn wire(points: &[(i32, i32)], line: Line, reached: bool) -> Shape {
    Shape::Wire(Wire { points: points.to_vec(), line, reached, arrow: true })
}
