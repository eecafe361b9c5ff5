//! Owns a balancer that certificates get through, by hand: `translate back`, else `verify`, `track`, `translate`,
//! `forward`; and datagrams with trailers whose signatures nobody checks here.

use ebpf_runtime::resume::Resumed;
use ebpf_runtime::trial::Action;
use lb_abi::bundle::{Certificate, Image};
use lb_abi::image::*;
use lb_abi::maps::{Punt, RESUME_ON};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD};
use lb_abi::reason::Reason;
use lb_abi::trailer::{MAGICS, TRAILER_BYTES};

use crate::build::{Peer, Tree, ipv4, udp};
use crate::flows::{Balancer, CLIENT, SECOND, VIP};

/// A bucket that nobody empties: 2^40 tokens.
pub const PLENTY: [u64; 2] = [64, 64 << 40];
/// Wall clock of a test, in seconds.
pub const NOW: i64 = 1_500;

pub const PEERS: [[u8; 4]; 3] = [[10, 0, 2, 1], [10, 0, 2, 2], [10, 0, 2, 3]];

/// The hash of certificate `id`.
pub fn hash(id: u8) -> [u8; 32] {
    std::array::from_fn(|n| id ^ (n as u8).wrapping_mul(37))
}

pub fn certificate(id: u8) -> Certificate {
    Certificate {
        identity: 300 + u64::from(id),
        authority: 0,
        id,
        hash: hash(id),
        key: Some([4; 65]),
        valid: Some((1_000, 2_000)),
        revoked: false,
        name: String::new(),
    }
}

pub fn trailer(id: u8) -> Vec<u8> {
    let mut trailer = MAGICS[0].to_vec();
    trailer.extend(hash(id));
    trailer.extend((0..64).map(|n| 0xa0 ^ n));
    trailer.extend([id, 0, 0, 0]);
    assert_eq!(trailer.len(), TRAILER_BYTES);
    trailer
}

/// From the client's port to the service: the payload, and a trailer of certificate `id`.
pub fn signed(sport: u16, id: u8, payload: &[u8]) -> Vec<u8> {
    signed_from(CLIENT, sport, id, payload)
}

pub fn signed_from(client: [u8; 4], sport: u16, id: u8, payload: &[u8]) -> Vec<u8> {
    ipv4(client, VIP, 17, &udp(sport, 443, &[payload, &trailer(id)].concat()), 6)
}

/// From a backend.
pub fn answer(peer: [u8; 4], dport: u16) -> Vec<u8> {
    ipv4(peer, CLIENT, 17, &udp(443, dport, b"answer"), 6)
}

/// What differs from test to test.
pub struct Setting {
    pub flags: u32,
    /// Sessions the tracker has room for, of so many certificates.
    pub max: u32,
    pub certificates: Vec<Certificate>,
    pub pick: u32,
    pub peers: Vec<Peer>,
    pub source: [u64; 2],
    pub all: [u64; 2],
    /// Without, the tracker is one of flows.
    pub keyed: bool,
    /// Without, replies meet `verify` as well.
    pub back: bool,
}

impl Setting {
    pub fn new() -> Setting {
        Setting {
            flags: AUTHORITY_ONCE,
            max: 1_000,
            certificates: [1, 2, 200].map(certificate).to_vec(),
            pick: PICK_ROUND_ROBIN,
            peers: PEERS.map(Peer::new).to_vec(),
            source: PLENTY,
            all: PLENTY,
            keyed: true,
            back: true,
        }
    }

    /// Counters of the ends: those of `verify` by `VERIFY_*`, then `full`, `invalid`, `empty` and `ports`.
    pub fn load(self) -> Certified {
        Certified::of(&self.image())
    }

