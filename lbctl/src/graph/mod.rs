//! Owns drawings of policies: one module per form of a file, and what they share. Never what a policy means.

pub mod ascii;
pub mod dot;
mod flat;
pub mod json;
pub mod mermaid;
mod style;
pub mod svg;

use compiler::figure::{Figure, Kind, Label, Select, Table};

use crate::table::thousands;
use style::Look;

/// The words of a way: a guard, `else`, a turn, or how many ways stand as one.
fn way_label(label: &Label, select: &Select) -> String {
    match label {
        Label::Guard(text) => text.clone(),
        Label::Else => "else".to_owned(),
        Label::Turn(turn) => turn.to_string(),
        Label::More(count) => {
            let what = if select.title == "match" { "arms" } else { "turns" };
            format!("… {} more {what}", thousands(*count as u64))
        }
    }
}

/// The tables beside the trees, pools first, and how they look.
fn tables(figure: &Figure) -> impl Iterator<Item = (Look, &Table)> {
    let pools = figure.pools.iter().map(|pool| (Look::Step(Kind::Modifier), pool));
    pools.chain(figure.names.iter().map(|names| (Look::Call, names)))
}

/// What a table holds, line by line.
fn table_lines(table: &Table) -> Vec<String> {
    let row = |row: &[String; 3]| {
        let cells: Vec<&str> = row.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        cells.join("  ")
    };
    let settings = std::iter::once(&table.title).chain(&table.settings).cloned();
    settings.chain(table.rows.iter().map(row)).collect()
}
