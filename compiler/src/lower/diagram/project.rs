//! Owns what is left of a guard when some axes may have any class. Never which axes those are.

use std::collections::HashMap;

use super::{Diagrams, NOTHING, Ref, TooLarge};
use crate::lower::axis::Axis;

impl Diagrams {
    /// Where a guard holds for some classes of all axes but those that `keep` names.
    pub fn project(&mut self, guard: Ref, keep: &[Axis]) -> Result<Ref, TooLarge> {
        self.project_below(guard, keep, &mut HashMap::new())
    }

    fn project_below(
        &mut self,
        guard: Ref,
        keep: &[Axis],
        known: &mut HashMap<Ref, Ref>,
    ) -> Result<Ref, TooLarge> {
        let Some(node) = self.store.node(guard) else { return Ok(guard) };
        if let Some(&made) = known.get(&guard) {
            return Ok(made);
        }
        let made = if keep.contains(&node.field) {
            self.with_children(node, |diagrams, child| diagrams.project_below(child, keep, known))?
        } else {
            // Some class takes the default, else another child were it.
            let mut any = self.project_below(node.default, keep, known)?;
            let exceptions = self.row(guard).map_or(&[][..], |row| row.exceptions);
            let mut children: Vec<Ref> = exceptions.iter().map(|exception| exception.1).collect();
            children.sort_unstable();
            children.dedup();
            for child in children.into_iter().filter(|&child| child != NOTHING) {
                let child = self.project_below(child, keep, known)?;
                any = self.over(any, child)?;
            }
            any
        };
        known.insert(guard, made);
        Ok(made)
    }
}
