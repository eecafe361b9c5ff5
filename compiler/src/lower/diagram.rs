//! Owns ordered, reduced, hash-consed decision diagrams over class numbers (Bryant 1986, with many-valued variables).
//! Never what a field, a class or a leaf means.

mod project;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::axis::Axis;

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

/// An inner node: where each class of its field leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub field: Axis,
    /// Where most classes lead; of two equally frequent ones the smaller.
    pub default: Ref,
    /// The classes that lead elsewhere, ascending.
    pub exceptions: Vec<(u16, Ref)>,
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
    rows: Vec<Rc<Row>>,
    /// Keys are numbers given here, so that a hash without a secret will do.
    unique: FxHashMap<Rc<Row>, Ref>,
    counts: Vec<u32>,
    memo: FxHashMap<(Op, Ref, Ref), Ref>,
    not_memo: FxHashMap<Ref, Ref>,
    work: usize,
    most_work: usize,
}

impl Diagrams {
    /// `counts`: number of classes by index of the axis.
    pub fn new(counts: Vec<u32>) -> Diagrams {
        Diagrams {
            rows: Vec::new(),
            unique: FxHashMap::default(),
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
    pub fn row(&self, at: Ref) -> Option<&Rc<Row>> {
        (at & INNER != 0).then(|| &self.rows[(at & !INNER) as usize])
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
        self.make(field.into(), NOTHING, classes.iter().map(|&class| (class, TRUE)).collect())
    }

    pub fn not(&mut self, guard: Ref) -> Result<Ref, TooLarge> {
        let Some(row) = self.row(guard).cloned() else {
            return Ok(if guard == NOTHING { TRUE } else { NOTHING });
        };
        if let Some(&known) = self.not_memo.get(&guard) {
            return Ok(known);
        }
        let default = self.not(row.default)?;
        let mut exceptions = Vec::with_capacity(row.exceptions.len());
        for &(class, child) in &row.exceptions {
            exceptions.push((class, self.not(child)?));
        }
        let made = self.make(row.field, default, exceptions)?;
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
        let Some(row) = self.row(root).cloned() else { return Ok(becomes(root)) };
        if let Some(&made) = known.get(&root) {
            return Ok(made);
        }
        let default = self.each_end(row.default, becomes, known)?;
        let mut exceptions = Vec::with_capacity(row.exceptions.len());
        for &(class, child) in &row.exceptions {
            exceptions.push((class, self.each_end(child, becomes, known)?));
        }
        let made = self.make(row.field, default, exceptions)?;
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
        let Some(row) = self.row(root).filter(|row| row.field <= axis).cloned() else { return Ok(root) };
        if row.field == axis {
            let exception = row.exceptions.iter().find(|exception| exception.0 == class);
            return Ok(exception.map_or(row.default, |exception| exception.1));
        }
        if let Some(&made) = known.get(&root) {
            return Ok(made);
        }
        let default = self.fix_below(row.default, axis, class, known)?;
        let mut exceptions = Vec::with_capacity(row.exceptions.len());
        for &(of, child) in &row.exceptions {
            exceptions.push((of, self.fix_below(child, axis, class, known)?));
        }
        let made = self.make(row.field, default, exceptions)?;
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

    /// The first field that either looks at, with what `combine` makes of each class's two ways on.
    fn merge(
        &mut self,
        left: Ref,
        right: Ref,
        mut combine: impl FnMut(&mut Self, Ref, Ref) -> Result<Ref, TooLarge>,
    ) -> Result<Ref, TooLarge> {
        let (left_row, right_row) = (self.row(left).cloned(), self.row(right).cloned());
        let field = left_row.iter().chain(&right_row).map(|row| row.field).min().ok_or(TooLarge)?;
        let at_field = |row: &Option<Rc<Row>>| row.clone().filter(|row| row.field == field);
        let (left_row, right_row) = (at_field(&left_row), at_field(&right_row));
        let sides = |row: &Option<Rc<Row>>, whole| row.as_ref().map_or(whole, |row| row.default);
        let (left_default, right_default) = (sides(&left_row, left), sides(&right_row, right));
        let default = combine(self, left_default, right_default)?;
        let none = Vec::new();
        let mut lefts = left_row.as_ref().map_or(&none, |row| &row.exceptions).iter().peekable();
        let mut rights = right_row.as_ref().map_or(&none, |row| &row.exceptions).iter().peekable();
        let mut exceptions = Vec::with_capacity(lefts.len().max(rights.len()));
        while let Some(class) = lefts.peek().into_iter().chain(rights.peek()).map(|next| next.0).min() {
            let left = lefts.next_if(|next| next.0 == class).map_or(left_default, |next| next.1);
            let right = rights.next_if(|next| next.0 == class).map_or(right_default, |next| next.1);
            let child = combine(self, left, right)?;
            if child != default {
                exceptions.push((class, child));
            }
            self.work += 1;
        }
        self.make(field, default, exceptions)
    }

    fn make(&mut self, field: Axis, default: Ref, mut exceptions: Vec<(u16, Ref)>) -> Result<Ref, TooLarge> {
        exceptions.retain(|exception| exception.1 != default);
        self.work += 1 + exceptions.len();
        if self.work > self.most_work {
            return Err(TooLarge);
        }
        if exceptions.is_empty() {
            return Ok(default);
        }
        let count = self.counts[field.index()] as usize;
        let row = if exceptions.len() * 2 < count {
            Row { field, default, exceptions }
        } else {
            self.by_majority(field, default, exceptions)
        };
        if row.exceptions.is_empty() {
            return Ok(row.default);
        }
        let row = Rc::new(row);
        if let Some(&known) = self.unique.get(&row) {
            return Ok(known);
        }
        let made = INNER | self.rows.len() as Ref;
        self.rows.push(row.clone());
        self.unique.insert(row, made);
        Ok(made)
    }

    /// Equal functions must be equal rows, so the default is a matter of the function alone.
    fn by_majority(&mut self, field: Axis, default: Ref, exceptions: Vec<(u16, Ref)>) -> Row {
        let count = self.counts[field.index()] as usize;
        let mut children: Vec<Ref> = exceptions.iter().map(|exception| exception.1).collect();
        children.sort_unstable();
        let mut best = (count - exceptions.len(), default);
        for group in children.chunk_by(|a, b| a == b) {
            if (group.len(), std::cmp::Reverse(group[0])) > (best.0, std::cmp::Reverse(best.1)) {
                best = (group.len(), group[0]);
            }
        }
        if best.1 == default {
            return Row { field, default, exceptions };
        }
        self.work += count;
        let mut given = exceptions.into_iter().peekable();
        let mut all = Vec::with_capacity(count - best.0);
        for class in 0..count {
            let child = given.next_if(|next| next.0 as usize == class).map_or(default, |next| next.1);
            if child != best.1 {
                all.push((class as u16, child));
            }
        }
        Row { field, default: best.1, exceptions: all }
    }

    /// Where a packet of these classes, by index of the axis, ends.
    pub fn walk(&self, root: Ref, classes: &[u32]) -> Ref {
        let mut at = root;
        while let Some(row) = self.row(at) {
            let class = classes[row.field.index()] as u16;
            at = match row.exceptions.binary_search_by_key(&class, |exception| exception.0) {
                Ok(place) => row.exceptions[place].1,
                Err(_) => row.default,
            };
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
