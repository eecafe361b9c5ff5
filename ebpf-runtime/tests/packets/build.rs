//! Owns images written by hand, node by node, and whole frames with their checksums.

use lb_abi::SCHEMA;
use lb_abi::bundle::{
    Authority, Backend, Certificate, Counter, Dense, Image, Limit, Pool, Relocation, Tally, TallyKind,
    Tracker, Turn,
};
use lb_abi::image::*;
use lb_abi::maps::{Addr, BACKEND_ACTIVE, BACKEND_DRAINING};

pub fn mapped(v4: [u8; 4]) -> Addr {
    std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets()
}

/// A backend of `Tree::pool_of`.
#[derive(Clone, Copy)]
pub struct Peer {
    pub v4: [u8; 4],
    pub v6: Option<Addr>,
    pub weight: u32,
    /// Connections at once; 0: as many as come.
    pub max: u32,
    pub drains: bool,
}

impl Peer {
    pub fn new(v4: [u8; 4]) -> Peer {
        Peer { v4, v6: None, weight: 1, max: 0, drains: false }
    }
}

/// An image in the making; nodes are added from the ends to the entry.
pub struct Tree {
    image: Image,
}

impl Tree {
    pub fn new() -> Tree {
        let mut words = vec![0; HEADER_WORDS];
        words[H_MAGIC] = MAGIC;
        words[H_SCHEMA] = SCHEMA;
        words[H_NEIGHBOURS] = BEFORE_PASS;
        Tree { image: Image { name: "by hand".to_owned(), words, ..Image::default() } }
    }

    pub fn set(&mut self, word: usize, value: u32) {
        self.image.words[word] = value;
    }

    /// Appends words at a multiple of 8; gives their offset.
    pub fn words(&mut self, words: &[u32]) -> u32 {
        self.image.words.resize(self.image.words.len().next_multiple_of(NODE_WORDS), 0);
        let at = self.image.words.len() as u32;
        self.image.words.extend_from_slice(words);
        at
    }

    /// A number of the instance at a word; in the order in which they are added, numbers are dense.
    fn relocate(&mut self, word: u32, kind: Dense) {
        self.image.relocations.push(Relocation { word, kind });
    }

    /// A node without a counter.
    pub fn node(&mut self, op: u32, next: [u32; 3], p: [u32; 3]) -> u32 {
        self.image.ops |= 1 << op;
        let [next, exit_a, exit_b] = next;
        let [p0, p1, p2] = p;
        self.words(&[op, 0, next, exit_a, exit_b, p0, p1, p2])
    }

    pub fn end(&mut self, end: u32) -> u32 {
        self.node(OP_END, [0; 3], [end, 0, 0])
    }

    /// Gives the node a counter of its own.
    pub fn counted(&mut self, node: u32, label: &str) -> u32 {
        let ordinal = self.image.counters.len() as u32;
        let identity = u64::from(ordinal) + 1;
        self.image.counters.push(Counter { identity, tallies: vec![ordinal] });
        self.image.tallies.push(Tally {
            identity: 1000 + identity,
            kind: TallyKind::Arm,
            label: label.to_owned(),
            tree: "main".to_owned(),
            file: "policy.lbp".to_owned(),
            line: 1,
        });
        let word = node + N_COUNTER as u32;
        self.image.words[word as usize] = 1 + ordinal;
        self.relocate(word, Dense::Counter);
        node
    }

    /// The limit's descriptor. `interval` and `tolerance` in 1/64 ns.
    pub fn limit(&mut self, unit: u32, key: u32, interval: u64, tolerance: u64) -> u32 {
        let mut words = [0; LIMIT_WORDS];
        let ordinal = self.image.limits.len() as u32;
        (words[L_ID], words[L_UNIT], words[L_KEY], words[L_V4], words[L_V6]) = (ordinal, unit, key, 24, 64);
        (words[L_INTERVAL], words[L_INTERVAL + 1]) = (interval as u32, (interval >> 32) as u32);
        (words[L_BURST], words[L_BURST + 1]) = (tolerance as u32, (tolerance >> 32) as u32);
        let max = if key == LIMIT_KEY_NONE { 0 } else { 64 };
        self.image.limits.push(Limit { identity: 70 + u64::from(ordinal), name: "limit".to_owned(), max });
        let at = self.words(&words);
        self.relocate(at + L_ID as u32, Dense::Limit);
        at
    }

    /// A node that takes `ways` in turn.
    pub fn every(&mut self, ways: &[u32]) -> u32 {
        let table = self.words(ways);
        let ordinal = self.image.turns.len() as u32;
        self.image.turns.push(Turn { identity: 50 + u64::from(ordinal) });
        let at = self.node(OP_EVERY, [table, 0, 0], [EVERY_PACKET, ordinal, ways.len() as u32]);
        self.relocate(at + N_P1 as u32, Dense::Turn);
        at
    }

