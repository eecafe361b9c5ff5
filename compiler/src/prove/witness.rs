//! Owns the choice of one packet out of a diagram, as plain a one as there is, and its text. Never its way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_FIRST, FRAG_LATER, Field};
use policy_lang::policy::{AuthorityId, InterfaceId, PacketSpec, Policy, ProtoSpec, Signed};

use crate::lower::axis::{Axis, FIXED};
use crate::lower::classes::Runs;
use crate::lower::diagram::{Diagrams, NOTHING, Ref};
use crate::lower::formula::Classes;
use crate::lower::nested::Nested;
use crate::packet::{ICMP, ICMP_ECHO_REQUEST, ICMP6, ICMP6_ECHO_REQUEST, TCP, UDP};
use lb_abi::trailer::TRAILER_BYTES;

const SOURCES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1)),
];
const DESTINATIONS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// A packet, and what must be known of it beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub spec: PacketSpec,
    /// The tracker of its flow where it must have one: 0 none, else 1 + its id.
    pub flow: u32,
    /// Sets that must hold its source or destination at run time.
    pub held: Vec<(Field, String)>,
}

/// Values that make a packet easy to read, best first.
fn plain(axis: Axis) -> Vec<u32> {
    let field = match axis {
        Axis::Of(field) => field,
        Axis::Iface | Axis::Free(_) => return vec![0],
        Axis::Sni => return vec![axis.absent()],
        Axis::Payload => return vec![0, axis.absent()],
    };
    match field {
        Field::Src | Field::Dst | Field::Flow => vec![0],
        Field::Dport => vec![443, 80, 8_080, 22, 53, field.absent()],
        Field::Sport => vec![50_000, 40_000, field.absent()],
        Field::Proto => vec![TCP.into(), UDP.into(), ICMP.into(), ICMP6.into()],
        Field::TcpFlags => vec![FLAG_SYN, FLAG_ACK, field.absent()],
        Field::IcmpType => vec![8, 128, field.absent()],
        Field::IcmpCode | Field::Frag => vec![0, field.absent()],
        // The least that its headers leave.
        Field::Len => vec![20, 28, 40, 48, 56, 60, 68],
        Field::Ttl => vec![64],
        Field::Dscp => vec![0],
        Field::Vlan | Field::Cert => vec![field.absent()],
    }
}

/// The classes of some packet for which the diagram holds; it must hold for one, and only for classes that have
/// values.
pub fn classes(diagrams: &Diagrams, cut: &Classes, root: Ref) -> Vec<u32> {
    let first = |at| Axis::fixed(at).and_then(|axis| liked(cut, axis).first().copied());
    let mut chosen: Vec<u32> = (0..diagrams.counts().len()).map(|at| first(at).unwrap_or(0)).collect();
    let mut at = root;
    while let Some(row) = diagrams.row(at) {
        let child = |class: u32| row.child(class as u16);
        let all = 0..diagrams.counts()[row.field.index()];
        let class = liked(cut, row.field).into_iter().chain(all).find(|&class| child(class) != NOTHING);
        let Some(class) = class else { break };
        chosen[row.field.index()] = class;
        at = child(class);
    }
    chosen
}

fn liked(cut: &Classes, axis: Axis) -> Vec<u32> {
    match axis {
        Axis::Of(Field::Src) => SOURCES.iter().map(|&addr| class_of(cut, 0, addr)).collect(),
        Axis::Of(Field::Dst) => DESTINATIONS.iter().map(|&addr| class_of(cut, 1, addr)).collect(),
        Axis::Free(_) => vec![0],
        _ => plain(axis).into_iter().map(|value| cut.small[axis.index()].class(value)).collect(),
    }
}

/// `at`: of the source 0, of the destination 1.
fn class_of(cut: &Classes, at: usize, addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(addr) => cut.v4[at].class(addr.into()),
        IpAddr::V6(addr) => cut.v6[at].class(addr.into()),
    }
}

/// A value of an axis other than the addresses, as `packet` chooses it.
pub fn value(cut: &Classes, classes: &[u32], axis: Axis) -> u32 {
    small(&cut.small[axis.index()], classes[axis.index()], &plain(axis))
}

