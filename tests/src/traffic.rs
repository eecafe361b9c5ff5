//! Owns random traffic against a policy: flows that make sense step by step, strays, fragments and damaged frames, and
//! the time between them. Never judges an answer; it only looks at what was forwarded to play the backend's side.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use fastrand::Rng;

use crate::damage;
use crate::frame::{self, ACK, FIN, PSH, Packet, RST, SYN, Transport};
use crate::vocabulary::Vocabulary;

/// What happens next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The clock stands at this many nanoseconds.
    Clock(u64),
    Frame(Vec<u8>),
    /// A backend, by ordinal of the image, is gone or there again.
    Backend {
        ordinal: u32,
        there: bool,
    },
    /// The same policy is applied again, by a store or by a new program: nothing changes, but that
    /// every backend is there.
    Apply {
        program: bool,
    },
}

/// Where every run of traffic begins, in nanoseconds; far enough from 0 that nothing is older than the clock.
pub const START: u64 = 1 << 40;

/// At most so many flows are kept going.
const FLOWS: usize = 12;

type Endpoint = (IpAddr, u16);

#[derive(Clone, Debug)]
struct Flow {
    protocol: u8,
    client: Endpoint,
    service: Endpoint,
    /// Who the backend believes it talks to, and as whom it answers, once a packet was forwarded.
    backend: Option<(Endpoint, Endpoint)>,
    client_seq: u32,
    server_seq: u32,
    step: u32,
}

/// Endless random traffic, the same for the same seed, words and observed answers.
pub struct Traffic {
    rng: Rng,
    words: Vocabulary,
    flows: Vec<Flow>,
    clock: u64,
    /// The flow whose client sent the last frame.
    waiting: Option<usize>,
}

impl Traffic {
    pub fn new(seed: u64, words: Vocabulary) -> Traffic {
        Traffic { rng: Rng::with_seed(seed), words, flows: Vec::new(), clock: START, waiting: None }
    }

    pub fn next_step(&mut self) -> Step {
        self.waiting = None;
        if self.rng.u32(0..12) == 0 {
            return self.wait();
        }
        if !self.words.backends.is_empty() && self.rng.u32(0..64) == 0 {
            let ordinal = self.rng.u32(0..self.words.backends.len() as u32);
            return Step::Backend { ordinal, there: self.rng.u32(0..3) > 0 };
        }
        if self.rng.u32(0..300) == 0 {
            return Step::Apply { program: self.rng.u32(0..16) == 0 };
        }
        let packet = match self.rng.u32(0..20) {
            0..=2 => self.open(),
            3..=15 if !self.flows.is_empty() => self.proceed(),
            _ => self.stray(),
        };
        let packet = if self.rng.u32(0..6) == 0 { self.decorate(packet) } else { packet };
        let mut bytes = packet.bytes();
        bytes.truncate(1514 + 4 * packet.tags.len());
        if self.rng.u32(0..8) == 0 {
            damage::damage(&mut self.rng, &mut bytes);
        }
        Step::Frame(bytes)
    }

    /// Tells what became of the last frame: how it left, if it did.
    pub fn observe(&mut self, left: Option<&[u8]>) {
        let Some(flow) = self.waiting.and_then(|place| self.flows.get_mut(place)) else { return };
        if let Some((src, dst)) = left.and_then(endpoints) {
            flow.backend = Some((src, dst));
        }
    }

    fn wait(&mut self) -> Step {
        let step = match self.rng.u32(0..16) {
            0..=3 => self.rng.u64(0..1_000),
            4..=8 => self.rng.u64(0..1_000_000),
            9..=12 => self.rng.u64(0..100_000_000),
            13 | 14 => self.rng.u64(0..3_000_000_000),
            _ => self.rng.u64(0..400_000_000_000),
        };
        self.clock += step;
        Step::Clock(self.clock)
    }

    fn open(&mut self) -> Packet {
        let v4 = self.rng.u32(0..5) > 1;
        let client = (self.addr(v4), self.port());
        let service = self.words.services.iter().filter(|(addr, ..)| addr.is_ipv4() == v4);
        let service: Vec<_> = service.copied().collect();
        let (addr, protocol, port) = match self.rng.choice(&service) {
            Some(&(addr, protocol, port)) if self.rng.u32(0..4) > 0 && protocol != frame::ICMP => {
                (addr, protocol, port)
            }
            Some(&(addr, ..)) if self.rng.bool() => (addr, self.transport(), self.port()),
            _ => (self.addr(v4), self.transport(), self.port()),
        };
        // Certificates are for UDP, and get no further without.
        let protocol =
            if !self.words.clients.is_empty() && self.rng.u32(0..3) > 0 { frame::UDP } else { protocol };
        let flow = Flow {
            protocol,
            client,
            service: (addr, port),
            backend: None,
            client_seq: self.rng.u32(..),
            server_seq: self.rng.u32(..),
            step: 0,
        };
        let place = if self.flows.len() < FLOWS {
            self.flows.push(flow);
            self.flows.len() - 1
        } else {
            let place = self.rng.usize(0..FLOWS);
            self.flows[place] = flow;
            place
        };
        self.client_packet(place)
    }

