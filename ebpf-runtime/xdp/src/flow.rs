//! Owns finding a flow in its tables: which entry a packet belongs to, whether it lives, where its pair stands.
//! Never a new entry or a state; `commit.rs` writes those.

use core::ptr::null_mut;

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_abi::{
    image::Field,
    maps::{DIR_ORIGINAL, DIR_REPLY, FLOW_IS_PENDING, Flow, FlowKey},
    reason::Reason,
};

use crate::{
    addr, clock, count,
    maps::{FLOWS_ANSWERED, FLOWS_NEW, FLOWS_PROVEN, fields},
    packet::{NO_HOP, Packet, set_hop, set_marks, set_proto},
    parse::TCP,
};

/// `Packet::table`: where the live flow stands.
pub const TABLE_NEW: u32 = 0;
pub const TABLE_ANSWERED: u32 = 1;
pub const TABLE_PROVEN: u32 = 2;

/// `EEXIST` of `include/uapi/asm-generic/errno-base.h`, as map helpers return it.
pub const EXISTS: i32 = -17;

/// The entry under a key, live or not; null if there is none.
#[inline(always)]
pub fn entry(table: u32, key: &FlowKey) -> *mut Flow {
    let found = match table {
        TABLE_PROVEN => FLOWS_PROVEN.get_ptr_mut(key),
        TABLE_ANSWERED => FLOWS_ANSWERED.get_ptr_mut(key),
        _ => FLOWS_NEW.get_ptr_mut(key),
    };
    found.unwrap_or(null_mut())
}

/// Whether it was there: of several CPUs that remove an entry one is told so.
#[inline(always)]
pub fn remove(table: u32, key: &FlowKey) -> bool {
    match table {
        TABLE_PROVEN => FLOWS_PROVEN.remove(key),
        TABLE_ANSWERED => FLOWS_ANSWERED.remove(key),
        _ => FLOWS_NEW.remove(key),
    }
    .is_ok()
}

/// The table that settled flows of the packet's protocol move to, asked before `FLOWS_NEW`.
#[inline(always)]
pub fn settled(p: &Packet) -> u32 {
    if p.proto == TCP { TABLE_PROVEN } else { TABLE_ANSWERED }
}

/// The live flow of the packet and, in `Packet::table`, where it stands; null if there is none. Gives the field `flow`
/// its value, and `cert` the one that its flow has.
#[inline(always)]
pub fn lookup(p: &mut Packet) -> *mut Flow {
    let flow = find(p);
    // SAFETY: the packet's live flow, or null.
    let live = unsafe { flow.as_ref() };
    p.set(Field::Flow, live.map_or(0, |flow| 1 + flow.tracker as u32));
    if fields() & Field::Cert.bit() != 0 {
        let cert = live.map_or(0, |flow| flow.cert as u32);
        p.set(Field::Cert, if cert == 0 { Field::Cert.absent() } else { cert - 1 });
    }
    flow
}

#[inline(always)]
fn settled_entry(p: &Packet) -> Option<*mut Flow> {
    if p.proto == TCP { FLOWS_PROVEN.get_ptr_mut(&p.key) } else { FLOWS_ANSWERED.get_ptr_mut(&p.key) }
}

#[inline(always)]
fn find(p: &mut Packet) -> *mut Flow {
    p.stale = 0;
    let tick = clock::tick(p);
    if let Some(flow) = settled_entry(p) {
        p.table = settled(p);
        p.stale = 1;
        if is_live(p, flow, tick) {
            return flow;
        }
    }
    if let Some(flow) = FLOWS_NEW.get_ptr_mut(&p.key) {
        p.table = TABLE_NEW;
        p.stale = 1;
        if is_live(p, flow, tick) {
            return flow;
        }
    }
    // Between the two looks another CPU may have moved it from the second table to the first.
    if p.stale == 0
        && let Some(flow) = settled_entry(p)
    {
        p.table = settled(p);
        p.stale = 1;
        if is_live(p, flow, tick) {
            return flow;
        }
    }
    null_mut()
}

#[inline(always)]
fn is_live(p: &mut Packet, flow: *mut Flow, tick: u32) -> bool {
    // SAFETY: an entry of a flow table.
    let (last, young) = unsafe { ((*flow).last, tick.wrapping_sub((*flow).last) <= (*flow).timeout) };
    if young && (p.table == TABLE_PROVEN || last == tick) {
        return true;
    }
    tend(p, flow) != 0
}