/// A packet of these classes, by index of the axis; interfaces and certificates have the policy's own numbers.
pub fn packet(policy: &Policy, cut: &Classes, classes: &[u32]) -> Chosen {
    let of = |axis: Axis| value(cut, classes, axis);
    let value = |field: Field| of(field.into());
    let src = address(cut, 0, classes[Field::Src as usize], &SOURCES, None);
    let dst = address(cut, 1, classes[Field::Dst as usize], &DESTINATIONS, Some(src));
    let (v6, frag) = (src.is_ipv6(), value(Field::Frag));
    let number = value(Field::Proto) as u8;
    let (sport, dport) = (value(Field::Sport) as u16, value(Field::Dport) as u16);
    let (kind, code) = (value(Field::IcmpType) as u8, value(Field::IcmpCode) as u8);
    let base = if v6 { 40 } else { 20 } + if v6 && frag != 0 { 8 } else { 0 };
    let (proto, header) = match number {
        // A later fragment has no such header, whatever it carries.
        _ if frag == FRAG_LATER => (ProtoSpec::Other(number), 0),
        TCP => {
            let flags = value(Field::TcpFlags) as u8;
            (ProtoSpec::Tcp { sport, dport, flags, seq: 0, ack: 0 }, 20)
        }
        UDP => (ProtoSpec::Udp { sport, dport }, 8),
        ICMP if !v6 => (ProtoSpec::Icmp { kind, code, id: 0 }, 8),
        ICMP6 if v6 => (ProtoSpec::Icmp6 { kind, code, id: 0 }, 8),
        _ => (ProtoSpec::Other(number), 0),
    };
    let length = small(&cut.small[Field::Len as usize], classes[Field::Len as usize], &[base + header]);
    let vlan = value(Field::Vlan);
    let signed = signed(policy, value(Field::Cert));
    let sni = name(cut, classes[Axis::Sni.index()], of(Axis::Sni));
    // A hello is the whole payload, and a trailer stands behind it.
    let behind = if signed.is_some() { TRAILER_BYTES as u32 } else { 0 };
    let room = if sni.is_some() { 0 } else { length.saturating_sub(base + header + behind) };
    let spec = PacketSpec {
        ttl: value(Field::Ttl) as u8,
        dscp: value(Field::Dscp) as u8,
        vlan: (vlan != Field::Vlan.absent()).then_some(vlan as u16),
        frag,
        payload: payload(cut, classes[Axis::Payload.index()], of(Axis::Payload), room as usize),
        iface: of(Axis::Iface).checked_sub(1).map(InterfaceId),
        sni,
        signed,
        ..PacketSpec::new(src, dst, proto)
    };
    let free = cut.free.iter().zip(classes.iter().skip(FIXED)).filter(|(_, held)| **held != 0);
    let held = free.flat_map(|(free, _)| free.sets.iter().map(|set| (free.field, set.clone())));
    Chosen { spec, flow: value(Field::Flow), held: held.collect() }
}

/// The trailer of a certificate, by its number over all authorities.
pub fn signed(policy: &Policy, number: u32) -> Option<Signed> {
    let mut left = number as usize;
    for (authority, item) in (0..).map(AuthorityId).zip(&policy.authorities) {
        if left < item.certificates.len() {
            return Some(Signed { authority, certificate: left as u32, forged: false });
        }
        left -= item.certificates.len();
    }
    None
}

/// A server name of the class, by a place of it; `None` where the packet has none.
fn name(cut: &Classes, class: u32, place: u32) -> Option<String> {
    if place == Axis::Sni.absent() {
        return None;
    }
    let is_of_class = |name: &String| {
        let labels: Vec<String> = name.rsplit('.').map(str::to_owned).collect();
        cut.small[Axis::Sni.index()].class(place_of(&cut.names, &labels)) == class
    };
    let (key, is_itself) = match cut.names.key(place) {
        Some((labels, is_itself)) => (labels.iter().rev().cloned().collect::<Vec<_>>().join("."), is_itself),
        None => ("example".to_owned(), false),
    };
    let below = (0..).map(|number| match number {
        0 => format!("other.{key}"),
        _ => format!("other{number}.{key}"),
    });
    // As many as guards name, and one more.
    let tried = below.take(cut.names.keys().len() + 1);
    is_itself.then(|| key.clone()).into_iter().chain(tried).find(is_of_class).or(Some(key))
}

