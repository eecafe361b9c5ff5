//! Owns vips a part of which (an address, a port) an earlier arm takes from all arms that name them. Never arms that no
//! packet takes at all.

use std::collections::HashSet;
use std::sync::Arc;

use lb_abi::image::Field;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{AddrSet, Guard, Match, Policy, VipId};
use policy_lang::source::Span;

use super::Flow;
use crate::graph::Nesting;
use crate::lower::diagram::{NOTHING, Ref, TooLarge};
use crate::lower::formula::{Formula, Sets};

/// Blockers named beside a finding.
const NAMED: usize = 3;

/// One address of a vip with one of its port ranges.
pub struct Part {
    vip: VipId,
    /// `203.0.113.10 tcp 443`.
    words: String,
    packets: Formula,
}

/// Every part of every vip, to be read before the fields are cut into classes.
pub fn parts(policy: &Policy, sets: &mut Sets<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    for (id, vip) in (0..).map(VipId).zip(&policy.vips) {
        let v4 = vip
            .v4
            .map(|v4| (v4.to_string(), AddrSet { v4: vec![(u32::from(v4), u32::from(v4))], v6: Vec::new() }));
        let v6 = vip.v6.map(|v6| {
            (v6.to_string(), AddrSet { v4: Vec::new(), v6: vec![(u128::from(v6), u128::from(v6))] })
        });
        for (address, addrs) in v4.into_iter().chain(v6) {
            let dst = sets.addresses(Field::Dst, &Arc::new(addrs), vip.span);
            if vip.ports.is_empty() {
                parts.push(Part { vip: id, words: address.clone(), packets: dst.clone() });
            }
            for ports in &vip.ports {
                let (first, last, proto) = (ports.first, ports.last, u32::from(ports.proto));
                let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
                let name = if ports.proto == 6 { "tcp" } else { "udp" };
                let packets = vec![
                    dst.clone(),
                    sets.ranges(Field::Proto, vec![(proto, proto)], vip.span),
                    sets.ranges(Field::Dport, vec![(first.into(), last.into())], vip.span),
                ];
                let words = format!("{address} {name} {range}");
                parts.push(Part { vip: id, words, packets: Formula::And(packets) });
            }
        }
    }
    parts
}

/// An outermost arm of a region: its place, the leaves below it, the vips that it asks for.
struct Outer<'p> {
    span: Span,
    leaves: std::ops::Range<u32>,
    asked: Option<&'p Guard>,
}

/// Parts of a vip that the same arms take.
struct Taken {
    arm: Span,
    vip: VipId,
    parts: Vec<String>,
    blockers: Vec<Span>,
}

