//! Owns the reading of every guard of a policy, its claims' included, before the fields are cut into classes.
//! Never what a guard leads to.

use std::collections::HashMap;

use policy_lang::policy::{Chain, Guard, Policy, Tail};

use crate::lower::formula::{Formula, Sets};

/// The guards of a policy as formulas, by their places in the tree.
#[derive(Default)]
pub struct Guards {
    formulas: HashMap<*const Guard, Formula>,
}

impl Guards {
    pub fn read(policy: &Policy, sets: &mut Sets<'_>) -> Guards {
        let mut guards = Guards::default();
        guards.chain(&policy.root, sets);
        policy.trees.iter().for_each(|tree| guards.chain(&tree.chain, sets));
        for claim in policy.asserts.iter().flat_map(|assert| &assert.claims) {
            guards.guard(&claim.guard, sets);
        }
        guards
    }

    pub fn formula(&self, guard: &Guard) -> Option<&Formula> {
        self.formulas.get(&std::ptr::from_ref(guard))
    }

    fn guard(&mut self, guard: &Guard, sets: &mut Sets<'_>) {
        self.formulas.insert(guard, sets.formula(guard));
    }

    fn chain(&mut self, chain: &Chain, sets: &mut Sets<'_>) {
        for stage in &chain.stages {
            stage.kind.exits().into_iter().for_each(|(_, exit)| self.chain(&exit.chain, sets));
        }
        match &chain.tail {
            Tail::End(..) | Tail::Tree(..) => {}
            Tail::Match(inner) => {
                for arm in &inner.arms {
                    self.guard(&arm.guard, sets);
                    self.chain(&arm.chain, sets);
                }
                self.chain(&inner.otherwise, sets);
            }
            Tail::Every(every) => every.ways.iter().for_each(|way| self.chain(way, sets)),
        }
    }
}
