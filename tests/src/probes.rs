//! Owns the frames that must never slip through: each with the fate that `docs/packet-path.md` gives it, written down
//! here by hand. Never asks an implementation what it thinks.

use std::net::IpAddr;

use lb_abi::reason::Reason;

use crate::frame::{self, ACK, Packet, SYN, Transport, ethernet, extension, fragment_header};

/// What becomes of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Ends before the tree, dropped, for one of these reasons.
    Refused(&'static [Reason]),
    /// Neighbour discovery or ARP: passed before the tree.
    Neighbour,
    /// The tree sees it, and it is TCP to port 80 or UDP to port 53.
    Named,
    /// The tree sees it, and it is neither.
    Unnamed,
}

/// A frame and its fate under default settings.
#[derive(Clone, Debug)]
pub struct Probe {
    pub name: String,
    pub frame: Vec<u8>,
    pub fate: Fate,
}

const LENGTH: &[Reason] = &[Reason::ShortFrame, Reason::Ipv4Header, Reason::IpLength];

/// All of them. Address pairs are ordinary unless the probe is about addresses.
pub fn probes() -> Vec<Probe> {
    let mut list = Probes(Vec::new());
    list.prefixes();
    list.layer2();
    list.ipv4();
    list.ipv6_chains();
    list.fragments();
    list.layer4();
    list.icmp();
    list.addresses();
    list.0
}

fn v4() -> (IpAddr, IpAddr) {
    ("198.51.100.9".parse().expect("an address"), "203.0.113.10".parse().expect("an address"))
}

fn v6() -> (IpAddr, IpAddr) {
    ("2001:db8::9".parse().expect("an address"), "2001:db8:f::10".parse().expect("an address"))
}

fn http((src, dst): (IpAddr, IpAddr)) -> Packet {
    Packet::tcp((src, 4000), (dst, 80), SYN, 1, 0)
}

fn dns((src, dst): (IpAddr, IpAddr)) -> Packet {
    Packet::udp((src, 4000), (dst, 53)).payload(b"question")
}

struct Probes(Vec<Probe>);

impl Probes {
    fn add(&mut self, name: impl Into<String>, frame: Vec<u8>, fate: Fate) {
        self.0.push(Probe { name: name.into(), frame, fate });
    }

    /// Every prefix of every seed packet, from 14 bytes up.
    fn prefixes(&mut self) {
        let mut tagged = http(v4()).payload(b"get");
        tagged.tags = vec![(0x88a8, 7), (0x8100, 8)];
        let mut chained = dns(v6());
        chained.extensions = [0, 60, 43, 51].map(|number| extension(number, 1, 0)).to_vec();
        let mut optioned = http(v4());
        optioned.options = vec![1; 12];
        for (name, packet) in [
            ("tcp over ipv4", http(v4()).payload(b"get")),
            ("tcp over ipv6", http(v6()).payload(b"get")),
            ("udp over ipv4", dns(v4())),
            ("udp over ipv6", dns(v6())),
            ("echo over ipv4", Packet::echo(v4().0, v4().1, true, 7)),
            ("echo over ipv6", Packet::echo(v6().0, v6().1, true, 7)),
            ("tcp behind two tags", tagged),
            ("udp behind extension headers", chained),
            ("tcp behind options", optioned),
        ] {
            let whole = packet.bytes();
            let fate = if matches!(packet.protocol(), frame::TCP | frame::UDP) {
                Fate::Named
            } else {
                Fate::Unnamed
            };
            for length in 14..whole.len() {
                self.add(format!("{name}, cut to {length}"), whole[..length].to_vec(), Fate::Refused(LENGTH));
            }
            self.add(name, whole, fate);
        }
    }

