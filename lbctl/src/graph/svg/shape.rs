//! Owns the shapes of a drawing, their sizes in pixels, and how each is written as SVG. Never where a shape goes.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::graph::style::{DARK, FADED, Look, Paint, QUIET};

/// Pixels from the upper left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rect {
    pub x: i32,
    pub y: i32,
    pub w: i32,
    pub h: i32,
}

impl Rect {
    pub fn right(self) -> i32 {
        self.x + self.w
    }

    pub fn bottom(self) -> i32 {
        self.y + self.h
    }
}

/// Letters of one size; every text is of a fixed pitch, so that widths can be told without the font.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Small,
    Normal,
    Heading,
    Title,
}

impl Size {
    /// Height of a letter in pixels.
    pub fn pixels(self) -> i32 {
        match self {
            Size::Small => 10,
            Size::Normal => 12,
            Size::Heading => 13,
            Size::Title => 19,
        }
    }

    /// Width of a text: DejaVu Sans Mono, the widest of the usual fonts, has 0.602 of the height for a letter.
    pub fn width(self, text: &str) -> i32 {
        let tenths = i32::try_from(text.width()).unwrap_or(i32::MAX / 1_000) * self.pixels() * 61;
        (tenths + 99) / 100
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    pub x: i32,
    /// Of the line that the letters stand on.
    pub y: i32,
    pub size: Size,
    pub bold: bool,
    /// Less important than the rest.
    pub quiet: bool,
    pub text: String,
}

impl Text {
    pub fn new(x: i32, y: i32, size: Size, text: impl Into<String>) -> Text {
        Text { x, y, size, bold: false, quiet: false, text: text.into() }
    }

    pub fn bold(self) -> Text {
        Text { bold: true, ..self }
    }

    pub fn quiet(self) -> Text {
        Text { quiet: true, ..self }
    }

    /// What the letters cover.
    pub fn rect(&self) -> Rect {
        let (ascent, height) = (self.size.pixels() * 4 / 5, self.size.pixels());
        Rect { x: self.x, y: self.y - ascent, w: self.size.width(&self.text), h: height }
    }
}

/// A box of the drawing, with its letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub rect: Rect,
    pub look: Look,
    pub reached: bool,
    pub texts: Vec<Text>,
    /// Heights of lines that divide it.
    pub rules: Vec<i32>,
    /// Said where a pointer rests on it.
    pub full: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// The way on.
    Way,
    /// Off a stage, as written.
    Exit,
    /// Off a stage, by the policy's default.
    Default,
    /// To a tree that is drawn elsewhere.
    Call,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wire {
    /// Each level with, or right above or below, the one before.
    pub points: Vec<(i32, i32)>,
    pub line: Line,
    pub reached: bool,
    /// Without one it ends in another wire or at a border.
    pub arrow: bool,
}

/// A frame round a part of the drawing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub rect: Rect,
    pub reached: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    Frame(Frame),
    Wire(Wire),
    Node(Node),
    Text(Text),
}

impl Shape {
    pub fn shift(&mut self, dx: i32, dy: i32) {
        let text = |text: &mut Text| {
            text.x += dx;
            text.y += dy;
        };
        match self {
            Shape::Frame(frame) => {
                frame.rect.x += dx;
                frame.rect.y += dy;
            }
            Shape::Wire(wire) => {
                for (x, y) in &mut wire.points {
                    *x += dx;
                    *y += dy;
                }
            }
            Shape::Node(node) => {
                node.rect.x += dx;
                node.rect.y += dy;
                node.rules.iter_mut().for_each(|rule| *rule += dy);
                node.texts.iter_mut().for_each(text);
            }
            Shape::Text(one) => text(one),
        }
    }
}

const ROUND: i32 = 6;
const EXIT_LINE: &str = "#475569";

