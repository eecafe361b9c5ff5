//! Owns the description of packets by products that read well: each family and each protocol is covered by itself, so
//! that no port stands for the lack of a header, and what holds for several of them is said once.
//! Never the covering itself, nor words.

use std::collections::HashMap;

use lb_abi::image::Field;

use super::cover::{self, ClassSet, Literal, Product};
use crate::lower::axis::Axis;
use crate::lower::diagram::{Diagrams, NOTHING, Ref, TooLarge};
use crate::lower::formula::Classes;
use crate::packet::{ICMP, ICMP6, TCP, UDP};

const SRC: Axis = Axis::Of(Field::Src);
const DST: Axis = Axis::Of(Field::Dst);
const PROTO: Axis = Axis::Of(Field::Proto);

/// What packets there can be, and how they fall apart.
pub struct Kinds {
    /// IPv4 and IPv6: classes of sources and of destinations, and the packets.
    families: [([ClassSet; 2], Ref); 2],
    /// Those with headers of their own one by one, then all others.
    protocols: Vec<(ClassSet, Ref)>,
}

/// Packets of one family and one protocol, by index.
#[derive(Clone, Copy)]
struct Kind {
    family: usize,
    protocol: usize,
}

/// Whether a product may be said of packets of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Fits,
    /// None of them is in it.
    Vacuous,
    Not,
}

/// What a product says beside addresses.
type Beside = Vec<(Axis, ClassSet)>;

impl Kinds {
    pub fn new(diagrams: &mut Diagrams, cut: &Classes, universe: Ref) -> Result<Kinds, TooLarge> {
        let v4 = classes_of_v4(cut);
        let v6 = v4.clone().map(|classes| ClassSet { others: true, ..classes });
        let mut families = Vec::new();
        for classes in [v4, v6] {
            let holds = cover::member(diagrams, SRC, &classes[0])?;
            families.push((classes, diagrams.mask(universe, holds)?));
        }
        let runs = &cut.small[Field::Proto as usize];
        let mut known: Vec<u16> =
            [TCP, UDP, ICMP, ICMP6].iter().map(|&proto| runs.class(proto.into()) as u16).collect();
        let mut sets: Vec<ClassSet> =
            known.iter().map(|&class| ClassSet { listed: vec![class], others: false }).collect();
        known.sort_unstable();
        sets.push(ClassSet { listed: known, others: true });
        let mut protocols = Vec::new();
        for classes in sets {
            let holds = cover::member(diagrams, PROTO, &classes)?;
            protocols.push((classes, holds));
        }
        let families = families.try_into().map_err(|_| TooLarge)?;
        Ok(Kinds { families, protocols })
    }

    fn all(&self) -> Vec<Kind> {
        // Those without ports first: what they share with others is the shortest.
        let protocols = (0..self.protocols.len()).rev();
        protocols.flat_map(|protocol| (0..2).map(move |family| Kind { family, protocol })).collect()
    }

    fn packets(&self, diagrams: &mut Diagrams, kind: Kind) -> Result<Ref, TooLarge> {
        diagrams.mask(self.families[kind.family].1, self.protocols[kind.protocol].1)
    }

    /// Products that hold for all of `lower`, and among packets that can exist for none outside of `upper`; `None` if
    /// they are too many.
    pub fn describe(
        &self,
        diagrams: &mut Diagrams,
        lower: Ref,
        upper: Ref,
    ) -> Result<Option<Vec<Product>>, TooLarge> {
        let mut left = lower;
        let mut products = Vec::new();
        for kind in self.all() {
            let packets = self.packets(diagrams, kind)?;
            let here = diagrams.mask(packets, left)?;
            if here == NOTHING {
                continue;
            }
            let elsewhere = diagrams.not(packets)?;
            let may = diagrams.over(elsewhere, upper)?;
            let Some(found) = cover::cover(diagrams, here, may)? else { return Ok(None) };
            let mut told = Vec::with_capacity(found.len());
            for mut product in found {
                self.bound(diagrams, kind, &mut product, upper)?;
                self.trim(diagrams, &mut product, upper)?;
                let covered = cover::holds(diagrams, &product)?;
                // One that earlier ones have made needless says nothing new.
                if diagrams.mask(left, covered)? == NOTHING {
                    continue;
                }
                told.push(covered);
                products.push(product);
                if products.len() > cover::MOST_PRODUCTS {
                    return Ok(None);
                }
            }
            let told = cover::any(diagrams, &told)?;
            let open = diagrams.not(told)?;
            left = diagrams.mask(left, open)?;
        }
        self.both_families(diagrams, products).map(Some)
    }