    fn layer2(&mut self) {
        const DEPTH: Fate = Fate::Refused(&[Reason::VlanDepth]);
        const OTHER: Fate = Fate::Refused(&[Reason::OtherEthertype]);
        for tpid in [0x8100, 0x88a8] {
            for (count, fate) in [(1, Fate::Named), (2, Fate::Named), (3, DEPTH), (4, DEPTH)] {
                for packet in [http(v4()), http(v6()), dns(v4()), dns(v6())] {
                    let mut packet = packet;
                    packet.tags = vec![(tpid, 5); count];
                    self.add(format!("{count} tags {tpid:#06x}"), packet.bytes(), fate);
                }
            }
        }
        self.add("arp", ethernet(&[], 0x0806, &[0; 28]), Fate::Neighbour);
        self.add("arp behind a tag", ethernet(&[(0x8100, 1)], 0x0806, &[0; 28]), Fate::Neighbour);
        for ethertype in [0x88cc, 0x0026, 0x05ff, 0x8847, 0x8864, 0x88e5, 0x9100, 0xffff] {
            let payload = http(v4()).bytes()[14..].to_vec();
            self.add(format!("ethertype {ethertype:#06x}"), ethernet(&[], ethertype, &payload), OTHER);
        }
    }

    fn ipv4(&mut self) {
        const HEADER: Fate = Fate::Refused(&[Reason::Ipv4Header]);
        const LENGTHS: Fate = Fate::Refused(&[Reason::IpLength]);
        const VERSION: Fate = Fate::Refused(&[Reason::IpVersion]);
        let seed = http(v4()).bytes();
        for words in 0..16 {
            let mut frame = seed.clone();
            frame[14] = 0x40 | words;
            // What the header takes in is taken from TCP, which is then too short, or is no longer port 80.
            let fate = match words {
                0..5 => HEADER,
                5 => Fate::Named,
                6..=10 => Fate::Refused(&[Reason::Layer4Header]),
                _ => HEADER,
            };
            self.add(format!("IHL {words}"), frame, fate);
        }
        for words in 1..=10 {
            for mut packet in [http(v4()), dns(v4())] {
                packet.options = vec![1; 4 * words];
                self.add(format!("{words} words of options"), packet.bytes(), Fate::Named);
            }
        }
        for version in [0u8, 5, 6, 15] {
            let mut frame = seed.clone();
            frame[14] = version << 4 | 5;
            self.add(format!("version {version} as IPv4"), frame, VERSION);
            let mut frame = http(v6()).bytes();
            frame[14] = (version ^ 2) << 4;
            self.add(format!("version {} as IPv6", version ^ 2), frame, VERSION);
        }
        let total = (seed.len() - 14) as u16;
        for (length, fate) in [
            (0, LENGTHS),
            (19, LENGTHS),
            (20, Fate::Refused(&[Reason::Layer4Header])),
            (39, Fate::Refused(&[Reason::Layer4Header])),
            (total, Fate::Named),
            (total + 1, LENGTHS),
            (u16::MAX, LENGTHS),
        ] {
            let mut frame = seed.clone();
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            self.add(format!("total length {length} of {total}"), frame, fate);
        }
        for mut packet in [http(v4()), dns(v6())] {
            packet.padding = 30;
            self.add("padding behind the packet", packet.bytes(), Fate::Named);
        }
    }

