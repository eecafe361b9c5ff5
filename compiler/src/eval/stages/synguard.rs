//! Owns `synguard`: SYN cookies, and the connection to the backend that one stands for ("synguard" in
//! `docs/packet-path.md`; RFC 4987, section 3.6). Never the backend: the SYN goes on to the stages behind.

use lb_abi::image::{FLAG_RST, FLAG_SYN, LIMIT_SHIFT};
use lb_abi::maps::DIR_ORIGINAL;
use lb_abi::reason::Reason;
use policy_lang::policy::Synguard;

use super::answer::addressed;
use super::flows::lookup;
use super::limit::spend;
use super::rewrite::{mend_at, read, write};
use super::track::{SYN_ACK, is_acknowledged, starts_anew};
use super::{Plan, TCP_CHECKSUM};
use crate::eval::State;
use crate::packet::{Fields, Header, Layer4, TCP, checksum, cookie_hash, flow_key, parse};

/// A cookie is good in the step of 2^36 ns (69 s) in which it was made and in the next.
const STEP_SHIFT: u32 = 36;
/// What a cookie can tell of the client's MSS.
const SIZES: [u16; 4] = [536, 1220, 1440, 1460];
/// Bits of a cookie: two of the step, two of the size, the rest of the hash.
const HASH_BITS: u32 = 28;

/// What a guard remembers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Guarded {
    /// Theoretical arrival time of its bucket, 1/64 ns.
    pub tat: u64,
    /// Step in which it gave a cookie last.
    pub gave: Option<u64>,
}

/// A connection whose client was answered by a cookie: its server's numbers are shifted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// The sequence number that the client was told.
    pub cookie: u32,
    /// The backend's own, once it has answered.
    pub isn: Option<u32>,
    /// Of the client, as its first acknowledgement announced it.
    pub window: u16,
    /// The client's MSS, as the cookie kept it.
    pub mss: u16,
}

/// What a guard makes of a packet.
pub enum Guarding {
    On(&'static str),
    /// It is answered by this frame.
    Answered(Vec<u8>),
    /// It stands for this SYN.
    Opens(Standing),
    Bad,
    Drop(Reason),
}

/// The packet that stages see in the place of the one that arrived.
#[derive(Clone, Debug)]
pub struct Standing {
    pub frame: Vec<u8>,
    pub fields: Fields,
}

/// Answers a SYN too many, and takes the acknowledgement of a cookie for the SYN it answers.
pub fn synguard(
    state: &mut State,
    id: u32,
    guard: &Synguard,
    frame: &[u8],
    fields: &Fields,
    plan: &mut Plan,
) -> Guarding {
    let Layer4::Tcp { flags, seq, ack, .. } = fields.layer4 else { return Guarding::On("no TCP") };
    if fields.is_fragment() {
        return Guarding::On("a fragment");
    }
    let known = lookup(state, &flow_key(fields)).filter(|(_, flow)| !starts_anew(flow, fields));
    if known.is_some() {
        return Guarding::On("a known flow");
    }
    let step = state.clock >> STEP_SHIFT;
    if flags == FLAG_SYN {
        let count = u128::from(guard.above.count.max(1));
        let interval = ((guard.above.per.as_nanos() << LIMIT_SHIFT) / count).min(1 << 62) as u64;
        let tolerance = (u128::from(interval) * count).min(1 << 62) as u64;
        let now = state.clock << LIMIT_SHIFT;
        let guarded = state.guarded.entry(id).or_default();
        if spend(&mut guarded.tat, now, interval, tolerance) {
            return Guarding::On("below its rate");
        }
        guarded.gave = Some(step);
        let asked = announced(frame, fields);
        let size = SIZES.iter().rposition(|&size| asked.is_some_and(|mss| size <= mss)).unwrap_or(0);
        let cookie = cookie(state, fields, seq, step, size as u32);
        return match syn_ack(frame, fields, cookie, seq.wrapping_add(1), guard.mss) {
            Ok(answer) => Guarding::Answered(answer),
            Err(reason) => Guarding::Drop(reason),
        };
    }
    let gave = state.guarded.get(&id).and_then(|guarded| guarded.gave);
    if !is_acknowledged(flags) || gave.is_none_or(|gave| step.saturating_sub(gave) > 1) {
        return Guarding::On("no cookie was given lately");
    }
    let (told, isn) = (ack.wrapping_sub(1), seq.wrapping_sub(1));
    let size = told >> HASH_BITS & 3;
    let made = [Some(step), step.checked_sub(1)].into_iter().flatten();
    let is_own = made.into_iter().any(|step| cookie(state, fields, isn, step, size) == told);
    if !is_own {
        return Guarding::Bad;
    }
    let window = u16::from_be_bytes(read(frame, fields.transport + 14));
    let mss = SIZES.get(size as usize).copied().unwrap_or(536);
    let splice = Splice { cookie: told, isn: None, window, mss };
    plan.learned.splice = Some(splice);
    match opening(frame, fields, &splice) {
        Some(standing) => Guarding::Opens(standing),
        None => Guarding::Bad,
    }
}

fn cookie(state: &State, fields: &Fields, isn: u32, step: u64, size: u32) -> u32 {
    let hash = cookie_hash(state.key, fields, isn, step << 2 | u64::from(size)) as u32;
    (step as u32 & 3) << 30 | size << HASH_BITS | hash & ((1 << HASH_BITS) - 1)
}

/// The MSS option of a segment (RFC 9293, section 3.7.1).
fn announced(frame: &[u8], fields: &Fields) -> Option<u16> {
    let length = usize::from(*frame.get(fields.transport + 12)? >> 4) * 4;
    let mut options = frame.get(fields.transport + 20..fields.transport + length)?;
    loop {
        match options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [_, length, ..] => options = options.get(usize::from((*length).max(2))..)?,
            [_] => return None,
        }
    }
}

