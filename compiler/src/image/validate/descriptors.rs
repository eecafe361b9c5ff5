//! Owns the proof of descriptors: limits, trackers, pools with their backends, authorities with their certificates. Never
//! nodes.

use std::collections::BTreeSet;

use lb_abi::bundle::Dense;
use lb_abi::image::{
    A_ALL_BURST, A_ALL_INTERVAL, A_CERTIFICATES, A_FLAGS, A_ID, A_SOURCE_BURST, A_SOURCE_INTERVAL,
    AUTHORITY_IDS, AUTHORITY_ONCE, AUTHORITY_STRIP, AUTHORITY_WORDS, B_MAX_CONN, B_NUMBER, B_OTHER, B_WEIGHT,
    BACKEND_WORDS, L_BURST, L_ID, L_INTERVAL, L_KEY, L_UNIT, L_V4, L_V6, LIMIT_CONNS, LIMIT_KEY_DST,
    LIMIT_WORDS, MAX_PICKED, P_BACKENDS4, P_BACKENDS6, P_ID, P_PICK, P_PORT_COUNT, P_PORT_FIRST, P_SLOTS4,
    P_SLOTS6, P_SOURCES4, P_SOURCES6, P_VIA, PICK_CERTIFICATE, PICK_FLOW, PICK_LEAST, PICK_SOURCE,
    POOL_WORDS, T_FLAGS, T_ID, TRACK_CERTIFICATE, TRACKER_WORDS, VIA_NAT,
};
use lb_abi::mode::{FEATURE_HASH, FEATURE_LOAD};

use super::super::Corrupt;
use super::{Checked, word};

/// Times in 1/64 ns stay below this.
const TIMES: u64 = 1 << 62;

fn wide(row: &[u32], at: usize) -> u64 {
    u64::from(row[at]) | u64::from(row[at + 1]) << 32
}

