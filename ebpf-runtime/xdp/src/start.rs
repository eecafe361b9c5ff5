//! Owns the entries of a new flow, and the deletion of what stood under their keys. Never a known flow's state.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_abi::{
    image::OP_VERIFY,
    maps::{DIR_ORIGINAL, DIR_REPLY, FLOW_CLOSING, FLOW_IS_PENDING, FLOW_IS_SESSION, FLOW_NEW},
    mode::FEATURE_LOAD,
    reason::Reason,
};

use crate::{
    addr, atomic, clock, flow,
    flow::{EXISTS, TABLE_NEW, TABLE_PROVEN, remove},
    frame::key,
    load,
    maps::{FLOWS_NEW, TRACKERS, feature, op_occurs},
    packet::{NO_HOP, Packet, set_hop, set_marks, set_proto},
    parse::TCP,
    plan::{LEAVES_AS_IS, LEAVES_NEW, NEXT, drop, dropped},
    session,
    translate::backend,
};

/// Writes both entries of the planned flow.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn start(p: *mut Packet) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    if p.plan.tracker.id == 0 {
        return drop(Reason::BadImage);
    }
    if p.plan.leaves == LEAVES_AS_IS {
        addr::write(&mut p.plan.out.src, addr::read(&p.key.src));
        addr::write(&mut p.plan.out.dst, addr::read(&p.key.dst));
        p.plan.out.sport = p.key.sport;
        p.plan.out.dport = p.key.dport;
    }
    reply_key(p);
    if addr::read(&p.other.src) == addr::read(&p.key.src)
        && addr::read(&p.other.dst) == addr::read(&p.key.dst)
        && p.other.sport == p.key.sport
        && p.other.dport == p.key.dport
    {
        return drop(Reason::PortRace);
    }
    if p.stale != 0 {
        delete(p, 0);
    }
    // `translate` has asked already; whoever took the key since is found by the insertion.
    if p.plan.leaves != LEAVES_NEW && flow::taken(p) != 0 {
        return drop(Reason::PortRace);
    }
    if p.reply_stale != 0 {
        delete(p, 1);
    }
    let keyed = op_occurs(OP_VERIFY) && p.plan.session != 0;
    if keyed {
        let way = session::commit(p, 0);
        if dropped(way).is_some() {
            return way;
        }
    }
    fill(p);
    match FLOWS_NEW.insert(&p.other, &p.entry, BPF_NOEXIST as u64) {
        Ok(()) => {}
        Err(EXISTS) => return drop(Reason::PortRace),
        Err(_) => return drop(Reason::FlowTable),
    }
    turn(p);
    if FLOWS_NEW.insert(&p.key, &p.entry, BPF_ANY as u64).is_err() {
        remove(TABLE_NEW, &p.other);
        return drop(Reason::FlowTable);
    }
    if p.plan.leaves == LEAVES_NEW
        && let Some(backend) = backend(p.plan.backend)
    {
        // SAFETY: an aligned word of an array map.
        unsafe { atomic::fetch_add(&raw mut (*backend).flows, 1) };
    }
    if feature(FEATURE_LOAD) {
        let tracker = if keyed { p.plan.tracker.id } else { 0 };
        let backend = if p.plan.leaves == LEAVES_NEW { p.plan.backend } else { 0 };
        load::count(tracker, backend, p.plan.identity, 1);
    }
    NEXT
}

/// Deletes what stands under the packet's own key, or with `reply` under the reply's, and its pair, in both tables of
/// the protocol. A proven flow no longer counts as its tracker's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn delete(p: *mut Packet, reply: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    let key_of = if reply != 0 { &p.other } else { &p.key };
    for table in [flow::settled(p), TABLE_NEW] {
        // SAFETY: an entry of a flow table, or null.
        let Some(entry) = (unsafe { flow::entry(table, key_of).as_ref() }) else { continue };
        let (tracker, dir) = (entry.tracker as u32, entry.dir);
        let (backend, identity, open) = (entry.backend, entry.identity, entry.state != FLOW_CLOSING);
        let session = entry.flags & FLOW_IS_SESSION != 0;
        flow::pair_key(&mut p.third, entry, p.proto);
        // SAFETY: as above.
        let paired =
            unsafe { flow::entry(table, &p.third).as_ref() }.is_some_and(|pair| flow::leads_to(pair, key_of));
        let own = remove(table, key_of);
        let other = paired && remove(table, &p.third);
        // Several CPUs may be deleting the flow at once: it is counted by the one that removes its original direction.
        let counts = if dir == DIR_ORIGINAL { own } else { other };
        if feature(FEATURE_LOAD) && counts && open {
            load::count(if session { tracker + 1 } else { 0 }, backend, identity, u64::MAX);
        }
        if table == TABLE_PROVEN
            && counts
            && let Some(tracker) = TRACKERS.get_ptr_mut(key(tracker))
        {
            // SAFETY: an aligned word of an array map; adding the greatest number takes 1.
            unsafe { atomic::fetch_add(&raw mut (*tracker).proven, u64::MAX) };
        }
    }
    0
}

/// Puts the key of replies into `Packet::other`.
#[inline(always)]
fn reply_key(p: &mut Packet) {
    addr::write(&mut p.other.src, addr::read(&p.plan.out.dst));
    addr::write(&mut p.other.dst, addr::read(&p.plan.out.src));
    p.other.sport = p.plan.out.dport;
    p.other.dport = p.plan.out.sport;
    set_proto(&mut p.other, p.proto);
}

/// Puts the reply's entry into `Packet::entry`.
#[inline(always)]
fn fill(p: &mut Packet) {
    let tick = clock::tick(p);
    let entry = &mut p.entry;
    addr::write(&mut entry.src, addr::read(&p.key.dst));
    addr::write(&mut entry.dst, addr::read(&p.key.src));
    entry.sport = p.key.dport;
    entry.dport = p.key.sport;
    entry.state = FLOW_NEW;
    entry.dir = DIR_REPLY;
    entry.tracker = p.plan.tracker.id.wrapping_sub(1) as u16;
    entry.last = tick;
    entry.timeout = if p.proto == TCP { p.plan.tracker.half_open } else { p.plan.tracker.idle_udp };
    entry.backend = p.plan.backend;
    entry.identity = p.plan.identity;
    entry.isn = 0;
    entry.acked = 0;
    set_hop(&mut entry.next_hop, &NO_HOP);
    entry.resolved = 0;
    let (mut flags, mut cert) = (0, 0);
    if op_occurs(OP_VERIFY) {
        cert = p.plan.cert;
        if p.plan.session != 0 {
            flags = FLOW_IS_SESSION as u32;
            cert = p.plan.session;
        }
    }
    set_marks(entry, 0, flags, cert);
    entry.pool = p.plan.pool;
    entry.half_open = p.plan.tracker.half_open;
}

/// Makes the original direction's entry of the reply's.
#[inline(always)]
fn turn(p: &mut Packet) {
    let entry = &mut p.entry;
    entry.dir = DIR_ORIGINAL;
    if op_occurs(OP_VERIFY) && p.resumed != 0 {
        entry.flags |= FLOW_IS_PENDING;
    }
    addr::write(&mut entry.src, addr::read(&p.plan.out.src));
    addr::write(&mut entry.dst, addr::read(&p.plan.out.dst));
    entry.sport = p.plan.out.sport;
    entry.dport = p.plan.out.dport;
    if p.plan.asked != 0 {
        set_hop(&mut entry.next_hop, &p.plan.hop);
        entry.resolved = entry.last;
    }
}