    fn ipv6_chains(&mut self) {
        const CHAIN: Fate = Fate::Refused(&[Reason::Ipv6Chain]);
        let numbers = [43u8, 0, 44, 51, 50, 135];
        let orders = numbers.iter().flat_map(|&first| {
            numbers.iter().flat_map(move |&second| numbers.map(move |third| [first, second, third]))
        });
        for order in orders {
            if order[0] == order[1] || order[1] == order[2] || order[0] == order[2] {
                continue;
            }
            for packet in [http(v6()), dns(v6())] {
                let mut packet = packet;
                packet.extensions = order.map(|number| extension(number, 0, 0)).to_vec();
                let end = order.iter().position(|&number| number == 50);
                let hop = order.iter().position(|&number| number == 0);
                // ESP ends the chain, and hop-by-hop stands first or is refused.
                let fate = match (end, hop) {
                    (Some(end), Some(hop)) if hop > end => Fate::Unnamed,
                    (_, Some(1..)) => CHAIN,
                    (Some(_), _) => Fate::Unnamed,
                    (None, _) => Fate::Named,
                };
                self.add(format!("chain {order:?}"), packet.bytes(), fate);
            }
        }
        for count in 0..=16 {
            for (number, units) in [(60, 0), (60, 3), (43, 0), (51, 1), (135, 0)] {
                let mut packet = dns(v6());
                packet.extensions = vec![extension(number, units, 0); count];
                let bytes = count * (8 + 8 * usize::from(units));
                let fate = if count <= 8 && bytes <= 256 { Fate::Named } else { CHAIN };
                self.add(format!("{count} headers {number} of {units} more units"), packet.bytes(), fate);
            }
        }
        let mut huge = http(v6());
        huge.extensions = vec![extension(60, 31, 0)];
        self.add("one header of 256 bytes", huge.bytes(), Fate::Named);
        huge.extensions = vec![extension(60, 32, 0)];
        self.add("one header of 264 bytes", huge.bytes(), CHAIN);
        let mut beyond = http(v6());
        let mut header = extension(60, 0, 0);
        header.1[1] = 200;
        beyond.extensions = vec![header];
        self.add("a header beyond the packet", beyond.bytes(), CHAIN);
        for (kind, left, fate) in
            [(0u8, 1u8, CHAIN), (0, 0, Fate::Named), (2, 1, Fate::Named), (4, 9, Fate::Named)]
        {
            let mut packet = http(v6());
            packet.extensions = vec![(43, vec![0, 0, kind, left, 0, 0, 0, 0])];
            self.add(format!("routing type {kind}, {left} segments left"), packet.bytes(), fate);
        }
        let mut nothing = http(v6());
        nothing.transport = Transport::Raw(59);
        nothing.payload = http(v6()).bytes()[54..].to_vec();
        self.add("no next header, then TCP", nothing.bytes(), Fate::Unnamed);
        let mut twice = http(v6());
        twice.extensions = vec![fragment_header(0, false), fragment_header(0, false)];
        self.add("two fragment headers", twice.bytes(), CHAIN);
    }

    fn fragments(&mut self) {
        const FRAGMENT: Fate = Fate::Refused(&[Reason::Fragment]);
        for (name, offset, more) in
            [("first", 0, true), ("middle", 100, true), ("last", 100, false), ("smallest offset", 1, false)]
        {
            for packet in [http(v4()), dns(v4())] {
                let mut packet = packet;
                packet.fragment = Some((offset, more));
                self.add(format!("{name} fragment over IPv4"), packet.bytes(), FRAGMENT);
            }
            for packet in [http(v6()), dns(v6())] {
                let mut packet = packet;
                packet.extensions = vec![fragment_header(offset, more)];
                self.add(format!("{name} fragment over IPv6"), packet.bytes(), FRAGMENT);
            }
        }
        let mut atomic = http(v6());
        atomic.extensions = vec![fragment_header(0, false)];
        self.add("atomic fragment (RFC 6946)", atomic.bytes(), Fate::Named);
        let mut short = http(v4());
        short.fragment = Some((0, true));
        short.transport = Transport::Raw(frame::TCP);
        short.payload = http(v4()).bytes()[34..42].to_vec();
        self.add("first fragment with 8 bytes of TCP", short.bytes(), Fate::Refused(&[Reason::Layer4Header]));
    }

