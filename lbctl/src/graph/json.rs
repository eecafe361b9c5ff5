//! Owns the drawing for programs: boxes, groups and ways by number. Never how it looks.

use compiler::figure::Figure;
use serde_json::{Value, json};

use super::flat::{Flat, Sort, flat};

pub fn document(figure: &Figure) -> Value {
    let Flat { groups, ways, boxes } = flat(figure);
    let groups = groups
        .iter()
        .map(|group| json!({ "name": group.name, "reached": group.reached, "nodes": group.boxes }));
    let nodes = (0..).zip(&boxes).map(|(number, one): (usize, _)| {
        json!({
            "node": number,
            "kind": one.look.name(),
            "title": one.title,
            "settings": one.settings,
            "reached": one.reached,
        })
    });
    let ways = ways.iter().map(|way| {
        let sort = match way.sort {
            Sort::Next => "next",
            Sort::Arm => "arm",
            Sort::Exit => "exit",
            Sort::Default => "default",
        };
        json!({ "from": way.from, "to": way.to, "kind": sort, "label": way.label, "arm": way.order, "reached": way.reached })
    });
    let pools = figure
        .pools
        .iter()
        .map(|pool| json!({ "title": pool.title, "settings": pool.settings, "backends": pool.rows }));
    json!({
        "policy": figure.policy,
        "groups": groups.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
        "ways": ways.collect::<Vec<_>>(),
        "names": figure.names.iter().map(|names| json!({ "kind": names.title, "names": names.rows })).collect::<Vec<_>>(),
        "pools": pools.collect::<Vec<_>>(),
    })
}
