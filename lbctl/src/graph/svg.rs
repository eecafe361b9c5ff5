//! Owns the drawing as a self-contained SVG 1.1 document: heading, trees in their columns, pools, legend. Never a font, a
//! script or an address of anything outside.

mod block;
mod columns;
mod shape;

use std::fmt::Write;

use compiler::figure::{Chain, Figure, Table, Tail};

use self::block::{Block, Call, ROW};
use self::columns::Part;
use self::shape::{Frame, Line, Node, Rect, Shape, Size, Text, Wire, escaped};
use crate::graph::style::{FADED, LOOKS, Look};
use crate::graph::tables;
use crate::table::{thousands, without_middle};

/// Round the whole drawing.
const MARGIN: i32 = 28;
/// From a frame to what is in it.
const PADDING: i32 = 16;
/// Height of a frame's name.
const HEADING: i32 = 30;
/// Width of the boxes of the legend.
const LEGEND: i32 = 520;
/// Between the parts of the document.
const BAND: i32 = 34;

/// Shapes and the size of the paper.
struct Drawing {
    shapes: Vec<Shape>,
    width: i32,
    height: i32,
}

/// The document; `source` is the name of the policy's file.
pub fn document(figure: &Figure, source: &str) -> String {
    let drawing = drawing(figure, source);
    let Drawing { width, height, .. } = drawing;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-labelledby=\"what\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace\" xml:space=\"preserve\">\n\
         <title id=\"what\">policy {} ({})</title>\n\
         <defs>{}{}</defs>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"12\" fill=\"#f6f8fb\"/>\n",
        escaped(&figure.policy),
        escaped(source),
        marker("arrow", "#334155"),
        marker("faded", FADED.line),
    );
    // Frames lie below wires, wires below boxes.
    for layer in 0..3 {
        for one in drawing.shapes.iter().filter(|one| layer_of(one) == layer) {
            shape::write(one, &mut out);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn layer_of(shape: &Shape) -> u8 {
    match shape {
        Shape::Frame(_) => 0,
        Shape::Wire(_) => 1,
        Shape::Node(_) | Shape::Text(_) => 2,
    }
}

fn marker(id: &str, colour: &str) -> String {
    format!(
        "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0.8L8 4L0 7.2Z\" fill=\"{colour}\"/></marker>"
    )
}

fn drawing(figure: &Figure, source: &str) -> Drawing {
    let mut shapes = vec![
        Shape::Text(Text::new(MARGIN, MARGIN + 16, Size::Title, format!("policy {}", figure.policy)).bold()),
        Shape::Text(Text::new(MARGIN, MARGIN + 36, Size::Small, without_middle(source, 100)).quiet()),
    ];
    let (trees, left_out) = placed_trees(figure);
    let mut width = shapes.iter().filter_map(right_of).max().unwrap_or(0).max(MARGIN + trees.width);
    let top = MARGIN + 56;
    shapes.extend(shifted(trees.shapes, MARGIN, top));
    let mut y = top + trees.height + BAND;
    if left_out > 0 {
        let note = format!("and {} more trees, which are not drawn", thousands(left_out as u64));
        shapes.push(Shape::Text(Text::new(MARGIN, y, Size::Small, note).quiet()));
        y += BAND;
    }
    // What is in rows takes the width that there is, but no less than fits a page.
    let room = width.max(900);
    let mut tables: Vec<Drawing> = tables(figure).map(|(look, one)| table(one, look)).collect();
    if figure.more_pools > 0 {
        let note = Text::new(0, 16, Size::Small, format!("… {} more pools", figure.more_pools)).quiet();
        tables.push(Drawing { width: note.rect().w, height: ROW, shapes: vec![Shape::Text(note)] });
    }
    tables.push(legend(&shapes));
    let (rows, right, bottom) = in_rows(tables, room - MARGIN);
    shapes.extend(shifted(rows, MARGIN, y));
    width = width.max(MARGIN + right);
    Drawing { shapes, width: width + MARGIN, height: y + bottom + MARGIN }
}

fn shifted(shapes: Vec<Shape>, dx: i32, dy: i32) -> impl Iterator<Item = Shape> {
    shapes.into_iter().map(move |mut shape| {
        shape.shift(dx, dy);
        shape
    })
}

fn right_of(shape: &Shape) -> Option<i32> {
    match shape {
        Shape::Text(text) => Some(text.rect().right()),
        Shape::Node(node) => Some(node.rect.right()),
        Shape::Frame(frame) => Some(frame.rect.right()),
        Shape::Wire(_) => None,
    }
}

/// The root and every tree in its frame; and how many trees there is no room for.
fn placed_trees(figure: &Figure) -> (Drawing, usize) {
    let is_drawn = |chain: &Chain| !(chain.steps.is_empty() && chain.tail == Tail::More);
    let names: Vec<(String, bool)> =
        figure.trees.iter().map(|tree| (tree.name.clone(), is_drawn(&tree.chain))).collect();
    let mut framed = vec![framed(start(figure, &names), "root", true)];
    // Trees that are left out have no part.
    let mut part_of = vec![0; figure.trees.len()];
    for (index, tree) in figure.trees.iter().enumerate().filter(|(_, tree)| is_drawn(&tree.chain)) {
        part_of[index] = framed.len();
        let state = if tree.reached { "" } else { ", unreachable" };
        let heading = format!("tree {}{state}", tree.name);
        framed.push(self::framed(block::chain(&tree.chain, &names), &heading, tree.reached));
    }
    let left_out = figure.trees.len() + 1 - framed.len();
    let parts: Vec<Part> = framed
        .iter()
        .map(|block| Part {
            width: block.width,
            height: block.height,
            entry: HEADING + PADDING / 2 + block::LEVEL,
            inset: PADDING - 2,
            calls: block.calls.iter().map(|call| Call { tree: part_of[call.tree], ..*call }).collect(),
        })
        .collect();
    let placed = columns::place(&parts);
    let mut shapes: Vec<Shape> = placed.wires.into_iter().map(Shape::Wire).collect();
    for (block, &(x, y)) in framed.into_iter().zip(&placed.at) {
        shapes.extend(shifted(block.shapes, x, y));
    }
    (Drawing { shapes, width: placed.width, height: placed.height }, left_out)
}

/// The root's chain behind the box that every packet comes through.
fn start(figure: &Figure, names: &[(String, bool)]) -> Block {
    let settings = figure.settings.clone();
    let mut texts = vec![Text::new(9, block::LEVEL + 4, Size::Normal, "packet").bold()];
    for (setting, line) in settings.iter().zip(0..) {
        texts.push(Text::new(9, ROW + 8 + line * 13, Size::Small, setting));
    }
    let width = texts.iter().map(|text| text.rect().w).max().unwrap_or(0) + 18;
    let rect = Rect { x: 0, y: 0, w: width, h: ROW + settings.len() as i32 * 13 + 3 };
    let node = Node { rect, look: Look::Start, reached: true, texts, rules: Vec::new(), full: settings };
    let mut block = block::chain(&figure.root, names);
    let right = rect.w + 30;
    block.shapes = shifted(block.shapes, right, 0).collect();
    block.calls.iter_mut().for_each(|call| call.x += right);
    let points = vec![(rect.w, block::LEVEL), (right, block::LEVEL)];
    block.shapes.push(Shape::Wire(Wire { points, line: Line::Way, reached: true, arrow: true }));
    block.shapes.push(Shape::Node(node));
    block.width += right;
    block.height = block.height.max(rect.h);
    block
}

/// A block in a frame with a heading.
fn framed(block: Block, heading: &str, reached: bool) -> Block {
    let text = Text::new(PADDING, 20, Size::Heading, without_middle(heading, 60)).bold();
    let width = (block.width + 2 * PADDING).max(text.rect().right() + PADDING);
    let height = HEADING + PADDING / 2 + block.height + PADDING;
    let rect = Rect { x: 0, y: 0, w: width, h: height };
    let mut shapes = vec![Shape::Frame(Frame { rect, reached }), Shape::Text(text)];
    let (x, y) = (PADDING, HEADING + PADDING / 2);
    shapes.extend(shifted(block.shapes, x, y));
    let calls = block.calls.into_iter().map(|call| Call { x: call.x + x, y: call.y + y, ..call }).collect();
    Block { shapes, width, height, calls }
}

/// A pool, its backends in columns, or the names of a kind.
fn table(table: &Table, look: Look) -> Drawing {
    let mut texts = vec![Text::new(10, 17, Size::Normal, without_middle(&table.title, 48)).bold()];
    let mut y = 17;
    for setting in &table.settings {
        y += 14;
        texts.push(Text::new(10, y, Size::Small, without_middle(setting, 64)).quiet());
    }
    let rule = y + 7;
    y += 6;
    let cell = |row: &[String; 3], column: usize| without_middle(&row[column], 48);
    let mut x = 10;
    for column in 0..3 {
        let cells = table.rows.iter().map(|row| cell(row, column));
        let width = cells.map(|cell| Size::Small.width(&cell)).max().unwrap_or(0);
        for (row, line) in table.rows.iter().zip(1..) {
            texts.push(Text::new(x, y + line * 14, Size::Small, cell(row, column)));
        }
        x += if width > 0 { width + 14 } else { 0 };
    }
    texts.retain(|text| !text.text.is_empty());
    let width = texts.iter().map(|text| text.rect().right()).max().unwrap_or(0) + 10;
    let height = y + table.rows.len() as i32 * 14 + 8;
    let rect = Rect { x: 0, y: 0, w: width, h: height };
    let node = Node { rect, look, reached: true, texts, rules: vec![rule], full: Vec::new() };
    Drawing { shapes: vec![Shape::Node(node)], width, height }
}

/// What the colours and lines that there are stand for.
fn legend(drawn: &[Shape]) -> Drawing {
    let mut shapes = vec![Shape::Text(Text::new(0, 17, Size::Normal, "legend").bold())];
    let has_look = |look| drawn.iter().any(|shape| matches!(shape, Shape::Node(node) if node.look == look));
    let (mut x, mut y, mut width) = (0, 28, 0);
    for look in LOOKS.into_iter().filter(|look| *look != Look::More && has_look(*look)) {
        let text = Text::new(0, 14, Size::Small, look.name());
        let w = text.rect().w + 20;
        if x + w > LEGEND {
            (x, y) = (0, y + 28);
        }
        let rect = Rect { x, y, w, h: 21 };
        let texts = vec![Text { x: x + 10, y: y + 14, ..text }];
        shapes.push(Shape::Node(Node {
            rect,
            look,
            reached: true,
            texts,
            rules: Vec::new(),
            full: Vec::new(),
        }));
        x = rect.right() + 10;
        width = width.max(rect.right());
    }
    y += 40;
    let has_line = |line: Line, reached: bool| {
        drawn.iter().any(|shape| match shape {
            Shape::Wire(wire) => wire.reached == reached && (wire.line == line || !reached),
            _ => false,
        })
    };
    let lines = [
        (Line::Way, true, "on"),
        (Line::Exit, true, "exit"),
        (Line::Default, true, "exit not written: default"),
        (Line::Way, false, "unreachable"),
    ];
    let mut x = 0;
    for (line, reached, words) in lines.into_iter().filter(|(line, reached, _)| has_line(*line, *reached)) {
        shapes.push(Shape::Wire(Wire { points: vec![(x, y), (x + 34, y)], line, reached, arrow: true }));
        let text = Text::new(x + 42, y + 4, Size::Small, words).quiet();
        x = text.rect().right() + 20;
        width = width.max(x - 20);
        shapes.push(Shape::Text(text));
    }
    let order = "The arms of a match are tried from top to bottom; the first that holds is taken.";
    let order = Text::new(0, y + 24, Size::Small, order).quiet();
    width = width.max(order.rect().right());
    shapes.push(Shape::Text(order));
    Drawing { shapes, width, height: y + 30 }
}

/// Side by side, in as many rows as it takes; with the right and the bottom of all.
fn in_rows(drawings: Vec<Drawing>, room: i32) -> (Vec<Shape>, i32, i32) {
    let (mut x, mut y, mut height, mut right) = (0, 0, 0, 0);
    let mut shapes = Vec::new();
    for drawing in drawings {
        if x > 0 && x + drawing.width > room {
            x = 0;
            y += height + 18;
            height = 0;
        }
        shapes.extend(shifted(drawing.shapes, x, y));
        right = right.max(x + drawing.width);
        height = height.max(drawing.height);
        x += drawing.width + 24;
    }
    (shapes, right, y + height)
}

#[cfg(test)]
mod tests;