    /// The descriptor of a tracker; times in ticks.
    pub fn tracker(&mut self, idle_tcp: u32, idle_udp: u32, half_open: u32, max: u32) -> u32 {
        let ordinal = self.image.trackers.len() as u32;
        let mut words = [0; TRACKER_WORDS];
        (words[T_ID], words[T_MAX]) = (ordinal, max);
        (words[T_IDLE_TCP], words[T_IDLE_UDP], words[T_HALF_OPEN]) = (idle_tcp, idle_udp, half_open);
        self.image.trackers.push(Tracker {
            identity: 30 + u64::from(ordinal),
            name: "flows".to_owned(),
            max,
        });
        let at = self.words(&words);
        self.relocate(at + T_ID as u32, Dense::Tracker);
        at
    }

    /// The descriptor of a pool with one backend of each family, and one source address of IPv4 with its first
    /// port and as many.
    pub fn pool(&mut self, v4: ([u8; 4], u16), v6: (Addr, u16), source: ([u8; 4], u16), ports: u32) -> u32 {
        let mut words = [0; POOL_WORDS];
        words[P_PICK] = PICK_ROUND_ROBIN;
        for (slots, (addr, port)) in [(P_SLOTS4, (mapped(v4.0), v4.1)), (P_SLOTS6, v6)] {
            let ordinal = self.image.backends.len() as u32;
            self.image.backends.push(Backend {
                identity: 90 + u64::from(ordinal),
                pool: 0,
                name: format!("b{ordinal}"),
                addr,
                port,
                state: BACKEND_ACTIVE,
            });
            let number = self.words(&[1 + ordinal]);
            self.relocate(number, Dense::Backend);
            (words[slots], words[slots + 1]) = (self.words(&[number]), 1);
        }
        let source_words: Vec<u32> = mapped(source.0)
            .chunks_exact(4)
            .map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        (words[P_SOURCES4], words[P_SOURCES4_LEN]) = (self.words(&source_words), 1);
        (words[P_PORT_FIRST], words[P_PORT_COUNT]) = (u32::from(source.1), ports);
        self.image.pools.push(Pool { identity: 20, name: "pool".to_owned() });
        let at = self.words(&words);
        self.relocate(at + P_ID as u32, Dense::Pool);
        at
    }

    /// Makes the tracker at `descriptor` one of sessions, where so many certificates may have one.
    pub fn of_sessions(&mut self, descriptor: u32, certificates: u32) {
        self.set(descriptor as usize + T_FLAGS, TRACK_CERTIFICATE);
        self.set(descriptor as usize + T_CERTIFICATES, certificates);
    }

    /// The descriptor of an authority. `source` and `all` are interval and tolerance of its buckets in 1/64 ns.
    pub fn authority(
        &mut self,
        flags: u32,
        certificates: &[Certificate],
        source: [u64; 2],
        all: [u64; 2],
    ) -> u32 {
        let authority = self.image.authorities.len() as u32;
        self.image.authorities.push(Authority {
            identity: 200 + u64::from(authority),
            name: format!("authority{authority}"),
            replay: None,
            checks: 1_000,
        });
        let ids = self.words(&[0; AUTHORITY_IDS]);
        for certificate in certificates {
            let ordinal = self.image.certificates.len() as u32;
            self.image.certificates.push(Certificate { authority, ..certificate.clone() });
            let word = ids + u32::from(certificate.id);
            self.set(word as usize, 1 + ordinal);
            self.relocate(word, Dense::Certificate);
        }
        let mut words = [0; AUTHORITY_WORDS];
        (words[A_ID], words[A_FLAGS], words[A_CERTIFICATES]) = (authority, flags, ids);
        let buckets = [A_SOURCE_INTERVAL, A_SOURCE_BURST, A_ALL_INTERVAL, A_ALL_BURST];
        for (at, time) in buckets.into_iter().zip(source.into_iter().chain(all)) {
            (words[at], words[at + 1]) = (time as u32, (time >> 32) as u32);
        }
        self.words(&words)
    }

    /// A `verify`, its exits in the order of `VERIFY_*`.
    pub fn verify(&mut self, authority: u32, next: u32, exits: [u32; VERIFY_EXITS]) -> u32 {
        let exits = self.words(&exits);
        self.node(OP_VERIFY, [next, 0, 0], [authority, exits, 0])
    }