pub fn write(shape: &Shape, out: &mut String) {
    let _ = match shape {
        Shape::Frame(frame) => {
            let Rect { x, y, w, h } = frame.rect;
            let (line, dash) =
                if frame.reached { ("#c3ccd8", "") } else { (FADED.line, " stroke-dasharray=\"5 4\"") };
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"9\" fill=\"#ffffff\" \
                 stroke=\"{line}\"{dash}/>"
            )
        }
        Shape::Wire(wire) => write_wire(wire, out),
        Shape::Node(node) => write_node(node, out),
        Shape::Text(text) => write_text(text, DARK, out),
    };
}

fn write_node(node: &Node, out: &mut String) -> std::fmt::Result {
    let Paint { fill, line, text } = if node.reached { node.look.paint() } else { FADED };
    let Rect { x, y, w, h } = node.rect;
    let round = match node.look {
        Look::Verdict(_) => h / 2,
        Look::Selector => 3,
        _ => 5,
    };
    let dash = match (node.reached, node.look) {
        (true, Look::More) => " stroke-dasharray=\"2 3\"",
        (true, _) => "",
        (false, _) => " stroke-dasharray=\"5 4\"",
    };
    let class = node.look.name();
    let state = if node.reached { "" } else { " unreachable" };
    writeln!(out, "<g class=\"{class}{state}\">")?;
    if !node.full.is_empty() {
        writeln!(out, "<title>{}</title>", escaped(&node.full.join("\n")))?;
    }
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{round}\" fill=\"{fill}\" stroke=\"{line}\"{dash}/>"
    )?;
    for rule in &node.rules {
        let right = x + w;
        writeln!(out, "<path d=\"M{x} {rule}H{right}\" stroke=\"{line}\" stroke-opacity=\".35\"/>")?;
    }
    node.texts.iter().try_for_each(|one| write_text(one, text, out))?;
    writeln!(out, "</g>")
}

fn write_text(text: &Text, colour: &str, out: &mut String) -> std::fmt::Result {
    let Text { x, y, .. } = text;
    let size = text.size.pixels();
    let bold = if text.bold { " font-weight=\"600\"" } else { "" };
    let colour = if text.quiet && colour == DARK { QUIET } else { colour };
    writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\"{bold}>{}</text>",
        escaped(&text.text)
    )
}

fn write_wire(wire: &Wire, out: &mut String) -> std::fmt::Result {
    let (colour, width, dash) = match (wire.reached, wire.line) {
        (false, _) => (FADED.line, "1.2", " stroke-dasharray=\"5 4\""),
        (true, Line::Way) => ("#334155", "1.4", ""),
        (true, Line::Exit) => (EXIT_LINE, "1.2", " stroke-dasharray=\"5 3\""),
        (true, Line::Default) => (EXIT_LINE, "1.2", " stroke-dasharray=\"1.5 3\""),
        (true, Line::Call) => ("#334155", "1.4", ""),
    };
    let arrow = match (wire.arrow, wire.reached) {
        (false, _) => "",
        (true, true) => " marker-end=\"url(#arrow)\"",
        (true, false) => " marker-end=\"url(#faded)\"",
    };
    writeln!(
        out,
        "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}{arrow}/>",
        path(&wire.points)
    )
}

/// Straight lines with round corners.
fn path(points: &[(i32, i32)]) -> String {
    let mut path = String::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let next = points.get(at + 1);
        let _ = match (at.checked_sub(1).and_then(|before| points.get(before)), next) {
            (None, _) => write!(path, "M{x} {y}"),
            (Some(_), None) => write!(path, "L{x} {y}"),
            (Some(&before), Some(&next)) => {
                let leg = |(a, b): (i32, i32)| (a - x).abs() + (b - y).abs();
                let round = ROUND.min(leg(before) / 2).min(leg(next) / 2);
                let towards =
                    |(a, b): (i32, i32)| (x + (a - x).signum() * round, y + (b - y).signum() * round);
                let ((x1, y1), (x2, y2)) = (towards(before), towards(next));
                write!(path, "L{x1} {y1}Q{x} {y} {x2} {y2}")
            }
        };
    }
    path
}

/// For XML 1.0 (section 2.4), characters that it cannot hold (section 2.2) left out.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            '\n' => safe.push('\n'),
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe
}
