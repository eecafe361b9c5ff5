//! What every drawing is held to, whatever the policy.

use compiler::figure::{Chain, Exit, Figure, Kind, Label, Select, Step, Table, Tail, Tree, Way};
use policy_lang::policy::End;
use proptest::prelude::*;

use super::shape::{Rect, Shape};
use super::{document, drawing};

/// Choices, read one after the other; 0 once they are used up, which always ends.
struct Dice<'c>(std::slice::Iter<'c, u8>);

impl Dice<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next().map_or(0, |&choice| usize::from(choice) % bound)
    }

    fn words(&mut self) -> String {
        const WORDS: [&str; 6] =
            ["src in a", "tcp.dport in { 80, 443 }", "and", "名前", "x", "from inside_of_the_house"];
        let count = 1 + self.below(9);
        let words: Vec<&str> = (0..count).map(|_| WORDS[self.below(WORDS.len())]).collect();
        words.join(" ")
    }

    /// A chain that may lead to trees from `first` to `last`, so that there is no circle.
    fn chain(&mut self, depth: usize, first: usize, last: usize) -> Chain {
        let kinds = [Kind::Filter, Kind::Scanner, Kind::Limiter, Kind::Counter, Kind::Modifier];
        let steps = (0..self.below(4)).map(|_| Step {
            kind: kinds[self.below(5)],
            title: self.words(),
            settings: (0..self.below(3)).map(|_| self.words()).collect(),
            exits: match depth {
                0 => Vec::new(),
                _ => (0..self.below(3))
                    .map(|_| Exit {
                        names: ["full", "invalid", "missing"][..1 + self.below(3)].to_vec(),
                        written: self.below(2) == 0,
                        chain: self.chain(depth - 1, first, last),
                    })
                    .collect(),
            },
        });
        let steps = steps.collect();
        let tail = match self.below(4) {
            0 => Tail::End([End::Drop, End::Forward, End::ReplyEcho][self.below(3)]),
            1 if first < last => Tail::Tree(first + self.below(last - first)),
            2 | 3 if depth > 0 => Tail::Select(Select {
                title: "match".to_owned(),
                ways: (0..1 + self.below(4))
                    .map(|_| Way {
                        label: Label::Guard(self.words()),
                        chain: self.chain(depth - 1, first, last),
                    })
                    .collect(),
            }),
            _ => Tail::More,
        };
        Chain { reached: self.below(4) > 0, steps, tail }
    }
}

fn figure(choices: &[u8]) -> Figure {
    let mut dice = Dice(choices.iter());
    let count = dice.below(5);
    let root = dice.chain(3, 0, count);
    let trees = (0..count).map(|tree| Tree {
        name: format!("t{tree}"),
        reached: dice.below(3) > 0,
        chain: dice.chain(2, tree + 1, count),
    });
    let trees = trees.collect();
    let settings = vec!["default drop".to_owned()];
    let mut table = || {
        let mut row = || [dice.words(), dice.words(), String::new()];
        let (first, second) = (row(), row());
        Table { title: dice.words(), settings: vec![dice.words()], rows: vec![first, second] }
    };
    let (pools, names) = (vec![table(), table()], vec![table()]);
    Figure { policy: "p".to_owned(), settings, root, trees, pools, more_pools: 1, names }
}

fn overlap(one: Rect, other: Rect) -> bool {
    one.x < other.right() && other.x < one.right() && one.y < other.bottom() && other.y < one.bottom()
}

fn within(inner: Rect, outer: Rect) -> bool {
    outer.x <= inner.x
        && inner.right() <= outer.right()
        && outer.y <= inner.y
        && inner.bottom() <= outer.bottom()
}

/// What must not cover each other: boxes and the words beside them.
fn solid(shapes: &[Shape]) -> Vec<Rect> {
    let rects = shapes.iter().filter_map(|shape| match shape {
        Shape::Node(node) => Some(node.rect),
        Shape::Text(text) => Some(text.rect()),
        Shape::Frame(_) | Shape::Wire(_) => None,
    });
    rects.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn nothing_covers_anything(choices in proptest::collection::vec(any::<u8>(), 0..400)) {
        let drawing = drawing(&figure(&choices), "p.lbp");
        let paper = Rect { x: 0, y: 0, w: drawing.width, h: drawing.height };
        let solid = solid(&drawing.shapes);
        for (at, one) in solid.iter().enumerate() {
            prop_assert!(within(*one, paper), "{one:?} is not on {paper:?}");
            for other in &solid[at + 1..] {
                prop_assert!(!overlap(*one, *other), "{one:?} covers {other:?}");
            }
        }
        let frames = drawing.shapes.iter().filter_map(|shape| match shape {
            Shape::Frame(frame) => Some(frame.rect),
            _ => None,
        });
        let frames: Vec<Rect> = frames.collect();
        for (at, one) in frames.iter().enumerate() {
            prop_assert!(within(*one, paper));
            prop_assert!(frames[at + 1..].iter().all(|other| !overlap(*one, *other)));
        }
        for shape in &drawing.shapes {
            match shape {
                Shape::Node(node) => {
                    for text in &node.texts {
                        prop_assert!(within(text.rect(), node.rect), "{text:?} is not in {:?}", node.rect);
                    }
                }
                // A wire ends at the border of a box and never runs below it.
                Shape::Wire(wire) => for leg in wire.points.windows(2) {
                    let ((x1, y1), (x2, y2)) = (leg[0], leg[1]);
                    prop_assert!(x1 == x2 || y1 == y2, "{wire:?} is not straight");
                    let line = Rect { x: x1.min(x2), y: y1.min(y2), w: (x2 - x1).abs(), h: (y2 - y1).abs() };
                    prop_assert!(within(line, paper));
                    for shape in &drawing.shapes {
                        if let Shape::Node(node) = shape {
                            let Rect { x, y, w, h } = node.rect;
                            let inside = Rect { x: x + 1, y: y + 1, w: w - 2, h: h - 2 };
                            let line = Rect { w: line.w.max(1), h: line.h.max(1), ..line };
                            prop_assert!(!overlap(line, inside), "{wire:?} runs over {node:?}");
                        }
                    }
                },
                Shape::Text(_) | Shape::Frame(_) => {}
            }
        }
    }

    #[test]
    fn the_document_is_well_formed(choices in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = document(&figure(&choices), "a<b>&\"c\u{1}\u{ffff}");
        let mut open = Vec::new();
        for tag in text.split('<').skip(1) {
            let (tag, rest) = tag.split_once('>').expect("every `<` has its `>`");
            prop_assert!(!rest.contains(|letter: char| letter.is_control() && letter != '\n'));
            match (tag.strip_prefix('/'), tag.ends_with('/')) {
                (Some(name), _) => prop_assert_eq!(open.pop(), Some(name.to_owned())),
                (None, false) => open.push(tag.split(' ').next().unwrap_or("").to_owned()),
                (None, true) => {}
            }
        }
        prop_assert!(open.is_empty());
    }
}