    fn proceed(&mut self) -> Packet {
        // A flow whose packets get through is worth more than one whose packets are dropped.
        let met: Vec<usize> =
            (0..self.flows.len()).filter(|place| self.flows[*place].backend.is_some()).collect();
        let place = match self.rng.choice(&met) {
            Some(&place) if self.rng.u32(0..4) > 0 => place,
            _ => self.rng.usize(0..self.flows.len()),
        };
        let flow = &self.flows[place];
        let turn = match flow.step {
            1 => true,
            2 => false,
            _ => self.rng.bool(),
        };
        let turn = if self.rng.u32(0..12) == 0 { !turn } else { turn };
        let answers = flow.backend.is_some() && turn;
        if answers { self.backend_packet(place) } else { self.client_packet(place) }
    }

    fn client_packet(&mut self, place: usize) -> Packet {
        self.waiting = Some(place);
        let odd = self.rng.u32(0..12) == 0;
        let shift = if odd { self.rng.u32(0..3).wrapping_sub(1) } else { 0 };
        let flags = self.tcp_flags(false, place);
        let flow = &mut self.flows[place];
        let (client, service, protocol) = (flow.client, flow.service, flow.protocol);
        let packet = match protocol {
            frame::TCP => {
                let seq = flow.client_seq.wrapping_add(u32::from(flow.step > 0));
                let ack =
                    if flags & ACK != 0 { flow.server_seq.wrapping_add(1).wrapping_add(shift) } else { 0 };
                Packet::tcp(client, service, flags, seq, ack)
            }
            frame::UDP => Packet::udp(client, service),
            _ => Packet::echo(client.0, service.0, true, client.1),
        };
        flow.step += 1;
        if protocol == frame::UDP && !self.words.clients.is_empty() && self.rng.u32(0..8) > 0 {
            // A client has one certificate, and now and then another's.
            let other = self.rng.u32(0..12) == 0;
            let own = if other { self.rng.u16(..) } else { client.1 };
            let client = &self.words.clients[usize::from(own) % self.words.clients.len()];
            let payload = client.choose(&mut self.rng);
            return packet.payload(&payload);
        }
        self.with_payload(packet)
    }

    fn backend_packet(&mut self, place: usize) -> Packet {
        let odd = self.rng.u32(0..12) == 0;
        let shift = if odd { self.rng.u32(0..3).wrapping_sub(1) } else { 0 };
        let flags = self.tcp_flags(true, place);
        let flow = &mut self.flows[place];
        let (peer, own) = flow.backend.unwrap_or((flow.client, flow.service));
        let packet = match flow.protocol {
            frame::TCP => {
                let seq = flow.server_seq.wrapping_add(u32::from(flow.step > 1)).wrapping_add(shift);
                let ack = if flags & ACK != 0 { flow.client_seq.wrapping_add(1) } else { 0 };
                Packet::tcp(own, peer, flags, seq, ack)
            }
            frame::UDP => Packet::udp(own, peer),
            _ => Packet::echo(own.0, peer.0, false, flow.client.1),
        };
        flow.step += 1;
        self.with_payload(packet)
    }

    /// Flags that fit the flow's step most of the time.
    fn tcp_flags(&mut self, backend: bool, place: usize) -> u8 {
        if self.rng.u32(0..16) == 0 {
            return self.rng.u8(0..64);
        }
        match (self.flows[place].step, backend) {
            (0, false) => SYN,
            (0 | 1, true) => SYN | ACK,
            (1, false) => [SYN, ACK, RST][self.rng.usize(0..3)],
            (2, false) => ACK,
            (..) => [ACK, ACK, ACK | PSH, ACK | FIN, ACK | FIN, RST, RST | ACK, SYN][self.rng.usize(0..8)],
        }
    }

    fn stray(&mut self) -> Packet {
        let v4 = self.rng.bool();
        let (src, dst) = (self.addr(v4), self.addr(v4));
        let (sport, dport) = (self.port(), self.port());
        let kind = self.choose(|words| &words.kinds);
        let code = if self.rng.bool() { 0 } else { self.choose(|words| &words.codes) };
        let (id, seq) = (self.rng.u16(..), self.rng.u16(..));
        let transport = match self.rng.u32(0..8) {
            0 | 1 => Transport::Tcp {
                sport,
                dport,
                flags: self.rng.u8(..),
                seq: self.rng.u32(..),
                ack: self.rng.u32(..),
                options: vec![1; 4 * self.rng.usize(0..11)],
            },
            2 | 3 => Transport::Udp { sport, dport, checksum: self.rng.u32(0..4) > 0 },
            4 => Transport::Icmp { kind, code, id, seq },
            5 => Transport::Icmp6 { kind, code, id, seq },
            _ => Transport::Raw(self.choose(|words| &words.protocols)),
        };
        let mut packet = Packet::new(src, dst, transport);
        packet.ttl = self.choose(|words| &words.ttls);
        packet.dscp = self.choose(|words| &words.dscps) & 63;
        self.with_payload(packet)
    }