impl<'p> Flow<'_, '_, 'p> {
    /// `before`: the packets that get to the region; `taken`: the leaves that they take; `reached`: these leaves.
    pub(super) fn vips(
        &mut self,
        choice: &'p Match,
        before: Ref,
        taken: Ref,
        reached: &HashSet<u32>,
    ) -> Result<(), TooLarge> {
        let arms = outer_arms(choice, &self.graph.nesting);
        let named: HashSet<VipId> = arms.iter().filter_map(|arm| arm.asked).flat_map(vips_of).collect();
        let mut taken_alike: Vec<Taken> = Vec::new();
        for part in self.parts.iter().filter(|part| named.contains(&part.vip)) {
            let packets = self.regions.guard(&part.packets)?;
            let here = self.regions.diagrams.mask(packets, before)?;
            if here == NOTHING {
                continue;
            }
            let leaves = self.leaves(here, taken)?;
            let asks = |arm: &&Outer<'_>| arm.asked.is_some_and(|guard| vips_of(guard).contains(&part.vip));
            if arms.iter().filter(asks).any(|arm| arm.takes(&leaves)) {
                continue;
            }
            // Arms that nothing gets to are told as such.
            let asking = arms.iter().filter(asks).filter(|arm| arm.takes(reached));
            let (Some(arm), wanted) = self.wanted(here, asking)? else { continue };
            let leaves = self.leaves(wanted, taken)?;
            let blockers = arms.iter().filter(|arm| arm.takes(&leaves));
            let blockers: Vec<Span> = blockers.take(NAMED).map(|arm| arm.span).collect();
            let alike = |taken: &&mut Taken| taken.vip == part.vip && taken.blockers == blockers;
            match taken_alike.iter_mut().find(alike) {
                Some(taken) => taken.parts.push(part.words.clone()),
                None => {
                    taken_alike.push(Taken { arm, vip: part.vip, parts: vec![part.words.clone()], blockers })
                }
            }
        }
        for Taken { arm, vip, parts, blockers } in taken_alike {
            let Some(vip) = self.policy.vips.get(vip.index()) else { continue };
            let by = if blockers.len() > 1 { "earlier arms take" } else { "an earlier arm takes" };
            self.found.push(Diagnostic {
                code: "W0450",
                severity: Severity::Warning,
                message: format!("no packet to `{}` ({}) gets to this arm", vip.name, parts.join(", ")),
                primary: (arm, String::new()),
                secondary: blockers.into_iter().map(|span| (span, "takes its packets".to_owned())).collect(),
                reason: Some(format!("{by} all of them")),
                help: Some("move the arm up, or take this part out of the vip".to_owned()),
            });
        }
        Ok(())
    }

    /// The leaves that packets take.
    fn leaves(&mut self, packets: Ref, taken: Ref) -> Result<HashSet<u32>, TooLarge> {
        let taken = self.regions.diagrams.mask(packets, taken)?;
        Ok(self.regions.diagrams.leaves(taken))
    }

    /// Those of the packets that some of the arms ask for, and the first of these arms: each may ask for more than a vip,
    /// and nobody takes from it what it does not want.
    fn wanted<'o>(
        &mut self,
        packets: Ref,
        arms: impl Iterator<Item = &'o Outer<'p>>,
    ) -> Result<(Option<Span>, Ref), TooLarge>
    where
        'p: 'o,
    {
        let (mut first, mut wanted) = (None, NOTHING);
        for (span, guard) in arms.filter_map(|arm| Some((arm.span, arm.asked?))) {
            let guard = self.guard(guard)?;
            let asked = self.regions.diagrams.mask(packets, guard)?;
            if asked != NOTHING {
                first.get_or_insert(span);
                wanted = self.regions.diagrams.over(wanted, asked)?;
            }
        }
        Ok((first, wanted))
    }
}

impl Outer<'_> {
    fn takes(&self, leaves: &HashSet<u32>) -> bool {
        self.leaves.clone().any(|leaf| leaves.contains(&leaf))
    }
}

fn outer_arms<'p>(choice: &'p Match, nesting: &Nesting<'p>) -> Vec<Outer<'p>> {
    let mut leaves = 0;
    let arms = choice.arms.iter().map(|arm| (arm.span, Some(&arm.guard), &arm.chain));
    arms.chain([(choice.otherwise_span, None, &*choice.otherwise)])
        .map(|(span, asked, chain)| {
            let first = leaves;
            leaves += nesting.of(chain).map_or(1, |inner| count(inner.region, nesting));
            Outer { span, leaves: first..leaves, asked }
        })
        .collect()
}

fn count<'p>(choice: &'p Match, nesting: &Nesting<'p>) -> u32 {
    let chains = choice.arms.iter().map(|arm| &arm.chain).chain([&*choice.otherwise]);
    chains.map(|chain| nesting.of(chain).map_or(1, |inner| count(inner.region, nesting))).sum()
}

/// The vips that a guard asks for.
fn vips_of(guard: &Guard) -> Vec<VipId> {
    match guard {
        Guard::And(parts) | Guard::Or(parts) => parts.iter().flat_map(vips_of).collect(),
        Guard::To(vip, _) => vec![*vip],
        Guard::Not(_) | Guard::Test(_) | Guard::From(..) => Vec::new(),
    }
}
