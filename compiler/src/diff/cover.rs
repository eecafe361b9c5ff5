//! Owns the cover of a set of packets by few products, each so many classes of some fields: irredundant sums of products
//! (Minato 1993, "Fast generation of irredundant sum-of-products forms from binary decision diagrams"), with
//! many-valued fields. Never what a class holds or how a product reads.

use std::collections::HashMap;
use std::rc::Rc;

use crate::lower::axis::Axis;
use crate::lower::diagram::{Diagrams, NOTHING, Ref, Row, TRUE, TooLarge};

/// Classes of a field: those listed, or all others.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClassSet {
    /// Ascending.
    pub listed: Vec<u16>,
    pub others: bool,
}

impl ClassSet {
    pub fn has(&self, class: u16) -> bool {
        self.listed.binary_search(&class).is_ok() != self.others
    }

    /// Those of both.
    pub fn and(&self, other: &ClassSet) -> ClassSet {
        let not = |set: &ClassSet| ClassSet { others: !set.others, ..set.clone() };
        not(&not(self).with(&not(other)))
    }

    /// Those of either.
    pub fn with(&self, more: &ClassSet) -> ClassSet {
        let keep = |list: &[u16], other: &ClassSet, kept: bool| -> Vec<u16> {
            list.iter().copied().filter(|&class| other.has(class) == kept).collect()
        };
        match (self.others, more.others) {
            (false, false) => {
                let mut listed = self.listed.clone();
                listed.extend(&more.listed);
                listed.sort_unstable();
                listed.dedup();
                ClassSet { listed, others: false }
            }
            (true, _) => ClassSet { listed: keep(&self.listed, more, false), others: true },
            (false, true) => ClassSet { listed: keep(&more.listed, self, false), others: true },
        }
    }
}

/// One field's part of a product: the classes that are in it, and those that may be as well for a shorter text, since no
/// packet has them here or it is all the same.
#[derive(Clone, Debug)]
pub struct Literal {
    pub field: Axis,
    pub must: ClassSet,
    pub may: ClassSet,
}

/// Packets that are within every literal; fields without one may have any class.
pub type Product = Vec<Literal>;

/// Products that are kept.
pub const MOST_PRODUCTS: usize = 1_024;
/// Blocks of classes that are tried with each other.
const MOST_TRIED: usize = 48;

/// Products that cover all of `lower` and nothing outside of `upper`; `None` if they are more than `MOST_PRODUCTS`.
pub fn cover(diagrams: &mut Diagrams, lower: Ref, upper: Ref) -> Result<Option<Vec<Product>>, TooLarge> {
    let mut work = Cover { diagrams, known: HashMap::new(), made: 0 };
    Ok(work.cover(lower, upper)?.map(|covered| covered.products.to_vec()))
}

/// Where a product holds.
pub fn holds(diagrams: &mut Diagrams, product: &Product) -> Result<Ref, TooLarge> {
    product.iter().try_fold(TRUE, |all, literal| {
        let here = member(diagrams, literal.field, &literal.must)?;
        diagrams.mask(all, here)
    })
}

/// Where a field has one of the classes.
pub fn member(diagrams: &mut Diagrams, field: Axis, classes: &ClassSet) -> Result<Ref, TooLarge> {
    let member = diagrams.member(field, &classes.listed)?;
    if classes.others { diagrams.not(member) } else { Ok(member) }
}

/// Some ways down a diagram, which do not cover all of it.
pub fn first_ways(diagrams: &Diagrams, root: Ref, most: usize) -> Vec<Product> {
    let mut found = Vec::new();
    let mut open = vec![(root, Vec::new())];
    while let Some((at, product)) = open.pop() {
        if found.len() == most {
            break;
        }
        let Some(row) = diagrams.row(at) else {
            if at != NOTHING {
                found.push(product);
            }
            continue;
        };
        let further = |to: Ref, must: ClassSet| {
            let mut product: Product = product.clone();
            product.push(Literal { field: row.field, may: must.clone(), must });
            (to, product)
        };
        let named: Vec<u16> = row.exceptions.iter().map(|exception| exception.0).collect();
        if named.len() < diagrams.counts()[row.field.index()] as usize {
            open.push(further(row.default, ClassSet { listed: named, others: true }));
        }
        for &(class, to) in row.exceptions.iter().take(most).rev() {
            open.push(further(to, ClassSet { listed: vec![class], others: false }));
        }
    }
    found
}