    fn layer4(&mut self) {
        const LAYER4: Fate = Fate::Refused(&[Reason::Layer4Header]);
        for (addrs, start) in [(v4(), 34), (v6(), 54)] {
            for flags in 0..=255 {
                let packet = Packet::tcp((addrs.0, 4000), (addrs.1, 80), flags, 1, 0);
                self.add(format!("tcp flags {flags:#010b}"), packet.bytes(), Fate::Named);
            }
            self.add("data in a SYN", http(addrs).payload(b"early").bytes(), Fate::Named);
            for words in 0..16 {
                let mut frame = http(addrs).bytes();
                frame[start + 12] = words << 4;
                let fate = if words == 5 { Fate::Named } else { LAYER4 };
                self.add(format!("tcp data offset {words}"), frame, fate);
            }
            for options in [4, 20, 40] {
                let mut packet = http(addrs);
                if let Transport::Tcp { options: list, .. } = &mut packet.transport {
                    *list = vec![255; options];
                }
                self.add(format!("{options} bytes of odd TCP options"), packet.bytes(), Fate::Named);
            }
            for (length, fate) in [
                (0u16, LAYER4),
                (7, LAYER4),
                (8, Fate::Named),
                (16, Fate::Named),
                (17, LAYER4),
                (65_535, LAYER4),
            ] {
                let mut frame = dns(addrs).bytes();
                frame[start + 4..start + 6].copy_from_slice(&length.to_be_bytes());
                self.add(format!("udp length {length} of 16"), frame, fate);
            }
            let mut unsummed = dns(addrs);
            unsummed.transport = Transport::Udp { sport: 4000, dport: 53, checksum: false };
            let fate = if start == 34 { Fate::Named } else { Fate::Refused(&[Reason::Udp6Checksum]) };
            self.add("udp checksum 0", unsummed.bytes(), fate);
            for protocol in [0u8, 2, 4, 41, 47, 132, 255] {
                // 0 after IPv6 is a hop-by-hop header, with a length that no TCP header means.
                if start == 54 && protocol == 0 {
                    continue;
                }
                let mut packet = http(addrs);
                packet.transport = Transport::Raw(protocol);
                packet.payload = http(addrs).bytes()[start..].to_vec();
                self.add(format!("protocol {protocol} that looks like TCP"), packet.bytes(), Fate::Unnamed);
            }
        }
    }

    fn icmp(&mut self) {
        let quoted = http(v4()).bytes()[14..].to_vec();
        let itself = Packet::echo(v4().0, v4().1, true, 1).bytes()[14..].to_vec();
        for (name, quote) in
            [("8 bytes", &quoted[..28]), ("another flow", &quoted[..]), ("itself", &itself[..])]
        {
            for kind in [3, 4, 5, 11, 12] {
                let transport = Transport::Icmp { kind, code: 0, id: 0, seq: 0 };
                let packet = Packet::new(v4().0, v4().1, transport).payload(quote);
                self.add(format!("ICMP error {kind} that quotes {name}"), packet.bytes(), Fate::Unnamed);
            }
            for kind in [1, 2, 3, 4] {
                let transport = Transport::Icmp6 { kind, code: 0, id: 0, seq: 0 };
                let packet = Packet::new(v6().0, v6().1, transport).payload(quote);
                self.add(format!("ICMPv6 error {kind} that quotes {name}"), packet.bytes(), Fate::Unnamed);
            }
        }
        for kind in 130..=140 {
            for ttl in [255, 254, 64] {
                let transport = Transport::Icmp6 { kind, code: 0, id: 0, seq: 0 };
                let mut packet = Packet::new(v6().0, v6().1, transport).payload(&[0; 16]);
                packet.ttl = ttl;
                let near = (133..=137).contains(&kind) && ttl == 255;
                let fate = if near { Fate::Neighbour } else { Fate::Unnamed };
                self.add(format!("ICMPv6 {kind} with hop limit {ttl}"), packet.bytes(), fate);
            }
        }
        for (packet, name) in [(http(v4()), "ICMPv6 over IPv4"), (http(v6()), "ICMP over IPv6")] {
            let mut packet = packet;
            packet.transport = Transport::Raw(if packet.src.is_ipv4() { 58 } else { 1 });
            packet.payload = vec![135, 0, 0, 0];
            packet.ttl = 255;
            self.add(name, packet.bytes(), Fate::Unnamed);
        }
    }

    /// Odd addresses change nothing before the tree: it sees them as they are.
    fn addresses(&mut self) {
        for odd in martians().into_iter().chain([v4().1, v6().1]) {
            let (client, service) = if odd.is_ipv4() { v4() } else { v6() };
            for (src, dst) in [(odd, service), (client, odd), (odd, odd)] {
                let packet = Packet::tcp((src, 4000), (dst, 80), ACK, 1, 1);
                self.add(format!("from {src} to {dst}"), packet.bytes(), Fate::Named);
            }
        }
    }
}

/// Addresses that `forward` must refuse, as source and as destination.
pub fn martians() -> Vec<IpAddr> {
    let list = [
        "0.0.0.0",
        "0.255.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "febf:ffff::1",
        "ff02::1",
        "ff0e::1",
    ];
    list.iter().map(|text| text.parse().expect("an address")).collect()
}
