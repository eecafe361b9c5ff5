//! Owns what a loaded program is told of each packet of a test, what it answers, and how that differs from the
//! evaluator's answer. Never loads one: that is the caller's.

use lb_abi::bundle::Image;
use lb_abi::hash::Key;
use lb_abi::reason::{REASONS, Reason};
use lb_abi::seen::{MAC_BYTES, Seen};

use super::outcome::sent;
use crate::eval::Run;

/// A packet of a test on its way into the program, with all that it meets there.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub image: Put<'a>,
    /// Secret of the hashes.
    pub key: Key,
    /// In ns.
    pub clock: u64,
    /// What is added to the clock to have the time of day since 1970, in ns.
    pub wall: i64,
    /// Of the random draws, which are counted from the test's start.
    pub seed: u64,
    pub frame: &'a [u8],
}

/// What happens to the program before a packet arrives.
#[derive(Clone, Copy, Debug)]
pub enum Put<'a> {
    /// A test begins: this image with fresh state.
    Fresh(&'a Image),
    /// What was given to a set changed the image; the state stays.
    Changed(&'a Image),
    Same,
}

/// What the program did with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ByProgram {
    pub seen: Seen,
    /// Every reason that was counted, in any order.
    pub counted: Vec<Reason>,
}

/// Runs one packet after the other; `None` where there is nothing to compare with.
pub type Program<'p, E> = dyn FnMut(Arrival<'_>) -> Result<Option<ByProgram>, E> + 'p;

/// What the program did, in words, if it is not what the evaluator did.
pub(super) fn difference(met: &ByProgram, evaluated: &Run) -> Option<String> {
    let wanted = evaluated.seen();
    let mut counted = met.counted.clone();
    let mut wanted_counts = evaluated.counted.clone();
    counted.sort_unstable();
    wanted_counts.sort_unstable();
    if met.seen == wanted && counted == wanted_counts {
        return None;
    }
    let mut text = match &met.seen {
        Seen::Drop => "drop".to_owned(),
        Seen::Pass => "pass".to_owned(),
        Seen::Sent(bytes) => {
            let mut frame = vec![0; MAC_BYTES];
            frame.extend(bytes);
            format!("sent{}", sent(&frame))
        }
    };
    let names: Vec<&str> = counted
        .iter()
        .filter_map(|reason| REASONS.iter().find(|(listed, _)| listed == reason).map(|(_, name)| *name))
        .collect();
    if !names.is_empty() {
        text += &format!(" ({})", names.join(", "));
    }
    if let (Seen::Sent(got), Seen::Sent(wanted)) = (&met.seen, &wanted)
        && let Some(at) = (0..got.len().max(wanted.len())).find(|&at| got.get(at) != wanted.get(at))
    {
        let byte = |bytes: &[u8]| bytes.get(at).map_or("none".to_owned(), |byte| format!("{byte:#04x}"));
        text += &format!("; byte {} is {}, not {}", at + MAC_BYTES, byte(got), byte(wanted));
    }
    Some(text)
}
