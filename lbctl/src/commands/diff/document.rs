//! Owns a report on differences as one JSON document. Never its text for people.

use compiler::diff::{Change, ItemChange, Moved, Region, Report, Why};
use policy_lang::source::Span;
use serde_json::{Value, json};

use super::{Shown, endpoint};
use crate::findings::places::Places;
use crate::way::{self, at};

impl Shown<'_> {
    pub(super) fn document(&self, report: &Report) -> Value {
        let settings = report.settings.iter().map(|setting| {
            let hex: String = setting.frame.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({
                "name": setting.name,
                "packets": setting.packets,
                "before": setting.before,
                "after": setting.after,
                "frame": hex,
            })
        });
        let changes =
            |changes: &[Change]| changes.iter().map(|change| self.change(change)).collect::<Vec<_>>();
        let lost = report.lost.iter().map(|lost| {
            json!({ "kind": lost.word, "before": lost.before, "after": lost.after, "loses": lost.loses })
        });
        json!({
            "version": 1,
            "old": self.old.name,
            "new": self.new.name,
            "equal": report.is_equal(),
            "settings": settings.collect::<Vec<_>>(),
            "changes": changes(&report.changes),
            "more_changes": report.more_changes,
            "observed": changes(&report.observed),
            "lost": lost.collect::<Vec<_>>(),
        })
    }

    fn change(&self, change: &Change) -> Value {
        let mut document = match &change.why {
            Why::Fate { before, after } => json!({ "before": before, "after": after }),
            Why::Observed { before, after } => json!({ "before": before, "after": after }),
            Why::Items(items) => {
                json!({ "items": items.iter().map(|item| self.item(item)).collect::<Vec<_>>() })
            }
        };
        document["regions"] = change.regions.iter().map(|region| self.region(region)).collect();
        document["more_regions"] = change.more.into();
        document
    }

    fn item(&self, item: &ItemChange) -> Value {
        let place = |span: Option<Span>, places: &Places<'_>| span.map(|span| at(span, places));
        let settings = item
            .settings
            .iter()
            .map(|(name, before, after)| json!({ "name": name, "before": before, "after": after }));
        json!({
            "kind": item.word,
            "before": item.names.0,
            "after": item.names.1,
            "old": place(item.places.0, &self.olds),
            "new": place(item.places.1, &self.news),
            "settings": settings.collect::<Vec<_>>(),
            "slots": item.slots.iter().map(slots).collect::<Vec<_>>(),
        })
    }

    fn region(&self, region: &Region) -> Value {
        let witness = &region.witness;
        let (old, new) = self.decided(region);
        let ways = |steps: &[compiler::eval::PathStep], places: &Places<'_>| {
            steps.iter().map(|step| way::document(step, places)).collect::<Vec<_>>()
        };
        json!({
            "guard": region.guard.whole,
            "old": old,
            "new": new,
            "packet": self.packet(witness),
            "flow": witness.flow,
            "at_once": witness.at_once.as_ref().map(|(before, after)| json!({ "before": before, "after": after })),
            "takes": witness.takes,
            "old_way": ways(&witness.ways.0, &self.olds),
            "new_way": ways(&witness.ways.1, &self.news),
        })
    }
}

fn slots(moved: &Moved) -> Value {
    let backends = moved.backends.iter().map(|share| {
        json!({
            "name": share.name,
            "address": endpoint(share.address),
            "before": share.before,
            "after": share.after,
            "gained": share.gained,
            "lost": share.lost,
        })
    });
    json!({
        "family": if moved.v6 { 6 } else { 4 },
        "before": moved.slots.0,
        "after": moved.slots.1,
        "moved": moved.moved,
        "backends": backends.collect::<Vec<_>>(),
    })
}