impl Checked<'_> {
    /// The program is specialised to what it has to do.
    pub(super) fn needs(&self, at: usize, feature: u32) -> Result<(), Corrupt> {
        if self.image.features & feature == feature {
            Ok(())
        } else {
            Err(word(at, "what the mode does not have"))
        }
    }

    pub(super) fn limit(&mut self, named: usize, limit: u32) -> Result<(), Corrupt> {
        let at = limit as usize;
        let row = self.slice(named, limit, LIMIT_WORDS)?;
        if row[L_UNIT] > LIMIT_CONNS || row[L_KEY] > LIMIT_KEY_DST || row[L_V4] > 32 || row[L_V6] > 128 {
            return Err(word(at + L_UNIT, "a limit of no known form"));
        }
        if wide(row, L_INTERVAL) >= TIMES || wide(row, L_BURST) >= TIMES {
            return Err(word(at + L_INTERVAL, "a limit that would overflow"));
        }
        self.dense(at + L_ID, Dense::Limit)
    }

    pub(super) fn tracker(&mut self, named: usize, tracker: u32) -> Result<(), Corrupt> {
        let at = tracker as usize;
        let flags = self.slice(named, tracker, TRACKER_WORDS)?[T_FLAGS];
        if flags > TRACK_CERTIFICATE {
            return Err(word(at + T_FLAGS, "a tracker of no known form"));
        }
        if flags == TRACK_CERTIFICATE {
            self.needs(at + T_FLAGS, FEATURE_LOAD)?;
        }
        self.dense(at + T_ID, Dense::Tracker)
    }

    pub(super) fn authority(&mut self, named: usize, authority: u32) -> Result<(), Corrupt> {
        let at = authority as usize;
        let row = self.slice(named, authority, AUTHORITY_WORDS)?;
        let (id, ids) = (row[A_ID], row[A_CERTIFICATES]);
        if id as usize >= self.image.authorities.len() || row[A_FLAGS] > AUTHORITY_ONCE | AUTHORITY_STRIP {
            return Err(word(at + A_ID, "an authority of no known form"));
        }
        let times = [A_SOURCE_INTERVAL, A_SOURCE_BURST, A_ALL_INTERVAL, A_ALL_BURST];
        if times.iter().any(|&time| wide(row, time) >= TIMES) {
            return Err(word(at + A_SOURCE_INTERVAL, "checks that would overflow"));
        }
        self.needs(named, FEATURE_HASH | FEATURE_LOAD)?;
        self.slice(at + A_CERTIFICATES, ids, AUTHORITY_IDS)?;
        for place in 0..AUTHORITY_IDS {
            let at = ids as usize + place;
            let Some(ordinal) = self.at(at)?.checked_sub(1) else { continue };
            self.dense(at, Dense::Certificate)?;
            let named = self.image.certificates.get(ordinal as usize);
            if named.is_none_or(|one| one.authority != id || usize::from(one.id) != place) {
                return Err(word(at, "a certificate of another id"));
            }
        }
        Ok(())
    }

    pub(super) fn pool(&mut self, named: usize, pool: u32) -> Result<(), Corrupt> {
        let at = pool as usize;
        let row: [u32; POOL_WORDS] =
            self.slice(named, pool, POOL_WORDS)?.try_into().map_err(|_| word(named, "leads to no pool"))?;
        if row[P_PICK] > PICK_LEAST || row[P_VIA] != VIA_NAT {
            return Err(word(at + P_PICK, "a pool of no known form"));
        }
        match row[P_PICK] {
            PICK_SOURCE | PICK_FLOW | PICK_CERTIFICATE => self.needs(at + P_PICK, FEATURE_HASH)?,
            PICK_LEAST => self.needs(at + P_PICK, FEATURE_LOAD)?,
            _ => {}
        }
        for (slots, backends) in [(P_SLOTS4, P_BACKENDS4), (P_SLOTS6, P_BACKENDS6)] {
            let picked = self.backends(at + backends, [row[backends], row[backends + 1]])?;
            if row[slots + 1] == 0 {
                continue;
            }
            let numbers: BTreeSet<u32> =
                self.slice(at + slots, row[slots], row[slots + 1] as usize)?.iter().copied().collect();
            for number in numbers {
                self.slice(at + slots, number, 1)?;
                self.dense(number as usize, Dense::Backend)?;
                if !picked.contains(&number) {
                    return Err(word(at + slots, "a slot of a backend that cannot be picked"));
                }
            }
        }
        for sources in [P_SOURCES4, P_SOURCES6] {
            if row[sources + 1] == 0 {
                continue;
            }
            self.slice(at + sources, row[sources], (row[sources + 1] as usize).saturating_mul(4))?;
            let last = row[P_PORT_FIRST].saturating_add(row[P_PORT_COUNT]);
            if row[P_PORT_COUNT] == 0 || last > 0x1_0000 {
                return Err(word(at + P_PORT_FIRST, "no range of ports"));
            }
        }
        self.dense(at + P_ID, Dense::Pool)
    }

    /// The rows of the backends that can be picked; where their numbers stand.
    fn backends(&mut self, named: usize, [offset, count]: [u32; 2]) -> Result<BTreeSet<u32>, Corrupt> {
        if count as usize > MAX_PICKED {
            return Err(word(named, "more backends than can be picked"));
        }
        let mut numbers = BTreeSet::new();
        if count == 0 {
            return Ok(numbers);
        }
        let rows = self.slice(named, offset, count as usize * BACKEND_WORDS)?.to_vec();
        for (at, row) in (offset as usize..).step_by(BACKEND_WORDS).zip(rows.chunks_exact(BACKEND_WORDS)) {
            if row[B_WEIGHT] == 0 {
                return Err(word(at + B_WEIGHT, "a backend without weight"));
            }
            if row[B_MAX_CONN] != 0 {
                self.needs(at + B_MAX_CONN, FEATURE_LOAD)?;
            }
            for (word, number) in [(B_NUMBER, row[B_NUMBER]), (B_OTHER, row[B_OTHER])] {
                if word == B_OTHER && number == 0 {
                    continue;
                }
                self.slice(at + word, number, 1)?;
                self.dense(number as usize, Dense::Backend)?;
            }
            numbers.insert(row[B_NUMBER]);
        }
        Ok(numbers)
    }
}
