//! Owns the walk of one packet over the image's words, as the XDP program takes it: what the words decide. Never the
//! effects of stages and ends, which it shares with the evaluator, nor the typed tree.

mod look_up;

use lb_abi::bundle::Image;
use lb_abi::image::{
    BEFORE_MATCH, BEFORE_PASS, END_DROP, END_FORWARD, END_PASS, END_REPLY_ECHO, EVERY_FLOW, EVERY_PACKET,
    EVERY_RANDOM, H_ENTRY, H_FRAGMENTS, H_NEIGHBOURS, H_OTHER, H_UNPARSED, L_BURST, L_ID, L_INTERVAL, L_KEY,
    L_UNIT, L_V4, L_V6, LIMIT_BYTES, LIMIT_CONNS, LIMIT_KEY_DST, LIMIT_KEY_NONE, LIMIT_KEY_SRC,
    LIMIT_PACKETS, LIMIT_SYNS, MAX_STEPS, N_EXIT_A, N_EXIT_B, N_NEXT, N_OP, N_P0, N_P1, N_P2, OP_DECIDE,
    OP_END, OP_EVERY, OP_LIMIT, OP_TRACK, OP_TRANSLATE, OP_TRANSLATE_BACK, P_ID, P_PICK, P_PORT_COUNT,
    P_PORT_FIRST, P_SLOTS4, P_SLOTS6, P_SOURCES4, P_SOURCES6, PICK_FLOW, PICK_RANDOM, PICK_ROUND_ROBIN,
    PICK_SOURCE, T_HALF_OPEN, T_ID, T_IDLE_TCP, T_IDLE_UDP, T_MAX,
};
use lb_abi::maps::Addr;
use lb_abi::reason::Reason;
use policy_lang::policy::{Before, BeforeTree, End, EveryMode, LimitKey};

use crate::eval::stages::{self, LimitParams, LimitUnit, PickBy, Plan, PoolParams, Target, TrackParams, Way};
use crate::eval::{Ended, PathStep, Run, State, StepKind};
use crate::image::op_name;
use crate::packet::Fields;

/// Runs one frame over the image. Where the words lead nowhere the packet is dropped as `BadImage`, which no image of
/// `compile` and none that `image::from_bytes` accepts makes happen.
pub fn run(image: &Image, state: &mut State, frame: &[u8]) -> Run {
    let words = Words(&image.words);
    let mut counted = Vec::new();
    let fields = match stages::before(&before_tree(words), frame, &mut counted) {
        Ok(fields) => fields,
        Err(ended) => {
            let step = PathStep::new(StepKind::Before, None, format!("{:?}", ended.reason));
            return Run::new(ended, counted, vec![step]);
        }
    };
    let mut walk = Walk {
        image,
        words,
        frame,
        fields,
        state,
        plan: Plan::default(),
        counted: Vec::new(),
        path: Vec::new(),
    };
    let ended = walk.tree().unwrap_or_else(|reason| {
        walk.counted.push(reason);
        Ended::dropped(Some(reason))
    });
    counted.append(&mut walk.counted);
    Run::new(ended, counted, walk.path)
}

fn before_tree(words: Words<'_>) -> BeforeTree {
    let before = |at| match words.at(at) {
        Ok(BEFORE_PASS) => Before::Pass,
        Ok(BEFORE_MATCH) => Before::Match,
        _ => Before::Drop,
    };
    BeforeTree {
        neighbours: before(H_NEIGHBOURS),
        unparsed: before(H_UNPARSED),
        other: before(H_OTHER),
        fragments: before(H_FRAGMENTS),
    }
}

/// The image's words; an offset that lies outside is `BadImage`.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [u32]);

impl Words<'_> {
    fn at(self, offset: usize) -> Result<u32, Reason> {
        self.0.get(offset).copied().ok_or(Reason::BadImage)
    }

    /// Word `index` of what stands at `offset`.
    fn of(self, offset: u32, index: usize) -> Result<u32, Reason> {
        self.at((offset as usize).saturating_add(index))
    }

    /// Two words, the lower first.
    fn wide(self, offset: u32, index: usize) -> Result<u64, Reason> {
        Ok(u64::from(self.of(offset, index)?) | u64::from(self.of(offset, index + 1)?) << 32)
    }
}

struct Walk<'a> {
    image: &'a Image,
    words: Words<'a>,
    frame: &'a [u8],
    fields: Fields,
    state: &'a mut State,
    plan: Plan,
    counted: Vec<Reason>,
    path: Vec<PathStep>,
}

