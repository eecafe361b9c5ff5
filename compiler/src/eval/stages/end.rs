//! Owns what happens before the tree and at its ends. Never routes, neighbours, MTU or MAC addresses: those are the
//! environment's.

use lb_abi::reason::Reason;
use policy_lang::policy::{Before, BeforeTree, End};

use super::commit::commit;
use super::synguard::acknowledgement;
use super::{Plan, Translation, answer, rewrite};
use crate::eval::{Answer, Ended, Sent, State, Verdict};
use crate::packet::{Fields, flow_hash, parse, v4_number};

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
        End::ReplyEcho => answer::echo(state, frame, fields).map(|out| replied(Answer::Echo, out)),
        End::Reject => answer::reject(state, frame, fields).map(|out| replied(Answer::Reject, out)),
        End::ReplyRst => answer::reset(state, frame, fields).map(|out| replied(Answer::Rst, out)),
    };
    ended.unwrap_or_else(|reason| {
        counted.push(reason);
        Ended::dropped(Some(reason))
    })
}

fn replied(answer: Answer, frame: Vec<u8>) -> Ended {
    Ended { verdict: Verdict::Reply(answer), reason: None, frame: Some(frame), sent: None }
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
    let acknowledged = plan.acknowledges.map(|splice| acknowledgement(frame, fields, &splice)).transpose()?;
    counted.extend(commit(state, fields, plan)?);
    if let Some(frame) = acknowledged {
        return Ok(replied(Answer::Acknowledgement, frame));
    }
    let to_backend = |translation: &Translation| {
        let &Translation { pool, backend, .. } = translation;
        translation.to_backend.then_some(Sent { pool, backend })
    };
    Ok(Ended {
        verdict: Verdict::Forward,
        reason: None,
        frame: Some(rewrite::forward(frame, fields, plan, flow_hash(state.key, fields))),
        sent: plan.translation.as_ref().and_then(to_backend),
    })
}

/// Addresses that are never routed (RFC 6890 tables 1, 4 and 17; RFC 1112; RFC 4291).
pub(super) fn is_martian(fields: &Fields) -> bool {
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
