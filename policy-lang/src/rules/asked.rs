//! Owns what is asked for and never there, or there and never asked for: flows of a tracker, members of a banned set.
//! Never which packets meet it.

use super::each_part;
use crate::policy::{Policy, StageKind, TreeId, Values};
use crate::report::Report;

pub(super) fn check(policy: &Policy, order: &[TreeId], report: &mut Report) {
    let (mut flows, mut sets) = (Vec::new(), Vec::new());
    let (mut tracked, mut banned) = (Vec::new(), Vec::new());
    each_part(
        policy,
        order,
        &mut |test| {
            sets.extend_from_slice(&test.sets);
            if let Values::Tracker(id) = test.values {
                flows.push((id, test.span));
            }
        },
        &mut |stage| match stage.kind {
            StageKind::Track { tracker, .. } => tracked.push(tracker),
            StageKind::Ban { set } => banned.push((set, stage.span)),
            _ => {}
        },
    );
    tracked.sort_unstable();
    sets.sort_unstable();
    for (id, place) in flows.into_iter().filter(|(id, _)| tracked.binary_search(id).is_err()) {
        let Some(tracker) = policy.trackers.get(id.index()) else { continue };
        report
            .warning("W0435", place, format!("`{}` never knows a flow", tracker.name))
            .also(tracker.span, "declared here")
            .because(format!("no way of a packet leads through `track {}`", tracker.name))
            .help("track the flows that are meant, or ask the tracker that does");
    }
    for (id, place) in banned.into_iter().filter(|(id, _)| sets.binary_search(id).is_err()) {
        let Some(set) = policy.sets.get(id.index()) else { continue };
        report
            .warning("W0440", place, format!("nothing asks who is banned in `{}`", set.name))
            .also(set.span, "declared here")
            .because("`ban` only puts the source into the set: its packets go where they went before")
            .help(format!("add an arm in front: `src in {} -> drop`", set.name));
    }
}
