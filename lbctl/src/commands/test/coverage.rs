//! Owns how much of a policy's tree its tests reach, in figures that are never rounded up, and the list of the rest.
//! Never what counts as reached.

use std::fmt::Write as _;

use compiler::coverage::{Kind, Place, Reached, places};
use policy_lang::policy::Policy;
use policy_lang::source::Span;
use serde_json::{Map, Value, json};

use crate::findings::places::Places;
use crate::table::columns;
use crate::way::at;

/// Places by kind in the order in which they are told.
const KINDS: [(Kind, &str, &str); 3] =
    [(Kind::Arm, "arm", "arms"), (Kind::Exit, "exit", "exits"), (Kind::Way, "way", "ways")];

pub struct Coverage {
    places: Vec<Place>,
}

impl Coverage {
    pub fn of(policy: &Policy, reached: &Reached) -> Coverage {
        Coverage { places: places(policy, reached) }
    }

    /// Places that no packet reached.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.missed().map(|place| place.span)
    }

    fn missed(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| !place.reached)
    }

    /// How many of a kind are reached, and how many there are.
    fn count(&self, kind: Kind) -> (usize, usize) {
        let of_kind = || self.places.iter().filter(move |place| place.kind == kind);
        (of_kind().filter(|place| place.reached).count(), of_kind().count())
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
        let rows: Vec<Vec<String>> = self.missed().map(row).collect();
        let list = if rows.is_empty() { "" } else { "not reached\n" };
        format!("covered {}\n{list}{}", self.figures(), columns(&rows, &[], "  "))
    }

    pub fn short(&self, places: &Places) -> String {
        let mut text = String::new();
        for place in self.missed() {
            let _ = writeln!(
                text,
                "{}: not reached: {} {}",
                at(place.span, places),
                word(place.kind),
                place.text
            );
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
        let missed = self.missed().map(|place| {
            let start = places.start(place.span);
            json!({
                "kind": word(place.kind),
                "file": places.file(place.span).name,
                "line": start.line,
                "column": start.column,
                "text": place.text,
            })
        });
        document.insert("not_reached".to_owned(), missed.collect());
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