/// The answer of a SYN. It says the MSS only where that makes it no longer than what it answers.
fn syn_ack(frame: &[u8], fields: &Fields, seq: u32, ack: u32, mss: u16) -> Result<Vec<u8>, Reason> {
    let header = if fields.v6 { 40 } else { 20 };
    let says_mss = fields.len >= header + 24;
    let segment = segment(fields, true, (seq, ack), 0x12, 0xffff, says_mss.then_some(mss));
    addressed(frame, fields, TCP, &segment)
}

/// A segment without data; ports as the packet's or the other way round, checksum 0.
fn segment(
    fields: &Fields,
    back: bool,
    (seq, ack): (u32, u32),
    bits: u8,
    window: u16,
    mss: Option<u16>,
) -> Vec<u8> {
    let (sport, dport) = fields.ports().unwrap_or_default();
    let ports = if back { [dport, sport] } else { [sport, dport] };
    let mut segment: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([if mss.is_some() { 0x60 } else { 0x50 }, bits]);
    segment.extend(window.to_be_bytes());
    segment.extend([0, 0, 0, 0]);
    if let Some(mss) = mss {
        segment.extend([2, 4]);
        segment.extend(mss.to_be_bytes());
    }
    segment
}

/// The SYN that an acknowledgement of the client stands for.
fn opening(frame: &[u8], fields: &Fields, splice: &Splice) -> Option<Standing> {
    let Layer4::Tcp { seq, .. } = fields.layer4 else { return None };
    let numbers = (seq.wrapping_sub(1), 0);
    let mut segment = segment(fields, false, numbers, 2, splice.window, Some(splice.mss));
    let header = Header {
        src: fields.src,
        dst: fields.dst,
        v6: fields.v6,
        proto: TCP,
        class: fields.dscp << 2,
        label: 0,
    };
    let sum = checksum(&header, &segment);
    write(&mut segment, TCP_CHECKSUM, &sum.to_be_bytes());
    let link = frame.get(..fields.ip)?;
    let frame = [link, &header.bytes(segment.len()), &segment].concat();
    let fields = parse(&frame).ok()?;
    Some(Standing { frame, fields })
}

/// What stages see of a packet whose flow began with a cookie: the client's numbers as the backend knows them, or its SYN
/// again as long as the backend has not answered. Plans what has to be done to the backend's own packets.
pub fn spliced(state: &State, frame: &[u8], fields: &Fields, plan: &mut Plan) -> Option<Standing> {
    let Layer4::Tcp { flags, seq, ack, .. } = fields.layer4 else { return None };
    let key = flow_key(fields);
    let (_, flow) = lookup(state, &key).filter(|(_, flow)| !starts_anew(flow, fields))?;
    let splice = state.learned.get(&key)?.splice?;
    if flow.dir == DIR_ORIGINAL {
        return match splice.isn {
            None if is_acknowledged(flags) => opening(frame, fields, &splice),
            None => None,
            Some(isn) => {
                let own = ack.wrapping_sub(splice.cookie).wrapping_add(isn);
                let mut frame = frame.to_vec();
                write(&mut frame, fields.transport + 8, &own.to_be_bytes());
                mend_at(&mut frame, fields.transport + TCP_CHECKSUM, &ack.to_be_bytes(), &own.to_be_bytes());
                let fields = parse(&frame).ok()?;
                Some(Standing { frame, fields })
            }
        };
    }
    if flags == SYN_ACK {
        plan.acknowledges = Some(splice);
    } else if let Some(isn) = splice.isn {
        plan.shift = splice.cookie.wrapping_sub(isn);
    } else if flags & FLAG_RST != 0 {
        // The client knows no other number yet.
        plan.shift = splice.cookie.wrapping_add(1).wrapping_sub(seq);
    }
    None
}

/// What the backend is told in the client's name when it answers: the rest of the handshake.
pub(super) fn acknowledgement(frame: &[u8], fields: &Fields, splice: &Splice) -> Result<Vec<u8>, Reason> {
    let Layer4::Tcp { seq, ack, .. } = fields.layer4 else { return Err(Reason::BadImage) };
    let segment = segment(fields, true, (ack, seq.wrapping_add(1)), 0x10, splice.window, None);
    addressed(frame, fields, TCP, &segment)
}
