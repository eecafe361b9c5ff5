//! Owns what is known of every packet without looking at the policy's guards: which combinations of fields can exist
//! and reach the tree, and under what each stage can go which way. Never a claim or a way through the tree.

use std::net::Ipv4Addr;
use std::sync::Arc;

use lb_abi::image::{FLAG_ACK, FLAG_RST, FLAG_SYN, FRAG_LATER, FRAG_NONE, Field};
use policy_lang::policy::AddrSet;
use policy_lang::source::Span;

use crate::lower::axis::Axis;
use crate::lower::diagram::{Ref, TooLarge};
use crate::lower::formula::{Formula, Sets};
use crate::lower::region::Regions;
use crate::packet::{ICMP, ICMP_ECHO_REQUEST, ICMP6, ICMP6_ECHO_REQUEST, TCP, UDP};
use lb_abi::trailer::TRAILER_BYTES;

/// ::ffff:0:0/96, which is refused before the tree.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
/// Headers that IPv6 walks on from, so that they are no whole packet's protocol: hop-by-hop, routing, fragment, AH,
/// destination options, mobility (`docs/packet-path.md`, section 1).
const EXTENSIONS: [(u32, u32); 5] = [(0, 0), (43, 44), (51, 51), (60, 60), (135, 135)];

/// What is true of packets, as formulas and then as diagrams.
pub struct Conditions<T> {
    /// Can exist, and reaches the tree.
    pub universe: T,
    pub fragment: T,
    /// TCP or UDP, no fragment.
    pub translatable: T,
    /// Over IPv4.
    pub v4: T,
    /// Of a flow that some tracker committed.
    pub known: T,
    /// SYN without ACK: what `syn/s` counts.
    pub syn: T,
    /// What `conn/s` counts.
    pub connection: T,
    /// `track` can go on, and by its exits.
    pub trackable: T,
    pub track_full: T,
    pub track_invalid: T,
    /// `forward` does not refuse it for its TTL or its addresses.
    pub sendable: T,
    /// `reply echo` has an answer to it.
    pub answerable: T,
    pub tcp: T,
    /// Whole UDP.
    pub datagram: T,
    /// Long enough for a trailer, and of a protocol that `verify` looks for one in.
    pub signable: T,
    /// By authority: `verify` accepts it.
    pub certified: Vec<T>,
    /// `map` learned what it asks for.
    pub named: T,
    /// An acknowledgement of no known flow, which may be that of a cookie.
    pub opening: T,
    /// What `track` knows a TCP flow by first: SYN alone.
    pub only_syn: T,
}

impl Conditions<Formula> {
    /// `fragments`: whether the tree sees them. `trackers`: how many a flow can be of.
    pub fn read(fragments: bool, trackers: usize, span: Span, sets: &mut Sets<'_>) -> Conditions<Formula> {
        let mut terms = Terms { sets, span };
        let v4 = terms.family(Field::Src, false);
        let v6 = terms.family(Field::Src, true);
        let tcp = terms.is(Field::Proto, TCP.into());
        let udp = terms.is(Field::Proto, UDP.into());
        let whole = terms.is(Field::Frag, FRAG_NONE);
        let fragment = not(whole.clone());
        let headed = not(terms.is(Field::Frag, FRAG_LATER));
        let known = not(terms.is(Field::Flow, 0));
        let is_syn = |flags: u32| flags & FLAG_SYN != 0 && flags & FLAG_ACK == 0;
        let syns = (0..16).filter(|&flags| is_syn(flags)).map(|flags| terms.is(Field::TcpFlags, flags));
        let syn = Formula::Or(syns.collect());
        let only_syn = terms.is(Field::TcpFlags, FLAG_SYN);
        let fits = any([known.clone(), only_syn.clone()]);
        let echo4 =
            [terms.is(Field::Proto, ICMP.into()), terms.is(Field::IcmpType, ICMP_ECHO_REQUEST.into())];
        let echo6 =
            [terms.is(Field::Proto, ICMP6.into()), terms.is(Field::IcmpType, ICMP6_ECHO_REQUEST.into())];
        let martian = any([terms.addresses(Field::Src, martian()), terms.addresses(Field::Dst, martian())]);
        let datagram = all([whole.clone(), udp.clone()]);
        let short = terms.shorter(&v4, &v6, &whole, 8 + TRAILER_BYTES as u32);
        let signable = all([datagram.clone(), not(short)]);
        let certified = terms.certified();
        let named = terms.present(Axis::Sni);
        let beyond = terms.beyond_headers([&v4, &v6, &whole, &headed, &tcp, &udp], &signable);
        let acks = (0..16).filter(|flags| flags & FLAG_ACK != 0 && flags & (FLAG_SYN | FLAG_RST) == 0);
        let acks = Formula::Or(acks.map(|flags| terms.is(Field::TcpFlags, flags)).collect());
        let universe = all([terms.universe(fragments, trackers, &v4, &v6, &headed), beyond]);
        Conditions {
            universe,
            translatable: all([whole.clone(), any([tcp.clone(), udp])]),
            opening: all([whole.clone(), tcp.clone(), acks, not(known.clone())]),
            only_syn: only_syn.clone(),
            tcp: tcp.clone(),
            datagram,
            signable,
            certified,
            named,
            trackable: all([whole.clone(), any([not(tcp.clone()), fits.clone()])]),
            track_full: all([whole.clone(), any([not(known.clone()), only_syn.clone()])]),
            track_invalid: all([whole.clone(), tcp.clone(), any([known.clone(), not(only_syn)])]),
            connection: any([syn.clone(), all([not(tcp), not(known.clone())])]),
            sendable: all([not(terms.ranges(Field::Ttl, vec![(0, 1)])), not(martian.clone())]),
            answerable: all([whole, any([all(echo4), all(echo6)]), not(martian)]),
            fragment,
            v4,
            known,
            syn,
        }
    }