#[derive(Clone)]
struct Covered {
    products: Rc<[Product]>,
    /// Where one of them is.
    holds: Ref,
}

struct Cover<'d> {
    diagrams: &'d mut Diagrams,
    known: HashMap<(Ref, Ref), Option<Covered>>,
    made: usize,
}

/// Classes of a field that lead on alike.
struct Block {
    classes: ClassSet,
    lower: Ref,
    upper: Ref,
}

impl Cover<'_> {
    fn cover(&mut self, lower: Ref, upper: Ref) -> Result<Option<Covered>, TooLarge> {
        if lower == NOTHING {
            return Ok(Some(Covered { products: Rc::new([]), holds: NOTHING }));
        }
        if upper == TRUE {
            return Ok(Some(Covered { products: Rc::new([Vec::new()]), holds: TRUE }));
        }
        if let Some(known) = self.known.get(&(lower, upper)) {
            return Ok(known.clone());
        }
        let made = self.by_field(lower, upper)?;
        self.made += made.as_ref().map_or(0, |made| made.products.len());
        let made = made.filter(|_| self.made <= 8 * MOST_PRODUCTS);
        self.known.insert((lower, upper), made.clone());
        Ok(made)
    }

    fn by_field(&mut self, lower: Ref, upper: Ref) -> Result<Option<Covered>, TooLarge> {
        let (field, blocks) = self.blocks(lower, upper)?;
        let uppers: Vec<Ref> = blocks.iter().map(|block| block.upper).collect();
        let everywhere = self.all(&uppers)?;
        let elsewhere = self.diagrams.not(everywhere)?;
        // What no product without this field can cover.
        let mut bound = Vec::new();
        for block in &blocks {
            let lower = self.diagrams.mask(block.lower, elsewhere)?;
            if lower != NOTHING {
                bound.push(Block { classes: block.classes.clone(), lower, upper: block.upper });
            }
        }
        let (mut products, mut holds, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let merged = self.merged(bound)?;
        // Each makes a product at least.
        if merged.len() > MOST_PRODUCTS {
            return Ok(None);
        }
        for merged in merged {
            let Some(covered) = self.cover(merged.lower, merged.upper)? else { return Ok(None) };
            let may = self.may(&merged, covered.holds, &blocks)?;
            for inner in covered.products.iter() {
                let literal = Literal { field, must: merged.classes.clone(), may: may.clone() };
                products.push(std::iter::once(literal).chain(inner.iter().cloned()).collect());
            }
            let classes = member(self.diagrams, field, &merged.classes)?;
            holds.push(self.diagrams.mask(classes, covered.holds)?);
            if products.len() > MOST_PRODUCTS {
                return Ok(None);
            }
        }
        let bound = any(self.diagrams, &holds)?;
        let open = self.diagrams.not(bound)?;
        let left = self.diagrams.mask(lower, open)?;
        // What is left of each class is within `everywhere`.
        for block in self.blocks_of(field, left, TRUE)? {
            rest.push(block.lower);
        }
        let rest = any(self.diagrams, &rest)?;
        let Some(free) = self.cover(rest, everywhere)? else { return Ok(None) };
        products.extend(free.products.iter().cloned());
        let holds = self.diagrams.over(bound, free.holds)?;
        Ok((products.len() <= MOST_PRODUCTS).then(|| Covered { products: products.into(), holds }))
    }

    /// The first field that either looks at, and its classes by where they lead.
    fn blocks(&self, lower: Ref, upper: Ref) -> Result<(Axis, Vec<Block>), TooLarge> {
        let field_of = |at| self.diagrams.row(at).map(|row| row.field);
        let field = [lower, upper].into_iter().filter_map(field_of).min().ok_or(TooLarge)?;
        Ok((field, self.blocks_of(field, lower, upper)?))
    }

    fn blocks_of(&self, field: Axis, lower: Ref, upper: Ref) -> Result<Vec<Block>, TooLarge> {
        let row = |at| self.diagrams.row(at).filter(|row| row.field == field);
        let (lower_row, upper_row) = (row(lower), row(upper));
        let default = |row: &Option<Row<'_>>, whole| row.map_or(whole, |row| row.default);
        let usual = (default(&lower_row, lower), default(&upper_row, upper));
        let mut named: Vec<u16> = [&lower_row, &upper_row]
            .into_iter()
            .flatten()
            .flat_map(|row| row.exceptions.iter().map(|exception| exception.0))
            .collect();
        named.sort_unstable();
        named.dedup();
        let child = |row: &Option<Row<'_>>, class, usual| row.map_or(usual, |row| row.child(class));
        let mut order = Vec::new();
        let mut by_way: HashMap<(Ref, Ref), Vec<u16>> = HashMap::new();
        for &class in &named {
            let way = (child(&lower_row, class, usual.0), child(&upper_row, class, usual.1));
            by_way
                .entry(way)
                .or_insert_with(|| {
                    order.push(way);
                    Vec::new()
                })
                .push(class);
        }
        let count = self.diagrams.counts()[field.index()] as usize;
        let mut blocks = Vec::new();
        if named.len() < count {
            let also = by_way.remove(&usual).unwrap_or_default();
            named.retain(|class| also.binary_search(class).is_err());
            blocks.push(Block {
                classes: ClassSet { listed: named, others: true },
                lower: usual.0,
                upper: usual.1,
            });
        }
        for way in order {
            if let Some(listed) = by_way.remove(&way) {
                blocks.push(Block {
                    classes: ClassSet { listed, others: false },
                    lower: way.0,
                    upper: way.1,
                });
            }
        }
        Ok(blocks)
    }

    /// Blocks that one product can span, put together.
    fn merged(&mut self, blocks: Vec<Block>) -> Result<Vec<Block>, TooLarge> {
        let mut merged: Vec<Block> = Vec::new();
        // Thousands of them are hardly few products, however they are put together.
        let tried = if blocks.len() <= MOST_PRODUCTS { MOST_TRIED } else { 1 };
        for block in blocks {
            let mut joined = false;
            for known in merged.iter_mut().take(tried) {
                let lower = self.diagrams.over(known.lower, block.lower)?;
                let upper = self.diagrams.mask(known.upper, block.upper)?;
                if self.diagrams.mask(lower, upper)? == lower {
                    known.classes = known.classes.with(&block.classes);
                    (known.lower, known.upper, joined) = (lower, upper, true);
                    break;
                }
            }
            if !joined {
                merged.push(block);
            }
        }
        Ok(merged)
    }

    /// Classes that would do for a product as well.
    fn may(&mut self, of: &Block, covered: Ref, blocks: &[Block]) -> Result<ClassSet, TooLarge> {
        let mut may = of.classes.clone();
        for block in blocks.iter().take(MOST_TRIED) {
            if block.upper == TRUE || self.diagrams.mask(covered, block.upper)? == covered {
                may = may.with(&block.classes);
            }
        }
        Ok(may)
    }

    fn all(&mut self, parts: &[Ref]) -> Result<Ref, TooLarge> {
        parts.iter().try_fold(TRUE, |all, &part| self.diagrams.mask(all, part))
    }
}

/// Where one of the guards holds.
pub fn any(diagrams: &mut Diagrams, parts: &[Ref]) -> Result<Ref, TooLarge> {
    match parts {
        [] => Ok(NOTHING),
        [part] => Ok(*part),
        _ => {
            let (upper, lower) = parts.split_at(parts.len() / 2);
            let (upper, lower) = (any(diagrams, upper)?, any(diagrams, lower)?);
            diagrams.over(upper, lower)
        }
    }
}
