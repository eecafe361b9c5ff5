//! Owns the answers that come from the balancer itself: echo replies, resets, unreachable messages ("Answers" in
//! `docs/packet-path.md`). Never whether the policy asks for one.

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_LATER, FRAG_NONE, LIMIT_SHIFT};
use lb_abi::maps::{ANSWERS_BURST, ANSWERS_PER_SECOND};
use lb_abi::reason::Reason;

use super::TCP_CHECKSUM;
use super::end::is_martian;
use super::limit::spend;
use super::rewrite::{self, mend_at, read, write};
use crate::eval::State;
use crate::packet::{
    Fields, Header, ICMP, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP6, ICMP6_ECHO_REPLY, ICMP6_ECHO_REQUEST,
    Layer4, TCP, checksum, payload,
};

/// RFC 1812, section 4.3.2.3; RFC 4443, section 2.4(c).
const LONGEST_ERROR: usize = 576;
const LONGEST_ERROR_V6: usize = 1280;

/// A frame that answers an echo request.
pub(super) fn echo(state: &mut State, frame: &[u8], fields: &Fields) -> Result<Vec<u8>, Reason> {
    let reply = match fields.layer4 {
        Layer4::Icmp { kind: ICMP_ECHO_REQUEST, .. } if !fields.is_fragment() => ICMP_ECHO_REPLY,
        Layer4::Icmp6 { kind: ICMP6_ECHO_REQUEST, .. } if !fields.is_fragment() => ICMP6_ECHO_REPLY,
        _ => return Err(Reason::NotEcho),
    };
    if is_martian(fields) {
        return Err(Reason::Martian);
    }
    spend_answer(state)?;
    let mut out = frame.to_vec();
    write(&mut out, 0, &swapped_macs(frame));
    let (addrs_at, skip, ttl_at) =
        if fields.v6 { (fields.ip + 8, 0, fields.ip + 7) } else { (fields.ip + 12, 12, fields.ip + 8) };
    let swapped: Vec<u8> =
        [fields.dst, fields.src].iter().flat_map(|addr| addr.iter().skip(skip).copied()).collect();
    write(&mut out, addrs_at, &swapped);
    rewrite::set_ttl(&mut out, fields, ttl_at, 64);
    let old: [u8; 2] = read(&out, fields.transport);
    let new = [reply, old[1]];
    write(&mut out, fields.transport, &new);
    mend_at(&mut out, fields.transport + 2, &old, &new);
    Ok(out)
}

/// A frame that resets the packet's connection.
pub(super) fn reset(state: &mut State, frame: &[u8], fields: &Fields) -> Result<Vec<u8>, Reason> {
    let segment = reset_segment(frame, fields).ok_or(Reason::Unanswerable)?;
    send(state, frame, fields, TCP, &segment)
}

/// A frame that says that the packet is not wanted: an RST for whole TCP packets, port unreachable for UDP,
/// administratively prohibited for all else.
pub(super) fn reject(state: &mut State, frame: &[u8], fields: &Fields) -> Result<Vec<u8>, Reason> {
    if fields.proto == TCP && fields.frag == FRAG_NONE {
        return reset(state, frame, fields);
    }
    if fields.frag == FRAG_LATER || is_error(fields) {
        return Err(Reason::Unanswerable);
    }
    let is_udp = matches!(fields.layer4, Layer4::Udp { .. });
    // RFC 792 and RFC 1812, section 5.2.7.1; RFC 4443, section 3.1.
    let (kind, code, header, most) = match (fields.v6, is_udp) {
        (false, true) => (3, 3, 20, LONGEST_ERROR),
        (false, false) => (3, 13, 20, LONGEST_ERROR),
        (true, true) => (1, 4, 40, LONGEST_ERROR_V6),
        (true, false) => (1, 1, 40, LONGEST_ERROR_V6),
    };
    // What is quoted must let its sender find the socket: the whole header and 8 bytes behind it (RFC 792).
    let packet = frame.get(fields.ip..fields.end).unwrap_or_default();
    let room = packet.len().min(most).saturating_sub(header + 8);
    if room < (fields.transport - fields.ip) + 8 {
        return Err(Reason::AnswerLength);
    }
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(packet.iter().take(room));
    send(state, frame, fields, if fields.v6 { ICMP6 } else { ICMP }, &message)
}

/// An ICMP message that says that something went wrong; one is never answered by another.
fn is_error(fields: &Fields) -> bool {
    match fields.layer4 {
        Layer4::Icmp { kind, .. } => matches!(kind, 3 | 4 | 5 | 11 | 12),
        Layer4::Icmp6 { kind, .. } => kind < 128 || kind == 137,
        _ => false,
    }
}

/// RFC 9293, section 3.10.7.1: the reset that fits the packet's own numbers. `None` for anything but whole TCP packets
/// without RST.
fn reset_segment(frame: &[u8], fields: &Fields) -> Option<Vec<u8>> {
    let Layer4::Tcp { sport, dport, flags, seq, ack } = fields.layer4 else { return None };
    if fields.is_fragment() || flags & FLAG_RST != 0 {
        return None;
    }
    let length = payload(frame, fields)?.len() as u32
        + u32::from(flags & FLAG_SYN != 0)
        + u32::from(flags & FLAG_FIN != 0);
    let (seq, ack, bits) =
        if flags & FLAG_ACK != 0 { (ack, 0, 4) } else { (0, seq.wrapping_add(length), 4 | 16) };
    let mut segment = [dport.to_be_bytes(), sport.to_be_bytes()].concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, bits, 0, 0, 0, 0, 0, 0]);
    Some(segment)
}

/// One of the answers that share a bucket.
fn send(
    state: &mut State,
    frame: &[u8],
    fields: &Fields,
    proto: u8,
    message: &[u8],
) -> Result<Vec<u8>, Reason> {
    let answer = addressed(frame, fields, proto, message)?;
    spend_answer(state)?;
    Ok(answer)
}

/// From where the packet was going to where it came from, behind the same VLAN tags. The message's checksum is 0 so far.
pub(super) fn addressed(frame: &[u8], fields: &Fields, proto: u8, message: &[u8]) -> Result<Vec<u8>, Reason> {
    if is_martian(fields) {
        return Err(Reason::Martian);
    }
    // To many at once on the link (RFC 1122, section 3.2.2).
    if frame.first().is_some_and(|byte| byte & 1 != 0) {
        return Err(Reason::Unanswerable);
    }
    let header = Header { src: fields.dst, dst: fields.src, v6: fields.v6, proto, class: 0, label: 0 };
    let mut out = swapped_macs(frame).to_vec();
    out.extend(frame.iter().take(fields.ip).skip(12));
    out.extend(header.bytes(message.len()));
    let at = out.len();
    out.extend(message);
    let place = if proto == TCP { TCP_CHECKSUM } else { 2 };
    let sum = checksum(&header, message);
    write(&mut out, at + place, &sum.to_be_bytes());
    Ok(out)
}

/// One of the answers that all generated ones share.
fn spend_answer(state: &mut State) -> Result<(), Reason> {
    let interval = (1_000_000_000 << LIMIT_SHIFT) / ANSWERS_PER_SECOND;
    let now = state.clock << LIMIT_SHIFT;
    let is_left = spend(&mut state.answers, now, interval, interval * ANSWERS_BURST);
    is_left.then_some(()).ok_or(Reason::AnswerLimit)
}

fn swapped_macs(frame: &[u8]) -> [u8; 12] {
    let mut macs: [u8; 12] = read(frame, 0);
    macs.rotate_left(6);
    macs
}
