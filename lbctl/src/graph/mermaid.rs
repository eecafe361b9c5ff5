//! Owns the drawing as a Mermaid flowchart, as documents with code fences show it. Never where a box goes.

use std::collections::BTreeSet;
use std::fmt::Write;

use compiler::figure::Figure;

use super::flat::{Sort, flat};
use super::style::{FADED, LOOKS, Look};
use super::{table_lines, tables};
use crate::table::without_middle;

/// Columns of a label.
const WIDTH: usize = 72;

pub fn document(figure: &Figure) -> String {
    let flat = flat(figure);
    let mut out = String::from("flowchart LR\n");
    for (number, group) in flat.groups.iter().enumerate() {
        let state = if group.reached { "" } else { ", unreachable" };
        let _ = writeln!(out, "  subgraph g{number}[\"{}\"]", escaped(&format!("{}{state}", group.name)));
        for &number in &group.boxes {
            let Some(one) = flat.boxes.get(number) else { continue };
            let lines = std::iter::once(&one.title).chain(&one.settings);
            let lines: Vec<String> = lines.map(|line| escaped(&without_middle(line, WIDTH))).collect();
            let label = lines.join("<br>");
            let (open, close) = match one.look {
                Look::Verdict(_) => ("([", "])"),
                Look::Start => ("[[", "]]"),
                Look::Step(_) => ("(", ")"),
                _ => ("[", "]"),
            };
            let class = if one.reached { one.look.name() } else { "unreachable" };
            let _ = writeln!(out, "    n{number}{open}\"{label}\"{close}:::{}", class_name(class));
        }
        out.push_str("  end\n");
    }
    for way in &flat.ways {
        let arrow = match (way.reached, way.sort) {
            (true, Sort::Next | Sort::Arm) => "-->",
            _ => "-.->",
        };
        let label = match way.label.is_empty() {
            true => String::new(),
            false => format!("|\"{}\"|", escaped(&way.shown(WIDTH))),
        };
        let _ = writeln!(out, "  n{} {arrow}{label} n{}", way.from, way.to);
    }
    let mut used: BTreeSet<Look> = flat.boxes.iter().map(|one| one.look).collect();
    for (number, (look, one)) in tables(figure).enumerate() {
        let lines: Vec<String> = table_lines(one).iter().map(|line| escaped(line)).collect();
        let _ = writeln!(out, "  t{number}[\"{}\"]:::{}", lines.join("<br>"), class_name(look.name()));
        used.insert(look);
    }
    for look in LOOKS.into_iter().filter(|look| used.contains(look)) {
        let paint = look.paint();
        let _ = writeln!(
            out,
            "  classDef {} fill:{},stroke:{},color:{}",
            class_name(look.name()),
            paint.fill,
            paint.line,
            paint.text
        );
    }
    if flat.boxes.iter().any(|one| !one.reached) {
        let _ = writeln!(
            out,
            "  classDef {} fill:{},stroke:{},color:{},stroke-dasharray:5 4",
            class_name("unreachable"),
            FADED.fill,
            FADED.line,
            FADED.text
        );
    }
    out
}

/// Words such as `end` mean something else to Mermaid.
fn class_name(look: &str) -> String {
    format!("is_{look}")
}

/// For a quoted label: what Mermaid, Markdown or HTML would read becomes an entity code.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | '*' | '|' => {
                let _ = write!(safe, "#{};", u32::from(letter));
            }
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe
}
