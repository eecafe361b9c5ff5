//! Owns handing a packet to user space: whether it may go, in which order, and how. Never what becomes of it there.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_action::XDP_DROP, xdp_md},
    helpers::generated::{bpf_ringbuf_output, bpf_xdp_adjust_meta, bpf_xdp_load_bytes},
};
use lb_abi::{
    hash::siphash13,
    image::{A_ALL_BURST, A_ALL_INTERVAL, A_SOURCE_BURST, A_SOURCE_INTERVAL, LIMIT_SHIFT},
    maps::{
        FLOW_IS_PENDING, Flow, PENDING_SLOTS, PENDING_TICKS, PUNT_FRAME, PUNT_IN_SESSION, PUNT_MAGIC,
        PUNT_RETURNING, Pending, Punt, PuntKey, RETURNED, RETURNING_SLOTS, RETURNING_TICK, RETURNING_TICKS,
        xsk_slot,
    },
    mode::FEATURE_XSK,
    reason::Reason,
};

use crate::{
    addr, clock, count,
    every::flow_hash,
    frame::key,
    image::Image,
    limit::{is_empty, spend},
    maps::{PENDING, PUNT_KEYS, PUNTS, RECORDS, RESUMES, RETURNING, XSKS, feature},
    packet::Packet,
    plan::{NEXT, drop, dropped},
};

const PUNT_BYTES: usize = size_of::<Punt>();

/// What goes into the ring buffer: one piece of memory, as long as the frame.
#[repr(C)]
pub struct Record {
    punt: Punt,
    frame: [u8; PUNT_FRAME],
}

/// Hands over the packet that `verify` asked for. `Err` is the number of the reason for which it is dropped.
#[inline(always)]
pub fn punt(ctx: *mut xdp_md, p: &mut Packet) -> Result<u32, u32> {
    let in_session = p.asked.flags & PUNT_IN_SESSION != 0;
    // What begins anew has paid when it was handed over first.
    if !in_session
        && p.resumed == 0
        && let Some(reason) = dropped(may_ask(p))
    {
        return Err(reason);
    }
    let reason = if in_session { Reason::PuntedInOrder } else { Reason::Punted };
    let flow = keyed_hash(p);
    if p.resumed != 0 {
        // User space has the frame: it is told how, and the packet keeps its place in front of those that came after it.
        let order = RESUMES.get_ptr_mut(key(p.resumed - 1)).ok_or(Reason::NoImage as u32)?;
        // SAFETY: in the hands of this run alone.
        let order = unsafe { &mut *order };
        describe(ctx, p, &mut order.punt, flow);
        order.punted = 1;
        hand_over(p, flow, 1);
        count::reason(reason as u32);
        return Ok(XDP_DROP);
    }
    let record = RECORDS.get_ptr_mut(key(0)).ok_or(Reason::NoImage as u32)?;
    let mut length = p.frame_len as u64;
    // SAFETY: moves a register onto itself: the check is to be of the register that the calls get.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) length, options(nomem, nostack)) };
    if length == 0 || length > PUNT_FRAME as u64 {
        return Err(Reason::VerifyLength as u32);
    }
    // SAFETY: this CPU's record.
    describe(ctx, p, unsafe { &mut (*record).punt }, flow);
    hand_over(p, flow, 1);
    if feature(FEATURE_XSK)
        && let Some(action) = to_socket(ctx, record)
    {
        count::reason(reason as u32);
        return Ok(action);
    }
    // SAFETY: the context, and a buffer longer than `length`, as just checked.
    let loaded = unsafe { bpf_xdp_load_bytes(ctx, 0, (&raw mut (*record).frame).cast(), length as u32) };
    // SAFETY: a map, and as many bytes of the record as were just filled.
    let sent = loaded == 0
        && unsafe {
            bpf_ringbuf_output(
                (&raw const PUNTS).cast_mut().cast(),
                record.cast(),
                PUNT_BYTES as u64 + length,
                0,
            )
        } == 0;
    if !sent {
        hand_over(p, flow, u32::MAX);
        return Err(Reason::VerifyQueue as u32);
    }
    count::reason(reason as u32);
    Ok(XDP_DROP)
}