    pub fn diagrams(&self, regions: &mut Regions<'_, '_>) -> Result<Conditions<Ref>, TooLarge> {
        Ok(Conditions {
            universe: regions.guard(&self.universe)?,
            fragment: regions.guard(&self.fragment)?,
            translatable: regions.guard(&self.translatable)?,
            v4: regions.guard(&self.v4)?,
            known: regions.guard(&self.known)?,
            syn: regions.guard(&self.syn)?,
            connection: regions.guard(&self.connection)?,
            trackable: regions.guard(&self.trackable)?,
            track_full: regions.guard(&self.track_full)?,
            track_invalid: regions.guard(&self.track_invalid)?,
            sendable: regions.guard(&self.sendable)?,
            answerable: regions.guard(&self.answerable)?,
            tcp: regions.guard(&self.tcp)?,
            datagram: regions.guard(&self.datagram)?,
            signable: regions.guard(&self.signable)?,
            certified: self
                .certified
                .iter()
                .map(|certified| regions.guard(certified))
                .collect::<Result<_, _>>()?,
            named: regions.guard(&self.named)?,
            opening: regions.guard(&self.opening)?,
            only_syn: regions.guard(&self.only_syn)?,
        })
    }
}

fn not(formula: Formula) -> Formula {
    Formula::Not(Box::new(formula))
}

fn all<const N: usize>(parts: [Formula; N]) -> Formula {
    Formula::And(parts.into())
}

fn any<const N: usize>(parts: [Formula; N]) -> Formula {
    Formula::Or(parts.into())
}

fn both_or_neither(one: Formula, other: Formula) -> Formula {
    any([all([one.clone(), other.clone()]), all([not(one), not(other)])])
}

/// Addresses that `forward` and `reply echo` refuse at either end (`docs/packet-path.md`, section 4).
fn martian() -> AddrSet {
    let block = |first: u8, last: u8| {
        (Ipv4Addr::new(first, 0, 0, 0).into(), Ipv4Addr::new(last, 255, 255, 255).into())
    };
    AddrSet {
        v4: vec![block(0, 0), block(127, 127), block(224, 255)],
        v6: vec![(0, 1), (0xfe80 << 112, (0xfec0 << 112) - 1), (0xff00 << 112, u128::MAX)],
    }
}

struct Terms<'s, 'p> {
    sets: &'s mut Sets<'p>,
    span: Span,
}

impl Terms<'_, '_> {
    fn ranges(&mut self, field: impl Into<Axis>, ranges: Vec<(u32, u32)>) -> Formula {
        self.sets.ranges(field, ranges, self.span)
    }

    fn is(&mut self, field: Field, value: u32) -> Formula {
        self.ranges(field, vec![(value, value)])
    }

    fn present(&mut self, axis: impl Into<Axis>) -> Formula {
        let axis = axis.into();
        self.ranges(axis, vec![(0, axis.absent() - 1)])
    }

    /// By authority of the policy: the packets that it accepts. Their certificates are numbered over all authorities.
    fn certified(&mut self) -> Vec<Formula> {
        let policy = self.sets.policy();
        let mut first = 0;
        let mut certified = Vec::new();
        for authority in &policy.authorities {
            let behind = first + authority.certificates.len() as u32;
            let own = if behind > first { vec![(first, behind - 1)] } else { Vec::new() };
            let numbers = self.sets.numbering().certificates(&own);
            certified.push(self.ranges(Field::Cert, numbers));
            first = behind;
        }
        certified
    }

    /// Fewer bytes than the base header and so many behind it.
    fn shorter(&mut self, v4: &Formula, v6: &Formula, whole: &Formula, bytes: u32) -> Formula {
        let mut parts = Vec::new();
        for (family, is_fragment, base) in [(v4, false, 20), (v4, true, 20), (v6, false, 40), (v6, true, 48)]
        {
            let kind = if is_fragment { not(whole.clone()) } else { whole.clone() };
            let short = self.ranges(Field::Len, vec![(0, base + bytes - 1)]);
            parts.push(all([family.clone(), kind, short]));
        }
        Formula::Or(parts)
    }

