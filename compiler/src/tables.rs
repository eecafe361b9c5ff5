//! Owns the walk of one packet over the image's words, as the XDP program takes it: what the words decide. Never the
//! effects of stages and ends, which it shares with the evaluator, nor the typed tree.

mod look_up;

use lb_abi::bundle::{Backend, Image};
use lb_abi::image::{
    A_CERTIFICATES, A_FLAGS, A_ID, AUTHORITY_ONCE, AUTHORITY_STRIP, B_MAX_CONN, B_NUMBER, B_OTHER, B_WEIGHT,
    BACKEND_WORDS, BEFORE_MATCH, BEFORE_PASS, END_DROP, END_FORWARD, END_PASS, END_REPLY_ECHO, EVERY_FLOW,
    EVERY_PACKET, EVERY_RANDOM, H_ENTRY, H_FRAGMENTS, H_NEIGHBOURS, H_OTHER, H_UNPARSED, L_BURST, L_ID,
    L_INTERVAL, L_KEY, L_UNIT, L_V4, L_V6, LIMIT_BYTES, LIMIT_CONNS, LIMIT_KEY_DST, LIMIT_KEY_NONE,
    LIMIT_KEY_SRC, LIMIT_PACKETS, LIMIT_SYNS, MAX_STEPS, N_EXIT_A, N_EXIT_B, N_NEXT, N_OP, N_P0, N_P1, N_P2,
    OP_DECIDE, OP_END, OP_EVERY, OP_LIMIT, OP_TRACK, OP_TRANSLATE, OP_TRANSLATE_BACK, OP_VERIFY, P_BACKENDS4,
    P_BACKENDS6, P_ID, P_PICK, P_PORT_COUNT, P_PORT_FIRST, P_SLOTS4, P_SLOTS6, P_SOURCES4, P_SOURCES6,
    PICK_CERTIFICATE, PICK_FLOW, PICK_LEAST, PICK_RANDOM, PICK_ROUND_ROBIN, PICK_SOURCE, T_FLAGS,
    T_HALF_OPEN, T_ID, T_IDLE_TCP, T_IDLE_UDP, T_MAX, TRACK_CERTIFICATE, VERIFY_EXPIRED, VERIFY_INVALID,
    VERIFY_MISSING, VERIFY_REPLAYED, VERIFY_REVOKED,
};
use lb_abi::maps::Addr;
use lb_abi::reason::Reason;
use policy_lang::policy::{Before, BeforeTree, End, EveryMode, LimitKey};

use crate::eval::stages::{
    self, Certified, LimitParams, LimitUnit, Load, PickBy, Plan, PoolParams, Target, TrackParams,
    VerifyParams, Way,
};
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
                    let row = words.of(node, N_P1)?;
                    node = look_up::decide(words, p0, row, &self.fields, self.state, &self.plan)?;
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
                OP_VERIFY => self.verify(p0)?,
                OP_TRACK => stages::track(self.state, &tracker(words, p0)?, &self.fields, &mut self.plan),
                OP_TRANSLATE => self.translate(p0)?,
                OP_TRANSLATE_BACK => stages::translate_back(self.state, &self.fields, &mut self.plan),
                _ => return Err(Reason::BadImage),
            };
            node = match way {
                Way::On => words.of(node, N_NEXT)?,
                _ if op == OP_VERIFY => words.of(words.of(node, N_P1)?, verify_exit(way)?)?,
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

    fn verify(&mut self, authority: u32) -> Result<Way, Reason> {
        let (words, image) = (self.words, self.image);
        let flags = words.of(authority, A_FLAGS)?;
        let ids = words.of(authority, A_CERTIFICATES)?;
        let id = words.of(authority, A_ID)?;
        let certificate = |id: u8| {
            let number = words.of(ids, id.into()).ok()?.checked_sub(1)?;
            let one = image.certificates.get(number as usize)?;
            Some(Certified {
                number,
                hash: one.hash,
                key: one.key.as_ref(),
                valid: one.valid,
                is_revoked: one.revoked,
                subject: &one.name,
            })
        };
        let params = VerifyParams {
            id,
            once: flags & AUTHORITY_ONCE != 0,
            strip: flags & AUTHORITY_STRIP != 0,
            replay: image.authorities.get(id as usize).ok_or(Reason::BadImage)?.replay,
            certificate: &certificate,
        };
        let (way, seen) = stages::verify(self.state, &params, self.frame, &self.fields, &mut self.plan);
        if let Some(step) = self.path.last_mut() {
            step.seen = seen;
        }
        Ok(way)
    }

    fn translate(&mut self, pool: u32) -> Result<Way, Reason> {
        let (words, image, is_v6) = (self.words, self.image, self.fields.v6);
        let [slots, sources, rows] = match is_v6 {
            true => [P_SLOTS6, P_SOURCES6, P_BACKENDS6],
            false => [P_SLOTS4, P_SOURCES4, P_BACKENDS4],
        };
        let id = words.of(pool, P_ID)?;
        let backends = backends(image, words, words.of(pool, rows)?, words.of(pool, rows + 1)?)?;
        let first_slot = words.of(pool, slots)?;
        let slot = |slot: u32| {
            let ordinal = number(words, words.of(first_slot, slot as usize).ok()?)?;
            backends.iter().position(|load| load.target.backend == ordinal)
        };
        let reached = |ordinal| reached(image, ordinal, is_v6);
        let hash = |number: u32| image.certificates.get(number as usize).map(|one| one.hash);
        let first_source = words.of(pool, sources)?;
        let count = words.of(pool, sources + 1)? as usize;
        let sources = (0..count)
            .map(|source| address(words, first_source, source))
            .collect::<Result<Vec<Addr>, Reason>>()?;
        let params = PoolParams {
            id,
            pick: match words.of(pool, P_PICK)? {
                PICK_ROUND_ROBIN => PickBy::RoundRobin,
                PICK_RANDOM => PickBy::Random,
                PICK_SOURCE => PickBy::Source,
                PICK_FLOW => PickBy::Flow,
                PICK_CERTIFICATE => PickBy::Certificate,
                PICK_LEAST => PickBy::LeastConnections,
                _ => return Err(Reason::BadImage),
            },
            slots: words.of(pool, slots + 1)?,
            slot: &slot,
            backends: &backends,
            reached: &reached,
            hash: &hash,
            sources: &sources,
            port_first: words.of(pool, P_PORT_FIRST)? as u16,
            port_count: words.of(pool, P_PORT_COUNT)?,
            // What else there is the image does not carry.
            is_nat: true,
            wrap: &|_| None,
        };
        Ok(stages::translate(self.state, &params, &self.fields, &mut self.plan))
    }
}