#[inline(always)]
fn describe(ctx: *mut xdp_md, p: &mut Packet, punt: &mut Punt, flow: u64) {
    punt.magic = PUNT_MAGIC;
    punt.len = p.frame_len;
    punt.generation = p.generation;
    punt.node = p.asked.node;
    punt.tracker = if p.plan.tracker.id == 0 { 0 } else { p.plan.tracker.at };
    (punt.ifindex, punt.queue) = origin(ctx);
    punt.cert = p.asked.cert;
    punt.authority = p.asked.authority;
    punt.flags = p.asked.flags;
    punt.payload = p.asked.payload;
    punt.payload_len = p.asked.payload_len;
    punt.flow = flow;
    punt.at = clock::now(p);
}

/// Interface and queue. Volatile, or both would become one load, which the verifier refuses.
#[inline(always)]
fn origin(ctx: *mut xdp_md) -> (u32, u32) {
    // SAFETY: the context is valid for the whole run.
    unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx).ingress_ifindex),
            core::ptr::read_volatile(&raw const (*ctx).rx_queue_index),
        )
    }
}

/// By the socket of the device's queue, if there is one: the frame as it is, with the description in front of it.
#[inline(always)]
fn to_socket(ctx: *mut xdp_md, record: *const Record) -> Option<u32> {
    let (ifindex, queue) = origin(ctx);
    let slot = xsk_slot(ifindex, queue);
    if XSKS.get(slot)? != queue {
        return None;
    }
    // SAFETY: the context.
    if unsafe { bpf_xdp_adjust_meta(ctx, -(PUNT_BYTES as i32)) } != 0 {
        return None;
    }
    // SAFETY: the context; both are read anew, since the former pointers are over.
    let (data, meta) = unsafe { ((*ctx).data as usize, (*ctx).data_meta as usize) };
    if meta + PUNT_BYTES > data {
        return None;
    }
    for n in 0..PUNT_BYTES / 8 {
        // SAFETY: both are `PUNT_BYTES` long; the verifier checks it. Volatile, or it would become a call of `memcpy`.
        unsafe {
            let word = record.cast::<u64>().add(n).read_volatile();
            core::ptr::write_volatile((meta + 8 * n) as *mut u64, word);
        }
    }
    XSKS.redirect(slot, XDP_DROP as u64).ok()
}

/// The keyed flow hash in a function of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keyed_hash(p: *mut Packet) -> u64 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    unsafe { p.as_ref() }.map_or(0, flow_hash)
}

#[inline(always)]
fn pending(flow: u64) -> Option<*mut Pending> {
    PENDING.get_ptr_mut(key(flow as u32 & (PENDING_SLOTS - 1)))
}

/// One packet more of the flow is in user space, or with `u32::MAX` one less.
#[inline(always)]
fn hand_over(p: &mut Packet, flow: u64, by: u32) {
    let Some(pending) = pending(flow) else { return };
    let tick = clock::tick(p);
    // SAFETY: aligned words of an array map. Several CPUs that hand over packets of one flow at once may lose one of
    // them, and with it the order of these packets; the agent alone writes `done`.
    unsafe {
        let done = core::ptr::read_volatile(&raw const (*pending).done);
        let mut punted = done;
        if core::ptr::read_volatile(&raw const (*pending).flow) == flow {
            punted = core::ptr::read_volatile(&raw const (*pending).punted);
        } else if by != 1 {
            return;
        }
        // From now on the agent has something to do.
        if punted == done {
            core::ptr::write_volatile(&raw mut (*pending).last, tick);
        }
        core::ptr::write_volatile(&raw mut (*pending).punted, punted.wrapping_add(by));
        core::ptr::write_volatile(&raw mut (*pending).flow, flow);
    }
}

