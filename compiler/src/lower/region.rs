//! Owns the way from a region's guards to one decision diagram: first match by divide and conquer over the arms.
//! Never words of the image; what a leaf leads to is the graph's.

use std::collections::HashMap;

use policy_lang::policy::{Chain, Match};
use policy_lang::source::Span;

use super::axis::Axis;
use super::diagram::{Diagrams, NOTHING, Ref, TRUE, TooLarge, leaf};
use super::formula::{Classes, Formula, Sets};
use crate::graph::Nesting;

/// The arms among which a region's diagram outgrew its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgrown {
    pub first: Span,
    pub last: Span,
}

/// A region's formulas, read before the classes are known.
pub struct Region {
    arms: Vec<(Formula, Span, Target)>,
    otherwise: Box<Target>,
    span: Span,
}

enum Target {
    Leaf(u32),
    Region(Region),
}

impl Region {
    pub fn read<'p>(region: &'p Match, nesting: &Nesting<'p>, sets: &mut Sets<'_>) -> Region {
        read(region, nesting, sets, &mut 0)
    }
}

/// Leaves are numbered as `graph` numbers them.
fn read<'p>(region: &'p Match, nesting: &Nesting<'p>, sets: &mut Sets<'_>, leaves: &mut u32) -> Region {
    let mut arms = Vec::with_capacity(region.arms.len());
    for arm in &region.arms {
        let formula = sets.formula(&arm.guard);
        arms.push((formula, arm.span, target(&arm.chain, nesting, sets, leaves)));
    }
    let otherwise = Box::new(target(&region.otherwise, nesting, sets, leaves));
    Region { arms, otherwise, span: region.otherwise_span }
}

fn target<'p>(chain: &'p Chain, nesting: &Nesting<'p>, sets: &mut Sets<'_>, leaves: &mut u32) -> Target {
    if let Some(inner) = nesting.of(chain) {
        return Target::Region(read(inner.region, nesting, sets, leaves));
    }
    *leaves += 1;
    Target::Leaf(*leaves - 1)
}

/// Diagrams of one policy's regions, which share nodes and the formulas of sides and vips.
pub struct Regions<'a, 'p> {
    pub diagrams: Diagrams,
    classes: &'a Classes,
    sets: &'a Sets<'p>,
    /// By number, of sides and vips.
    shared: HashMap<u32, Ref>,
}

impl<'a, 'p> Regions<'a, 'p> {
    pub fn new(classes: &'a Classes, sets: &'a Sets<'p>) -> Self {
        Regions { diagrams: Diagrams::new(classes.counts.clone()), classes, sets, shared: HashMap::new() }
    }

    /// Which leaf a packet takes, for all packets.
    pub fn diagram(&mut self, region: &Region) -> Result<Ref, Outgrown> {
        let mut parts = Vec::with_capacity(region.arms.len() + 1);
        for (formula, span, target) in &region.arms {
            let then = self.target(target)?;
            let part = self.guard(formula).and_then(|guard| self.diagrams.mask(guard, then));
            parts.push((part.map_err(|TooLarge| Outgrown { first: *span, last: *span })?, *span));
        }
        parts.push((self.target(&region.otherwise)?, region.span));
        self.first_match(&parts)
    }

    /// The class of a value of a field other than the addresses.
    pub fn class(&self, axis: impl Into<Axis>, value: u32) -> u16 {
        self.classes.small[axis.into().index()].class(value) as u16
    }

    fn target(&mut self, target: &Target) -> Result<Ref, Outgrown> {
        match target {
            Target::Leaf(number) => Ok(leaf(*number)),
            Target::Region(inner) => self.diagram(inner),
        }
    }

    /// Halves, not one arm after the other: merging into one growing diagram would cost the square of the arms.
    pub fn first_match(&mut self, parts: &[(Ref, Span)]) -> Result<Ref, Outgrown> {
        match parts {
            [] => Ok(NOTHING),
            [(part, _)] => Ok(*part),
            [(_, first), .., (_, last)] => {
                let (upper, lower) = parts.split_at(parts.len() / 2);
                let (upper, lower) = (self.first_match(upper)?, self.first_match(lower)?);
                self.diagrams.over(upper, lower).map_err(|TooLarge| Outgrown { first: *first, last: *last })
            }
        }
    }

    /// Where a formula holds.
    pub fn guard(&mut self, formula: &Formula) -> Result<Ref, TooLarge> {
        match formula {
            Formula::In(field, set) => {
                let classes = self.classes;
                self.diagrams.member(*field, &classes.of_sets[field.index()][*set as usize])
            }
            Formula::Not(inner) => {
                let inner = self.guard(inner)?;
                self.diagrams.not(inner)
            }
            Formula::And(parts) => {
                let mut all = TRUE;
                for part in parts {
                    let part = self.guard(part)?;
                    all = self.diagrams.mask(all, part)?;
                }
                Ok(all)
            }
            Formula::Or(parts) => self.any(parts),
            Formula::Shared(number) => {
                if let Some(&known) = self.shared.get(number) {
                    return Ok(known);
                }
                let formula = self.sets.shared(*number);
                let made = self.guard(&formula)?;
                self.shared.insert(*number, made);
                Ok(made)
            }
        }
    }

    fn any(&mut self, parts: &[Formula]) -> Result<Ref, TooLarge> {
        match parts {
            [] => Ok(NOTHING),
            [part] => self.guard(part),
            _ => {
                let (upper, lower) = parts.split_at(parts.len() / 2);
                let (upper, lower) = (self.any(upper)?, self.any(lower)?);
                self.diagrams.over(upper, lower)
            }
        }
    }
}
