//! Owns the stage `verify`: what a packet's trailer says, and which of it can be decided without its signature. Never
//! checks one: `punt.rs` hands the packet to user space for that.

use aya_ebpf::bindings::xdp_md;
use lb_abi::{
    image::{
        A_CERTIFICATES, A_FLAGS, A_ID, AUTHORITY_ONCE, AUTHORITY_STRIP, FRAG_NONE, Field, N_COUNTER, N_NEXT,
        N_OP, N_P0, OP_VERIFY, VERIFY_EXPIRED, VERIFY_INVALID, VERIFY_MISSING, VERIFY_REVOKED,
    },
    maps::{
        CERTIFICATE_ABSENT, CERTIFICATE_ACTIVE, CERTIFICATE_REVOKED, Certificate, DIR_ORIGINAL,
        FLOW_IS_PENDING, Flow, PUNT_IN_SESSION,
    },
    reason::Reason,
    trailer::{HASH_AT, ID_AT, MAGICS, RESERVED_AT, TRAILER_BYTES},
};

use crate::{
    clock, count,
    frame::{Frame, key},
    image::Image,
    maps::{CERTIFICATES, fields},
    packet::Packet,
    parse::UDP,
    plan::{NEXT, drop},
    punt,
};

/// What `verify` gives besides `NEXT` and drops: the packet is to be handed to user space, or from here on an exit
/// `VERIFY_*`.
pub const PUNTED: u32 = 0x10;
pub const LEAVES_BY: u32 = 0x20;

const TRAILER: u32 = TRAILER_BYTES as u32;
/// Bytes of UDP's own header.
pub const UDP_HEADER: u32 = 8;
/// Longest way from the start of the frame to a trailer: no frame that comes in one piece is as long.
const FARTHEST: u32 = 0x7fff;

/// What of a packet the check of its signature needs.
#[repr(C)]
pub struct Asked {
    /// Node of the `verify`, and the descriptor of its authority with its ordinal.
    pub node: u32,
    pub descriptor: u32,
    pub authority: u32,
    /// Dense number of the certificate.
    pub cert: u32,
    /// `PUNT_*`.
    pub flags: u32,
    /// The payload, trailer included: offset in the frame and bytes.
    pub payload: u32,
    pub payload_len: u32,
}

/// Leads a packet in session behind the `verify` that it stands at, if it stands at one: all that `verify` says of such a
/// packet, without the call. What is not so in every respect, `verify` judges.
#[inline(always)]
pub fn pass_by(ctx: *mut xdp_md, image: &Image, p: &mut Packet, flow: *mut Flow, node: &mut u32) {
    let at = image.node(*node);
    if at.word(N_OP) == OP_VERIFY && is_in_session(ctx, image, p, flow, at.word(N_P0)).is_some() {
        count::node(at.word(N_COUNTER), p.frame_len);
        *node = at.word(N_NEXT);
    }
}

/// Whether the packet's flow, of the certificate that its trailer names, lets it go on: it is accepted then.
#[inline(always)]
fn is_in_session(
    ctx: *mut xdp_md,
    image: &Image,
    p: &mut Packet,
    flow: *mut Flow,
    descriptor: u32,
) -> Option<()> {
    // SAFETY: the packet's live flow, or null.
    let flow = unsafe { flow.as_ref() }?;
    let cert = flow.cert as u32;
    // The frame of a flow with a certificate is UDP's, and no fragment: those have no flow of their own.
    if cert == 0 || flow.dir != DIR_ORIGINAL || flow.flags & FLOW_IS_PENDING != 0 || p.proto != UDP {
        return None;
    }
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let flags = word(A_FLAGS);
    if flags & AUTHORITY_ONCE == 0 || p.get(Field::Frag) != FRAG_NONE {
        return None;
    }
    let frame = Frame::new(ctx);
    let l4 = p.l4 & 0x1ff;
    let length = frame.at::<8>(l4)?.u16(4);
    if length < UDP_HEADER + TRAILER || l4 + length - TRAILER > FARTHEST {
        return None;
    }
    let trailer = frame.at::<TRAILER_BYTES>((l4 + length - TRAILER) & FARTHEST)?;
    let id = trailer.raw32(ID_AT);
    let magic = trailer.raw32(0);
    let is_named = image.word(word(A_CERTIFICATES).wrapping_add(u32::from_le(id) & 0xff)) == cert;
    // The id's own byte alone, so that the reserved ones are 0.
    if !is_named || u32::from_le(id) > 0xff {
        return None;
    }
    if magic != u32::from_ne_bytes(MAGICS[0]) && magic != u32::from_ne_bytes(MAGICS[1]) {
        return None;
    }
    let certificate = certificate(cert)?;
    let mut differs = 0;
    for (n, part) in hash(certificate).into_iter().enumerate() {
        differs |= trailer.raw64(HASH_AT + 8 * n) ^ part;
    }
    let wall = clock::wall(p);
    // SAFETY: words of a value of an array map, which the runtime may be writing.
    let (state, not_before, not_after) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*certificate).state),
            core::ptr::read_volatile(&raw const (*certificate).not_before),
            core::ptr::read_volatile(&raw const (*certificate).not_after),
        )
    };
    if differs != 0 || state != CERTIFICATE_ACTIVE || wall < not_before || wall > not_after {
        return None;
    }
    accept(p, cert, flags);
    Some(())
}

