//! Owns the stage `track`, and what a packet makes of its flow's state. Never writes a flow: it plans.

use lb_abi::{
    image::{
        FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_NONE, Field, OP_VERIFY, T_FLAGS, T_ID, T_MAX,
        TRACK_CERTIFICATE,
    },
    maps::{DIR_ORIGINAL, FIN_ORIGINAL, FIN_REPLY, FLOW_CLOSING, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED, Flow},
    reason::Reason,
};

use crate::{
    flow,
    frame::key,
    image::Image,
    maps::{TRACKERS, op_occurs},
    packet::Packet,
    parse::TCP,
    plan::{EXIT_A, EXIT_B, FLOW_KNOWN, FLOW_STARTS, NEXT, drop},
    session, verify,
};

/// Plans the next state of a known flow, or a new flow of the tracker at `descriptor`. Exits `full` and `invalid`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn track(p: *mut Packet, flow: *mut Flow, descriptor: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let Some(image) = Image::of(p) else { return drop(Reason::NoImage) };
    if p.get(Field::Frag) != FRAG_NONE {
        return drop(Reason::Untranslatable);
    }
    // SAFETY: the packet's live flow, or null.
    let flow = unsafe { flow.as_ref() };
    if !plan_session(p, flow, &image, descriptor) {
        return drop(Reason::BadImage);
    }
    match flow {
        Some(flow) if !starts_anew(p, flow) => {
            if !plan_known(p, flow) {
                return EXIT_B;
            }
        }
        _ => {
            let id = image.word(descriptor.wrapping_add(T_ID as u32));
            let Some(tracker) = TRACKERS.get_ptr(key(id)) else { return drop(Reason::BadImage) };
            // SAFETY: a value of an array map.
            let proven = unsafe { core::ptr::read_volatile(&raw const (*tracker).proven) };
            if proven >= image.word(descriptor.wrapping_add(T_MAX as u32)) as u64 {
                return EXIT_A;
            }
            if p.plan.session != 0
                && op_occurs(OP_VERIFY)
                && session::is_full(p, descriptor, id, p.plan.session.wrapping_sub(1)) != 0
            {
                return EXIT_A;
            }
            if p.proto == TCP && p.get(Field::TcpFlags) != FLAG_SYN {
                return EXIT_B;
            }
            p.plan.flow = FLOW_STARTS;
        }
    }
    p.plan.tracker.read(&image, descriptor);
    NEXT
}

/// Plans anew what the tracker at `descriptor` had planned for a packet that was in user space since: 0, or not 0 if it
/// can't. Whether there is room it was asked then.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn again(p: *mut Packet, flow: *mut Flow, descriptor: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 1 };
    let Some(image) = Image::of(p) else { return 1 };
    // SAFETY: the packet's live flow, or null.
    let flow = unsafe { flow.as_ref() };
    if !plan_session(p, flow, &image, descriptor) {
        return 1;
    }
    match flow {
        Some(flow) if !starts_anew(p, flow) => {
            if !plan_known(p, flow) {
                return 1;
            }
        }
        _ => p.plan.flow = FLOW_STARTS,
    }
    p.plan.tracker.read(&image, descriptor);
    0
}

/// Plans whose session it is, with a tracker of sessions; `false` if the packet has no certificate.
#[inline(always)]
fn plan_session(p: &mut Packet, flow: Option<&Flow>, image: &Image, descriptor: u32) -> bool {
    if !op_occurs(OP_VERIFY) {
        return true;
    }
    let keyed = image.word(descriptor.wrapping_add(T_FLAGS as u32)) & TRACK_CERTIFICATE != 0;
    p.plan.session = if keyed { verify::of_packet(p, flow) } else { 0 };
    !keyed || p.plan.session != 0
}

/// A client may open a connection anew while its last one with the same ports still closes; and with a tracker of sessions
/// the flow of another certificate is another client's.
#[inline(always)]
fn starts_anew(p: &Packet, flow: &Flow) -> bool {
    if flow.dir != DIR_ORIGINAL {
        return false;
    }
    if op_occurs(OP_VERIFY) && p.plan.session != 0 && flow.cert != 0 && flow.cert as u32 != p.plan.session {
        return true;
    }
    p.proto == TCP && p.get(Field::TcpFlags) == FLAG_SYN && flow.state == FLOW_CLOSING
}

/// Plans what the packet makes of its live flow (RFC 9293, section 3.3.2, as a middlebox sees it); `false` if it is
/// outside of the flow's state, and then nothing is planned.
#[inline(always)]
pub fn plan_known(p: &mut Packet, flow: &Flow) -> bool {
    let original = flow.dir == DIR_ORIGINAL;
    let was = flow.state;
    let mut state = was;
    let mut fins = flow.fins;
    let mut sets_isn = 0;
    if p.proto == TCP {
        let flags = p.get(Field::TcpFlags);
        let reset = flags & FLAG_RST != 0;
        if was == FLOW_NEW || was == FLOW_REPLIED {
            if reset {
                state = FLOW_CLOSING;
            } else if original && flags == FLAG_SYN {
            } else if !original && flags == FLAG_SYN | FLAG_ACK {
                state = FLOW_REPLIED;
                sets_isn = 1;
            } else if original
                && was == FLOW_REPLIED
                && flags & (FLAG_SYN | FLAG_ACK) == FLAG_ACK
                && p.ack == flow.isn
            {
                state = FLOW_PROVEN;
                if flags & FLAG_FIN != 0 {
                    fins |= FIN_ORIGINAL;
                }
            } else {
                return false;
            }
        } else if was == FLOW_PROVEN {
            if reset {
                if acked_by_pair(p, flow) {
                    state = FLOW_CLOSING;
                }
            } else if flags & FLAG_FIN != 0 {
                fins |= if original { FIN_ORIGINAL } else { FIN_REPLY };
                if fins == FIN_ORIGINAL | FIN_REPLY {
                    state = FLOW_CLOSING;
                }
            }
        }
    } else if was == FLOW_NEW && !original {
        state = FLOW_REPLIED;
    }
    p.plan.flow = FLOW_KNOWN;
    p.plan.state = state as u32;
    p.plan.fins = fins as u32;
    p.plan.sets_isn = sets_isn;
    p.plan.isn = p.seq.wrapping_add(1);
    true
}

/// Whether the packet's sequence number is the one that the other side expects (RFC 5961, section 3).
#[inline(always)]
fn acked_by_pair(p: &mut Packet, flow: &Flow) -> bool {
    flow::pair_key(&mut p.other, flow, p.proto);
    // SAFETY: an entry of a flow table, or null.
    unsafe { flow::entry(p.table, &p.other).as_ref() }
        .is_some_and(|pair| flow::leads_to(pair, &p.key) && pair.acked == p.seq)
}
