//! Owns the drawing as a digraph in the DOT language of Graphviz. Never where a box goes: that is for `dot`.

use std::fmt::Write;

use compiler::figure::{Figure, Table};

use super::flat::{Flat, Sort, flat};
use super::style::{FADED, Look, Paint};
use super::{table_lines, tables};
use crate::table::{without_middle, wrapped};

/// Columns of a label.
const WIDTH: usize = 36;

/// The digraph, its boxes in one cluster for the root and one for each tree.
pub fn document(figure: &Figure) -> String {
    let flat = flat(figure);
    let mut out = String::new();
    let _ = write!(
        out,
        "digraph {} {{\n  rankdir=LR;\n  ordering=out;\n  bgcolor=\"#f6f8fb\";\n  fontname=\"monospace\";\n  \
         label={};\n  labelloc=t;\n  node [shape=box, style=\"filled,rounded\", fontname=\"monospace\", fontsize=11];\n  \
         edge [fontname=\"monospace\", fontsize=9, color=\"#334155\"];\n",
        quoted(&figure.policy),
        quoted(&format!("policy {}", figure.policy)),
    );
    for (number, group) in flat.groups.iter().enumerate() {
        let state = if group.reached { "" } else { ", unreachable" };
        let style = if group.reached { "rounded,filled" } else { "rounded,filled,dashed" };
        let _ = write!(
            out,
            "  subgraph cluster_{number} {{\n    label={};\n    labeljust=l;\n    style=\"{style}\";\n    \
             color=\"#c3ccd8\";\n    fillcolor=\"#ffffff\";\n",
            quoted(&format!("{}{state}", group.name))
        );
        for &number in &group.boxes {
            write_box(&flat, number, &mut out);
        }
        out.push_str("  }\n");
    }
    for way in &flat.ways {
        let style = match (way.reached, way.sort) {
            (true, Sort::Next | Sort::Arm) => "solid",
            (true, Sort::Exit) | (false, _) => "dashed",
            (true, Sort::Default) => "dotted",
        };
        let colour = if way.reached { String::new() } else { format!(", color={}", quoted(FADED.line)) };
        let label = match way.label.is_empty() {
            true => String::new(),
            false => {
                let shown = wrapped(&way.shown(3 * WIDTH), WIDTH).join("\n");
                format!(", label={}, labeltooltip={}", quoted(&shown), quoted(&way.label))
            }
        };
        let _ = writeln!(out, "  n{} -> n{} [style={style}{colour}{label}];", way.from, way.to);
    }
    for (number, (look, one)) in tables(figure).enumerate() {
        let Paint { fill, line, .. } = look.paint();
        let _ = writeln!(
            out,
            "  t{number} [shape=note, style=filled, fillcolor=\"{fill}\", color=\"{line}\", label={}];",
            table(one)
        );
    }
    out.push_str("}\n");
    out
}

fn write_box(flat: &Flat, number: usize, out: &mut String) {
    let Some(one) = flat.boxes.get(number) else { return };
    let Paint { fill, line, text } = if one.reached { one.look.paint() } else { FADED };
    let mut label = wrapped(&without_middle(&one.title, 3 * WIDTH), WIDTH);
    label.extend(one.settings.iter().map(|setting| without_middle(setting, WIDTH)));
    let shape = match one.look {
        Look::Verdict(_) => ", shape=oval, style=filled",
        Look::Selector => ", shape=box, style=filled",
        _ => "",
    };
    let dashed = if one.reached { "" } else { ", style=\"filled,dashed\"" };
    let _ = writeln!(
        out,
        "    n{number} [label={}, fillcolor=\"{fill}\", color=\"{line}\", fontcolor=\"{text}\"{shape}{dashed}, tooltip={}];",
        quoted(&label.join("\n")),
        quoted(&one.title)
    );
}

fn table(pool: &Table) -> String {
    // Each line ends at the left.
    let quoted = quoted(&table_lines(pool).join("\n"));
    format!("{}\\l\"", quoted.trim_end_matches('"').replace("\\n", "\\l"))
}

/// A quoted id of the language: `"` and `\` escaped.
fn quoted(text: &str) -> String {
    let mut safe = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe.push('"');
    safe
}
