//! Owns the drawing as numbered boxes and the ways between them, for forms that leave the places to others. Never a
//! syntax.

use compiler::figure::{Chain, Figure, Kind, Label, Select, Tail, Tree, end_label};

use crate::graph::style::{Look, verdict};
use crate::graph::way_label;
use crate::table::without_middle;

/// Boxes in groups, and ways between them.
#[derive(Debug, Default)]
pub struct Flat {
    /// The root first, then the trees that are drawn.
    pub groups: Vec<Group>,
    pub ways: Vec<Way>,
    /// One for each box, by its number.
    pub boxes: Vec<Box>,
}

#[derive(Debug)]
pub struct Group {
    pub name: String,
    pub reached: bool,
    /// Numbers of its boxes, the one that is entered first.
    pub boxes: Vec<usize>,
}

#[derive(Debug)]
pub struct Box {
    pub look: Look,
    pub reached: bool,
    pub title: String,
    pub settings: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// From a stage or the packet to what comes next.
    Next,
    /// An arm of a match or a turn of an `every`.
    Arm,
    Exit,
    /// An exit that is not written.
    Default,
}

#[derive(Debug)]
pub struct Way {
    pub from: usize,
    pub to: usize,
    pub sort: Sort,
    pub reached: bool,
    /// Empty for what comes next.
    pub label: String,
    /// An arm's number in its match, from 1.
    pub order: Option<usize>,
}

impl Way {
    /// The label in at most `longest` columns, with the number of an arm, as pictures do not keep the order.
    pub fn shown(&self, longest: usize) -> String {
        let label = without_middle(&self.label, longest);
        match self.order {
            Some(order) => format!("{order}: {label}"),
            None if self.sort == Sort::Default => format!("{label} (default)"),
            None => label,
        }
    }
}

pub fn flat(figure: &Figure) -> Flat {
    let mut author = Author { flat: Flat::default(), calls: Vec::new(), trees: &figure.trees };
    author.group("root".to_owned(), true);
    let start = author.add(Look::Start, true, "packet".to_owned(), figure.settings.clone());
    author.chain(&figure.root, Open::new(start, Sort::Next, String::new()));
    // The box that each tree is entered by.
    let mut entries = vec![None; figure.trees.len()];
    for (tree, entry) in figure.trees.iter().zip(&mut entries) {
        if tree.chain.steps.is_empty() && tree.chain.tail == Tail::More {
            continue;
        }
        author.group(format!("tree {}", tree.name), tree.reached);
        *entry = Some(author.flat.boxes.len());
        author.rest(&tree.chain, None);
    }
    for (way, tree) in std::mem::take(&mut author.calls) {
        let entry = entries.get(tree).copied().flatten();
        // Of a tree that is not drawn, its name alone.
        let to = entry.unwrap_or_else(|| {
            let reached = author.flat.ways.get(way).is_some_and(|way| way.reached);
            author.call(tree, reached)
        });
        if let Some(way) = author.flat.ways.get_mut(way) {
            way.to = to;
        }
    }
    author.flat
}

struct Author<'f> {
    flat: Flat,
    /// Ways to trees, which may be drawn later: the number of the way, and the tree's.
    calls: Vec<(usize, usize)>,
    trees: &'f [Tree],
}

/// A way whose end is not known yet.
struct Open {
    from: usize,
    sort: Sort,
    label: String,
    order: Option<usize>,
}

impl Open {
    fn new(from: usize, sort: Sort, label: String) -> Open {
        Open { from, sort, label, order: None }
    }
}

impl Author<'_> {
    fn group(&mut self, name: String, reached: bool) {
        self.flat.groups.push(Group { name, reached, boxes: Vec::new() });
    }

    fn add(&mut self, look: Look, reached: bool, title: String, settings: Vec<String>) -> usize {
        let number = self.flat.boxes.len();
        self.flat.boxes.push(Box { look, reached, title, settings });
        if let Some(group) = self.flat.groups.last_mut() {
            group.boxes.push(number);
        }
        number
    }

    /// A box with the name of a tree.
    fn call(&mut self, tree: usize, reached: bool) -> usize {
        let name = self.trees.get(tree).map_or("", |tree| &tree.name);
        self.add(Look::Call, reached, format!("tree {name}"), Vec::new())
    }

    fn way(&mut self, open: &Open, to: usize, reached: bool) {
        let Open { from, sort, label, order } = open;
        let way = Way { from: *from, to, sort: *sort, reached, label: label.clone(), order: *order };
        self.flat.ways.push(way);
    }

    fn chain(&mut self, chain: &Chain, open: Open) {
        self.rest(chain, Some(open));
    }

    /// The boxes of a chain, entered by `open` if anything leads to it.
    fn rest(&mut self, chain: &Chain, mut open: Option<Open>) {
        let reached = chain.reached;
        for step in &chain.steps {
            let number = self.add(Look::Step(step.kind), reached, step.title.clone(), step.settings.clone());
            if let Some(open) = &open {
                self.way(open, number, reached);
            }
            for exit in &step.exits {
                let sort = if exit.written { Sort::Exit } else { Sort::Default };
                self.chain(&exit.chain, Open::new(number, sort, exit.names.join(", ")));
            }
            let label = if step.kind == Kind::Filter { "holds" } else { "" };
            open = Some(Open::new(number, Sort::Next, label.to_owned()));
        }
        let number = match &chain.tail {
            Tail::Tree(tree) => {
                let open = open.unwrap_or_else(|| {
                    // A tree that is but another name of a tree.
                    let from = self.call(*tree, reached);
                    Open::new(from, Sort::Next, String::new())
                });
                self.calls.push((self.flat.ways.len(), *tree));
                return self.way(&open, 0, reached);
            }
            Tail::End(end) => {
                self.add(Look::Verdict(verdict(*end)), reached, end_label(*end).to_owned(), Vec::new())
            }
            Tail::More => self.add(Look::More, reached, "…".to_owned(), Vec::new()),
            Tail::Select(select) => self.add(Look::Selector, reached, select.title.clone(), Vec::new()),
        };
        if let Some(open) = &open {
            self.way(open, number, reached);
        }
        if let Tail::Select(select) = &chain.tail {
            self.ways(select, number);
        }
    }

    fn ways(&mut self, select: &Select, from: usize) {
        let mut before = 0;
        for way in &select.ways {
            let label = way_label(&way.label, select);
            let order = matches!(way.label, Label::Guard(_)).then_some(before + 1);
            before += if let Label::More(count) = way.label { count } else { 1 };
            self.chain(&way.chain, Open { from, sort: Sort::Arm, label, order });
        }
    }
}
