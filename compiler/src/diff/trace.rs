//! Owns the way of one packet through one policy up to where its fate parts from that in the other: arms, stages, ends.
//! Never what the fates are, nor which packet it is.

use policy_lang::policy::{Before, Chain, Tail};
use policy_lang::source::Span;

use super::fate::Turn;
use super::follow::{Follow, Space};
use crate::eval::{PathStep, StepKind};
use crate::expect::end_word;
use crate::graph::every_label;
use crate::lower::diagram::{TRUE, TooLarge};

/// The steps to where the turns are spent, the stage or end there included.
pub fn steps<'p>(
    follow: &mut Follow<'_, 'p>,
    turns: &[Turn],
    classes: &[u32],
    space: &mut Space<'_, 'p>,
) -> Result<Vec<PathStep>, TooLarge> {
    let policy = follow.policy;
    let mut steps = Vec::new();
    let is_fragment = space.regions.diagrams.walk(space.is.fragment, classes) == TRUE;
    if is_fragment && policy.before.fragments != Before::Match {
        let text = match policy.before.fragments {
            Before::Pass => "fragments pass",
            _ => "fragments drop",
        };
        steps.push(PathStep::new(StepKind::Before, None, text));
        return Ok(steps);
    }
    let mut turns = turns.iter();
    let mut step = |kind, span: Span, text: String| {
        steps.push(PathStep::new(kind, Some(span), text));
    };
    let mut chain: &'p Chain = &policy.root;
    let mut place = 0;
    loop {
        if let Some(stage) = chain.stages.get(place) {
            let here = follow.fate(chain, place, classes, space);
            if here == follow.fate(chain, place + 1, classes, space) {
                place += 1;
                continue;
            }
            let words = policy.stage_words(&stage.kind);
            match turns.next() {
                Some(Turn::On) => {
                    step(StepKind::Stage { exit: None }, stage.span, words);
                    place += 1;
                }
                Some(Turn::Exit(number)) => {
                    let Some((name, exit)) = stage.kind.exits().into_iter().nth(*number) else { break };
                    step(StepKind::Stage { exit: Some(name) }, stage.span, words);
                    (chain, place) = (&exit.chain, 0);
                }
                Some(Turn::Way(_)) | None => {
                    step(StepKind::Stage { exit: None }, stage.span, words);
                    break;
                }
            }
            continue;
        }
        match &chain.tail {
            Tail::End(end, span) => {
                step(StepKind::End, *span, end_word(*end).to_owned());
                break;
            }
            Tail::Tree(tree, span) => {
                let Some(tree) = policy.trees.get(tree.index()) else { break };
                step(StepKind::Tree, *span, tree.name.clone());
                (chain, place) = (&tree.chain, 0);
            }
            Tail::Match(arms) => {
                let number = follow.arm(arms, classes, space)?;
                match arms.arms.get(number) {
                    Some(arm) => {
                        step(StepKind::Arm, arm.span, arm.text.clone());
                        chain = &arm.chain;
                    }
                    None => {
                        step(StepKind::Else, arms.otherwise_span, "else".to_owned());
                        chain = &arms.otherwise;
                    }
                }
                place = 0;
            }
            Tail::Every(every) => {
                let Some(first) = every.ways.first() else { break };
                let here = follow.fate(chain, place, classes, space);
                if here == follow.fate(first, 0, classes, space) {
                    (chain, place) = (first, 0);
                    continue;
                }
                let text = every_label(every);
                let Some(Turn::Way(way)) = turns.next() else {
                    step(StepKind::Stage { exit: None }, every.span, text);
                    break;
                };
                let Some(taken) = every.ways.get(*way) else { break };
                step(StepKind::Turn(*way as u32 + 1), every.span, text);
                (chain, place) = (taken, 0);
            }
        }
    }
    Ok(steps)
}
