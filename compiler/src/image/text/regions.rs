//! Owns the text of decision tables: each row with the classes that lead the same way, rows of no choice left out.
//! Never classes' meaning.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use lb_abi::bundle::Image;
use lb_abi::image::{ALL_FIELDS, Field};

use super::super::rows::{RowWays, row_ways};
use super::{Layout, MAX_LISTED, field_name};

pub(super) fn write(image: &Image, layout: &Layout, out: &mut String) -> std::fmt::Result {
    for (number, &(mask, root)) in layout.regions.iter().enumerate() {
        let mut region = Region::new(image, layout, mask);
        let entry = region.name(root, 0);
        let fields: Vec<_> = region.order.iter().map(|&field| field_name(field)).collect();
        writeln!(out, "\nregion g{number} by {}", fields.join(" "))?;
        if !entry.starts_with('r') {
            writeln!(out, "  -> {entry}")?;
        }
        let mut at = 0;
        while let Some(&(row, level)) = region.rows.get(at) {
            if at == MAX_LISTED {
                writeln!(out, "  and more rows")?;
                break;
            }
            let (field, line) = (region.order[level], region.line(row, level));
            writeln!(out, "  r{at} {}: {line}", field_name(field))?;
            at += 1;
        }
    }
    Ok(())
}

/// Rows named in the order in which they are first mentioned.
struct Region<'a> {
    image: &'a Image,
    layout: &'a Layout,
    order: Vec<Field>,
    rows: Vec<(u32, usize)>,
    names: HashMap<(u32, usize), String>,
}

impl<'a> Region<'a> {
    fn new(image: &'a Image, layout: &'a Layout, mask: u32) -> Self {
        let order = ALL_FIELDS.into_iter().filter(|field| mask & field.bit() != 0).collect();
        Region { image, layout, order, rows: Vec::new(), names: HashMap::new() }
    }

    fn ways(&self, row: u32, level: usize) -> RowWays {
        let classes = self.layout.class_count(self.order[level]);
        row_ways(&self.image.words, row, classes).unwrap_or(RowWays { default: None, ways: Vec::new() })
    }

    /// A row's name, the node's where no field is left, or, for a row of no choice, the name of what it leads to.
    fn name(&mut self, row: u32, level: usize) -> String {
        if level == self.order.len() {
            return self.layout.node(row);
        }
        if let Some(name) = self.names.get(&(row, level)) {
            return name.clone();
        }
        let ways = self.ways(row, level);
        let mut all = ways.default.into_iter().chain(ways.ways.iter().map(|way| way.1));
        let first = all.next();
        let name = match first.filter(|first| all.all(|next| next == *first)) {
            Some(only) => self.name(only, level + 1),
            None => {
                self.rows.push((row, level));
                format!("r{}", self.rows.len() - 1)
            }
        };
        self.names.insert((row, level), name.clone());
        name
    }

    /// `0,3-5 -> n4; 1 -> r2; else -> n1`: `else` is what most classes lead to.
    fn line(&mut self, row: u32, level: usize) -> String {
        let ways = self.ways(row, level);
        let mut targets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (class, next) in ways.ways {
            targets.entry(next).or_default().push(class);
        }
        let most = targets.iter().max_by_key(|(next, classes)| (classes.len(), std::cmp::Reverse(**next)));
        let rest = ways.default.or(most.map(|(next, _)| *next));
        if let Some(rest) = rest {
            targets.remove(&rest);
        }
        let mut listed: Vec<(Vec<u32>, u32)> = targets
            .into_iter()
            .map(|(next, mut classes)| {
                classes.sort_unstable();
                (classes, next)
            })
            .collect();
        listed.sort();
        let mut parts: Vec<String> = Vec::new();
        for (classes, next) in listed.iter().take(MAX_LISTED) {
            parts.push(format!("{} -> {}", runs(classes), self.name(*next, level + 1)));
        }
        if listed.len() > MAX_LISTED {
            parts.push(format!("{} more", listed.len() - MAX_LISTED));
        }
        if let Some(rest) = rest {
            parts.push(format!("else -> {}", self.name(rest, level + 1)));
        }
        parts.join("; ")
    }
}

/// `0,3-5` of ascending classes, cut after `MAX_LISTED` runs.
fn runs(classes: &[u32]) -> String {
    let mut text = String::new();
    for (number, run) in classes.chunk_by(|a, b| a + 1 == *b).enumerate() {
        if number == MAX_LISTED {
            text.push_str(",…");
            break;
        }
        if number > 0 {
            text.push(',');
        }
        match run {
            [first, .., last] => text.push_str(&format!("{first}-{last}")),
            _ => run.iter().for_each(|class| text.push_str(&class.to_string())),
        }
    }
    text
}
