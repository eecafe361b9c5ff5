//! The way of a packet, from the frame to its end, readable from top to bottom: bench, parse, before the tree, walk,
//! end. Owns the order of these steps; never how one of them is done.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_borrows_for_generic_args, reason = "a key by value is copied to the stack first")]

mod addr;
mod atomic;
mod bench;
mod classify;
mod clock;
mod commit;
mod count;
mod every;
mod flow;
mod forward;
mod frame;
mod image;
mod limit;
mod load;
mod maps;
mod martian;
mod packet;
mod parse;
mod parse6;
mod plan;
mod punt;
mod reply;
mod resume;
mod rewrite;
mod session;
mod start;
mod strip;
mod track;
mod translate;
mod verify;

use core::ptr::null_mut;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    macros::xdp,
    programs::XdpContext,
};
use lb_abi::{
    image::{
        BEFORE_MATCH, BEFORE_PASS, END_DROP, END_FORWARD, END_PASS, END_REPLY_ECHO, FRAG_NONE, Field,
        H_ENTRY, H_FRAGMENTS, H_NEIGHBOURS, H_OTHER, H_UNPARSED, L_UNIT, LIMIT_CONNS, MAX_STEPS, N_COUNTER,
        N_EXIT_A, N_EXIT_B, N_NEXT, N_OP, N_P0, N_P1, N_P2, OP_DECIDE, OP_END, OP_EVERY, OP_LIMIT, OP_TRACK,
        OP_TRANSLATE, OP_TRANSLATE_BACK, OP_VERIFY, VERIFY_EXITS,
    },
    maps::Flow,
    mode::{FEATURE_BENCH, FEATURE_BENCH_FLOOR, FEATURE_FORWARD, FEATURE_REPLY},
    reason::Reason,
};

use crate::{
    frame::Frame,
    image::Image,
    maps::{feature, fields, op_occurs},
    packet::Packet,
    parse::TCP,
    plan::{EXIT_A, EXIT_B, NEXT, dropped},
    verify::{LEAVES_BY, PUNTED},
};

/// Besides `END_*`: the packet is to be handed to user space.
const END_PUNT: u32 = 0x100;

#[xdp]
#[inline(always)]
pub fn lbctl(ctx: XdpContext) -> u32 {
    match way(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::reason(reason);
            XDP_DROP
        }
    }
}

/// `Err` is a drop outside of the policy's own, with the number of its reason.
#[inline(always)]
fn way(ctx: &XdpContext) -> Result<u32, u32> {
    const NO_IMAGE: u32 = Reason::NoImage as u32;
    let frame = Frame::new(ctx.ctx);
    // SAFETY: this CPU's packet, in the hands of this run alone.
    let p = unsafe { &mut *Packet::scratch().ok_or(NO_IMAGE)? };
    if feature(FEATURE_BENCH) {
        bench::next_template(&frame, p);
        if feature(FEATURE_BENCH_FLOOR) {
            return Ok(XDP_PASS);
        }
    }
    clock::begin(p).ok_or(NO_IMAGE)?;
    let image = Image::open(p.half).ok_or(NO_IMAGE)?;
    if let Some(action) = before(&frame, &image, p)? {
        return Ok(action);
    }
    let (last, flow) = walk(ctx.ctx, &image, p)?;
    end(ctx.ctx, p, last, flow)
}

/// Parses the packet; `Some` is what becomes of one that does not enter the tree.
#[inline(always)]
fn before(frame: &Frame, image: &Image, p: &mut Packet) -> Result<Option<u32>, u32> {
    if let Err(reason) = parse::parse(frame, p) {
        return before_tree(image, reason).map(Some);
    }
    if p.get(Field::Frag) != FRAG_NONE {
        if image.header(H_FRAGMENTS) != BEFORE_MATCH {
            return before_tree(image, Reason::Fragment).map(Some);
        }
        count::reason(Reason::Fragment as u32);
    }
    Ok(None)
}

/// Carries out the end of the chain.
#[inline(always)]
fn end(ctx: *mut xdp_md, p: &mut Packet, end: u32, flow: *mut Flow) -> Result<u32, u32> {
    match end {
        END_DROP => Ok(XDP_DROP),
        END_PASS => Ok(XDP_PASS),
        END_FORWARD if feature(FEATURE_FORWARD) => forward::forward(ctx, p, flow),
        END_REPLY_ECHO if feature(FEATURE_REPLY) => reply::echo(ctx, p),
        END_PUNT if op_occurs(OP_VERIFY) => punt::punt(ctx, p),
        _ => Err(Reason::BadImage as u32),
    }
}