    fn with_payload(&mut self, packet: Packet) -> Packet {
        let length = match self.rng.u32(0..4) {
            0 | 1 => 0,
            2 => self.rng.usize(0..64),
            _ => usize::from(self.choose(|words| &words.lengths)).min(1460),
        };
        let header = match packet.src {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        };
        let length = if length > 100 { length.saturating_sub(header + 20) } else { length };
        let payload = vec![self.rng.u8(..); length];
        packet.payload(&payload)
    }

    /// Tags, options, extension headers, fragments, padding, another TTL.
    fn decorate(&mut self, mut packet: Packet) -> Packet {
        match self.rng.u32(0..6) {
            0 => {
                for _ in 0..self.rng.u32(1..4) {
                    let tpid = [0x8100, 0x88a8][self.rng.usize(0..2)];
                    let vlan = self.choose(|words| &words.vlans);
                    packet.tags.push((tpid, vlan & 0x0fff | self.rng.u16(0..8) << 13));
                }
            }
            1 if packet.src.is_ipv4() => packet.options = vec![1; 4 * self.rng.usize(1..11)],
            1 | 2 if packet.src.is_ipv6() => {
                let numbers = [0u8, 60, 43, 51, 135, 60, 0];
                for _ in 0..self.rng.u32(1..5) {
                    let number = numbers[self.rng.usize(0..numbers.len())];
                    let fill = if self.rng.bool() { 0 } else { self.rng.u8(..) };
                    let units = self.rng.u8(0..3);
                    packet.extensions.push(frame::extension(number, units, fill));
                }
            }
            2 | 3 => {
                let offset = if self.rng.bool() { 0 } else { self.rng.u16(1..8192) };
                let more = self.rng.bool();
                if packet.src.is_ipv4() {
                    packet.fragment = Some((offset, more));
                } else {
                    packet.extensions.push(frame::fragment_header(offset, more));
                }
                if offset != 0 && self.rng.bool() {
                    packet.transport = Transport::Raw(packet.protocol());
                    packet.payload.truncate(self.rng.usize(0..40));
                }
            }
            4 => packet.padding = self.rng.usize(1..60),
            _ => {
                packet.ttl = self.choose(|words| &words.ttls);
                packet.dscp = self.choose(|words| &words.dscps) & 63;
            }
        }
        packet
    }

    fn addr(&mut self, v4: bool) -> IpAddr {
        let odd = self.rng.u32(0..24) == 0;
        let backend = self.rng.u32(0..12) == 0;
        if backend
            && let Some(&(addr, _)) = self.rng.choice(&self.words.backends)
            && addr.is_ipv4() == v4
        {
            return addr;
        }
        match (v4, odd) {
            (true, true) => {
                let odd =
                    ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.1.2.3", "223.255.255.255"];
                odd[self.rng.usize(0..odd.len())].parse().expect("an address")
            }
            (false, true) => {
                let odd = ["::", "::1", "fe80::1", "ff02::1", "febf::1", "fec0::1", "::2", "::ffff:8.8.8.8"];
                odd[self.rng.usize(0..odd.len())].parse().expect("an address")
            }
            (true, false) => IpAddr::V4(self.choose(|words| &words.v4)),
            (false, false) => IpAddr::V6(self.choose(|words| &words.v6)),
        }
    }

    fn port(&mut self) -> u16 {
        if self.rng.u32(0..4) == 0 { self.rng.u16(..) } else { self.choose(|words| &words.ports) }
    }

    fn transport(&mut self) -> u8 {
        [frame::TCP, frame::TCP, frame::TCP, frame::UDP, frame::UDP, frame::ICMP][self.rng.usize(0..6)]
    }

    fn choose<T: Copy>(&mut self, list: impl Fn(&Vocabulary) -> &Vec<T>) -> T {
        let list = list(&self.words);
        list[self.rng.usize(0..list.len())]
    }
}

/// Source and destination of a frame as it left; port 0 where it has none.
fn endpoints(frame: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (src, dst) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            (IpAddr::V4(ip.header().source_addr()), IpAddr::V4(ip.header().destination_addr()))
        }
        NetSlice::Ipv6(ip) => {
            (IpAddr::V6(ip.header().source_addr()), IpAddr::V6(ip.header().destination_addr()))
        }
        NetSlice::Arp(_) => return None,
    };
    let (sport, dport) = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    };
    Some(((src, sport), (dst, dport)))
}
