//! Owns the witness of a region: a packet whose fate changes, what becomes of it in both policies as the first packet,
//! and what it takes otherwise. Never which packets are in the region.

use lb_abi::image::{FLAG_ACK, Field};

use policy_lang::policy::{PacketSpec, Policy};

use super::fate::{Fate, FateId, Fates, NEVER, Turn};
use super::follow::{Follow, Leaf, Space};
use super::items::{Item, Items, Kind};
use super::joint::Joint;
use super::report::Witness;
use super::same::{Cause, Same};
use super::trace;
use crate::eval::{Evaluator, PathStep, State, StepKind};
use crate::expect::{self, evaluated};
use crate::lower::axis::Axis;
use crate::lower::diagram::{NOTHING, Ref, TooLarge};
use crate::lower::formula::Classes;
use crate::packet;
use crate::prove::witness::{classes, packet as chosen, value};

/// Both policies on their way to a packet.
pub struct Scene<'s, 'g, 'a, 'p> {
    pub follows: [Follow<'g, 'p>; 2],
    pub evaluators: [Evaluator<'p>; 2],
    pub joint: &'s Joint<'p>,
    pub cut: &'a Classes,
    pub space: &'s mut Space<'a, 'p>,
    pub same: &'s mut Same,
    /// Both policies' diagrams.
    pub roots: [Ref; 2],
}

impl Scene<'_, '_, '_, '_> {
    /// A packet of the region, which has one: rather one on which the evaluator shows the difference.
    pub fn witness(&mut self, region: Ref) -> Result<Witness, TooLarge> {
        let first = self.try_one(region)?;
        if first.at_once.is_some() {
            return Ok(first);
        }
        // A TCP packet without a flow shows what a SYN does not.
        let ack = self.cut.small[Field::TcpFlags as usize].class(FLAG_ACK) as u16;
        let acks = self.space.regions.diagrams.member(Field::TcpFlags, &[ack])?;
        let acks = self.space.regions.diagrams.mask(region, acks)?;
        if acks == NOTHING {
            return Ok(first);
        }
        let second = self.try_one(acks)?;
        Ok(if second.at_once.is_some() { second } else { first })
    }

    fn try_one(&mut self, region: Ref) -> Result<Witness, TooLarge> {
        let classes = classes(&self.space.regions.diagrams, self.cut, region);
        let [old_policy, new_policy] = self.space.items.policies;
        let chosen = chosen(new_policy, self.cut, &classes);
        let (iface, cert) =
            (value(self.cut, &classes, Axis::Iface), value(self.cut, &classes, Field::Cert.into()));
        let [before, after] = [false, true].map(|new| PacketSpec {
            iface: self.joint.interface(new, iface),
            signed: self.joint.certificate(new, cert),
            ..chosen.spec.clone()
        });
        let [old, new] = self.roots.map(|root| self.leaf(root, &classes));
        let (Some(old), Some(new)) = (old, new) else { return Err(TooLarge) };
        let (fates, items) = (&self.space.fates, &self.space.items);
        let (old, new) = (fates.silent(old.real), fates.silent(new.real));
        let (turns, apart_old, apart_new) = self.same.way_apart(old, new, fates, items);
        let ways = self.ways(&turns, &classes)?;
        let flow = Some(self.joint.tracker_name(chosen.flow).to_owned()).filter(|name| !name.is_empty());
        let [old_evaluator, new_evaluator] = &self.evaluators;
        // Both on the same day, which makes no difference between them.
        let [old_state, new_state] = [old_policy, new_policy].map(expect::fresh);
        let date = old_state.date.max(new_state.date);
        let run = |policy: &Policy, evaluator: &Evaluator<'_>, state: State, spec: &PacketSpec| {
            let frame = packet::build_in(policy, spec);
            evaluator.run_from(&mut State { date, ..state }, &frame, spec.iface)
        };
        let met_before = run(old_policy, old_evaluator, old_state, &before);
        let met_after = run(new_policy, new_evaluator, new_state, &after);
        let differ = (met_before.verdict, &met_before.frame) != (met_after.verdict, &met_after.frame);
        let at_once = differ.then(|| (evaluated(old_policy, &met_before), evaluated(new_policy, &met_after)));
        let mut takes = self.takes(&ways, flow.as_deref(), apart_old, apart_new);
        let held = chosen.held.iter().map(|(field, set)| {
            let address = if *field == Field::Src { after.src } else { after.dst };
            format!("{address} is in `{set}`")
        });
        takes.splice(0..0, held);
        Ok(Witness { packets: (before, after), flow, ways, at_once, takes })
    }