    /// What holds of interfaces, payloads, and what stages learn.
    fn beyond_headers(
        &mut self,
        [v4, v6, whole, headed, tcp, udp]: [&Formula; 6],
        signable: &Formula,
    ) -> Formula {
        let numbering = self.sets.numbering();
        let (interfaces, certificates) = (numbering.all_interfaces, numbering.all_certificates);
        let has_names = numbering.names;
        let has_payload = all([headed.clone(), any([tcp.clone(), udp.clone()])]);
        let has_certificate = self.present(Field::Cert);
        let mut numbers = vec![(Field::Cert.absent(), Field::Cert.absent())];
        numbers.extend((certificates > 0).then(|| (0, certificates - 1)));
        numbers.sort_unstable();
        let named = self.present(Axis::Sni);
        let mut parts = vec![
            self.ranges(Axis::Iface, vec![(0, interfaces)]),
            both_or_neither(self.present(Axis::Payload), has_payload),
            self.ranges(Field::Cert, numbers),
            any([not(has_certificate), signable.clone()]),
            any([not(named.clone()), all([whole.clone(), udp.clone()])]),
        ];
        if !has_names {
            parts.push(not(named));
        }
        let prefixes = self.sets.prefixes();
        let mut by_length = prefixes.clone();
        by_length.sort_by_key(Vec::len);
        for equal in by_length.chunk_by(|a, b| a.len() == b.len()) {
            let length = equal.first().map_or(0, Vec::len) as u32;
            let begins = self.sets.begins(equal.to_vec(), self.span);
            for (proto, header) in [(tcp, 20), (udp, 8)] {
                let short = self.shorter(v4, v6, whole, header + length);
                parts.push(not(all([begins.clone(), proto.clone(), short])));
            }
        }
        Formula::And(parts)
    }

    fn addresses(&mut self, field: Field, addrs: AddrSet) -> Formula {
        self.sets.addresses(field, &Arc::new(addrs), self.span)
    }

    /// Every address of one family that reaches the tree.
    fn family(&mut self, field: Field, v6: bool) -> Formula {
        let addrs = match v6 {
            false => AddrSet { v4: vec![(0, u32::MAX)], v6: Vec::new() },
            true => AddrSet { v4: Vec::new(), v6: vec![(0, MAPPED.0 - 1), (MAPPED.1 + 1, u128::MAX)] },
        };
        self.addresses(field, addrs)
    }

    /// Also keeps every field off the class of values that no packet has, which may be empty.
    fn universe(
        &mut self,
        fragments: bool,
        trackers: usize,
        v4: &Formula,
        v6: &Formula,
        headed: &Formula,
    ) -> Formula {
        let tcp = self.is(Field::Proto, TCP.into());
        let udp = self.is(Field::Proto, UDP.into());
        let icmp = self.is(Field::Proto, ICMP.into());
        let icmp6 = self.is(Field::Proto, ICMP6.into());
        let whole = self.is(Field::Frag, FRAG_NONE);
        let has_ports = all([headed.clone(), any([tcp.clone(), udp.clone()])]);
        let icmp_over_v4 = all([v4.clone(), icmp]);
        let icmp_over_v6 = all([v6.clone(), icmp6]);
        let has_type = all([headed.clone(), any([icmp_over_v4.clone(), icmp_over_v6.clone()])]);
        let dst4 = self.family(Field::Dst, false);
        let dst6 = self.family(Field::Dst, true);
        let mut parts = vec![
            any([all([v4.clone(), dst4]), all([v6.clone(), dst6])]),
            if fragments { self.present(Field::Frag) } else { whole.clone() },
            self.ranges(Field::Flow, vec![(0, trackers as u32)]),
            both_or_neither(self.present(Field::TcpFlags), all([headed.clone(), tcp.clone()])),
            // Numbers 133 to 137 with the greatest hop limit are the neighbours' (RFC 4861), before the tree.
            not(all([
                icmp_over_v6.clone(),
                whole.clone(),
                self.ranges(Field::IcmpType, vec![(133, 137)]),
                self.is(Field::Ttl, 255),
            ])),
            not(all([v6.clone(), headed.clone(), self.ranges(Field::Proto, EXTENSIONS.to_vec())])),
        ];
        for field in [Field::Proto, Field::Len, Field::Ttl, Field::Dscp] {
            parts.push(self.present(field));
        }
        for field in [Field::Dport, Field::Sport] {
            parts.push(both_or_neither(self.present(field), has_ports.clone()));
        }
        for field in [Field::IcmpType, Field::IcmpCode] {
            parts.push(both_or_neither(self.present(field), has_type.clone()));
        }
        let eight = any([udp, icmp_over_v4, icmp_over_v6]);
        for (family, is_fragment, base) in [(v4, false, 20), (v4, true, 20), (v6, false, 40), (v6, true, 48)]
        {
            let kind = if is_fragment { not(whole.clone()) } else { whole.clone() };
            let mut least = |also: Formula, length: u32| {
                let short = self.ranges(Field::Len, vec![(0, length - 1)]);
                parts.push(not(all([family.clone(), kind.clone(), also, short])));
            };
            least(Formula::And(Vec::new()), base);
            least(all([headed.clone(), eight.clone()]), base + 8);
            least(all([headed.clone(), tcp.clone()]), base + 20);
        }
        Formula::And(parts)
    }
}