impl Walk<'_> {
    fn tree(&mut self) -> Result<Ended, Reason> {
        let words = self.words;
        let mut node = words.at(H_ENTRY)?;
        for _ in 0..MAX_STEPS {
            let (op, p0) = (words.of(node, N_OP)?, words.of(node, N_P0)?);
            self.path.push(PathStep::new(StepKind::Node(node), None, op_name(op)));
            let way = match op {
                OP_DECIDE => {
                    node = look_up::decide(words, p0, words.of(node, N_P1)?, &self.fields, self.state)?;
                    continue;
                }
                OP_EVERY => {
                    let mode = match p0 {
                        EVERY_PACKET => EveryMode::Packet,
                        EVERY_FLOW => EveryMode::Flow,
                        EVERY_RANDOM => EveryMode::Random,
                        _ => return Err(Reason::BadImage),
                    };
                    let (turn, ways) = (words.of(node, N_P1)?, words.of(node, N_P2)?);
                    let way = stages::every(self.state, u64::from(turn), mode, ways, &self.fields);
                    node = words.of(words.of(node, N_NEXT)?, way as usize)?;
                    continue;
                }
                OP_END => return self.end(p0),
                OP_LIMIT => stages::limit(self.state, &limit(words, p0)?, &self.fields),
                OP_TRACK => stages::track(self.state, &tracker(words, p0)?, &self.fields, &mut self.plan),
                OP_TRANSLATE => self.translate(p0)?,
                OP_TRANSLATE_BACK => stages::translate_back(self.state, &self.fields, &mut self.plan),
                _ => return Err(Reason::BadImage),
            };
            node = match way {
                Way::On => words.of(node, N_NEXT)?,
                Way::Exceed | Way::Full | Way::Empty => words.of(node, N_EXIT_A)?,
                Way::Invalid if op == OP_TRANSLATE_BACK => words.of(node, N_EXIT_A)?,
                Way::Invalid | Way::Ports => words.of(node, N_EXIT_B)?,
                Way::Drop(reason) => return Err(reason),
                Way::Missing | Way::Expired | Way::Revoked | Way::Replayed | Way::Bad | Way::Held => {
                    return Err(Reason::BadImage);
                }
            };
        }
        Err(Reason::Steps)
    }

    fn end(&mut self, end: u32) -> Result<Ended, Reason> {
        let end = match end {
            END_DROP => End::Drop,
            END_PASS => End::Pass,
            END_FORWARD => End::Forward,
            END_REPLY_ECHO => End::ReplyEcho,
            _ => return Err(Reason::BadImage),
        };
        Ok(stages::end(self.state, end, self.frame, &self.fields, &self.plan, &mut self.counted))
    }

    fn translate(&mut self, pool: u32) -> Result<Way, Reason> {
        let (words, image) = (self.words, self.image);
        let (slots, sources) = if self.fields.v6 { (P_SLOTS6, P_SOURCES6) } else { (P_SLOTS4, P_SOURCES4) };
        let first_slot = words.of(pool, slots)?;
        let slot = |slot: u32| target(image, words, words.of(first_slot, slot as usize).ok()?);
        let first_source = words.of(pool, sources)?;
        let count = words.of(pool, sources + 1)? as usize;
        let sources = (0..count)
            .map(|source| address(words, first_source, source))
            .collect::<Result<Vec<Addr>, Reason>>()?;
        let params = PoolParams {
            id: words.of(pool, P_ID)?,
            pick: match words.of(pool, P_PICK)? {
                PICK_ROUND_ROBIN => PickBy::RoundRobin,
                PICK_RANDOM => PickBy::Random,
                PICK_SOURCE => PickBy::Source,
                PICK_FLOW => PickBy::Flow,
                _ => return Err(Reason::BadImage),
            },
            slots: words.of(pool, slots + 1)?,
            slot: &slot,
            sources: &sources,
            port_first: words.of(pool, P_PORT_FIRST)? as u16,
            port_count: words.of(pool, P_PORT_COUNT)?,
            // What else there is the image does not carry.
            is_nat: true,
            kept: None,
            certificate: None,
            loads: &[],
            wrap: &|_| None,
        };
        Ok(stages::translate(self.state, &params, &self.fields, &mut self.plan))
    }
}

/// The backend whose number stands at `offset`.
fn target(image: &Image, words: Words<'_>, offset: u32) -> Option<Target> {
    let ordinal = words.at(offset as usize).ok()?.checked_sub(1)?;
    let backend = image.backends.get(ordinal as usize)?;
    Some(Target {
        backend: ordinal,
        identity: backend.identity as u32,
        addr: backend.addr,
        port: backend.port,
    })
}

/// Source address number `source`: four words, bytes in order.
fn address(words: Words<'_>, first: u32, source: usize) -> Result<Addr, Reason> {
    let mut addr = [0; 16];
    for (word, bytes) in addr.chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&words.of(first, 4 * source + word)?.to_le_bytes());
    }
    Ok(addr)
}

fn limit(words: Words<'_>, at: u32) -> Result<LimitParams, Reason> {
    let key =
        |source| Ok(Some(LimitKey { source, v4: words.of(at, L_V4)? as u8, v6: words.of(at, L_V6)? as u8 }));
    Ok(LimitParams {
        id: words.of(at, L_ID)?,
        unit: match words.of(at, L_UNIT)? {
            LIMIT_PACKETS => LimitUnit::Packets,
            LIMIT_BYTES => LimitUnit::Bytes,
            LIMIT_SYNS => LimitUnit::Syns,
            LIMIT_CONNS => LimitUnit::Connections,
            _ => return Err(Reason::BadImage),
        },
        key: match words.of(at, L_KEY)? {
            LIMIT_KEY_NONE => None,
            LIMIT_KEY_SRC => key(true)?,
            LIMIT_KEY_DST => key(false)?,
            _ => return Err(Reason::BadImage),
        },
        interval: words.wide(at, L_INTERVAL)?,
        tolerance: words.wide(at, L_BURST)?,
    })
}

fn tracker(words: Words<'_>, at: u32) -> Result<TrackParams, Reason> {
    Ok(TrackParams {
        id: words.of(at, T_ID)?,
        idle_tcp: words.of(at, T_IDLE_TCP)?,
        idle_udp: words.of(at, T_IDLE_UDP)?,
        half_open: words.of(at, T_HALF_OPEN)?,
        max: words.of(at, T_MAX)?,
        session: None,
        one_way: false,
    })
}

#[cfg(test)]
mod tests;
