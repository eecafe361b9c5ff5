//! Owns the nodes of decision diagrams: each row once, in two flat lists, so that none has memory of its own to be given
//! and taken back. Never what is made of them.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::{INNER, Ref};
use crate::lower::axis::Axis;

/// An inner node: where each class of its field leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Row<'d> {
    pub field: Axis,
    /// Where most classes lead; of two equally frequent ones the smaller.
    pub default: Ref,
    /// The classes that lead elsewhere, ascending.
    pub exceptions: &'d [(u16, Ref)],
}

impl Row<'_> {
    /// Where a class leads.
    pub fn child(&self, class: u16) -> Ref {
        match self.exceptions.binary_search_by_key(&class, |exception| exception.0) {
            Ok(place) => self.exceptions[place].1,
            Err(_) => self.default,
        }
    }
}

/// A row by its place, for those that make other rows meanwhile.
#[derive(Clone, Copy)]
pub struct Node {
    pub field: Axis,
    pub default: Ref,
    first: u32,
    count: u32,
}

#[derive(Default)]
pub struct Store {
    nodes: Vec<Node>,
    exceptions: Vec<(u16, Ref)>,
    /// By the hash of a row, or the next free number. Rows are numbers given here, so that a hash without a secret will do.
    unique: FxHashMap<u64, Ref>,
}

impl Store {
    /// `None` for a terminal.
    pub fn node(&self, at: Ref) -> Option<Node> {
        if at & INNER == 0 { None } else { self.nodes.get((at & !INNER) as usize).copied() }
    }

    pub fn row(&self, at: Ref) -> Option<Row<'_>> {
        self.node(at).map(|node| self.row_of(node))
    }

    fn row_of(&self, Node { field, default, first, count }: Node) -> Row<'_> {
        let places = first as usize..(first + count) as usize;
        Row { field, default, exceptions: self.exceptions.get(places).unwrap_or_default() }
    }

    /// `None` behind the last.
    pub fn exception(&self, node: Node, number: u32) -> Option<(u16, Ref)> {
        let place = (number < node.count).then(|| (node.first + number) as usize)?;
        self.exceptions.get(place).copied()
    }

    /// The node of a row.
    pub fn once(&mut self, row: Row<'_>) -> Ref {
        let mut hasher = FxHasher::default();
        row.hash(&mut hasher);
        let mut key = hasher.finish();
        while let Some(&known) = self.unique.get(&key) {
            if self.row(known) == Some(row) {
                return known;
            }
            key = key.wrapping_add(1);
        }
        let made = INNER | self.nodes.len() as Ref;
        let (first, count) = (self.exceptions.len() as u32, row.exceptions.len() as u32);
        self.nodes.push(Node { field: row.field, default: row.default, first, count });
        self.exceptions.extend_from_slice(row.exceptions);
        self.unique.insert(key, made);
        made
    }
}