/// What never enters the tree gets the policy's setting for its kind, and is counted whichever it is.
#[inline(always)]
fn before_tree(image: &Image, reason: Reason) -> Result<u32, u32> {
    let setting = match reason {
        Reason::Neighbour => H_NEIGHBOURS,
        Reason::OtherEthertype => H_OTHER,
        Reason::Fragment => H_FRAGMENTS,
        Reason::Udp6Checksum => return Err(reason as u32),
        _ => H_UNPARSED,
    };
    if image.header(setting) != BEFORE_PASS {
        return Err(reason as u32);
    }
    count::reason(reason as u32);
    Ok(XDP_PASS)
}

/// From node to node to the end of the chain: which end it is, and the packet's live flow if any node asked for it
/// (else null). The stages only plan.
///
/// The way is walked in two loops, before and after the flow is asked for, since the verifier walks a loop once for
/// each kind of pointer that it carries.
#[inline(always)]
fn walk(ctx: *mut xdp_md, image: &Image, p: &mut Packet) -> Result<(u32, *mut Flow), u32> {
    let mut node = image.header(H_ENTRY);
    if let Some(end) = steps::<false>(ctx, image, p, &mut node, null_mut())? {
        return Ok((end, null_mut()));
    }
    let flow = flow::lookup(p);
    if op_occurs(OP_VERIFY) {
        verify::pass_by(ctx, image, p, flow, &mut node);
    }
    match steps::<true>(ctx, image, p, &mut node, flow)? {
        Some(end) => Ok((end, flow)),
        None => Err(Reason::BadImage as u32),
    }
}

/// Walks from `node` to the end, or, as long as the flow has not been ASKED for, to the first node that can't do
/// without it; that one is not yet counted.
#[inline(always)]
fn steps<const ASKED: bool>(
    ctx: *mut xdp_md,
    image: &Image,
    p: &mut Packet,
    node: &mut u32,
    flow: *mut Flow,
) -> Result<Option<u32>, u32> {
    for _ in 0..MAX_STEPS {
        let at = image.node(*node);
        let (op, p0) = (at.word(N_OP), at.word(N_P0));
        if !ASKED && asks_for_flow(image, p, op, p0) {
            return Ok(None);
        }
        count::node(at.word(N_COUNTER), p.frame_len);
        let way = match op {
            OP_DECIDE if op_occurs(OP_DECIDE) => {
                let root = at.word(N_P1);
                *node = if ASKED {
                    classify::decide_again(p, p0, root)
                } else {
                    classify::decide(image, p, p0, root)
                };
                continue;
            }
            OP_LIMIT if op_occurs(OP_LIMIT) => limit::limit(p, p0, !flow.is_null() as u32),
            OP_EVERY if op_occurs(OP_EVERY) => {
                let way = every::every(p, p0, at.word(N_P1), at.word(N_P2));
                *node = image.word(at.word(N_NEXT).wrapping_add(way));
                continue;
            }
            OP_TRACK if ASKED && op_occurs(OP_TRACK) => track::track(p, flow, p0),
            OP_TRANSLATE if ASKED && op_occurs(OP_TRANSLATE) => translate::translate(p, flow, p0),
            OP_TRANSLATE_BACK if ASKED && op_occurs(OP_TRANSLATE_BACK) => translate::translate_back(p, flow),
            OP_VERIFY if ASKED && op_occurs(OP_VERIFY) => match verify::verify(ctx, p, flow, p0) {
                PUNTED => {
                    p.asked.node = *node;
                    return Ok(Some(END_PUNT));
                }
                way if way.wrapping_sub(LEAVES_BY) < VERIFY_EXITS as u32 => {
                    *node = image.word(at.word(N_P1).wrapping_add(way.wrapping_sub(LEAVES_BY)));
                    continue;
                }
                way => way,
            },
            OP_END => return Ok(Some(p0)),
            _ => return Err(Reason::BadImage as u32),
        };
        *node = match way {
            NEXT => at.word(N_NEXT),
            EXIT_A => at.word(N_EXIT_A),
            EXIT_B => at.word(N_EXIT_B),
            _ => return Err(dropped(way).unwrap_or(Reason::BadImage as u32)),
        };
    }
    Err(Reason::Steps as u32)
}

/// Whether the node can't do without the packet's flow.
#[inline(always)]
fn asks_for_flow(image: &Image, p: &Packet, op: u32, p0: u32) -> bool {
    match op {
        OP_DECIDE => fields() & p0 & (Field::Flow.bit() | Field::Cert.bit()) != 0,
        OP_VERIFY => op_occurs(OP_VERIFY),
        OP_LIMIT if op_occurs(OP_LIMIT) => {
            p.proto != TCP && image.word(p0.wrapping_add(L_UNIT as u32)) == LIMIT_CONNS
        }
        OP_TRACK => op_occurs(OP_TRACK),
        OP_TRANSLATE_BACK => op_occurs(OP_TRANSLATE_BACK),
        _ => false,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
