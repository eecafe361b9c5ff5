//! Owns sides: which packets come from where. Never proof of it: only a flow is that.

use super::Typing;
use crate::ast::{Guard as Written, SideRule, Word};
use crate::policy::{Guard, Side, Test, Values};
use crate::value::addr::{intersect, intersection_of, is_empty};

impl Typing<'_> {
    pub(super) fn type_sides(&mut self) {
        let mut rest: Option<&Word> = None;
        for (name, rule) in &self.declared.sides {
            let guard = match rule {
                SideRule::When(guard) => {
                    self.no_side_within(guard);
                    self.guard(guard)
                }
                SideRule::Word(word) if word.text == "otherwise" => {
                    if let Some(first) = rest {
                        self.report
                            .error("E0412", name.span, "two sides are `otherwise`")
                            .also(first.span, "the first one")
                            .because("sides are disjoint, and only one can be the rest");
                    }
                    rest = Some(name);
                    None
                }
                SideRule::Word(word) => {
                    self.report
                        .error("E0310", word.span, format!("side `{}` is not written like this", name.text))
                        .help("write `side NAME when GUARD` or `side NAME otherwise`");
                    rest = rest.or(Some(name));
                    None
                }
            };
            self.sides.push(Side { name: name.text.clone(), span: name.span, guard });
        }
        self.sides_cover(rest.is_some());
        self.sides_disjoint();
    }

    fn no_side_within(&mut self, guard: &Written) {
        match guard {
            Written::Or(parts) | Written::And(parts) => {
                parts.iter().for_each(|part| self.no_side_within(part))
            }
            Written::Not(inner, _) => self.no_side_within(inner),
            Written::From(name, place) => {
                self.report
                    .error("E0204", *place, format!("a side is told apart by side `{}`", name.text))
                    .because("sides are what `from` asks for, and cannot be made of each other")
                    .help("write the guard out");
            }
            Written::To(..) | Written::Test(_) => {}
        }
    }

    fn sides_cover(&mut self, rest: bool) {
        let Some((name, _)) = self.declared.sides.first() else { return };
        if !rest {
            self.report
                .error("E0413", name.span, "the sides do not cover every packet")
                .because("each packet comes from exactly one side")
                .help("add `side NAME otherwise` for the rest");
        }
    }

    /// Decided where each of two sides is one comparison of the same field.
    fn sides_disjoint(&mut self) {
        for (index, side) in self.sides.iter().enumerate() {
            for other in self.sides.iter().take(index) {
                let (Some(a), Some(b)) = (comparison(side), comparison(other)) else { continue };
                let meet = match (&a.values, &b.values) {
                    (Values::Addrs(x), Values::Addrs(y)) => !is_empty(&intersection_of(x, y)),
                    (Values::Ranges(x), Values::Ranges(y)) => !intersect(x, y).is_empty(),
                    _ => false,
                };
                if a.field == b.field && meet {
                    self.report
                        .error(
                            "E0412",
                            side.span,
                            format!("sides `{}` and `{}` overlap", side.name, other.name),
                        )
                        .also(other.span, "the other one")
                        .because("sides are disjoint: a packet comes from one of them")
                        .help("take one out of the other with `except`");
                }
            }
        }
    }
}

fn comparison(side: &Side) -> Option<&Test> {
    match &side.guard {
        Some(Guard::Test(test)) if !test.negated => Some(test),
        _ => None,
    }
}
