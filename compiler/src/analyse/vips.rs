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

impl<'p> Flow<'_, '_, 'p> {
    /// `before`: the packets that get to the region; `taken`: the leaves that they take.
    pub(super) fn vips(&mut self, choice: &'p Match, before: Ref, taken: Ref) -> Result<(), TooLarge> {
        let arms = outer_arms(choice, &self.graph.nesting);
        let named: HashSet<VipId> = arms.iter().filter_map(|arm| arm.asked).flat_map(vips_of).collect();
        for part in self.parts.iter().filter(|part| named.contains(&part.vip)) {
            let packets = self.regions.guard(&part.packets)?;
            let here = self.regions.diagrams.mask(packets, before)?;
            if here == NOTHING {
                continue;
            }
            let leaves = self.regions.diagrams.mask(packets, taken)?;
            let leaves = self.regions.diagrams.leaves(leaves);
            let gets = |arm: &&Outer<'_>| arm.leaves.clone().any(|leaf| leaves.contains(&leaf));
            let asks = |arm: &&Outer<'_>| arm.asked.is_some_and(|guard| vips_of(guard).contains(&part.vip));
            let Some(first) = arms.iter().position(|arm| asks(&arm)) else { continue };
            if arms.iter().filter(asks).any(|arm| gets(&arm)) {
                continue;
            }
            let blockers = arms.iter().take(first).filter(gets).take(NAMED);
            let blockers: Vec<(Span, String)> =
                blockers.map(|arm| (arm.span, "takes its packets".to_owned())).collect();
            // Else they take an arm behind: what names the vip asks for more than the vip.
            let (Some(arm), Some(vip), false) =
                (arms.get(first), self.policy.vips.get(part.vip.index()), blockers.is_empty())
            else {
                continue;
            };
            self.found.push(Diagnostic {
                code: "W0450",
                severity: Severity::Warning,
                message: format!("no packet to `{}` ({}) gets to this arm", vip.name, part.words),
                primary: (arm.span, String::new()),
                secondary: blockers,
                reason: Some("an earlier arm takes all of them".to_owned()),
                help: Some("move the arm up, or take this part out of the vip".to_owned()),
            });
        }
        Ok(())
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
