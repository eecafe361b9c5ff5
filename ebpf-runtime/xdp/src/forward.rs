//! Owns the end `forward`: whether the packet may leave, by which next hop, and in which order it is committed and
//! rewritten. Never the choice of a backend.

use aya_ebpf::{
    bindings::{xdp_action::XDP_TX, xdp_md},
    helpers::generated::{bpf_fib_lookup, bpf_redirect},
};
use lb_abi::{
    image::{Field, OP_VERIFY},
    maps::{BACKEND_ABSENT, DIR_REPLY, Flow, NEXT_HOP_TICKS},
    mode::FEATURE_LOAD,
    reason::Reason,
};

use crate::{
    addr, clock, commit, count,
    frame::Frame,
    maps::{feature, op_occurs},
    martian,
    packet::{Packet, set_hop},
    plan::{FLOW_KNOWN, LEAVES_AS_IS, LEAVES_KEPT, LEAVES_NEW},
    rewrite, session, strip,
    translate::backend,
    verify,
};

/// `AF_INET` and `AF_INET6`.
const INET: u64 = 2;
const INET6: u64 = 10;

/// `struct bpf_fib_lookup` of `include/uapi/linux/bpf.h` in words of 64 bits, since smaller fields become calls of
/// `memset` and misaligned reads. From the low end of each word:
/// 0: family (8 bits), protocol (8), ports in network order (16 each), in: bytes from the IP header on (16);
/// 1: interface, in: where it came in, out: where it leaves (32), traffic class (32);
/// 2, 3: source and 4, 5: destination address, in network order; 6: VLAN (32), source MAC; 7: destination MAC (upper 48).
type FibLookup = [u64; 8];
const FIB_BYTES: i32 = size_of::<FibLookup>() as i32;

/// `BPF_FIB_LKUP_RET_*` of the same file.
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGHBOUR: i64 = 7;
const FIB_FRAGMENTATION_NEEDED: i64 = 8;

/// `Err` is the number of the reason for which the packet is dropped after all.
#[inline(always)]
pub fn forward(ctx: *mut xdp_md, p: &mut Packet, flow: *mut Flow) -> Result<u32, u32> {
    if p.get(Field::Ttl) <= 1 {
        return Err(Reason::Ttl as u32);
    }
    if martian::is_martian(p) {
        return Err(Reason::Martian as u32);
    }
    // SAFETY: the context is valid for the whole run.
    let ingress = unsafe { (*ctx).ingress_ifindex };
    let mut end = None;
    if op_occurs(OP_VERIFY) && p.plan.strip != 0 {
        end = strip::end(&Frame::new(ctx), p);
    }
    let length = end.map_or(p.get(Field::Len), |end| end.wrapping_sub(p.l3));
    next_hop(ctx, p, flow, ingress, length)?;
    // What the commit moves to another table another flow may take the place of.
    // SAFETY: the packet's live flow, or null.
    let live = unsafe { flow.as_ref() };
    let backend = if session::replies(p, live) { 0 } else { p.plan.backend };
    let cert = if op_occurs(OP_VERIFY) { verify::of_packet(p, live) } else { 0 };
    commit::commit(p, flow)?;
    let frame = Frame::new(ctx);
    if let Some(end) = end {
        strip::mend(&frame, p, end)?;
    }
    rewrite::rewrite(&frame, p)?;
    if op_occurs(OP_VERIFY) {
        count::certificate(cert, p.frame_len);
    }
    if feature(FEATURE_LOAD) {
        count::backend(backend, p.frame_len);
    }
    if let Some(end) = end {
        strip::shorten(ctx, p, end)?;
    }
    if p.plan.hop.ifindex == ingress {
        return Ok(XDP_TX);
    }
    // SAFETY: no pointers.
    Ok(unsafe { bpf_redirect(p.plan.hop.ifindex, 0) } as u32)
}