    /// The descriptor of a pool whose clients keep their addresses; a backend that drains has no row and no slot.
    pub fn pool_of(&mut self, pick: u32, backends: &[Peer]) -> u32 {
        let mut words = [0; POOL_WORDS];
        words[P_PICK] = pick;
        let pool = self.image.pools.len() as u32;
        let mut numbers = Vec::new();
        for (n, peer) in backends.iter().enumerate() {
            let mut number = |addr: Addr| {
                let ordinal = self.image.backends.len() as u32;
                let name = format!("p{pool}b{n}");
                let state = if peer.drains { BACKEND_DRAINING } else { BACKEND_ACTIVE };
                let identity = 900 + u64::from(ordinal);
                self.image.backends.push(Backend { identity, pool, name, addr, port: 0, state });
                let number = self.words(&[1 + ordinal]);
                self.relocate(number, Dense::Backend);
                number
            };
            let v4 = number(mapped(peer.v4));
            numbers.push((v4, peer.v6.map(number)));
        }
        let picked = |v6: bool| {
            let rows =
                numbers.iter().zip(backends).filter(|(_, peer)| !peer.drains).filter_map(move |(n, peer)| {
                    let (own, other) = if v6 { (n.1?, n.0) } else { (n.0, n.1.unwrap_or_default()) };
                    Some([own, other, peer.weight, peer.max])
                });
            rows.collect::<Vec<[u32; BACKEND_WORDS]>>()
        };
        for (rows, at, slots) in
            [(picked(false), P_BACKENDS4, P_SLOTS4), (picked(true), P_BACKENDS6, P_SLOTS6)]
        {
            (words[at], words[at + 1]) = (self.words(&rows.concat()), rows.len() as u32);
            let table: Vec<u32> = rows.iter().map(|row| row[B_NUMBER]).collect();
            (words[slots], words[slots + 1]) = (self.words(&table), table.len() as u32);
        }
        self.image.pools.push(Pool { identity: 20 + u64::from(pool), name: format!("pool{pool}") });
        let at = self.words(&words);
        self.set(at as usize + P_ID, pool);
        self.relocate(at + P_ID as u32, Dense::Pool);
        at
    }

    /// Fields that some node looks at, with a table for the small one `field`: its classes by value.
    pub fn field(&mut self, field: Field, classes: &[u32]) {
        self.image.fields |= field.bit();
        let at = self.words(classes);
        self.set(H_FIELD + field as usize, at);
        if field == Field::Cert {
            self.relocate(at, Dense::CertificateTable);
        }
    }

    pub fn finish(mut self, entry: u32, features: u32) -> Image {
        self.set(H_ENTRY, entry);
        self.image.features = features;
        self.set(H_LEN, self.image.words.len() as u32);
        self.image
    }
}

/// One's complement sum of big-endian words, folded (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// An untagged frame around an IP packet with right checksums. `checksum` is the offset in `layer4`.
pub fn ipv4(src: [u8; 4], dst: [u8; 4], proto: u8, layer4: &[u8], checksum: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let total = (20 + layer4.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, proto, 0, 0];
    header.extend(src);
    header.extend(dst);
    let mended = !sum(&[&header]);
    header[10..12].copy_from_slice(&mended.to_be_bytes());
    frame.extend(header);
    let at = frame.len() + checksum;
    frame.extend(layer4);
    let mended = !layer4_sum(&frame);
    frame[at..at + 2].copy_from_slice(&mended.to_be_bytes());
    frame
}

pub fn ipv6(src: Addr, dst: Addr, proto: u8, layer4: &[u8], checksum: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0];
    frame.extend((layer4.len() as u16).to_be_bytes());
    frame.extend([proto, 64]);
    frame.extend(src);
    frame.extend(dst);
    let at = frame.len() + checksum;
    frame.extend(layer4);
    let mended = !layer4_sum(&frame);
    frame[at..at + 2].copy_from_slice(&mended.to_be_bytes());
    frame
}

/// Of everything that the layer-4 checksum covers, itself included: 0xffff if it is right.
fn layer4_sum(frame: &[u8]) -> u16 {
    if frame[12..14] == [8, 0] {
        let layer4 = &frame[34..];
        let length = (layer4.len() as u16).to_be_bytes();
        let pseudo = [0, frame[23], length[0], length[1]];
        let icmp = frame[23] == 1;
        if icmp { sum(&[layer4]) } else { sum(&[&frame[26..34], &pseudo, layer4]) }
    } else {
        let layer4 = &frame[54..];
        let length = (layer4.len() as u16).to_be_bytes();
        sum(&[&frame[22..54], &[length[0], length[1], 0, frame[20]], layer4])
    }
}

/// Panics unless the checksums of the frame are right.
pub fn checksums_are_right(frame: &[u8]) {
    if frame[12..14] == [8, 0] {
        assert_eq!(sum(&[&frame[14..34]]), 0xffff, "header checksum of {frame:02x?}");
    }
    assert_eq!(layer4_sum(frame), 0xffff, "layer-4 checksum of {frame:02x?}");
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

pub fn tcp(sport: u16, dport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

pub fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// ICMP and ICMPv6 echo, 16 bytes.
pub fn echo(kind: u8) -> Vec<u8> {
    vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'a', b'y', b'l', b'o', b'a', b'd', b'!']
}
