//! Owns how much of a policy's tree its tests reach, in figures that are never rounded up, and the list of the rest.
//! Never what counts as reached.

use std::fmt::Write as _;

use compiler::coverage::{Kind, Met, Place, Reached, places};
use policy_lang::policy::Policy;
use policy_lang::source::Span;
use serde_json::{Map, Value, json};

use crate::findings::places::Places;
use crate::table::columns;
use crate::way::at;

/// Places by kind in the order in which they are told.
const KINDS: [(Kind, &str, &str); 3] =
    [(Kind::Arm, "arm", "arms"), (Kind::Exit, "exit", "exits"), (Kind::Way, "way", "ways")];

/// Of places that do not count.
const UNREACHABLE: &str = "unreachable";

pub struct Coverage {
    places: Vec<Place>,
}

impl Coverage {
    pub fn of(policy: &Policy, reached: &Reached) -> Coverage {
        Coverage { places: places(policy, reached) }
    }

    /// Places that no packet reached, or can.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.places.iter().filter(|place| place.met != Met::Reached).map(|place| place.span)
    }

    fn met(&self, met: Met) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.met == met)
    }

    /// How many of a kind are reached, and how many can be.
    fn count(&self, kind: Kind) -> (usize, usize) {
        let [reached, missed] =
            [Met::Reached, Met::Missed].map(|met| self.met(met).filter(|place| place.kind == kind).count());
        (reached, reached + missed)
    }

    /// `arms 9 of 10 (90.0 %), exits 2 of 2 (100 %)`; kinds that the policy does not have are left out.
    fn figures(&self) -> String {
        let figures = KINDS.iter().filter_map(|&(kind, _, plural)| {
            let (reached, all) = self.count(kind);
            let share = percent(reached, all)?;
            Some(format!("{plural} {reached} of {all} ({share} %)"))
        });
        let figures: Vec<String> = figures.collect();
        if figures.is_empty() { "nothing to reach".to_owned() } else { figures.join(", ") }
    }

    pub fn human(&self, places: &Places) -> String {
        let row =
            |place: &Place| vec![at(place.span, places), word(place.kind).to_owned(), place.text.clone()];
        let mut text = format!("covered {}\n", self.figures());
        for (met, words) in [(Met::Missed, "not reached"), (Met::Unreachable, UNREACHABLE)] {
            let rows: Vec<Vec<String>> = self.met(met).map(row).collect();
            if !rows.is_empty() {
                let _ = write!(text, "{words}\n{}", columns(&rows, &[], "  "));
            }
        }
        text
    }

    pub fn short(&self, places: &Places) -> String {
        let mut text = String::new();
        for (met, words) in [(Met::Missed, "not reached"), (Met::Unreachable, UNREACHABLE)] {
            for place in self.met(met) {
                let (at, word) = (at(place.span, places), word(place.kind));
                let _ = writeln!(text, "{at}: {words}: {word} {}", place.text);
            }
        }
        text
    }

    /// For the last line of the short form.
    pub fn summary(&self) -> String {
        format!("covered {}", self.figures())
    }

    pub fn document(&self, places: &Places) -> Value {
        let mut document = Map::new();
        for (kind, _, plural) in KINDS {
            let (reached, all) = self.count(kind);
            let share = percent(reached, all).and_then(|share| share.parse::<f64>().ok());
            document.insert(plural.to_owned(), json!({ "reached": reached, "of": all, "percent": share }));
        }
        let place = |place: &Place| {
            let start = places.start(place.span);
            json!({
                "kind": word(place.kind),
                "file": places.file(place.span).name,
                "line": start.line,
                "column": start.column,
                "text": place.text,
            })
        };
        document.insert("not_reached".to_owned(), self.met(Met::Missed).map(place).collect());
        document.insert("unreachable".to_owned(), self.met(Met::Unreachable).map(place).collect());
        document.into()
    }
}

fn word(kind: Kind) -> &'static str {
    KINDS.iter().find(|(of, _, _)| *of == kind).map_or("", |(_, word, _)| word)
}

/// In tenths, rounded down, so that `100` is all of them and nothing less; `None` of nothing.
fn percent(reached: usize, all: usize) -> Option<String> {
    let tenths = (reached * 1000).checked_div(all)?;
    Some(if tenths == 1000 { "100".to_owned() } else { format!("{}.{}", tenths / 10, tenths % 10) })
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn what_is_not_all_is_not_a_hundred_percent() {
        let told = |reached, all| percent(reached, all).unwrap_or_default();
        assert_eq!(
            [told(0, 3), told(2, 3), told(999, 1000), told(9999, 10_000), told(3, 3)],
            ["0.0", "66.6", "99.9", "99.9", "100"]
        );
        assert_eq!(percent(0, 0), None);
    }
}
