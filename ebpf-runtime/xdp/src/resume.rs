//! Owns the second program, which no device runs: user space runs it on a packet that it has decided on, and it goes on
//! where the first one had left off. Never the stages and ends behind; they are the same.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};
use lb_abi::{
    image::{A_FLAGS, FRAG_NONE, Field, H_ENTRY, N_NEXT, N_OP, N_P0, N_P1, OP_VERIFY, VERIFY_EXITS},
    maps::{Flow, RESUME_ANEW, RESUME_EXIT, RESUME_META, RESUME_ON, RESUME_PASS, RESUME_SLOTS, Resume},
    reason::Reason,
};

use crate::{
    clock, count, flow,
    frame::{Frame, key},
    image::Image,
    maps::{RESUMED, RESUMES, op_occurs},
    packet::Packet,
    track, verify,
};

#[xdp]
#[inline(always)]
pub fn lbctl_resume(ctx: XdpContext) -> u32 {
    match resume(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::reason(reason);
            XDP_DROP
        }
    }
}

#[inline(always)]
fn resume(ctx: &XdpContext) -> Result<u32, u32> {
    const NO_IMAGE: u32 = Reason::NoImage as u32;
    // SAFETY: the context is valid for the whole run.
    let (meta, data) = unsafe { ((*ctx.ctx).data_meta as usize, (*ctx.ctx).data as usize) };
    if meta + RESUME_META > data {
        return Err(NO_IMAGE);
    }
    // SAFETY: as just checked.
    let slot = unsafe { *(meta as *const u32) } % RESUME_SLOTS;
    let order = RESUMES.get_ptr_mut(key(slot)).ok_or(NO_IMAGE)?;
    // SAFETY: a slot has one user, so its order and packet are in the hands of this run alone.
    let (order, p) = unsafe { (&mut *order, &mut *RESUMED.get_ptr_mut(key(slot)).ok_or(NO_IMAGE)?) };
    if order.verdict == RESUME_PASS {
        return Ok(XDP_PASS);
    }
    if !op_occurs(OP_VERIFY) {
        return Err(NO_IMAGE);
    }
    p.resumed = 1;
    p.born = 0;
    clock::begin(p).ok_or(NO_IMAGE)?;
    let anew = order.verdict == RESUME_ANEW;
    if !anew && p.generation != order.generation {
        order.stale = 1;
        return Ok(XDP_DROP);
    }
    let image = Image::open(p.half).ok_or(NO_IMAGE)?;
    if let Some(action) = crate::before(&Frame::new(ctx.ctx), &image, p)? {
        return Ok(action);
    }
    let flow = flow::lookup(p);
    let mut node = if anew { image.header(H_ENTRY) } else { take_up(&image, p, flow, order)? };
    let end = crate::steps::<true>(ctx.ctx, &image, p, &mut node, flow)?.ok_or(Reason::BadImage as u32)?;
    let action = crate::end(ctx.ctx, p, end, flow)?;
    order.ifindex = match action {
        // SAFETY: as above.
        XDP_TX => unsafe { (*ctx.ctx).ingress_ifindex },
        XDP_REDIRECT => p.plan.hop.ifindex,
        _ => 0,
    };
    order.born = p.born;
    Ok(action)
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