/// A payload of the class, by a place of it: at least as long as what it must begin with, and else of this length.
fn payload(cut: &Classes, class: u32, place: u32, length: usize) -> Vec<u8> {
    let begins = cut.prefixes.key(place).map_or(&[][..], |(begins, _)| begins);
    let filled = |byte: u8| {
        let mut payload = begins.to_vec();
        payload.resize(length.max(begins.len()), byte);
        payload
    };
    let is_of_class =
        |payload: &Vec<u8>| cut.small[Axis::Payload.index()].class(place_of(&cut.prefixes, payload)) == class;
    (0..=u8::MAX).map(filled).find(is_of_class).unwrap_or_else(|| filled(0))
}

/// The place of a sequence among those that guards ask for.
fn place_of<T: Ord + Clone>(nested: &Nested<Vec<T>>, sequence: &[T]) -> u32 {
    let longest = (0..=sequence.len()).rev().find_map(|length| {
        let (itself, _) = nested.places(&sequence[..length].to_vec())?;
        Some(if length == sequence.len() { itself } else { itself + 1 })
    });
    longest.unwrap_or(0)
}

/// A value of the class: a plain one if there is one.
fn small(runs: &Runs<u32>, class: u32, plain: &[u32]) -> u32 {
    let first = || runs.runs.iter().find(|run| run.1 == class).map_or(0, |run| run.0);
    plain.iter().copied().find(|&value| runs.class(value) == class).unwrap_or_else(first)
}

/// An address of the class: a plain one, else one that can be routed and is not the other end's, else any.
fn address(cut: &Classes, at: usize, class: u32, plain: &[IpAddr], other: Option<IpAddr>) -> IpAddr {
    if let Some(&addr) = plain.iter().find(|&&addr| class_of(cut, at, addr) == class) {
        return addr;
    }
    let is_other = |ip: IpAddr| other == Some(ip);
    let usable4 =
        |addr: &u32| !matches!(addr >> 24, 0 | 127 | 224..=255) && !is_other(Ipv4Addr::from(*addr).into());
    let usable6 = |addr: &u128| {
        *addr > 1
            && addr >> 118 != 0xfe80 >> 6
            && addr >> 120 != 0xff
            && !is_other(Ipv6Addr::from(*addr).into())
    };
    let v4 = of_class(&cut.v4[at], class, u32::MAX, |start| start.wrapping_sub(1));
    let v6 = of_class(&cut.v6[at], class, u128::MAX, |start| start.wrapping_sub(1));
    let best4 = v4.iter().find(|addr| usable4(addr)).map(|&addr| Ipv4Addr::from(addr).into());
    let best6 = v6.iter().find(|addr| usable6(addr)).map(|&addr| Ipv6Addr::from(addr).into());
    let any4 = v4.first().map(|&addr| Ipv4Addr::from(addr).into());
    let any6 = v6.first().map(|&addr| Ipv6Addr::from(addr).into());
    best4.or(best6).or(any4).or(any6).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// First and last values of the runs of a class.
fn of_class<T: Copy>(runs: &Runs<T>, class: u32, last: T, before: impl Fn(T) -> T) -> Vec<T> {
    let ends = runs.runs.iter().skip(1).map(|run| before(run.0)).chain([last]);
    let here = runs.runs.iter().zip(ends).filter(|(run, _)| run.1 == class);
    here.flat_map(|(run, end)| [run.0, end]).collect()
}

/// A packet of a policy as an `expect` writes it, up to its outcome.
pub struct Written<'a>(pub &'a Policy, pub &'a PacketSpec);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.1;
        f.write_str("packet ")?;
        let ports = self.protocol(f)?;
        let end = |ip: IpAddr, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        };
        write!(f, " src {}", end(spec.src, ports.map(|ports| ports.0)))?;
        write!(f, " dst {}", end(spec.dst, ports.map(|ports| ports.1)))?;
        self.header(f)?;
        self.payload(f)
    }
}