/// Looks at the pair of an entry that is old, or may have lost it to eviction: 1 if either of the two is live, and no
/// other flow has the pair's key. A pair that is gone from an LRU table is restored.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tend(p: *mut Packet, flow: *mut Flow) -> u32 {
    // SAFETY: the caller's packet and entry; the verifier checks that they are not null.
    let (Some(p), Some(flow)) = (unsafe { p.as_mut() }, unsafe { flow.as_mut() }) else { return 0 };
    let tick = clock::tick(p);
    let young = tick.wrapping_sub(flow.last) <= flow.timeout;
    pair_key(&mut p.other, flow, p.proto);
    let table = p.table;
    let pair = entry(table, &p.other);
    // SAFETY: an entry of a flow table, or null.
    if let Some(pair) = unsafe { pair.as_ref() } {
        // What was evicted left its key to others: a flow that lost it to one of them is over, or two would leave alike.
        return (leads_to(pair, &p.key) && (young || tick.wrapping_sub(pair.last) <= pair.timeout)) as u32;
    }
    if young && table != TABLE_PROVEN {
        mirror(p, flow);
        let restored = if table == TABLE_ANSWERED {
            FLOWS_ANSWERED.insert(&p.other, &p.entry, BPF_NOEXIST as u64)
        } else {
            FLOWS_NEW.insert(&p.other, &p.entry, BPF_NOEXIST as u64)
        };
        if restored.is_ok() {
            count::reason(Reason::PairRepaired as u32);
        }
    }
    young as u32
}

/// The key under which the packets of the other direction arrive.
#[inline(always)]
pub fn pair_key(key: &mut FlowKey, flow: &Flow, proto: u32) {
    addr::write(&mut key.src, addr::read(&flow.dst));
    addr::write(&mut key.dst, addr::read(&flow.src));
    key.sport = flow.dport;
    key.dport = flow.sport;
    set_proto(key, proto);
}

/// Whether the pair of this entry is the one under `key`.
#[inline(always)]
pub fn leads_to(flow: &Flow, key: &FlowKey) -> bool {
    addr::read(&flow.dst) == addr::read(&key.src)
        && addr::read(&flow.src) == addr::read(&key.dst)
        && flow.dport == key.sport
        && flow.sport == key.dport
}

/// Puts into `Packet::entry` the other direction of the packet's own entry `flow`, as far as one can tell from it.
#[inline(always)]
pub fn mirror(p: &mut Packet, flow: &Flow) {
    let pair = &mut p.entry;
    addr::write(&mut pair.src, addr::read(&p.key.dst));
    addr::write(&mut pair.dst, addr::read(&p.key.src));
    pair.sport = p.key.dport;
    pair.dport = p.key.sport;
    pair.state = flow.state;
    pair.dir = if flow.dir == DIR_ORIGINAL { DIR_REPLY } else { DIR_ORIGINAL };
    pair.tracker = flow.tracker;
    pair.last = flow.last;
    pair.timeout = flow.timeout;
    pair.backend = flow.backend;
    pair.identity = flow.identity;
    pair.isn = 0;
    pair.acked = 0;
    set_hop(&mut pair.next_hop, &NO_HOP);
    pair.resolved = 0;
    set_marks(pair, flow.fins as u32, (flow.flags & !FLOW_IS_PENDING) as u32, flow.cert as u32);
    pair.pool = flow.pool;
    pair.half_open = flow.half_open;
}

/// Whether `Packet::other`, the key of replies to come, has a live entry whose pair is not the packet's own: 1 if so.
/// In `Packet::reply_stale` is left whether anything stands under it at all.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn taken(p: *mut Packet) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 1 };
    let tick = clock::tick(p);
    p.reply_stale = 0;
    for table in [settled(p), TABLE_NEW] {
        // SAFETY: an entry of a flow table, or null.
        let Some(flow) = (unsafe { entry(table, &p.other).as_ref() }) else { continue };
        p.reply_stale = 1;
        let mut live = tick.wrapping_sub(flow.last) <= flow.timeout;
        if !live {
            pair_key(&mut p.third, flow, p.proto);
            // SAFETY: as above.
            live = unsafe { entry(table, &p.third).as_ref() }
                .is_some_and(|pair| leads_to(pair, &p.other) && tick.wrapping_sub(pair.last) <= pair.timeout);
        }
        if live {
            // The flow that this packet replaces takes nothing from it.
            return !leads_to(flow, &p.key) as u32;
        }
    }
    0
}