    /// Puts together what is said of IPv4 and of IPv6 in the same words but for addresses: no packet has one of each.
    fn both_families(
        &self,
        diagrams: &mut Diagrams,
        products: Vec<Product>,
    ) -> Result<Vec<Product>, TooLarge> {
        let mut joined: Vec<Product> = Vec::with_capacity(products.len());
        // By what is said beside addresses: the products of one family that wait for one of the other.
        let mut waiting: HashMap<(usize, Beside), Vec<usize>> = HashMap::new();
        for product in products {
            let holds = cover::holds(diagrams, &product)?;
            let is_of = |diagrams: &mut Diagrams, family: usize| {
                diagrams.mask(self.families[family].1, holds).map(|here| here != NOTHING)
            };
            let family = match (is_of(diagrams, 0)?, is_of(diagrams, 1)?) {
                (true, false) => 0,
                (false, true) => 1,
                _ => {
                    joined.push(product);
                    continue;
                }
            };
            let beside = product.iter().filter(|literal| !is_address(literal));
            let beside: Beside = beside.map(|literal| (literal.field, literal.must.clone())).collect();
            let partner = waiting.get_mut(&(1 - family, beside.clone())).and_then(Vec::pop);
            match partner.and_then(|at| joined.get_mut(at)) {
                Some(partner) => *partner = self.joined(partner, &product, 1 - family),
                None => {
                    waiting.entry((family, beside)).or_default().push(joined.len());
                    joined.push(product);
                }
            }
        }
        Ok(joined)
    }

    /// `one` is of the family given, `other` of the other one.
    fn joined(&self, one: &Product, other: &Product, family: usize) -> Product {
        let mut product: Product = Vec::new();
        for (at, field) in [SRC, DST].into_iter().enumerate() {
            let part = |product: &Product, family: usize| {
                let all = &self.families[family].0[at];
                let literal = product.iter().find(|literal| literal.field == field);
                literal.map_or_else(
                    || (all.clone(), all.clone()),
                    |literal| (literal.must.and(all), literal.may.and(all)),
                )
            };
            let says = |product: &Product| product.iter().any(|literal| literal.field == field);
            if says(one) || says(other) {
                let ((must, may), (more, more_may)) = (part(one, family), part(other, 1 - family));
                product.push(Literal { field, must: must.with(&more), may: may.with(&more_may) });
            }
        }
        let beside =
            |product: &Product, field: Axis| product.iter().find(|literal| literal.field == field).cloned();
        product.extend(one.iter().filter(|literal| !is_address(literal)).map(|literal| {
            let more = beside(other, literal.field).map_or_else(|| literal.may.clone(), |other| other.may);
            Literal { may: literal.may.and(&more), ..literal.clone() }
        }));
        product
    }

    /// Takes from what a product's literals may have whatever would let in a packet outside of `upper`, all of them taken
    /// at their widest. They were made for packets of one kind, for which all classes of other kinds are alike.
    fn trim(&self, diagrams: &mut Diagrams, product: &mut Product, upper: Ref) -> Result<(), TooLarge> {
        if product.iter().all(|literal| literal.must == literal.may) {
            return Ok(());
        }
        let packets = diagrams.over(self.families[0].1, self.families[1].1)?;
        let no = diagrams.not(upper)?;
        let outside = diagrams.mask(packets, no)?;
        let mut wide = product.clone();
        // Those of few classes last: they read well as they are, and leave the others their freedom.
        let classes = |literal: &Literal| (literal.must.others, literal.must.listed.len());
        let mut order: Vec<usize> = (0..product.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(product.get(at).map(classes)));
        for at in order {
            let Some(literal) = product.get_mut(at) else { continue };
            let kinds: Vec<ClassSet> = match literal.field {
                SRC | DST => {
                    self.families.iter().map(|(sets, _)| sets[literal.field.index()].clone()).collect()
                }
                PROTO => self.protocols.iter().map(|(set, _)| set.clone()).collect(),
                _ => Vec::new(),
            };
            let mut tried = vec![literal.may.clone()];
            tried.extend(kinds.iter().map(|kind| literal.may.and(kind)));
            let mut may = literal.must.clone();
            for part in tried {
                let widened = may.with(&part);
                let mut candidate = wide.clone();
                if let Some(literal) = candidate.get_mut(at) {
                    literal.must = widened.clone();
                }
                let holds = cover::holds(diagrams, &candidate)?;
                if diagrams.mask(holds, outside)? == NOTHING {
                    may = widened;
                    wide = candidate;
                }
            }
            literal.may = may;
        }
        Ok(())
    }