impl Written<'_> {
    /// The protocol with its flags or type; the ports where it has them.
    fn protocol(&self, f: &mut fmt::Formatter<'_>) -> Result<Option<(u16, u16)>, fmt::Error> {
        match self.1.proto {
            ProtoSpec::Tcp { sport, dport, flags, .. } => {
                write!(f, "tcp {}", flag_names(flags.into()))?;
                return Ok(Some((sport, dport)));
            }
            ProtoSpec::Udp { sport, dport } => {
                f.write_str("udp")?;
                return Ok(Some((sport, dport)));
            }
            ProtoSpec::Icmp { kind: ICMP_ECHO_REQUEST, .. } => f.write_str("icmp echo-request")?,
            ProtoSpec::Icmp { kind, .. } => write!(f, "icmp {kind}")?,
            ProtoSpec::Icmp6 { kind: ICMP6_ECHO_REQUEST, .. } => f.write_str("icmp6 echo-request")?,
            ProtoSpec::Icmp6 { kind, .. } => write!(f, "icmp6 {kind}")?,
            ProtoSpec::Other(number) => write!(f, "proto {number}")?,
        }
        Ok(None)
    }

    /// What is not at its default.
    fn header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written(policy, spec) = self;
        let numbers = match spec.proto {
            ProtoSpec::Tcp { seq, ack, .. } => [("seq", seq), ("ack", ack)],
            ProtoSpec::Icmp { code, id, .. } | ProtoSpec::Icmp6 { code, id, .. } => {
                [("code", code.into()), ("id", id.into())]
            }
            ProtoSpec::Udp { .. } | ProtoSpec::Other(_) => [("", 0); 2],
        };
        for (word, number) in numbers.iter().filter(|(_, number)| *number != 0) {
            write!(f, " {word} {number}")?;
        }
        if spec.ttl != 64 {
            write!(f, " ttl {}", spec.ttl)?;
        }
        if spec.dscp != 0 {
            write!(f, " dscp {}", spec.dscp)?;
        }
        if let Some(vlan) = spec.vlan {
            write!(f, " vlan {vlan}")?;
        }
        match spec.frag {
            FRAG_FIRST => f.write_str(" frag first")?,
            FRAG_LATER => f.write_str(" frag later")?,
            _ => {}
        }
        if let Some(interface) = spec.iface.and_then(|id| policy.interfaces.get(id.index())) {
            write!(f, " iface {}", interface.name)?;
        }
        Ok(())
    }

    fn payload(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written(policy, spec) = self;
        let is_zero = spec.payload.iter().all(|&byte| byte == 0);
        if let Some(name) = &spec.sni {
            write!(f, " sni \"{name}\"")?;
        } else if !spec.payload.is_empty() && is_zero && spec.signed.is_none() {
            let base = if spec.src.is_ipv6() { 40 } else { 20 };
            let fragment = if spec.src.is_ipv6() && spec.frag != 0 { 8 } else { 0 };
            let header = match spec.proto {
                ProtoSpec::Tcp { .. } => 20,
                ProtoSpec::Udp { .. } | ProtoSpec::Icmp { .. } | ProtoSpec::Icmp6 { .. } => 8,
                ProtoSpec::Other(_) => 0,
            };
            write!(f, " len {}", base + fragment + header + spec.payload.len())?;
        } else if !spec.payload.is_empty() {
            let digits: String = spec.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            write!(f, " payload 0x{digits}")?;
        }
        let Some(signed) = spec.signed else { return Ok(()) };
        let authority = policy.authorities.get(signed.authority.index());
        let certificate = authority.and_then(|one| one.certificates.get(signed.certificate as usize));
        if let Some((authority, certificate)) = authority.zip(certificate) {
            let forged = if signed.forged { " forged" } else { "" };
            write!(f, " signed {} {}{forged}", authority.name, certificate.id)?;
        }
        Ok(())
    }
}

fn flag_names(flags: u32) -> String {
    let names = [(FLAG_SYN, "syn"), (FLAG_FIN, "fin"), (FLAG_RST, "rst"), (FLAG_ACK, "ack")];
    let set: Vec<&str> = names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join("-") }
}
