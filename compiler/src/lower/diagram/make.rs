//! Owns the making of nodes out of others, so that equal functions are one node, and the account of the work that it is.
//! Never what is made.

use super::store::{Node, Row};
use super::{Diagrams, Ref, TooLarge};
use crate::lower::axis::Axis;

impl Diagrams {
    /// The first field that either looks at, with what `combine` makes of each class's two ways on.
    pub(super) fn merge(
        &mut self,
        left: Ref,
        right: Ref,
        mut combine: impl FnMut(&mut Self, Ref, Ref) -> Result<Ref, TooLarge>,
    ) -> Result<Ref, TooLarge> {
        let (left_node, right_node) = (self.store.node(left), self.store.node(right));
        let field = left_node.iter().chain(&right_node).map(|node| node.field).min().ok_or(TooLarge)?;
        let at_field = |node: Option<Node>| node.filter(|node| node.field == field);
        let (left_node, right_node) = (at_field(left_node), at_field(right_node));
        let sides = |node: Option<Node>, whole| node.map_or(whole, |node| node.default);
        let (left_default, right_default) = (sides(left_node, left), sides(right_node, right));
        let default = combine(self, left_default, right_default)?;
        let start = self.draft.len();
        let (mut lefts, mut rights) = (0, 0);
        loop {
            let next_left = left_node.and_then(|node| self.store.exception(node, lefts));
            let next_right = right_node.and_then(|node| self.store.exception(node, rights));
            let Some(class) = next_left.into_iter().chain(next_right).map(|next| next.0).min() else { break };
            let (mut left, mut right) = (left_default, right_default);
            if let Some((_, child)) = next_left.filter(|next| next.0 == class) {
                (left, lefts) = (child, lefts + 1);
            }
            if let Some((_, child)) = next_right.filter(|next| next.0 == class) {
                (right, rights) = (child, rights + 1);
            }
            let child = combine(self, left, right)?;
            if child != default {
                self.draft.push((class, child));
            }
            self.work += 1;
        }
        self.make(field, default, start)
    }

    /// The node with what becomes of its children.
    pub(super) fn with_children(
        &mut self,
        node: Node,
        mut becomes: impl FnMut(&mut Self, Ref) -> Result<Ref, TooLarge>,
    ) -> Result<Ref, TooLarge> {
        let default = becomes(self, node.default)?;
        let start = self.draft.len();
        let mut number = 0;
        while let Some((class, child)) = self.store.exception(node, number) {
            let child = becomes(self, child)?;
            self.draft.push((class, child));
            number += 1;
        }
        self.make(node.field, default, start)
    }

    /// The node whose exceptions stand in the draft from `start` on.
    pub(super) fn make(&mut self, field: Axis, default: Ref, start: usize) -> Result<Ref, TooLarge> {
        let mut end = start;
        for at in start..self.draft.len() {
            if self.draft[at].1 != default {
                self.draft[end] = self.draft[at];
                end += 1;
            }
        }
        self.draft.truncate(end);
        let exceptions = end - start;
        self.work += 1 + exceptions;
        if self.work > self.most_work {
            return Err(TooLarge);
        }
        let few = exceptions * 2 < self.counts[field.index()] as usize;
        let default = if exceptions == 0 || few { default } else { self.majority(field, default, start) };
        let made = match &self.draft[start..] {
            [] => default,
            exceptions => self.store.once(Row { field, default, exceptions }),
        };
        self.draft.truncate(start);
        Ok(made)
    }

    /// Equal functions must be equal rows, so the default is a matter of the function alone: gives it, and makes the draft
    /// its exceptions.
    fn majority(&mut self, field: Axis, default: Ref, start: usize) -> Ref {
        let count = self.counts[field.index()] as usize;
        let exceptions = &self.draft[start..];
        let mut children: Vec<Ref> = exceptions.iter().map(|exception| exception.1).collect();
        children.sort_unstable();
        let mut best = (count - exceptions.len(), default);
        for group in children.chunk_by(|a, b| a == b) {
            if (group.len(), std::cmp::Reverse(group[0])) > (best.0, std::cmp::Reverse(best.1)) {
                best = (group.len(), group[0]);
            }
        }
        if best.1 == default {
            return default;
        }
        self.work += count;
        let mut given = exceptions.iter().peekable();
        let mut all = Vec::with_capacity(count - best.0);
        for class in 0..count {
            let child = given.next_if(|next| next.0 as usize == class).map_or(default, |next| next.1);
            if child != best.1 {
                all.push((class as u16, child));
            }
        }
        self.draft.truncate(start);
        self.draft.extend(all);
        best.1
    }
}