    fn leaf(&self, root: Ref, classes: &[u32]) -> Option<Leaf> {
        self.space.leaves.at(self.space.regions.diagrams.walk(root, classes)).copied()
    }

    fn ways(&mut self, turns: &[Turn], classes: &[u32]) -> Result<(Vec<PathStep>, Vec<PathStep>), TooLarge> {
        let [old, new] = &mut self.follows;
        Ok((trace::steps(old, turns, classes, self.space)?, trace::steps(new, turns, classes, self.space)?))
    }

    /// What brings a packet to where its fate parts.
    fn takes(
        &mut self,
        ways: &(Vec<PathStep>, Vec<PathStep>),
        flow: Option<&str>,
        old: FateId,
        new: FateId,
    ) -> Vec<String> {
        let mut takes: Vec<String> =
            flow.map(|name| format!("its flow is known to `{name}`")).into_iter().collect();
        for step in ways.1.iter().take(ways.1.len().saturating_sub(1)) {
            match step.kind {
                StepKind::Stage { exit: Some(exit) } => {
                    takes.push(format!("`{}` is left by `{exit}`", step.text))
                }
                StepKind::Turn(way) => takes.push(format!("`{}` takes way {way}", step.text)),
                _ => {}
            }
        }
        let (fates, items) = (&self.space.fates, &self.space.items);
        let apart = match self.same.cause(old, new, fates, items) {
            Cause::Items(changed) => {
                let name = |&(_, new): &(_, Item)| format!("`{}`", items.words(new));
                let names: Vec<String> = changed.iter().map(name).collect();
                Some(vec![format!("what has changed of {} comes to matter", names.join(" and "))])
            }
            _ => departs(fates, items, old, new)
                .or_else(|| departs(fates, items, new, old))
                .or_else(|| counted_apart(fates, items, old, new)),
        };
        takes.extend(apart.into_iter().flatten());
        takes
    }
}

/// Two stages of a kind that are not the same one.
fn counted_apart(fates: &Fates, items: &Items<'_>, old: FateId, new: FateId) -> Option<Vec<String>> {
    let item = |fate| match fates.get(fate) {
        Fate::Never | Fate::End(_) => None,
        Fate::Stage(stage) => Some(stage.item),
        Fate::Every(item, _) => Some(*item),
    };
    let (old, new) = (item(old)?, item(new)?);
    let (before, after) = (items.words(old), items.words(new));
    Some(vec![match before == after {
        true => format!("`{after}` has met packets that it did not meet before"),
        false => format!("`{before}` and `{after}` have met other packets before it"),
    }])
}

/// What leads from one fate to an end other than another fate, which must be an end.
fn departs(fates: &Fates, items: &Items<'_>, from: FateId, end: FateId) -> Option<Vec<String>> {
    if !matches!(fates.get(end), Fate::End(_)) {
        return None;
    }
    let mut takes = Vec::new();
    let mut at = from;
    loop {
        at = match fates.get(at) {
            Fate::Never => return None,
            Fate::End(_) => return (at != end).then_some(takes),
            Fate::Every(item, ways) => {
                let (turn, &way) = (1..).zip(ways).find(|&(_, &way)| way != end)?;
                takes.push(format!("`{}` takes way {turn}", items.words(*item)));
                way
            }
            Fate::Stage(stage) if stage.next != end && stage.next != NEVER => {
                if stage.item.kind == Kind::TranslateBack {
                    takes.push("`translate back` finds its flow".to_owned());
                }
                stage.next
            }
            Fate::Stage(stage) => {
                let (name, exit) = stage.exits.iter().find(|exit| exit.1 != end && exit.1 != NEVER)?;
                takes.push(format!("`{}` is left by `{name}`", items.words(stage.item)));
                *exit
            }
        };
    }
}
