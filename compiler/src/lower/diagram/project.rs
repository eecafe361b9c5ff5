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
        let Some(row) = self.row(guard).cloned() else { return Ok(guard) };
        if let Some(&made) = known.get(&guard) {
            return Ok(made);
        }
        let default = self.project_below(row.default, keep, known)?;
        let made = if keep.contains(&row.field) {
            let mut exceptions = Vec::with_capacity(row.exceptions.len());
            for &(class, child) in &row.exceptions {
                exceptions.push((class, self.project_below(child, keep, known)?));
            }
            self.make(row.field, default, exceptions)?
        } else {
            // Some class takes the default, else another child were it.
            let mut any = default;
            let mut children: Vec<Ref> = row.exceptions.iter().map(|exception| exception.1).collect();
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
