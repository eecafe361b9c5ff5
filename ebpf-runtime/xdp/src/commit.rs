//! Owns the writing of what the stages planned for a known flow into its table. Never the packet's bytes.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_abi::{
    image::{FLAG_ACK, FLAG_RST, Field, OP_VERIFY},
    maps::{
        DIR_ORIGINAL, FLOW_CLOSING, FLOW_IS_PENDING, FLOW_IS_SESSION, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED,
        Flow, FlowKey,
    },
    mode::FEATURE_LOAD,
    reason::Reason,
};

use crate::{
    atomic, clock, count, flow,
    flow::{EXISTS, TABLE_NEW, TABLE_PROVEN, remove},
    frame::key,
    load,
    maps::{FLOWS_ANSWERED, FLOWS_PROVEN, TRACKERS, feature, op_occurs},
    packet::Packet,
    parse::TCP,
    plan::{FLOW_KNOWN, FLOW_NONE, LEAVES_NEW, NEXT, drop, dropped},
    session, start,
};

/// `E2BIG` of `include/uapi/asm-generic/errno-base.h`, as a hash map without room answers.
const FULL: i32 = -7;

/// Writes the plan. `Err` is the number of the reason for which the packet is dropped after all.
#[inline(always)]
pub fn commit(p: &mut Packet, live: *mut Flow) -> Result<(), u32> {
    if p.plan.flow == FLOW_NONE {
        return Ok(());
    }
    if p.plan.flow == FLOW_KNOWN && p.plan.leaves != LEAVES_NEW {
        // SAFETY: the packet's live flow; the plan says that there is one.
        let Some(flow) = (unsafe { live.as_mut() }) else { return Ok(()) };
        return dropped(known(p, flow)).map_or(Ok(()), Err);
    }
    dropped(start::start(p)).map_or(Ok(()), Err)
}

/// Keeps the flow's session alive: `NEXT`, or a drop.
#[inline(always)]
fn keep_session(p: &mut Packet, flow: &Flow) -> u32 {
    if p.plan.tracker.id != 0 && p.plan.session != 0 {
        return session::commit(p, (flow.dir != DIR_ORIGINAL) as u32);
    }
    if flow.flags & FLOW_IS_SESSION != 0 {
        session::touch(flow.tracker as u32, (flow.cert as u32).wrapping_sub(1), clock::tick(p));
    }
    NEXT
}

/// The usual packet of a known flow changes one or two words of its own entry; everything else is `settle`'s.
#[inline(always)]
fn known(p: &mut Packet, flow: &mut Flow) -> u32 {
    let tick = clock::tick(p);
    let had = marks(flow);
    let has = new_marks(p, had);
    if flow.last != tick || (op_occurs(OP_VERIFY) && (has ^ had) >> 8 != 0) {
        flow.last = tick;
        if op_occurs(OP_VERIFY) {
            let way = keep_session(p, flow);
            if dropped(way).is_some() {
                return way;
            }
        }
    }
    if p.proto == TCP && p.get(Field::TcpFlags) & (FLAG_ACK | FLAG_RST) == FLAG_ACK && flow.acked != p.ack {
        flow.acked = p.ack;
    }
    let state = p.plan.state;
    let tracker = &p.plan.tracker;
    let half_open = if tracker.id == 0 { flow.half_open } else { tracker.half_open };
    let timeout = if state == FLOW_CLOSING as u32 {
        half_open
    } else if tracker.id == 0 {
        flow.timeout
    } else if p.proto != TCP {
        tracker.idle_udp
    } else if state == FLOW_PROVEN as u32 {
        tracker.idle_tcp
    } else {
        half_open
    };
    if state != flow.state as u32
        || has != had
        || p.plan.sets_isn != 0
        || timeout != flow.timeout
        || half_open != flow.half_open
    {
        settle(p, flow, timeout, half_open);
    }
    NEXT
}

/// FINs, flags and certificate of an entry in one word, as they are.
#[inline(always)]
fn marks(flow: &Flow) -> u32 {
    // SAFETY: `fins`, `flags` and `cert` are four bytes, and aligned (`set_marks`).
    unsafe { (&raw const flow.fins).cast::<u32>().read() }
}

/// Likewise as the packet leaves them.
#[inline(always)]
fn new_marks(p: &Packet, marks: u32) -> u32 {
    let mut marks = marks & !0xff | p.plan.fins & 0xff;
    if op_occurs(OP_VERIFY) {
        if p.plan.cert != 0 {
            marks = marks & 0xffff | p.plan.cert << 16;
        }
        if p.plan.tracker.id != 0 && p.plan.session != 0 {
            marks |= (FLOW_IS_SESSION as u32) << 8;
        }
    }
    marks
}

