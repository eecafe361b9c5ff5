//! Owns what the evaluator remembers from packet to packet, keyed as in the canonical image: by ordinal. Never a
//! policy, and no eviction: where a kernel table may forget, this one does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_abi::hash::{self, Key};
use lb_abi::maps::{Addr, Flow, FlowKey, PoolState, TICK_SHIFT};

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
        }
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
