//! Owns the sets that guards compare fields with, each once and under a number. Never a guard, nor the classes that the sets
//! cut an axis into.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lb_abi::image::Field;
use policy_lang::policy::{AddrSet, NamePattern};
use policy_lang::source::Span;

use super::{Formula, Sets};
use crate::lower::axis::Axis;

/// Values of an axis other than the addresses.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Listed {
    /// Inclusive, sorted, disjoint.
    Ranges(Vec<(u32, u32)>),
    /// Names that one of these means.
    Names(Vec<NamePattern>),
    /// Payloads that begin with one of these.
    Prefixes(Vec<Vec<u8>>),
}

/// What `Axis::Free` stands for: that a packet's address is among what the sets hold at run time. It is one choice
/// wherever a policy asks for the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Free {
    /// `Src` or `Dst`.
    pub field: Field,
    pub sets: Vec<String>,
    /// What is known of their members, where they count as free although they are listed in files.
    pub(super) known: Option<Content>,
}

#[derive(Default)]
pub(super) struct AddressSets {
    pub(super) by_place: HashMap<*const AddrSet, u32>,
    pub(super) by_content: HashMap<Content, u32>,
    pub(super) list: Vec<Arc<AddrSet>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content(pub(super) Arc<AddrSet>);

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.v4.hash(state);
        self.0.v6.hash(state);
    }
}

impl Sets<'_> {
    /// The comparison that first named a set.
    pub fn place(&self, axis: Axis, set: u32) -> Span {
        self.places[axis.index()][set as usize]
    }

    /// The number of a set of addresses that some guard names, by its members.
    pub fn number(&self, field: Field, addrs: &Arc<AddrSet>) -> Option<u32> {
        let sets = self.addresses.get(field as usize)?;
        let known = sets.by_place.get(&Arc::as_ptr(addrs));
        known.or_else(|| sets.by_content.get(&Content(addrs.clone()))).copied()
    }

    /// Membership of a list of values of an axis other than the addresses: inclusive, sorted, disjoint.
    pub fn ranges(&mut self, axis: impl Into<Axis>, ranges: Vec<(u32, u32)>, span: Span) -> Formula {
        self.listed(axis.into(), Listed::Ranges(ranges), span)
    }

    pub(super) fn listed(&mut self, axis: Axis, listed: Listed, span: Span) -> Formula {
        let at = axis.index();
        let set = *self.small[at].entry(listed.clone()).or_insert_with(|| {
            self.small_lists[at].push(listed);
            self.places[at].push(span);
            self.small_lists[at].len() as u32 - 1
        });
        Formula::In(axis, set)
    }

    /// All beginnings of payloads that guards ask for, once each.
    pub fn prefixes(&self) -> Vec<Vec<u8>> {
        let lists = self.small_lists[Axis::Payload.index()].iter();
        let mut all: Vec<Vec<u8>> = lists
            .flat_map(|listed| match listed {
                Listed::Prefixes(prefixes) => prefixes.clone(),
                Listed::Ranges(_) | Listed::Names(_) => Vec::new(),
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// That a payload begins with one of these.
    pub fn begins(&mut self, prefixes: Vec<Vec<u8>>, span: Span) -> Formula {
        self.listed(Axis::Payload, Listed::Prefixes(prefixes), span)
    }

    /// Membership of a set of addresses; the field is `Src` or `Dst`.
    pub fn addresses(&mut self, field: Field, addrs: &Arc<AddrSet>, span: Span) -> Formula {
        let at = field as usize;
        let sets = &mut self.addresses[at];
        // Looking at the place first reads a list of a million prefixes once, however many guards name it.
        let set = *sets.by_place.entry(Arc::as_ptr(addrs)).or_insert_with(|| {
            *sets.by_content.entry(Content(addrs.clone())).or_insert_with(|| {
                self.places[at].push(span);
                self.places[at].len() as u32 - 1
            })
        });
        if set as usize == sets.list.len() {
            sets.list.push(addrs.clone());
        }
        // The place stays taken as long as the set is listed; a set equal to a listed one may go.
        if !Arc::ptr_eq(&sets.list[set as usize], addrs) {
            sets.by_place.remove(&Arc::as_ptr(addrs));
        }
        Formula::In(field.into(), set)
    }
}
