//! The way of a packet, from the frame to its end, readable from top to bottom: bench, parse, before the tree, walk,
//! end. Owns the order of these steps; never how one of them is done.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod addr;
mod classify;
mod count;
mod frame;
mod image;
mod maps;
mod packet;
mod parse;
mod parse6;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use lb_abi::{
    image::{
        BEFORE_MATCH, BEFORE_PASS, END_DROP, END_PASS, FRAG_NONE, Field, H_ENTRY, H_FRAGMENTS, H_NEIGHBOURS,
        H_OTHER, H_UNPARSED, MAX_STEPS, N_COUNTER, N_OP, N_P0, N_P1, OP_DECIDE, OP_END,
    },
    reason::Reason,
};

use crate::{frame::Frame, frame::key, image::Image, maps::CONTROL, maps::op_occurs, packet::Packet};

#[xdp]
pub fn lbctl(ctx: XdpContext) -> u32 {
    match way(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::reason(reason);
            XDP_DROP
        }
    }
}

/// `Err` is a drop outside of the policy's own, counted by its reason.
#[inline(always)]
fn way(ctx: &XdpContext) -> Result<u32, Reason> {
    let control = CONTROL.get_ptr(key(0)).ok_or(Reason::NoImage)?;
    // SAFETY: a value of an array map lives as long as the map; the runtime's store to `current` is one word.
    let half = unsafe { core::ptr::read_volatile(&raw const (*control).current) } & 1;
    let image = Image::open(half).ok_or(Reason::NoImage)?;
    // SAFETY: this CPU's packet, in the hands of this run alone.
    let p = unsafe { &mut *Packet::scratch().ok_or(Reason::NoImage)? };
    p.half = half;
    let frame = Frame::new(ctx.ctx);
    if let Err(reason) = parse::parse(&frame, p) {
        return before_tree(&image, reason);
    }
    if p.get(Field::Frag) != FRAG_NONE && image.word(H_FRAGMENTS as u32) != BEFORE_MATCH {
        return before_tree(&image, Reason::Fragment);
    }
    walk(&image, p)
}

/// What never enters the tree gets the policy's setting for its kind, and is counted whichever it is.
#[inline(always)]
fn before_tree(image: &Image, reason: Reason) -> Result<u32, Reason> {
    let setting = match reason {
        Reason::Neighbour => H_NEIGHBOURS,
        Reason::OtherEthertype => H_OTHER,
        Reason::Fragment => H_FRAGMENTS,
        Reason::Udp6Checksum => return Err(reason),
        _ => H_UNPARSED,
    };
    if image.word(setting as u32) != BEFORE_PASS {
        return Err(reason);
    }
    count::reason(reason);
    Ok(XDP_PASS)
}

/// From node to node to the end of the chain.
#[inline(always)]
fn walk(image: &Image, p: &mut Packet) -> Result<u32, Reason> {
    let mut node = image.word(H_ENTRY as u32);
    for _ in 0..MAX_STEPS {
        count::node(image.node(node, N_COUNTER), p.frame_len);
        match image.node(node, N_OP) {
            OP_DECIDE if op_occurs(OP_DECIDE) => {
                node = classify::decide(image, p, image.node(node, N_P0), image.node(node, N_P1), || 0);
            }
            OP_END => return end(p, image.node(node, N_P0)),
            _ => return Err(Reason::BadImage),
        }
    }
    Err(Reason::Steps)
}

#[inline(always)]
fn end(_p: &mut Packet, end: u32) -> Result<u32, Reason> {
    match end {
        END_DROP => Ok(XDP_DROP),
        END_PASS => Ok(XDP_PASS),
        _ => Err(Reason::BadImage),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
