//! Owns the proof of nodes: what each refers to, and that every way from the entry ends within the steps allowed.
//! Never field tables.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use lb_abi::bundle::Dense;
use lb_abi::image::{
    ALL_FIELDS, END_REPLY_ECHO, EVERY_FLOW, EVERY_RANDOM, H_ENTRY, MAX_STEPS, N_COUNTER, N_EXIT_A, N_EXIT_B,
    N_NEXT, N_OP, N_P0, N_P1, N_P2, NODE_WORDS, OP_DECIDE, OP_EVERY, OP_LIMIT, OP_TRACK, OP_TRANSLATE,
    OP_TRANSLATE_BACK, OP_VERIFY, R_MASK, ROW_OFFSET, ROW_SPARSE, VERIFY_EXITS,
};
use lb_abi::mode::FEATURE_HASH;

use super::super::Corrupt;
use super::super::rows::row_ways;
use super::{Checked, word};

impl Checked<'_> {
    pub(super) fn nodes(&mut self) -> Result<(), Corrupt> {
        // Leaves of each region, as several nodes may enter it.
        let mut regions: HashMap<(u32, u32), Rc<[u32]>> = HashMap::new();
        let mut ways: HashMap<u32, Rc<[u32]>> = HashMap::new();
        let mut left = vec![(H_ENTRY, self.at(H_ENTRY)?)];
        while let Some((named, node)) = left.pop() {
            if ways.contains_key(&node) {
                continue;
            }
            let next = self.node(named, node, &mut regions)?;
            left.extend(next.iter().map(|&next| (node as usize, next)));
            ways.insert(node, next);
        }
        self.steps(&ways)
    }

    /// No cycle, and at most `MAX_STEPS` nodes on any way.
    fn steps(&self, ways: &HashMap<u32, Rc<[u32]>>) -> Result<(), Corrupt> {
        let mut layer = BTreeSet::from([self.at(H_ENTRY)?]);
        for _ in 0..MAX_STEPS {
            layer = layer
                .iter()
                .filter_map(|node| ways.get(node))
                .flat_map(|next| next.iter().copied())
                .collect();
            if layer.is_empty() {
                return Ok(());
            }
        }
        Err(word(layer.first().map_or(H_ENTRY, |&node| node as usize), "more steps than a packet may take"))
    }

    /// Checks one node; the nodes it leads to.
    fn node(
        &mut self,
        named: usize,
        node: u32,
        regions: &mut HashMap<(u32, u32), Rc<[u32]>>,
    ) -> Result<Rc<[u32]>, Corrupt> {
        let at = node as usize;
        if !at.is_multiple_of(NODE_WORDS) {
            return Err(word(named, "leads to no node"));
        }
        let body: [u32; NODE_WORDS] =
            self.slice(named, node, NODE_WORDS)?.try_into().map_err(|_| word(named, "leads to no node"))?;
        if body[N_COUNTER] != 0 {
            self.dense(at + N_COUNTER, Dense::Counter)?;
        }
        let op = body[N_OP];
        if op > OP_VERIFY || self.image.ops & 1 << op == 0 {
            return Err(word(at, "an op that the mode does not have"));
        }
        let (next, a, b) = (body[N_NEXT], body[N_EXIT_A], body[N_EXIT_B]);
        match op {
            OP_DECIDE => {
                let key = (body[N_P0], body[N_P1]);
                if let Some(leaves) = regions.get(&key) {
                    return Ok(leaves.clone());
                }
                let leaves: Rc<[u32]> = self.region(at, body[N_P0], body[N_P1])?.into();
                regions.insert(key, leaves.clone());
                Ok(leaves)
            }
            OP_LIMIT => {
                self.limit(at + N_P0, body[N_P0])?;
                Ok(Rc::from(vec![next, a]))
            }
            OP_EVERY => {
                if body[N_P0] > EVERY_RANDOM || body[N_P2] == 0 {
                    return Err(word(at + N_P0, "an every of no known form"));
                }
                if body[N_P0] == EVERY_FLOW {
                    self.needs(at + N_P0, FEATURE_HASH)?;
                }
                self.dense(at + N_P1, Dense::Turn)?;
                Ok(self.slice(at + N_NEXT, next, body[N_P2] as usize)?.into())
            }
            OP_TRACK => {
                self.tracker(at + N_P0, body[N_P0])?;
                Ok(Rc::from(vec![next, a, b]))
            }
            OP_TRANSLATE => {
                self.pool(at + N_P0, body[N_P0])?;
                Ok(Rc::from(vec![next, a, b]))
            }
            OP_TRANSLATE_BACK => Ok(Rc::from(vec![next, a])),
            OP_VERIFY => {
                self.authority(at + N_P0, body[N_P0])?;
                let exits = self.slice(at + N_P1, body[N_P1], VERIFY_EXITS)?;
                Ok(exits.iter().copied().chain([next]).collect())
            }
            _ if body[N_P0] > END_REPLY_ECHO => Err(word(at + N_P0, "no known end")),
            _ => Ok(Rc::from([])),
        }
    }

    /// Walks every row of a region once; the nodes it leads to.
    fn region(&self, at: usize, mask: u32, root: u32) -> Result<Vec<u32>, Corrupt> {
        if mask == 0 || mask & !self.image.fields != 0 {
            return Err(word(at + N_P0, "fields that the mode does not have"));
        }
        let mut rows = HashSet::from([root]);
        for field in ALL_FIELDS.into_iter().filter(|field| mask & field.bit() != 0) {
            let classes = self.classes[field as usize];
            let mut below = HashSet::new();
            for row in rows {
                let offset = row & ROW_OFFSET;
                if row & !(ROW_SPARSE | ROW_OFFSET) != 0 {
                    return Err(word(at + N_P1, "a row of no known form"));
                }
                self.slice(at + N_P1, offset, 1)?;
                let ways = row_ways(self.words, row, classes)
                    .ok_or(word(offset as usize, "a row beyond the words"))?;
                if ways.default.is_some() {
                    let mask = u64::from(self.at(offset as usize + R_MASK)?);
                    if !(mask + 1).is_power_of_two() || mask > 0xffff {
                        return Err(word(offset as usize + R_MASK, "not a mask"));
                    }
                }
                below.extend(ways.default.into_iter().chain(ways.ways.into_iter().map(|way| way.1)));
            }
            rows = below;
        }
        let mut leaves: Vec<u32> = rows.into_iter().collect();
        leaves.sort_unstable();
        Ok(leaves)
    }
}