/// One packet against the authority at `descriptor`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn verify(ctx: *mut xdp_md, p: *mut Packet, flow: *mut Flow, descriptor: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let Some(image) = Image::of(p) else { return drop(Reason::NoImage) };
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let frame = Frame::new(ctx);
    if p.proto != UDP || p.get(Field::Frag) != FRAG_NONE {
        return LEAVES_BY + VERIFY_MISSING;
    }
    let l4 = p.l4 & 0x1ff;
    let Some(udp) = frame.at::<8>(l4) else { return LEAVES_BY + VERIFY_MISSING };
    let length = udp.u16(4);
    if length < UDP_HEADER + TRAILER || l4 + length - TRAILER > FARTHEST {
        return LEAVES_BY + VERIFY_MISSING;
    }
    let Some(trailer) = frame.at::<TRAILER_BYTES>((l4 + length - TRAILER) & FARTHEST) else {
        return LEAVES_BY + VERIFY_MISSING;
    };
    let magic = trailer.raw32(0);
    if magic != u32::from_ne_bytes(MAGICS[0]) && magic != u32::from_ne_bytes(MAGICS[1]) {
        return LEAVES_BY + VERIFY_MISSING;
    }
    let ids = word(A_CERTIFICATES);
    let cert = image.word(ids.wrapping_add(trailer.u8(ID_AT)));
    if cert == 0 {
        return LEAVES_BY + VERIFY_INVALID;
    }
    let Some(certificate) = certificate(cert) else { return LEAVES_BY + VERIFY_INVALID };
    let mut differs = trailer.u8(RESERVED_AT) | trailer.u8(RESERVED_AT + 1) | trailer.u8(RESERVED_AT + 2);
    for (n, part) in hash(certificate).into_iter().enumerate() {
        differs |= (trailer.raw64(HASH_AT + 8 * n) != part) as u32;
    }
    // SAFETY: words of a value of an array map, which the runtime may be writing.
    let (state, not_before, not_after) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*certificate).state),
            core::ptr::read_volatile(&raw const (*certificate).not_before),
            core::ptr::read_volatile(&raw const (*certificate).not_after),
        )
    };
    if differs != 0 || state == CERTIFICATE_ABSENT {
        return LEAVES_BY + VERIFY_INVALID;
    }
    if state == CERTIFICATE_REVOKED {
        return LEAVES_BY + VERIFY_REVOKED;
    }
    let wall = clock::wall(p);
    if wall < not_before || wall > not_after {
        return LEAVES_BY + VERIFY_EXPIRED;
    }
    let flags = word(A_FLAGS);
    let mut asked = 0;
    // SAFETY: the packet's live flow, or null.
    if flags & AUTHORITY_ONCE != 0
        && let Some(flow) = unsafe { flow.as_mut() }
        && flow.cert as u32 == cert
        && flow.dir == DIR_ORIGINAL
    {
        if flow.flags & FLOW_IS_PENDING == 0 || punt::is_over(p, flow) {
            accept(p, cert, flags);
            return NEXT;
        }
        asked = PUNT_IN_SESSION;
    }
    p.asked.descriptor = descriptor;
    p.asked.authority = word(A_ID);
    p.asked.cert = cert.wrapping_sub(1);
    p.asked.flags = asked;
    p.asked.payload = l4 + UDP_HEADER;
    p.asked.payload_len = length - UDP_HEADER;
    PUNTED
}

/// Plans that the packet has the certificate with number `cert - 1`, under an authority with these `AUTHORITY_*`.
#[inline(always)]
pub fn accept(p: &mut Packet, cert: u32, flags: u32) {
    p.plan.cert = cert;
    p.plan.strip |= flags & AUTHORITY_STRIP;
    if fields() & Field::Cert.bit() != 0 {
        p.set(Field::Cert, cert.wrapping_sub(1));
    }
}

/// The certificate with number `cert - 1`.
#[inline(always)]
fn certificate(cert: u32) -> Option<*const Certificate> {
    CERTIFICATES.get_ptr(key(cert.wrapping_sub(1)))
}

/// The four words of a certificate's hash, as they lie.
#[inline(always)]
fn hash(certificate: *const Certificate) -> [u64; 4] {
    // SAFETY: 32 aligned bytes of a value of an array map.
    unsafe {
        let words = (&raw const (*certificate).hash).cast::<u64>();
        [*words, *words.add(1), *words.add(2), *words.add(3)]
    }
}

/// 1 + the number of the packet's certificate: what `verify` accepted on its way, else its live flow's; 0 for none.
#[inline(always)]
pub fn of_packet(p: &Packet, flow: Option<&Flow>) -> u32 {
    if p.plan.cert != 0 { p.plan.cert } else { flow.map_or(0, |flow| flow.cert as u32) }
}

/// The keyed hash of a certificate, by 1 + its number.
#[inline(always)]
pub fn certificate_hash(cert: u32) -> u64 {
    let Some(control) = clock::control() else { return 0 };
    // SAFETY: a value of an array map; the runtime writes the key before any packet.
    let secret = unsafe { (*control).hash_key };
    certificate(cert).map_or(0, |certificate| lb_abi::hash::siphash13(secret, hash(certificate)))
}
