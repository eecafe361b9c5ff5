//! Owns the values that matter to a policy: every constant of its guards and items, and the values next to them.
//! Never a frame; traffic draws its fields from here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_lang::policy::{Chain, Field, Guard, Policy, Tail, Test, Values};

use crate::signed::{self, Payloads};

/// Values to draw header fields from. None of the lists is empty.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    pub v4: Vec<Ipv4Addr>,
    pub v6: Vec<Ipv6Addr>,
    pub ports: Vec<u16>,
    pub protocols: Vec<u8>,
    /// IP total lengths.
    pub lengths: Vec<u16>,
    pub ttls: Vec<u8>,
    pub dscps: Vec<u8>,
    pub vlans: Vec<u16>,
    /// ICMP and ICMPv6 types, and codes.
    pub kinds: Vec<u8>,
    pub codes: Vec<u8>,
    /// What clients talk to: the vips' addresses and ports. May be empty.
    pub services: Vec<(IpAddr, u8, u16)>,
    /// The backends' addresses and ports (0: any). May be empty.
    pub backends: Vec<(IpAddr, u16)>,
    /// What clients with a certificate send over UDP. May be empty.
    pub clients: Vec<Payloads>,
}

impl Vocabulary {
    pub fn of(policy: &Policy) -> Vocabulary {
        let mut words = Vocabulary {
            v4: ["198.51.100.9", "8.8.8.8", "192.0.2.200", "203.0.113.10"].map(parsed).to_vec(),
            v6: ["2001:db8::9", "2001:db8:0:1::9", "2001:db8:f::10", "2600::1"].map(parsed).to_vec(),
            ports: vec![0, 1, 53, 80, 443, 1024, 40_000, 65_535],
            protocols: vec![1, 2, 6, 17, 47, 50, 58, 59, 132, 255],
            lengths: vec![40, 100, 576, 1280, 1500],
            ttls: vec![0, 1, 2, 63, 64, 255],
            dscps: vec![0, 46, 63],
            vlans: vec![0, 1, 7, 4095],
            kinds: vec![0, 3, 8, 11, 128, 129, 1],
            codes: vec![0, 1, 3, 255],
            services: Vec::new(),
            backends: Vec::new(),
            clients: signed::clients(policy),
        };
        words.chain(&policy.root);
        for tree in &policy.trees {
            words.chain(&tree.chain);
        }
        for side in &policy.sides {
            side.guard.iter().for_each(|guard| words.guard(guard));
        }
        for vip in &policy.vips {
            let addrs = vip.v4.map(IpAddr::V4).into_iter().chain(vip.v6.map(IpAddr::V6));
            for addr in addrs {
                words.addr(addr);
                words.services.push((addr, 1, 0));
                for ports in &vip.ports {
                    words.services.push((addr, ports.proto, ports.first));
                    words.services.push((addr, ports.proto, ports.last));
                    words.around(ports.first.into(), ports.last.into(), |words, port| words.ports.push(port));
                }
            }
        }
        for pool in &policy.pools {
            for backend in &pool.backends {
                let v4 = backend.v4.map(|(addr, port)| (IpAddr::V4(addr), port));
                let v6 = backend.v6.map(|(addr, port)| (IpAddr::V6(addr), port));
                words.backends.extend(v4.into_iter().chain(v6));
            }
            words.v4.extend(&pool.sources_v4);
            words.v6.extend(&pool.sources_v6);
            if let Some((first, last)) = pool.ports {
                words.ports.extend([first, last, last.saturating_add(1)]);
            }
        }
        words
    }

    fn chain(&mut self, chain: &Chain) {
        for stage in &chain.stages {
            for (_, exit) in stage.kind.exits() {
                self.chain(&exit.chain);
            }
        }
        match &chain.tail {
            Tail::End(..) | Tail::Tree(..) => {}
            Tail::Every(every) => every.ways.iter().for_each(|way| self.chain(way)),
            Tail::Match(branches) => {
                for arm in &branches.arms {
                    self.guard(&arm.guard);
                    self.chain(&arm.chain);
                }
                self.chain(&branches.otherwise);
            }
        }
    }

    fn guard(&mut self, guard: &Guard) {
        match guard {
            Guard::And(parts) | Guard::Or(parts) => parts.iter().for_each(|part| self.guard(part)),
            Guard::Not(inner) => self.guard(inner),
            Guard::Test(test) => self.test(test),
            Guard::From(..) | Guard::To(..) => {}
        }
    }

    fn test(&mut self, test: &Test) {
        match &test.values {
            Values::Tracker(_) | Values::Prefixes(_) | Values::Names(_) => {}
            Values::Addrs(addrs) => {
                for &(first, last) in addrs.v4.iter().take(16) {
                    for value in
                        [first.wrapping_sub(1), first, first / 2 + last / 2, last, last.wrapping_add(1)]
                    {
                        self.v4.push(Ipv4Addr::from(value));
                    }
                }
                for &(first, last) in addrs.v6.iter().take(16) {
                    for value in
                        [first.wrapping_sub(1), first, first / 2 + last / 2, last, last.wrapping_add(1)]
                    {
                        self.v6.push(Ipv6Addr::from(value));
                    }
                }
            }
            Values::Ranges(ranges) => {
                for &(first, last) in ranges.iter().take(16) {
                    self.around(first, last, |words, value| match test.field {
                        Field::TcpSport | Field::TcpDport | Field::UdpSport => words.ports.push(value),
                        Field::UdpDport | Field::Sport | Field::Dport => words.ports.push(value),
                        Field::Proto => words.protocols.push(value as u8),
                        Field::Len => words.lengths.push(value),
                        Field::Ttl => words.ttls.push(value as u8),
                        Field::Dscp => words.dscps.push(value as u8 & 63),
                        Field::Vlan => words.vlans.push(value & 4095),
                        Field::IcmpType | Field::Icmp6Type => words.kinds.push(value as u8),
                        Field::IcmpCode | Field::Icmp6Code => words.codes.push(value as u8),
                        Field::Src | Field::Dst | Field::Frag | Field::TcpFlags | Field::Flow => {}
                        Field::Iface | Field::Payload | Field::Sni | Field::Cert => {}
                    });
                }
            }
        }
    }

    fn addr(&mut self, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) => self.v4.push(addr),
            IpAddr::V6(addr) => self.v6.push(addr),
        }
    }

    /// A range's ends and the values just outside of it.
    fn around(&mut self, first: u32, last: u32, mut push: impl FnMut(&mut Vocabulary, u16)) {
        for value in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            push(self, value as u16);
        }
    }
}

fn parsed<T: std::str::FromStr<Err = std::net::AddrParseError>>(text: &str) -> T {
    text.parse().expect("an address")
}