/// Writes what both entries of a flow must know, and moves them where they belong now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle(p: *mut Packet, own: *mut Flow, timeout: u32, half_open: u32) -> u32 {
    // SAFETY: the caller's packet and entry; the verifier checks that they are not null.
    let (Some(p), Some(own)) = (unsafe { p.as_mut() }, unsafe { own.as_mut() }) else {
        return drop(Reason::NoImage);
    };
    let (was, state) = (own.state as u32, p.plan.state);
    flow::pair_key(&mut p.other, own, p.proto);
    let fins = p.plan.fins as u8;
    let has = new_marks(p, marks(own));
    let (flags, cert) = ((has >> 8) as u8 & FLOW_IS_SESSION, (has >> 16) as u16);
    if op_occurs(OP_VERIFY) {
        if feature(FEATURE_LOAD) && flags != own.flags & FLOW_IS_SESSION && was != FLOW_CLOSING as u32 {
            load::count(own.tracker as u32 + 1, 0, 0, 1);
        }
        // Its earlier packets may be in user space still, and those behind it will not have to go there.
        if p.resumed != 0 && own.dir == DIR_ORIGINAL && cert != own.cert {
            own.flags |= FLOW_IS_PENDING;
        }
        own.flags |= flags;
        own.cert = cert;
    }
    if feature(FEATURE_LOAD) && state == FLOW_CLOSING as u32 && was != state {
        let tracker = if flags != 0 { own.tracker as u32 + 1 } else { 0 };
        load::count(tracker, own.backend, own.identity, u64::MAX);
    }
    own.state = state as u8;
    own.fins = fins;
    own.timeout = timeout;
    own.half_open = half_open;
    if p.plan.sets_isn != 0 && own.dir == DIR_ORIGINAL {
        own.isn = p.plan.isn;
    }
    // SAFETY: an entry of a flow table, or null.
    let pair = unsafe { flow::entry(p.table, &p.other).as_mut() };
    if let Some(pair) = pair
        && flow::leads_to(pair, &p.key)
    {
        pair.state = state as u8;
        pair.fins = fins;
        pair.timeout = timeout;
        pair.half_open = half_open;
        if op_occurs(OP_VERIFY) {
            pair.flags |= flags;
            pair.cert = cert;
        }
        if p.plan.sets_isn != 0 && pair.dir == DIR_ORIGINAL {
            pair.isn = p.plan.isn;
        }
        copy(&mut p.entry, pair);
    } else {
        flow::mirror(p, own);
    }
    if p.proto == TCP && was == FLOW_REPLIED as u32 && state == FLOW_PROVEN as u32 {
        prove(p, own);
    } else if p.proto != TCP && was == FLOW_NEW as u32 && state == FLOW_REPLIED as u32 {
        // Without room they stay where they are, answered as well.
        let _ = move_pair(p, own, own.tracker);
    }
    NEXT
}

/// Moves the flow to the table that nothing evicts, as one of the tracker that the packet passed, if that has room.
#[inline(always)]
fn prove(p: &mut Packet, own: &Flow) {
    let id = p.plan.tracker.id.wrapping_sub(1);
    let Some(tracker) = TRACKERS.get_ptr_mut(key(id)) else { return };
    // SAFETY: an aligned word of an array map.
    let proven = unsafe { atomic::fetch_add(&raw mut (*tracker).proven, 1) };
    let moved = if proven < p.plan.tracker.max as u64 { move_pair(p, own, id as u16) } else { Err(FULL) };
    if moved.is_ok() {
        count::reason(Reason::Proven as u32);
        return;
    }
    // SAFETY: as above.
    unsafe { atomic::fetch_add(&raw mut (*tracker).proven, u64::MAX) };
    if moved != Err(EXISTS) {
        count::reason(Reason::ProvenFull as u32);
    }
}

/// Moves `own` and its pair, which `Packet::entry` holds, from `FLOWS_NEW` to the table of settled flows. `Err` if there
/// is no room, and then they stay, or `EXISTS` if another CPU is moving them at this moment. The pair goes first and
/// the old ones last: whoever looks meanwhile finds the flow in one table or the other.
#[inline(always)]
fn move_pair(p: &mut Packet, own: &Flow, tracker: u16) -> Result<(), i32> {
    let to = flow::settled(p);
    p.entry.tracker = tracker;
    insert(to, &p.other, &p.entry, BPF_ANY)?;
    copy(&mut p.entry, own);
    p.entry.tracker = tracker;
    if let Err(error) = insert(to, &p.key, &p.entry, BPF_NOEXIST) {
        if error != EXISTS {
            remove(to, &p.other);
        }
        return Err(error);
    }
    remove(TABLE_NEW, &p.key);
    remove(TABLE_NEW, &p.other);
    Ok(())
}

#[inline(always)]
fn insert(table: u32, key: &FlowKey, flow: &Flow, flags: u32) -> Result<(), i32> {
    if table == TABLE_PROVEN {
        FLOWS_PROVEN.insert(key, flow, flags as u64)
    } else {
        FLOWS_ANSWERED.insert(key, flow, flags as u64)
    }
}

/// Word by word: longer copies become loops over bytes.
#[inline(always)]
fn copy(to: &mut Flow, from: &Flow) {
    const WORDS: usize = size_of::<Flow>() / 4;
    let (to, from) = (core::ptr::from_mut(to).cast::<u32>(), core::ptr::from_ref(from).cast::<u32>());
    for n in 0..WORDS {
        // SAFETY: both are `WORDS` aligned words long. Volatile, so that it stays what it is.
        unsafe { to.add(n).write_volatile(from.add(n).read_volatile()) };
    }
}
