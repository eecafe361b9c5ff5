//! Owns the second program, which no device runs: user space runs it on packets that it has decided on, and it goes on
//! where the first one had left off. Never the stages and ends behind; they are the same.

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
        xdp_md,
    },
    helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    macros::xdp,
    programs::XdpContext,
};
use lb_abi::{
    image::{A_FLAGS, FRAG_NONE, Field, H_ENTRY, N_NEXT, N_OP, N_P0, N_P1, OP_VERIFY, VERIFY_EXITS},
    maps::{
        Flow, PUNT_FRAME, RESUME_ANEW, RESUME_BATCH, RESUME_DONE, RESUME_EXIT, RESUME_META, RESUME_ON,
        RESUME_SLOTS, Resume, ResumeBatch,
    },
    reason::Reason,
};

use crate::{
    clock, count, flow,
    frame::{Frame, key},
    image::Image,
    maps::{RESUME_BATCHES, RESUME_FRAMES, RESUMED, RESUMES, op_occurs},
    packet::Packet,
    track, verify,
};

const NO_IMAGE: u32 = Reason::NoImage as u32;

#[xdp]
#[inline(always)]
pub fn lbctl_resume(ctx: XdpContext) -> u32 {
    match next(ctx.ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::reason(reason);
            XDP_DROP
        }
    }
}

/// Takes the next packet of the batch.
#[inline(always)]
fn next(ctx: *mut xdp_md) -> Result<u32, u32> {
    // SAFETY: the context is valid for the whole run.
    let (meta, data) = unsafe { ((*ctx).data_meta as usize, (*ctx).data as usize) };
    if meta + RESUME_META > data {
        return Err(NO_IMAGE);
    }
    // SAFETY: as just checked.
    let slot = unsafe { *(meta as *const u32) } % RESUME_SLOTS;
    let batch = RESUME_BATCHES.get_ptr_mut(key(slot)).ok_or(NO_IMAGE)?;
    // SAFETY: a slot has one user, so that its batch is in the hands of this run alone.
    let batch = unsafe { &mut *batch };
    let n = batch.next;
    if n >= batch.count || n >= RESUME_BATCH {
        return Ok(XDP_DROP);
    }
    batch.next = n + 1;
    let at = slot * RESUME_BATCH + n;
    let order = RESUMES.get_ptr_mut(key(at)).ok_or(NO_IMAGE)?;
    // SAFETY: as for the batch.
    let (order, p) = unsafe { (&mut *order, &mut *RESUMED.get_ptr_mut(key(slot)).ok_or(NO_IMAGE)?) };
    if order.verdict == RESUME_DONE {
        return Ok(XDP_DROP);
    }
    order.action = XDP_DROP;
    put(ctx, at, order.len)?;
    p.resumed = at + 1;
    let action = resume(ctx, p, order)?;
    order.action = action;
    order.born = p.born;
    order.ifindex = match action {
        XDP_PASS => 0,
        // SAFETY: as above.
        XDP_TX => unsafe { (*ctx).ingress_ifindex },
        XDP_REDIRECT => p.plan.hop.ifindex,
        _ => return Ok(action),
    };
    if lets_go(batch, order.ifindex) {
        return Ok(action);
    }
    order.len = take_back(ctx, at).ok_or(NO_IMAGE)?;
    order.back = 1;
    Ok(XDP_DROP)
}

/// Makes the frame in work that of `RESUME_FRAMES`, `length` bytes long.
#[inline(always)]
fn put(ctx: *mut xdp_md, at: u32, length: u32) -> Result<(), u32> {
    let mut length = length as u64;
    // SAFETY: moves a register onto itself: the check is to be of the register that the calls get.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) length, options(nomem, nostack)) };
    if length == 0 || length > PUNT_FRAME as u64 {
        return Err(NO_IMAGE);
    }
    let frame = RESUME_FRAMES.get_ptr_mut(key(at)).ok_or(NO_IMAGE)?;
    let by = length as i32 - bytes(ctx) as i32;
    // SAFETY: the context, and `length` bytes, which the value has as just checked.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx, by) != 0 || bpf_xdp_store_bytes(ctx, 0, frame.cast(), length as u32) != 0
    };
    if failed { Err(Reason::ShortFrame as u32) } else { Ok(()) }
}

/// Bytes of the frame in work: a difference of whole pointers, of which the verifier allows no part.
#[inline(always)]
fn bytes(ctx: *mut xdp_md) -> u64 {
    // SAFETY: the context is valid for the whole run.
    let mut bytes = unsafe { (*ctx).data_end as u64 - (*ctx).data as u64 };
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) bytes, options(nomem, nostack)) };
    bytes
}

/// Copies the frame in work back; its length.
#[inline(always)]
fn take_back(ctx: *mut xdp_md, at: u32) -> Option<u32> {
    let length = bytes(ctx);
    if length == 0 || length > PUNT_FRAME as u64 {
        return None;
    }
    let frame = RESUME_FRAMES.get_ptr_mut(key(at))?;
    // SAFETY: as in `put`.
    let loaded = unsafe { bpf_xdp_load_bytes(ctx, 0, frame.cast(), length as u32) };
    (loaded == 0).then_some(length as u32)
}

/// Whether frames leave by this interface as they do for a program that is attached.
#[inline(always)]
fn lets_go(batch: &ResumeBatch, ifindex: u32) -> bool {
    let mut found = 0u32;
    for direct in batch.direct {
        found |= (direct == ifindex) as u32;
    }
    found != 0
}

#[inline(always)]
fn resume(ctx: *mut xdp_md, p: &mut Packet, order: &mut Resume) -> Result<u32, u32> {
    if !op_occurs(OP_VERIFY) {
        return Err(NO_IMAGE);
    }
    p.born = 0;
    clock::begin(p).ok_or(NO_IMAGE)?;
    let anew = order.verdict == RESUME_ANEW;
    if !anew && p.generation != order.generation {
        order.stale = 1;
        return Ok(XDP_DROP);
    }
    let image = Image::open(p.half).ok_or(NO_IMAGE)?;
    if let Some(action) = crate::before(&Frame::new(ctx), &image, p)? {
        return Ok(action);
    }
    let flow = flow::lookup(p);
    let mut node = if anew { image.header(H_ENTRY) } else { take_up(&image, p, flow, order)? };
    let end = crate::steps::<true>(ctx, &image, p, &mut node, flow)?.ok_or(Reason::BadImage as u32)?;
    crate::end(ctx, p, end, flow)
}

/// Plans what had been planned before the `verify`, and gives the node behind it.
#[inline(always)]
fn take_up(image: &Image, p: &mut Packet, flow: *mut Flow, order: &Resume) -> Result<u32, u32> {
    const BAD: u32 = Reason::BadImage as u32;
    let at = image.node(order.node);
    if at.word(N_OP) != OP_VERIFY || p.get(Field::Frag) != FRAG_NONE {
        return Err(BAD);
    }
    if order.tracker != 0 && track::again(p, flow, order.tracker) != 0 {
        return Err(BAD);
    }
    match order.verdict {
        RESUME_ON => {
            let flags = image.word(at.word(N_P0).wrapping_add(A_FLAGS as u32));
            verify::accept(p, order.cert.wrapping_add(1), flags);
            Ok(at.word(N_NEXT))
        }
        verdict if verdict.wrapping_sub(RESUME_EXIT) < VERIFY_EXITS as u32 => {
            Ok(image.word(at.word(N_P1).wrapping_add(verdict.wrapping_sub(RESUME_EXIT))))
        }
        _ => Err(BAD),
    }
}
