//! Owns `track` and what a packet makes of a TCP flow's state (the table in section 5 of `docs/packet-path.md`).
//! Never writes a flow: it plans.

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN};
use lb_abi::maps::{
    DIR_ORIGINAL, FIN_ORIGINAL, FIN_REPLY, FLOW_CLOSING, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED, Flow, FlowKey,
};
use lb_abi::reason::Reason;

use super::flows::{Table, lookup, pair};
use super::sessions::has_room;
use super::{Plan, PlannedFlow, TrackParams, Way};
use crate::eval::{Learned, State};
use crate::packet::{Fields, Layer4, flow_key};

pub(super) const SYN_ACK: u32 = FLAG_SYN | FLAG_ACK;

/// What a packet makes of its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Transition {
    pub(super) state: u8,
    /// `FIN_*` seen so far, this packet's included.
    pub(super) fins: u8,
    /// What the client must acknowledge from now on.
    pub(super) isn: Option<u32>,
}

/// The tracker that committed the packet's live flow: what `flow in T` looks at.
pub fn flow_tracker(state: &State, fields: &Fields) -> Option<u32> {
    live_flow(state, fields).map(|flow| u32::from(flow.tracker))
}

/// The packet's live flow as the tables hold it for this direction.
pub fn live_flow<'a>(state: &'a State, fields: &Fields) -> Option<&'a Flow> {
    lookup(state, &flow_key(fields)).map(|(_, flow)| flow)
}

/// The number of the packet's certificate: what `verify` found on its way, or on that of the packet that began its flow.
pub fn certificate(state: &State, fields: &Fields, learned: &Learned) -> Option<u32> {
    let of_flow = || {
        live_flow(state, fields)?;
        state.learned.get(&flow_key(fields))?.certificate
    };
    learned.certificate.or_else(of_flow)
}

/// Plans the next state of a known flow, or a new flow; exits `full` and `invalid`.
pub fn track(state: &State, params: &TrackParams, fields: &Fields, plan: &mut Plan) -> Way {
    if fields.is_fragment() {
        return Way::Drop(Reason::Untranslatable);
    }
    let session = match params.by_certificate {
        false => None,
        true => match certificate(state, fields, &plan.learned) {
            Some(certificate) => Some(certificate),
            None => return Way::Drop(Reason::BadImage),
        },
    };
    let key = flow_key(fields);
    let began = state.learned.get(&key).and_then(|learned| learned.certificate);
    // With a tracker of sessions the flow of another certificate is another client's.
    let is_anothers = |flow: &Flow| {
        flow.dir == DIR_ORIGINAL && session.is_some_and(|own| began.is_some_and(|began| began != own))
    };
    let goes_on = |flow: &Flow| !starts_anew(flow, fields) && !is_anothers(flow);
    let planned = match lookup(state, &key).filter(|(_, flow)| goes_on(flow)) {
        Some((table, flow)) if params.one_way => {
            PlannedFlow::Known { table, next: seen_one_way(flow, fields) }
        }
        Some((table, flow)) => match transition(state, table, &key, flow, fields) {
            Some(next) => PlannedFlow::Known { table, next },
            None => return Way::Invalid,
        },
        None => {
            let is_full = state.proven.get(&params.id).copied().unwrap_or(0) >= u64::from(params.max);
            let has_room = session.is_none_or(|certificate| has_room(state, params, certificate));
            if is_full || !has_room {
                return Way::Full;
            }
            if !params.one_way && fields.flags().is_some_and(|flags| flags != FLAG_SYN) {
                return Way::Invalid;
            }
            PlannedFlow::New
        }
    };
    plan.tracker = Some(*params);
    plan.session = session.map(|certificate| (params.id, certificate));
    plan.flow = Some(planned);
    Way::On
}

/// What a packet makes of a flow whose replies take another way: the client's own acknowledgements say that it was
/// answered, and its reset that it is over.
fn seen_one_way(flow: &Flow, fields: &Fields) -> Transition {
    let state = match (flow.state, fields.flags()) {
        (_, Some(flags)) if flags & FLAG_RST != 0 => FLOW_CLOSING,
        (FLOW_NEW, Some(flags)) if flow.dir == DIR_ORIGINAL && is_acknowledged(flags) => FLOW_REPLIED,
        (state, _) => state,
    };
    Transition { state, fins: flow.fins, isn: None }
}

/// A segment that is sent only to somebody who has answered.
pub(super) fn is_acknowledged(flags: u32) -> bool {
    flags & (SYN_ACK | FLAG_RST) == FLAG_ACK
}

/// A client may open a connection anew while its last one with the same ports still closes.
pub(super) fn starts_anew(flow: &Flow, fields: &Fields) -> bool {
    flow.state == FLOW_CLOSING && flow.dir == DIR_ORIGINAL && fields.flags() == Some(FLAG_SYN)
}

/// What the packet makes of the live flow that stands in `table` under `key`; `None` if it is outside of its state.
pub(super) fn transition(
    state: &State,
    table: Table,
    key: &FlowKey,
    flow: &Flow,
    fields: &Fields,
) -> Option<Transition> {
    let stays = Transition { state: flow.state, fins: flow.fins, isn: None };
    let is_original = flow.dir == DIR_ORIGINAL;
    let Layer4::Tcp { flags, seq, ack, .. } = fields.layer4 else {
        let is_answer = flow.state == FLOW_NEW && !is_original;
        return Some(if is_answer { Transition { state: FLOW_REPLIED, ..stays } } else { stays });
    };
    let closes = Transition { state: FLOW_CLOSING, ..stays };
    let is_reset = flags & FLAG_RST != 0;
    match (flow.state, is_original) {
        (FLOW_NEW | FLOW_REPLIED, _) if is_reset => Some(closes),
        (FLOW_NEW | FLOW_REPLIED, true) if flags == FLAG_SYN => Some(stays),
        (FLOW_NEW | FLOW_REPLIED, false) if flags == SYN_ACK => {
            Some(Transition { state: FLOW_REPLIED, isn: Some(seq.wrapping_add(1)), ..stays })
        }
        (FLOW_REPLIED, true) if flags & SYN_ACK == FLAG_ACK && ack == flow.isn => {
            Some(Transition { state: FLOW_PROVEN, ..with_fin(stays, flags, is_original) })
        }
        (FLOW_NEW | FLOW_REPLIED, _) => None,
        (FLOW_PROVEN, _) if is_reset => {
            let acked = pair(state.table(table), key, flow).map(|(_, pair)| pair.acked);
            Some(if acked == Some(seq) { closes } else { stays })
        }
        (FLOW_PROVEN, _) => {
            let next = with_fin(stays, flags, is_original);
            let is_over = next.fins == FIN_ORIGINAL | FIN_REPLY;
            Some(if is_over { Transition { state: FLOW_CLOSING, ..next } } else { next })
        }
        _ => Some(stays),
    }
}

fn with_fin(transition: Transition, flags: u32, is_original: bool) -> Transition {
    let fin = match (flags & FLAG_FIN != 0, is_original) {
        (false, _) => 0,
        (true, true) => FIN_ORIGINAL,
        (true, false) => FIN_REPLY,
    };
    Transition { fins: transition.fins | fin, ..transition }
}
