//! Owns what happens before the tree and at its ends. Never routes, neighbours, MTU or MAC addresses: those are the
//! environment's.

use lb_abi::image::LIMIT_SHIFT;
use lb_abi::maps::{ANSWERS_BURST, ANSWERS_PER_SECOND};
use lb_abi::reason::Reason;
use policy_lang::policy::{Before, BeforeTree, End};

use super::commit::commit;
use super::limit::spend;
use super::rewrite::{self, mend_at, read, write};
use super::{Plan, Translation};
use crate::eval::{Ended, Sent, State, Verdict};
use crate::packet::{
    Fields, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP6_ECHO_REPLY, ICMP6_ECHO_REQUEST, Layer4, parse,
    v4_number,
};

/// What the policy says of a frame before the tree: its fields if the tree decides, else how it ended.
/// `counted` gets every reason that is counted.
pub fn before(settings: &BeforeTree, frame: &[u8], counted: &mut Vec<Reason>) -> Result<Fields, Ended> {
    let (reason, setting) = match parse(frame) {
        Ok(fields) if !fields.is_fragment() => return Ok(fields),
        Ok(fields) => {
            if settings.fragments == Before::Match {
                counted.push(Reason::Fragment);
                return Ok(fields);
            }
            (Reason::Fragment, settings.fragments)
        }
        Err(Reason::Udp6Checksum) => (Reason::Udp6Checksum, Before::Drop),
        Err(Reason::Neighbour) => (Reason::Neighbour, settings.neighbours),
        Err(Reason::OtherEthertype) => (Reason::OtherEthertype, settings.other),
        Err(reason) => (reason, settings.unparsed),
    };
    counted.push(reason);
    Err(match setting {
        Before::Pass => {
            Ended { verdict: Verdict::Pass, reason: Some(reason), frame: Some(frame.to_vec()), sent: None }
        }
        _ => Ended::dropped(Some(reason)),
    })
}

/// Ends the way of a packet. `counted` gets every reason that is counted, the one of a drop included.
pub fn end(
    state: &mut State,
    end: End,
    frame: &[u8],
    fields: &Fields,
    plan: &Plan,
    counted: &mut Vec<Reason>,
) -> Ended {
    let ended = match end {
        End::Drop => Ok(Ended::dropped(None)),
        End::Pass => {
            Ok(Ended { verdict: Verdict::Pass, reason: None, frame: Some(frame.to_vec()), sent: None })
        }
        End::Forward => forward(state, frame, fields, plan, counted),
        End::ReplyEcho => reply_echo(state, frame, fields),
        End::Reject | End::ReplyRst => {
            Ok(Ended { verdict: Verdict::NotYet(end), reason: None, frame: None, sent: None })
        }
    };
    ended.unwrap_or_else(|reason| {
        counted.push(reason);
        Ended::dropped(Some(reason))
    })
}

fn forward(
    state: &mut State,
    frame: &[u8],
    fields: &Fields,
    plan: &Plan,
    counted: &mut Vec<Reason>,
) -> Result<Ended, Reason> {
    if fields.ttl <= 1 {
        return Err(Reason::Ttl);
    }
    if is_martian(fields) {
        return Err(Reason::Martian);
    }
    counted.extend(commit(state, fields, plan)?);
    let to_backend = |translation: &Translation| {
        let &Translation { pool, backend, .. } = translation;
        translation.to_backend.then_some(Sent { pool, backend })
    };
    Ok(Ended {
        verdict: Verdict::Forward,
        reason: None,
        frame: Some(rewrite::forward(frame, fields, plan.translation.as_ref())),
        sent: plan.translation.as_ref().and_then(to_backend),
    })
}

/// Addresses that are never routed (RFC 6890 tables 1, 4 and 17; RFC 1112; RFC 4291).
fn is_martian(fields: &Fields) -> bool {
    if fields.v6 {
        let is_martian = |addr: [u8; 16]| {
            let number = u128::from_be_bytes(addr);
            number <= 1 || number >> 118 == 0xfe80 >> 6 || number >> 120 == 0xff
        };
        is_martian(fields.src) || is_martian(fields.dst)
    } else {
        let is_martian = |addr| {
            let number = v4_number(addr);
            matches!(number >> 24, 0 | 127 | 224..=255)
        };
        is_martian(fields.src) || is_martian(fields.dst)
    }
}

fn reply_echo(state: &mut State, frame: &[u8], fields: &Fields) -> Result<Ended, Reason> {
    let reply = match fields.layer4 {
        Layer4::Icmp { kind: ICMP_ECHO_REQUEST, .. } if !fields.is_fragment() => ICMP_ECHO_REPLY,
        Layer4::Icmp6 { kind: ICMP6_ECHO_REQUEST, .. } if !fields.is_fragment() => ICMP6_ECHO_REPLY,
        _ => return Err(Reason::NotEcho),
    };
    if is_martian(fields) {
        return Err(Reason::Martian);
    }
    let interval = (1_000_000_000 << LIMIT_SHIFT) / ANSWERS_PER_SECOND;
    let now = state.clock << LIMIT_SHIFT;
    if !spend(&mut state.answers, now, interval, interval * ANSWERS_BURST) {
        return Err(Reason::AnswerLimit);
    }

    let mut out = frame.to_vec();
    let [dst_mac, src_mac]: [[u8; 6]; 2] = [read(&out, 0), read(&out, 6)];
    write(&mut out, 0, &src_mac);
    write(&mut out, 6, &dst_mac);
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
    Ok(Ended { verdict: Verdict::Reply, reason: None, frame: Some(out), sent: None })
}