/// Whether no earlier packet of the packet's flow is in user space any more; the flow remembers it then.
#[inline(always)]
pub fn is_over(p: &mut Packet, flow: &mut Flow) -> bool {
    let hash = keyed_hash(p);
    let tick = clock::tick(p);
    if let Some(pending) = pending(hash) {
        // SAFETY: aligned words of an array map.
        let pending = unsafe { core::ptr::read_volatile(pending) };
        if pending.flow == hash
            && pending.punted.wrapping_sub(pending.done) as i32 > 0
            && tick.wrapping_sub(pending.last) <= PENDING_TICKS
        {
            return false;
        }
    }
    flow.flags &= !FLOW_IS_PENDING;
    true
}

/// Spends from the buckets of the authority: `NEXT`, or a drop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_ask(p: *mut Packet) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let Some(image) = Image::of(p) else { return drop(Reason::NoImage) };
    let Some(control) = clock::control() else { return drop(Reason::NoImage) };
    let descriptor = p.asked.descriptor;
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let wide = |n: usize| (word(n + 1) as u64) << 32 | word(n) as u64;
    let now = clock::now(p) << LIMIT_SHIFT;
    let prefix = if p.v6 == 0 { 128 } else { 64 };
    let source = addr::masked(addr::read(&p.key.src), prefix);
    // SAFETY: a value of an array map; the runtime writes the key before any packet.
    let secret = unsafe { (*control).hash_key };
    let [high, low] = source.map(u64::from_be);
    let hash = siphash13(secret, [if p.v6 == 0 { low & 0xffff_ffff } else { high }]);
    let mut class = 1;
    if is_returning(hash, clock::tick(p)) {
        class = 0;
        p.asked.flags |= PUNT_RETURNING;
    }
    // Each kind of source has half of the rate.
    let (all_interval, all_burst) = (wide(A_ALL_INTERVAL).wrapping_mul(2), wide(A_ALL_BURST));
    // SAFETY: within the two of the value.
    let all = unsafe { (&raw mut (*control).punts).cast::<u64>().add(class) };
    // A flood mostly meets this one empty: then its sources, which no cache holds, are not looked for.
    // SAFETY: an aligned word of an array map.
    if unsafe { is_empty(all, now, all_interval, all_burst) } {
        return drop(Reason::VerifyLimit);
    }
    let mut bucket = PuntKey { addr: [0; 16], authority: p.asked.authority };
    addr::write(&mut bucket.addr, source);
    let (interval, burst) = (wide(A_SOURCE_INTERVAL), wide(A_SOURCE_BURST));
    let tat = PUNT_KEYS.get_ptr_mut(&bucket);
    let known = tat.is_some();
    // SAFETY: an aligned value of a hash map; if it is re-used meanwhile, a stranger's bucket pays for us.
    if let Some(tat) = tat
        && !unsafe { spend(tat, now, interval, burst) }
    {
        return drop(Reason::VerifyLimit);
    }
    // SAFETY: an aligned word of an array map.
    if !unsafe { spend(all, now, all_interval, all_burst) } {
        return drop(Reason::VerifyLimit);
    }
    // A source's bucket is full before its first packet; a flood of forged ones that is dropped above makes none.
    if !known {
        let _ = PUNT_KEYS.insert(&bucket, now.wrapping_add(wide(A_SOURCE_INTERVAL)), BPF_NOEXIST as u64);
    }
    NEXT
}

/// Whether a source with this hash came before, lately and at an earlier tick: then all its packets of this tick are of one
/// that comes again. It is remembered that it came now.
#[inline(always)]
fn is_returning(hash: u64, tick: u32) -> bool {
    let Some(slot) = RETURNING.get_ptr_mut(key(hash as u32 & (RETURNING_SLOTS - 1))) else { return false };
    // SAFETY: an aligned word of an array map.
    let before = unsafe { core::ptr::read_volatile(slot) };
    let age = tick.wrapping_sub(before as u32) & RETURNING_TICK;
    let known = before >> 32 == hash >> 32 && age <= RETURNING_TICKS;
    let returning = known && (age != 0 || before as u32 & RETURNED != 0);
    let mut now = tick & RETURNING_TICK;
    if returning {
        now |= RETURNED;
    }
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(slot, hash >> 32 << 32 | now as u64) };
    returning
}
