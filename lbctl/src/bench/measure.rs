//! Owns timing: rounds of a packet mix through the program and through its floor, turn by turn.
//! Never chooses packets.

use ebpf_runtime::Error;
use ebpf_runtime::trial::{Action, Trial};
use lb_abi::maps::MAX_TEMPLATES;
use serde::Serialize;

/// Packets of the largest mix.
pub const PACKETS: u32 = MAX_TEMPLATES;

/// Packets of a round of new flows.
pub const FRESH: u32 = 4_096;

/// The program under test and the same program that passes every packet at once (`FEATURE_BENCH_FLOOR`), with the
/// interface that packets arrive on.
pub struct Bench<'a> {
    pub program: Trial,
    /// Loads it anew, with empty tables.
    pub load: &'a dyn Fn() -> Result<Trial, Error>,
    pub floor: Trial,
    pub ifindex: u32,
}

/// Nanoseconds of one packet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Above the floor: the difference of both minima, and of both medians.
    pub min_ns: i64,
    pub median_ns: i64,
    /// The floor itself.
    pub floor_min_ns: u32,
    pub floor_median_ns: u32,
}

/// What a mix sends: the same frames in every round, or others in each so that they are new to the program. Where there
/// are no others, the program is loaded anew and they begin again.
/// All frames of a mix have one length.
pub enum Frames {
    Same(Vec<Vec<u8>>),
    Fresh(Box<dyn Fn(u32) -> Vec<Vec<u8>>>),
}

impl Bench<'_> {
    /// Sends every frame once, without timing.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> Result<(), Error> {
        let Some(first) = frames.first() else { return Ok(()) };
        self.program.set_templates(frames)?;
        self.program.run_repeat(first, self.ifindex, frames.len() as u32)?;
        Ok(())
    }

    /// Measures a mix; also says what became of its packets (the actions that occurred in a sample).
    pub fn measure(&mut self, frames: &Frames, rounds: u32) -> Result<(Figures, Vec<Action>), Error> {
        let mut actions = Vec::new();
        let (mut floor, mut whole) = (Vec::new(), Vec::new());
        let mut loaded = 0;
        for round in 0..=rounds {
            let mut fresh;
            let (sent, set) = match frames {
                Frames::Same(frames) => (frames, round == 0),
                Frames::Fresh(make) => {
                    fresh = make(round - loaded);
                    if fresh.is_empty() {
                        self.program = (self.load)()?;
                        loaded = round;
                        fresh = make(0);
                    }
                    (&fresh, true)
                }
            };
            let Some(first) = sent.first() else { break };
            if set {
                self.floor.set_templates(sent)?;
                self.program.set_templates(sent)?;
            }
            // Round 0 warms up and is where the actions are looked at.
            if round == 0 {
                for _ in 0..sent.len().min(256) {
                    let action = self.program.run(first, self.ifindex)?.action;
                    if !actions.contains(&action) {
                        actions.push(action);
                    }
                }
            }
            let packets = match frames {
                Frames::Same(_) => PACKETS,
                Frames::Fresh(_) => sent.len() as u32,
            };
            // The kernel's own clock, which stands still while the scheduler runs something else; it tells whole
            // nanoseconds. A clock around the call would count the grace period that each call waits for.
            let low = self.floor.run_repeat(first, self.ifindex, packets)?;
            let high = self.program.run_repeat(first, self.ifindex, packets)?;
            if round > 0 {
                floor.push(low);
                whole.push(high);
            }
        }
        let (floor_min_ns, floor_median_ns) = min_and_median(&mut floor);
        let (min, median) = min_and_median(&mut whole);
        let figures = Figures {
            min_ns: i64::from(min) - i64::from(floor_min_ns),
            median_ns: i64::from(median) - i64::from(floor_median_ns),
            floor_min_ns,
            floor_median_ns,
        };
        Ok((figures, actions))
    }
}

fn min_and_median(all: &mut [u32]) -> (u32, u32) {
    all.sort_unstable();
    let at = |index: usize| all.get(index).copied().unwrap_or(0);
    (at(0), at(all.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(min_and_median(&mut [3, 1, 2]), (1, 2));
        assert_eq!(min_and_median(&mut []), (0, 0));
    }
}