    fn fit(&self, diagrams: &mut Diagrams, kind: Kind, holds: Ref, upper: Ref) -> Result<Fit, TooLarge> {
        let packets = self.packets(diagrams, kind)?;
        let here = diagrams.mask(packets, holds)?;
        Ok(match here {
            NOTHING => Fit::Vacuous,
            _ if diagrams.mask(here, upper)? == here => Fit::Fits,
            _ => Fit::Not,
        })
    }

    /// Says of which family and which protocols a product is, as far as it does not hold for others as well.
    fn bound(
        &self,
        diagrams: &mut Diagrams,
        own: Kind,
        product: &mut Product,
        upper: Ref,
    ) -> Result<(), TooLarge> {
        let holds = cover::holds(diagrams, product)?;
        let mut fits = Vec::new();
        for protocol in 0..self.protocols.len() {
            fits.push(self.fit(diagrams, Kind { protocol, ..own }, holds, upper)?);
        }
        let mut fitting: Vec<bool> = fits.iter().map(|&fit| fit != Fit::Not).collect();
        let mut vacuous: Vec<bool> = fits.iter().map(|&fit| fit == Fit::Vacuous).collect();
        let other = 1 - own.family;
        // With the other family's addresses that no packet of its own has.
        let mut wider = product.clone();
        for literal in wider.iter_mut().filter(|literal| is_address(literal)) {
            literal.must =
                literal.must.with(&literal.may.and(&self.families[other].0[literal.field.index()]));
        }
        let widely = cover::holds(diagrams, &wider)?;
        let (mut widens, mut gains) = (true, false);
        let mut elsewhere = vec![Fit::Vacuous; fits.len()];
        for protocol in (0..self.protocols.len()).filter(|&protocol| fitting[protocol]) {
            let kind = Kind { family: other, protocol };
            elsewhere[protocol] = self.fit(diagrams, kind, holds, upper)?;
            let wide = self.fit(diagrams, kind, widely, upper)?;
            (widens, gains) = (widens && wide != Fit::Not, gains || wide == Fit::Fits);
        }
        // Rather say the protocol than the family.
        let spares_family =
            fits.iter().zip(&elsewhere).all(|(&here, &there)| here != Fit::Fits || there != Fit::Not);
        if spares_family {
            fitting.iter_mut().zip(&elsewhere).for_each(|(fit, &there)| *fit &= there != Fit::Not);
            vacuous.iter_mut().zip(&elsewhere).for_each(|(none, &there)| *none &= there == Fit::Vacuous);
        }
        let widens = widens && gains;
        if widens {
            *product = wider;
        }
        if !spares_family && !widens {
            let ([classes, _], _) = &self.families[own.family];
            match product.iter_mut().find(|literal| literal.field == SRC) {
                Some(literal) => {
                    literal.must = literal.must.and(classes);
                    literal.may = literal.may.and(classes);
                }
                None => {
                    let literal = Literal { field: SRC, must: classes.clone(), may: classes.clone() };
                    product.insert(0, literal);
                }
            }
        }
        if fitting.iter().all(|&fit| fit) {
            return Ok(());
        }
        let union = |which: &dyn Fn(usize) -> bool| {
            let sets = self.protocols.iter().enumerate().filter(|(at, _)| which(*at)).map(|(_, set)| &set.0);
            sets.fold(ClassSet { listed: Vec::new(), others: false }, |all, set| all.with(set))
        };
        let must = union(&|at| fitting[at] && !vacuous[at]);
        let may = union(&|at| fitting[at]);
        match product.iter_mut().find(|literal| literal.field == PROTO) {
            Some(literal) => {
                literal.must = literal.must.and(&may);
                literal.may = literal.may.and(&may);
            }
            None => product.push(Literal { field: PROTO, must, may }),
        }
        Ok(())
    }
}

/// Classes of IPv4 sources and of IPv4 destinations; those of IPv6 are others.
pub fn classes_of_v4(cut: &Classes) -> [ClassSet; 2] {
    [Field::Src, Field::Dst].map(|field| {
        let mut listed: Vec<u16> = cut.v4[field as usize].runs.iter().map(|run| run.1 as u16).collect();
        listed.sort_unstable();
        listed.dedup();
        ClassSet { listed, others: false }
    })
}

fn is_address(literal: &Literal) -> bool {
    matches!(literal.field, SRC | DST)
}