    pub fn image(&self) -> Image {
        let mut tree = Tree::new();
        let ends: Vec<u32> = (0..9)
            .map(|_| {
                let end = tree.end(END_DROP);
                tree.counted(end, "exit")
            })
            .collect();
        let forward = tree.end(END_FORWARD);
        let pool = tree.pool_of(self.pick, &self.peers);
        // 100 s for TCP, 30 s for all else.
        let tracker = tree.tracker(95_000, 28_000, 4_700, self.max);
        if self.keyed {
            tree.of_sessions(tracker, self.certificates.len() as u32);
        }
        let authority = tree.authority(self.flags, &self.certificates, self.source, self.all);
        let translate = tree.node(OP_TRANSLATE, [forward, ends[7], ends[8]], [pool, 0, 0]);
        let track = tree.node(OP_TRACK, [translate, ends[5], ends[6]], [tracker, 0, 0]);
        let verify = tree.verify(authority, track, [ends[0], ends[1], ends[2], ends[3], ends[4]]);
        let entry = match self.back {
            true => tree.node(OP_TRANSLATE_BACK, [forward, verify, 0], [0; 3]),
            false => verify,
        };
        tree.finish(entry, FEATURE_FORWARD | FEATURE_HASH | FEATURE_LOAD)
    }
}

pub const FULL: usize = VERIFY_EXITS;

pub struct Certified {
    pub balancer: Balancer,
}

impl Certified {
    pub fn new() -> Certified {
        Setting::new().load()
    }

    pub fn of(image: &Image) -> Certified {
        let mut balancer = Balancer::of(image);
        balancer.trial.set_hash_key([1, 2]);
        balancer.trial.set_wall((NOW - 1) * SECOND as i64);
        Certified { balancer }
    }

    pub fn at(&mut self, ns: u64) {
        self.balancer.trial.set_clock(ns);
    }

    pub fn count(&self, reason: Reason) -> u64 {
        self.balancer.trial.reasons().expect("reasons")[reason as usize]
    }

    /// The one exit that the frame leaves by.
    pub fn exit(&mut self, frame: &[u8]) -> usize {
        let before = self.exits();
        self.balancer.dropped(frame);
        assert!(self.punts().is_empty(), "handed over");
        self.only(&before)
    }

    pub fn exits(&self) -> Vec<u64> {
        self.balancer.trial.counters().expect("counters").iter().map(|count| count.packets).collect()
    }

    pub fn only(&self, before: &[u64]) -> usize {
        let after = self.exits();
        let grown: Vec<usize> = (0..after.len()).filter(|&n| after[n] != before[n]).collect();
        assert_eq!(grown.len(), 1, "{before:?} {after:?} {:?}", self.balancer.reasons());
        grown[0]
    }

    pub fn punts(&mut self) -> Vec<(Punt, Vec<u8>)> {
        self.balancer.trial.punts().expect("a ring buffer")
    }

    /// The record of a frame that is handed over.
    pub fn punt(&mut self, frame: &[u8]) -> Punt {
        self.balancer.dropped(frame);
        let mut punts = self.punts();
        assert_eq!(punts.len(), 1, "{:?}", self.balancer.reasons());
        let (punt, copy) = punts.remove(0);
        assert_eq!(copy, frame);
        punt
    }

    pub fn resume(&mut self, punt: &Punt, frame: &[u8], verdict: u32) -> (Resumed, Vec<u8>) {
        let trial = &mut self.balancer.trial;
        self.balancer
            .lab
            .balancer
            .run(|| trial.resume(punt, frame, verdict))
            .expect("a namespace")
            .expect("a run")
    }

    /// Hands a frame over and takes it back as signed well: what is sent.
    pub fn served(&mut self, frame: &[u8]) -> Vec<u8> {
        let punt = self.punt(frame);
        self.accepted(&punt, frame).1
    }

    pub fn accepted(&mut self, punt: &Punt, frame: &[u8]) -> (Resumed, Vec<u8>) {
        let (resumed, out) = self.resume(punt, frame, RESUME_ON);
        assert_eq!(resumed.action, Action::Tx, "{:?} {:?}", self.balancer.reasons(), self.exits());
        assert_eq!(resumed.ifindex, self.balancer.ifindex);
        (resumed, out)
    }

    /// The backend that a sent frame goes to.
    pub fn peer(frame: &[u8]) -> [u8; 4] {
        frame[30..34].try_into().expect("four bytes")
    }
}
