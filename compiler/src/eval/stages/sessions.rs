//! Owns the sessions of `track { key cert }`: how many there are, and how long each lives. Never the flows below them.

use std::collections::BTreeMap;

use lb_abi::image::SESSION_FLOWS;
use lb_abi::maps::{DIR_ORIGINAL, FlowKey};

use super::flows::lookup;
use super::{Plan, TrackParams};
use crate::eval::State;

/// A certificate that sends.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Session {
    /// Tick of the last packet of any of its flows, either way, and after how many it is over.
    pub last: u32,
    pub timeout: u32,
    /// Ordinals of the backends it was given, by pool.
    pub backends: BTreeMap<u32, u32>,
}

impl State {
    /// The live session of a certificate with a tracker.
    pub(in crate::eval) fn session(&self, key: (u32, u32)) -> Option<&Session> {
        let now = self.tick();
        self.sessions.get(&key).filter(|session| now.wrapping_sub(session.last) <= session.timeout)
    }
}

/// Whether the tracker has room for a new flow of this certificate: one entry for each certificate up to its `max`, and
/// four times as many flows.
pub(super) fn has_room(state: &State, params: &TrackParams, certificate: u32) -> bool {
    let own = state.sessions.keys().filter(|(tracker, _)| *tracker == params.id);
    let live = own.filter(|&&key| state.session(key).is_some()).count();
    let is_known = state.session((params.id, certificate)).is_some();
    let tables = [&state.flows_new, &state.flows_answered, &state.flows_proven];
    let flows = tables.into_iter().flatten().filter(|(key, flow)| {
        let is_own = flow.dir == DIR_ORIGINAL && u32::from(flow.tracker) == params.id;
        is_own && lookup(state, key).is_some()
    });
    (is_known || live < params.max as usize) && (flows.count() as u64) < SESSION_FLOWS * u64::from(params.max)
}

/// Lets the session's time begin anew: the planned one's, which begins if it does not live, with the backend of a new
/// flow, or of a known one where it has none; else that of the flow, if it lives.
pub(super) fn commit(state: &mut State, key: &FlowKey, plan: &Plan) {
    let (Some(key), Some(tracker)) = (plan.session, plan.tracker) else { return of_flow(state, key) };
    let now = state.tick();
    if state.session(key).is_none() {
        state.sessions.remove(&key);
    }
    let session = state.sessions.entry(key).or_default();
    session.last = now;
    session.timeout = tracker.idle_udp;
    if let Some(translation) = plan.translation.filter(|translation| translation.to_backend) {
        let kept = session.backends.entry(translation.pool).or_insert(translation.backend);
        if translation.is_new {
            *kept = translation.backend;
        }
    }
}

fn of_flow(state: &mut State, key: &FlowKey) {
    let certificate =
        state.learned.get(key).filter(|learned| learned.in_session).and_then(|learned| learned.certificate);
    let tracker = lookup(state, key).map(|(_, flow)| u32::from(flow.tracker));
    let Some(session) = tracker.zip(certificate).filter(|&key| state.session(key).is_some()) else { return };
    let now = state.tick();
    if let Some(session) = state.sessions.get_mut(&session) {
        session.last = now;
    }
}
