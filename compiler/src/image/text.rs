//! Owns the image as text that people read and snapshots hold: the same image gives the same text. Never JSON or
//! colours; long lists are cut at stated lengths, so that a million prefixes stay a screen.

mod classes;
mod regions;
mod stages;

use std::collections::HashMap;
use std::fmt::Write;

use lb_abi::bundle::{Image, TallyKind};
use lb_abi::image::{
    ALL_FIELDS, BEFORE_MATCH, BEFORE_PASS, FIELDS, Field, H_FRAGMENTS, H_NEIGHBOURS, H_OTHER, H_UNPARSED,
};

use super::names::{self, field_name};
use super::{id, op_name, validate};

/// Ranges that a class is described by at most.
const MAX_RANGES: usize = 8;
/// Classes of a field, rows of a region, nodes and slots' owners that are listed at most.
const MAX_LISTED: usize = 128;

/// The image as text, lines of `name: value`; of an unsound image only what is wrong with it.
pub fn to_text(image: &Image) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_image(image, &mut out);
    out
}

fn write_image(image: &Image, out: &mut String) -> std::fmt::Result {
    let hex: String = id(image).iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(out, "image {}", image.name)?;
    writeln!(out, "  id        {hex}")?;
    if let Err(corrupt) = validate(image) {
        return writeln!(out, "  corrupt   {corrupt}");
    }
    let layout = Layout::new(image);
    header(image, &layout, out)?;
    for field in ALL_FIELDS.into_iter().filter(|field| image.fields & field.bit() != 0) {
        writeln!(out, "\nclasses of {}", field_name(field))?;
        classes::write(&layout.classes[field as usize], out)?;
    }
    regions::write(image, &layout, out)?;
    stages::write_nodes(image, &layout, out)?;
    stages::write_lists(image, &layout, out)
}

/// What the text calls nodes and regions: numbers in the order of a breadth-first walk.
struct Layout {
    /// Node offsets in order; the first is the entry.
    nodes: Vec<u32>,
    names: HashMap<u32, usize>,
    /// Field mask and root row of each region.
    regions: Vec<(u32, u32)>,
    /// By field, none for an unused one.
    classes: [Vec<classes::Described>; FIELDS],
}

impl Layout {
    fn new(image: &Image) -> Layout {
        let used = |field: Field| image.fields & field.bit() != 0;
        let classes =
            ALL_FIELDS.map(|field| if used(field) { classes::describe(image, field) } else { Vec::new() });
        let mut layout = Layout { nodes: Vec::new(), names: HashMap::new(), regions: Vec::new(), classes };
        layout.add(image.words.get(lb_abi::image::H_ENTRY).copied().unwrap_or(0));
        let mut at = 0;
        while let Some(&node) = layout.nodes.get(at) {
            at += 1;
            for next in stages::ways(image, &mut layout, node) {
                layout.add(next);
            }
        }
        layout
    }

    fn add(&mut self, node: u32) {
        if !self.names.contains_key(&node) {
            self.names.insert(node, self.nodes.len());
            self.nodes.push(node);
        }
    }

    fn class_count(&self, field: Field) -> u32 {
        self.classes[field as usize].len() as u32
    }

    fn node(&self, node: u32) -> String {
        self.names.get(&node).map_or_else(|| "?".to_owned(), |name| format!("n{name}"))
    }
}

fn header(image: &Image, layout: &Layout, out: &mut String) -> std::fmt::Result {
    let words = image.words.len();
    let half = words.next_power_of_two();
    writeln!(out, "  words     {words}, in two halves of {}", size(half * 4))?;
    writeln!(out, "  fields    {}", or_none(&names::fields(image)))?;
    writeln!(out, "  ops       {}", or_none(&names::ops(image)))?;
    writeln!(out, "  features  {}", or_none(&names::features(image)))?;
    let before = |at: usize| match image.words.get(at) {
        Some(&BEFORE_PASS) => "pass",
        Some(&BEFORE_MATCH) => "match",
        _ => "drop",
    };
    writeln!(
        out,
        "  before    neighbours {}, unparsed {}, other {}, fragments {}",
        before(H_NEIGHBOURS),
        before(H_UNPARSED),
        before(H_OTHER),
        before(H_FRAGMENTS)
    )?;
    writeln!(
        out,
        "  sizes     {} nodes, {} counters, {} limits, {} turns, {} trackers, {} pools, {} backends",
        layout.nodes.len(),
        image.counters.len(),
        image.limits.len(),
        image.turns.len(),
        image.trackers.len(),
        image.pools.len(),
        image.backends.len()
    )?;
    let keys: u64 = image.limits.iter().map(|limit| u64::from(limit.max)).sum();
    let proven: u64 = image.trackers.iter().map(|tracker| u64::from(tracker.max)).sum();
    writeln!(
        out,
        "  state     {keys} limit keys of {} bytes, {proven} proven flows of {} bytes",
        KEY_BYTES, PAIR_BYTES
    )
}

/// Key and value of `LIMIT_KEYS`.
const KEY_BYTES: usize = size_of::<lb_abi::maps::LimitKey>() + size_of::<u64>();
/// Both entries of a flow, keys included.
const PAIR_BYTES: usize = 2 * (size_of::<lb_abi::maps::FlowKey>() + size_of::<lb_abi::maps::Flow>());

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// Bytes in the largest unit that divides them well enough to read.
fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// What a node's counter adds to: `clients: tcp.dport == 80 (demo.lbp:22)`.
fn tally_name(image: &Image, tally: u32) -> String {
    let Some(tally) = image.tallies.get(tally as usize) else { return "?".to_owned() };
    match tally.kind {
        TallyKind::Named => format!("count {}", tally.label),
        _ => format!("{}: {} ({}:{})", tally.tree, tally.label, tally.file, tally.line),
    }
}