/// Puts the next hop into the plan: the flow's own while it is fresh, the backend's, or the routing table's.
#[inline(always)]
fn next_hop(ctx: *mut xdp_md, p: &mut Packet, flow: *mut Flow, ingress: u32, length: u32) -> Result<(), u32> {
    // SAFETY: the packet's live flow, or null.
    let mut flow = unsafe { flow.as_mut() };
    // Its next hop is for the tuple that the flow leaves with.
    if p.plan.flow != FLOW_KNOWN || p.plan.leaves == LEAVES_NEW {
        flow = None;
    }
    if let Some(known) = &flow
        && p.plan.leaves == LEAVES_AS_IS
        && known.backend != 0
    {
        flow = None;
    }
    if let Some(flow) = &mut flow {
        let tick = clock::tick(p);
        if flow.next_hop.ifindex != 0 && tick.wrapping_sub(flow.resolved) <= NEXT_HOP_TICKS {
            set_hop(&mut p.plan.hop, &flow.next_hop);
            return Ok(());
        }
    }
    let replies = p.plan.leaves == LEAVES_KEPT && flow.as_ref().is_some_and(|flow| flow.dir == DIR_REPLY);
    if p.plan.leaves != LEAVES_AS_IS
        && !replies
        && let Some(backend) = backend(p.plan.backend)
    {
        // SAFETY: a value of an array map, whose next hop the runtime writes with `ifindex` last.
        let backend = unsafe { &*backend };
        if backend.next_hop.ifindex != 0 && backend.state != BACKEND_ABSENT {
            set_hop(&mut p.plan.hop, &backend.next_hop);
            return Ok(());
        }
    }
    ask(ctx, p, ingress, length)?;
    if let Some(flow) = flow {
        flow.resolved = clock::tick(p);
        set_hop(&mut flow.next_hop, &p.plan.hop);
    }
    Ok(())
}

/// Asks the kernel's routing table, as for a packet of so many bytes from the IP header on that it forwards itself.
#[inline(always)]
fn ask(ctx: *mut xdp_md, p: &mut Packet, ingress: u32, length: u32) -> Result<(), u32> {
    let out = if p.plan.leaves == LEAVES_AS_IS { &p.key } else { &p.plan.out };
    let (mut src, mut dst) = (addr::read(&out.src), addr::read(&out.dst));
    let (mut family, mut class) = (INET6, 0);
    if p.v6 == 0 {
        family = INET;
        class = p.get(Field::Dscp) << 2;
        src = [src[1] >> 32, 0];
        dst = [dst[1] >> 32, 0];
    }
    let ports = (out.sport.to_be() as u64) << 16 | (out.dport.to_be() as u64) << 32;
    let mut fib: FibLookup = [
        family | (p.proto as u64 & 0xff) << 8 | ports | (length as u64) << 48,
        ingress as u64 | (class as u64) << 32,
        src[0],
        src[1],
        dst[0],
        dst[1],
        0,
        0,
    ];
    // SAFETY: the context, and a structure of the size that is said.
    let answer = unsafe { bpf_fib_lookup(ctx.cast(), (&raw mut fib).cast(), FIB_BYTES, 0) };
    match answer {
        FIB_SUCCESS => {}
        FIB_NO_NEIGHBOUR => return Err(Reason::NoNeighbour as u32),
        FIB_FRAGMENTATION_NEEDED => return Err(Reason::TooBig as u32),
        _ => return Err(Reason::NoRoute as u32),
    }
    let smac = fib[6] >> 32 | (fib[7] & 0xffff) << 32;
    let dmac = fib[7] >> 16;
    let hop = core::ptr::from_mut(&mut p.plan.hop).cast::<u32>();
    // SAFETY: a next hop is its interface and twelve bytes of MACs, four aligned words. MACs as arrays would be moved
    // by calls of `memmove`.
    unsafe {
        *hop = fib[1] as u32;
        *hop.add(1) = dmac as u32;
        *hop.add(2) = (dmac >> 32 | smac << 16) as u32;
        *hop.add(3) = (smac >> 16) as u32;
    }
    p.plan.asked = 1;
    Ok(())
}
