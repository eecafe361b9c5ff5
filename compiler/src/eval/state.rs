//! Owns what the evaluator remembers from packet to packet, keyed as in the canonical image: by ordinal. Never a
//! policy, and no eviction: where a kernel table may forget, this one does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lb_abi::hash::{self, Key};
use lb_abi::maps::{Addr, Flow, FlowKey, PoolState, TICK_SHIFT};

use super::stages::{Asking, Guarded, Session, Splice};

/// 2026-01-01, where nothing says what the date is.
const DEFAULT_DATE: i64 = 1_767_225_600;

/// Flow entries by the tuple of their packets.
pub type FlowTable = HashMap<FlowKey, Flow>;

#[derive(Clone, Debug)]
pub struct State {
    /// Monotonic clock in ns.
    pub clock: u64,
    /// Seed of the random draws; 0 makes every draw 0.
    pub seed: u64,
    /// Random draws so far.
    pub draws: u64,
    /// Secret of flow and source hash.
    pub key: Key,
    /// Theoretical arrival times in 1/64 ns by limit and masked address (all zero without a key).
    pub limits: BTreeMap<(u32, Addr), u64>,
    /// Turns taken by each `every`. The key is the walker's own: the tree's place for the evaluator, the image's
    /// ordinal for the tables.
    pub turns: BTreeMap<u64, u64>,
    /// Pairs in `flows_proven` by tracker.
    pub proven: BTreeMap<u32, u64>,
    pub pools: BTreeMap<u32, PoolState>,
    /// Backends that are there no longer (`maps::BACKEND_ABSENT`), by ordinal; all others are.
    pub absent: BTreeSet<u32>,
    pub flows_new: FlowTable,
    pub flows_answered: FlowTable,
    pub flows_proven: FlowTable,
    /// Theoretical arrival time of the one bucket for generated answers, 1/64 ns.
    pub answers: u64,
    /// Wall clock in seconds since 1970 at `date_at`; it goes on with the clock.
    pub date: i64,
    /// In ns of the clock.
    pub date_at: u64,
    /// `verify` takes the keys made for tests in the place of the certificates' own (`packet::test_key`).
    pub test_keys: bool,
    /// Members of dynamic sets by set id.
    pub members: BTreeMap<u32, Members>,
    /// Theoretical arrival times of `log` stages by name, 1/64 ns.
    pub logs: BTreeMap<String, u64>,
    /// What is known of the flows in the tables beyond their entries, under the key of either direction.
    pub learned: HashMap<FlowKey, Learned>,
    /// Signatures that `verify` accepted lately, by authority, and when in ns of the clock.
    pub signatures: BTreeMap<(u32, [u8; 64]), u64>,
    /// By tracker and certificate.
    pub sessions: BTreeMap<(u32, u32), Session>,
    /// Flows that mappers know or wait for.
    pub asking: HashMap<(u32, FlowKey), Asking>,
    pub guarded: BTreeMap<u32, Guarded>,
}

/// Ranges of addresses, ends included, IPv4 mapped; and when each is over in ns of the clock.
pub type Members = BTreeMap<(Addr, Addr), Option<u64>>;

/// What the packet that began a flow had learned on its way.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Learned {
    /// The name it asked for, of `map`.
    pub sni: Option<String>,
    /// `Policy::certificate_number` of `verify`.
    pub certificate: Option<u32>,
    /// It was behind a `track` with `key cert`: it belongs to the session of its tracker and certificate.
    pub in_session: bool,
    /// Its backend answers the client itself: no reply of it ever comes back.
    pub one_way: bool,
    /// Mapper and key under which its name is known, and for how many ns after each packet.
    pub mapped: Option<(u32, FlowKey, u64)>,
    /// It began with a cookie.
    pub splice: Option<Splice>,
}

impl State {
    pub fn new(key: Key) -> State {
        State {
            clock: 0,
            seed: 0,
            draws: 0,
            key,
            limits: BTreeMap::new(),
            turns: BTreeMap::new(),
            proven: BTreeMap::new(),
            pools: BTreeMap::new(),
            absent: BTreeSet::new(),
            flows_new: FlowTable::new(),
            flows_answered: FlowTable::new(),
            flows_proven: FlowTable::new(),
            answers: 0,
            date: DEFAULT_DATE,
            date_at: 0,
            test_keys: false,
            members: BTreeMap::new(),
            logs: BTreeMap::new(),
            learned: HashMap::new(),
            signatures: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asking: HashMap::new(),
            guarded: BTreeMap::new(),
        }
    }

    /// Seconds since 1970.
    pub fn wall_clock(&self) -> i64 {
        let passed = i128::from(self.clock) - i128::from(self.date_at);
        self.date.saturating_add(passed.div_euclid(1_000_000_000) as i64)
    }

    /// What is added to the clock to have the time of day since 1970, in ns.
    pub fn wall(&self) -> i64 {
        self.date.saturating_mul(1_000_000_000).saturating_sub_unsigned(self.date_at)
    }

    /// Puts a range into a dynamic set, or lets its time begin anew; false if the set is full of others.
    pub fn add_member(&mut self, set: u32, range: (Addr, Addr), ttl: Option<Duration>, max: u32) -> bool {
        let now = self.clock;
        let members = self.members.entry(set).or_default();
        members.retain(|_, over| over.is_none_or(|over| now < over));
        if members.len() >= max as usize && !members.contains_key(&range) {
            return false;
        }
        let nanoseconds = |ttl: Duration| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        members.insert(range, ttl.map(|ttl| now.saturating_add(nanoseconds(ttl))));
        true
    }

    /// Whether an address, IPv4 mapped, is in a dynamic set now.
    pub fn is_member(&self, set: u32, addr: Addr) -> bool {
        // A short IPv6 prefix spans the mapped addresses too, and means none of them.
        let is_v4 = |addr: Addr| u128::from_be_bytes(addr) >> 32 == 0xffff;
        let holds = |(&(first, last), over): (&(Addr, Addr), &Option<u64>)| {
            is_v4(first) == is_v4(addr)
                && first <= addr
                && addr <= last
                && over.is_none_or(|over| self.clock < over)
        };
        self.members.get(&set).is_some_and(|members| members.iter().any(holds))
    }

    /// The clock in ticks of the flow tables.
    pub fn tick(&self) -> u32 {
        (self.clock >> TICK_SHIFT) as u32
    }

    pub(super) fn draw(&mut self) -> u32 {
        let number = self.draws;
        self.draws = number.wrapping_add(1);
        hash::draw(self.seed, number)
    }
}
