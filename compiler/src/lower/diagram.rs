//! Owns ordered, reduced, hash-consed decision diagrams over class numbers (Bryant 1986, with many-valued variables).
//! Never what a field, a class or a leaf means.

mod make;
mod project;
mod store;

use std::collections::{HashMap, HashSet};

use rustc_hash::FxHashMap;

use super::axis::Axis;
pub use store::Row;
use store::Store;

/// A terminal, or the number of an inner node with `INNER` set.
pub type Ref = u32;

/// No arm matches, or false.
pub const NOTHING: Ref = 0;
/// A guard that holds.
pub const TRUE: Ref = 1;
const INNER: Ref = 0x8000_0000;

/// Rows and exceptions looked at before a policy's diagrams are refused: half a second's work, and what bounds
/// their memory.
pub const MAX_WORK: usize = 1 << 25;

/// The terminal of a leaf of a region.
pub fn leaf(number: u32) -> Ref {
    number + 1
}

/// The leaf of a terminal that is not `NOTHING`.
pub fn leaf_number(terminal: Ref) -> u32 {
    terminal - 1
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Op {
    /// The right one where the left one holds, else nothing.
    Mask,
    /// The left one where it is something, else the right one.
    Over,
}

pub struct Diagrams {
    store: Store,
    /// The exceptions of rows that are being made, one row behind the other.
    draft: Vec<(u16, Ref)>,
    counts: Vec<u32>,
    /// Keys are numbers given here, so that a hash without a secret will do.
    memo: FxHashMap<(Op, Ref, Ref), Ref>,
    not_memo: FxHashMap<Ref, Ref>,
    work: usize,
    most_work: usize,
}

impl Diagrams {
    /// `counts`: number of classes by index of the axis.
    pub fn new(counts: Vec<u32>) -> Diagrams {
        Diagrams {
            store: Store::default(),
            draft: Vec::new(),
            counts,
            memo: FxHashMap::default(),
            not_memo: FxHashMap::default(),
            work: 0,
            most_work: MAX_WORK,
        }
    }

    /// Allows so many times `MAX_WORK`.
    pub fn allow(&mut self, times: usize) {
        self.most_work = MAX_WORK * times;
    }

    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The node behind a reference, `None` for a terminal.
    pub fn row(&self, at: Ref) -> Option<Row<'_>> {
        self.store.row(at)
    }

    /// The image's fields that a diagram looks at, as `Field::bit`s.
    pub fn fields(&self, root: Ref) -> u32 {
        self.reached(root).0
    }

    /// The leaves that some packet takes.
    pub fn leaves(&self, root: Ref) -> HashSet<u32> {
        self.reached(root).1
    }

    fn reached(&self, root: Ref) -> (u32, HashSet<u32>) {
        let mut seen = HashSet::from([root]);
        let mut open = vec![root];
        let (mut fields, mut leaves) = (0, HashSet::new());
        while let Some(at) = open.pop() {
            let Some(row) = self.row(at) else {
                // `else` takes what no arm does, so that nothing leads to `NOTHING`.
                leaves.extend((at != NOTHING).then(|| leaf_number(at)));
                continue;
            };
            fields |= row.field.field().map_or(0, |field| field.bit());
            let children = row.exceptions.iter().map(|exception| exception.1).chain([row.default]);
            open.extend(children.filter(|&child| seen.insert(child)));
        }
        (fields, leaves)
    }

    /// True for the classes given, which ascend.
    pub fn member(&mut self, field: impl Into<Axis>, classes: &[u16]) -> Result<Ref, TooLarge> {
        let start = self.draft.len();
        self.draft.extend(classes.iter().map(|&class| (class, TRUE)));
        self.make(field.into(), NOTHING, start)
    }

    pub fn not(&mut self, guard: Ref) -> Result<Ref, TooLarge> {
        let Some(node) = self.store.node(guard) else {
            return Ok(if guard == NOTHING { TRUE } else { NOTHING });
        };
        if let Some(&known) = self.not_memo.get(&guard) {
            return Ok(known);
        }
        let made = self.with_children(node, Self::not)?;
        self.not_memo.insert(guard, made);
        Ok(made)
    }

    /// `then` where the guard holds, else nothing. Between two guards: `and`.
    pub fn mask(&mut self, guard: Ref, then: Ref) -> Result<Ref, TooLarge> {
        match guard {
            NOTHING => Ok(NOTHING),
            TRUE => Ok(then),
            _ if then == NOTHING => Ok(NOTHING),
            _ => self.apply(Op::Mask, guard, then),
        }
    }

    /// The first where it is something, else the second. Between two guards: `or`.
    pub fn over(&mut self, first: Ref, second: Ref) -> Result<Ref, TooLarge> {
        match (first, second) {
            (NOTHING, other) | (other, NOTHING) => Ok(other),
            _ if first & INNER == 0 || first == second => Ok(first),
            _ => self.apply(Op::Over, first, second),
        }
    }

    /// Of a diagram with leaves, the guard that holds where it leads to this one.
    pub fn select(&mut self, root: Ref, wanted: Ref) -> Result<Ref, TooLarge> {
        self.each_end(root, &|end| if end == wanted { TRUE } else { NOTHING }, &mut HashMap::new())
    }

    /// Of a diagram with leaves, the guard that holds where it leads to one of these, by their numbers.
    pub fn select_any(&mut self, root: Ref, wanted: &HashSet<u32>) -> Result<Ref, TooLarge> {
        let is_wanted = |end: Ref| end != NOTHING && wanted.contains(&leaf_number(end));
        self.each_end(root, &|end| if is_wanted(end) { TRUE } else { NOTHING }, &mut HashMap::new())
    }

    fn each_end(
        &mut self,
        root: Ref,
        becomes: &impl Fn(Ref) -> Ref,
        known: &mut HashMap<Ref, Ref>,
    ) -> Result<Ref, TooLarge> {
        let Some(node) = self.store.node(root) else { return Ok(becomes(root)) };
        if let Some(&made) = known.get(&root) {
            return Ok(made);
        }
        let made = self.with_children(node, |diagrams, child| diagrams.each_end(child, becomes, known))?;
        known.insert(root, made);
        Ok(made)
    }

    /// Where a guard holds for some class of the axis.
    pub fn any_of(&mut self, guard: Ref, axis: impl Into<Axis>) -> Result<Ref, TooLarge> {
        let axis = axis.into();
        let mut any = NOTHING;
        for class in 0..self.counts.get(axis.index()).copied().unwrap_or(1) {
            let here = self.fix(guard, axis, class as u16)?;
            any = self.over(any, here)?;
        }
        Ok(any)
    }

    /// As if the axis were always of this class.
    pub fn fix(&mut self, root: Ref, axis: impl Into<Axis>, class: u16) -> Result<Ref, TooLarge> {
        self.fix_below(root, axis.into(), class, &mut HashMap::new())
    }

    fn fix_below(
        &mut self,
        root: Ref,
        axis: Axis,
        class: u16,
        known: &mut HashMap<Ref, Ref>,
    ) -> Result<Ref, TooLarge> {
        let Some(row) = self.row(root).filter(|row| row.field <= axis) else { return Ok(root) };
        if row.field == axis {
            return Ok(row.child(class));
        }
        let Some(node) = self.store.node(root) else { return Ok(root) };
        if let Some(&made) = known.get(&root) {
            return Ok(made);
        }
        let made =
            self.with_children(node, |diagrams, child| diagrams.fix_below(child, axis, class, known))?;
        known.insert(root, made);
        Ok(made)
    }

    fn apply(&mut self, op: Op, left: Ref, right: Ref) -> Result<Ref, TooLarge> {
        if let Some(&known) = self.memo.get(&(op, left, right)) {
            return Ok(known);
        }
        let made = self.merge(left, right, |diagrams, left, right| match op {
            Op::Mask => diagrams.mask(left, right),
            Op::Over => diagrams.over(left, right),
        })?;
        self.memo.insert((op, left, right), made);
        Ok(made)
    }

    /// Where two diagrams lead together: `join` names the terminal for those of both.
    pub fn zip(
        &mut self,
        left: Ref,
        right: Ref,
        join: &mut impl FnMut(Ref, Ref) -> Ref,
    ) -> Result<Ref, TooLarge> {
        self.zip_below(left, right, join, &mut HashMap::new())
    }

    fn zip_below(
        &mut self,
        left: Ref,
        right: Ref,
        join: &mut impl FnMut(Ref, Ref) -> Ref,
        known: &mut HashMap<(Ref, Ref), Ref>,
    ) -> Result<Ref, TooLarge> {
        if (left | right) & INNER == 0 {
            return Ok(join(left, right));
        }
        if let Some(&made) = known.get(&(left, right)) {
            return Ok(made);
        }
        let made =
            self.merge(left, right, |diagrams, left, right| diagrams.zip_below(left, right, join, known))?;
        known.insert((left, right), made);
        Ok(made)
    }

    /// Where a packet of these classes, by index of the axis, ends.
    pub fn walk(&self, root: Ref, classes: &[u32]) -> Ref {
        let mut at = root;
        while let Some(row) = self.row(at) {
            at = row.child(classes[row.field.index()] as u16);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::FIXED;
    use super::*;
    use lb_abi::image::Field;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Guard {
        In(usize, Vec<u16>),
        Not(Box<Guard>),
        And(Box<Guard>, Box<Guard>),
        Or(Box<Guard>, Box<Guard>),
    }

    const TESTED: [Field; 3] = [Field::Src, Field::Dport, Field::Proto];
    const CLASSES: u16 = 4;

    fn guard() -> impl Strategy<Value = Guard> {
        let member = (0..TESTED.len(), prop::collection::btree_set(0..CLASSES, 0..=CLASSES as usize))
            .prop_map(|(field, classes)| Guard::In(field, classes.into_iter().collect()));
        member.prop_recursive(4, 16, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|guard| Guard::Not(Box::new(guard))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Guard::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner).prop_map(|(a, b)| Guard::Or(Box::new(a), Box::new(b))),
            ]
        })
    }

    fn holds(guard: &Guard, classes: &[u16; 3]) -> bool {
        match guard {
            Guard::In(field, set) => set.contains(&classes[*field]),
            Guard::Not(inner) => !holds(inner, classes),
            Guard::And(a, b) => holds(a, classes) && holds(b, classes),
            Guard::Or(a, b) => holds(a, classes) || holds(b, classes),
        }
    }

    fn diagram(diagrams: &mut Diagrams, guard: &Guard) -> Ref {
        match guard {
            Guard::In(field, set) => diagrams.member(TESTED[*field], set).unwrap(),
            Guard::Not(inner) => {
                let inner = diagram(diagrams, inner);
                diagrams.not(inner).unwrap()
            }
            Guard::And(a, b) => {
                let (a, b) = (diagram(diagrams, a), diagram(diagrams, b));
                diagrams.mask(a, b).unwrap()
            }
            Guard::Or(a, b) => {
                let (a, b) = (diagram(diagrams, a), diagram(diagrams, b));
                diagrams.over(a, b).unwrap()
            }
        }
    }

    fn everywhere() -> impl Iterator<Item = [u16; 3]> {
        (0..CLASSES.pow(3)).map(|n| [n % CLASSES, n / CLASSES % CLASSES, n / CLASSES / CLASSES])
    }

    fn by_field(classes: [u16; 3]) -> [u32; FIXED] {
        let mut all = [0; FIXED];
        for (field, class) in TESTED.iter().zip(classes) {
            all[*field as usize] = u32::from(class);
        }
        all
    }

    proptest! {
        #[test]
        fn a_diagram_is_its_guard(guards in prop::collection::vec(guard(), 1..6)) {
            let mut diagrams = Diagrams::new(vec![u32::from(CLASSES); FIXED]);
            let mut first_match = NOTHING;
            for (number, guard) in guards.iter().enumerate() {
                let root = diagram(&mut diagrams, guard);
                for classes in everywhere() {
                    prop_assert_eq!(diagrams.walk(root, &by_field(classes)) == TRUE, holds(guard, &classes));
                }
                let part = diagrams.mask(root, leaf(number as u32)).unwrap();
                first_match = diagrams.over(first_match, part).unwrap();
            }
            for classes in everywhere() {
                let first = guards.iter().position(|guard| holds(guard, &classes));
                let expected = first.map_or(NOTHING, |number| leaf(number as u32));
                prop_assert_eq!(diagrams.walk(first_match, &by_field(classes)), expected);
            }
        }

        #[test]
        fn equal_functions_are_one_node(a in guard(), b in guard()) {
            let mut diagrams = Diagrams::new(vec![u32::from(CLASSES); FIXED]);
            let (a_root, b_root) = (diagram(&mut diagrams, &a), diagram(&mut diagrams, &b));
            let equal = everywhere().all(|classes| holds(&a, &classes) == holds(&b, &classes));
            prop_assert_eq!(a_root == b_root, equal);
        }
    }
}