/// Which of the nodes of its exits a `verify` goes on with.
fn verify_exit(way: Way) -> Result<usize, Reason> {
    let exit = match way {
        Way::Missing => VERIFY_MISSING,
        Way::Invalid => VERIFY_INVALID,
        Way::Expired => VERIFY_EXPIRED,
        Way::Revoked => VERIFY_REVOKED,
        Way::Replayed => VERIFY_REPLAYED,
        _ => return Err(Reason::BadImage),
    };
    Ok(exit as usize)
}

/// The backends of a pool that can be picked.
fn backends(image: &Image, words: Words<'_>, rows: u32, count: u32) -> Result<Vec<Load>, Reason> {
    let mut backends = Vec::new();
    for row in 0..count {
        let at = |word: usize| words.of(rows, row as usize * BACKEND_WORDS + word);
        let ordinal = number(words, at(B_NUMBER)?).ok_or(Reason::BadImage)?;
        let other = Some(at(B_OTHER)?).filter(|&offset| offset != 0).and_then(|offset| number(words, offset));
        backends.push(Load {
            target: target(image, ordinal).ok_or(Reason::BadImage)?,
            weight: at(B_WEIGHT)?,
            max_conn: Some(at(B_MAX_CONN)?).filter(|&max| max != 0),
            ordinals: [Some(ordinal), other].into_iter().flatten().collect(),
        });
    }
    Ok(backends)
}

/// The ordinal that stands at `offset` as 1 more.
fn number(words: Words<'_>, offset: u32) -> Option<u32> {
    words.at(offset as usize).ok()?.checked_sub(1)
}

fn target(image: &Image, ordinal: u32) -> Option<Target> {
    let backend = image.backends.get(ordinal as usize)?;
    Some(Target {
        backend: ordinal,
        identity: backend.identity as u32,
        addr: backend.addr,
        port: backend.port,
    })
}

/// The backend's address of the family.
fn reached(image: &Image, ordinal: u32, is_v6: bool) -> Option<Target> {
    let own = image.backends.get(ordinal as usize)?;
    let is_same = |other: &Backend| (other.pool, &other.name) == (own.pool, &own.name);
    let mut all = (0..).zip(&image.backends);
    let (found, _) = all.find(|(_, other)| is_same(other) && is_mapped(other.addr) != is_v6)?;
    target(image, found)
}

fn is_mapped(addr: Addr) -> bool {
    u128::from_be_bytes(addr) >> 32 == 0xffff
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
        by_certificate: words.of(at, T_FLAGS)? & TRACK_CERTIFICATE != 0,
        one_way: false,
    })
}

#[cfg(test)]
mod tests;
