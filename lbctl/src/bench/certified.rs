//! Owns the mixes of certificates: a flow in session, and the same flow where nobody asks for a certificate. The check of a
//! signature is no part of them: that is the first packet's, in user space. Never times anything.

use compiler::eval::{Evaluator, State, Verdict};
use compiler::packet;
use ebpf_runtime::Error;
use ebpf_runtime::slow::Verifier;
use ebpf_runtime::trial::{FlowTable, Trial};
use policy_lang::policy::{Chain, PacketSpec, Pick, Policy, ProtoSpec, StageKind, Step, Tail, TrackKey};

use super::flows::{address, key};

/// What a certified flow may cost above the same one uncertified.
pub const ABOVE: u32 = 15;

/// A packet of the policy's tests that is let in by its signature and sent on; none where the policy has no authority, and
/// why there is none else.
pub fn find(policy: &Policy, now: i64) -> Option<Result<PacketSpec, &'static str>> {
    if policy.authorities.is_empty() {
        return None;
    }
    let oracle = Evaluator::new(policy);
    let steps = policy.expects.iter().flat_map(|expect| &expect.steps);
    let signed = steps.filter_map(|step| match step {
        Step::Packet { packet, .. } if packet.signed.is_some_and(|signed| !signed.forged) => Some(packet),
        _ => None,
    });
    let mut served = signed.filter(|spec| {
        let mut state = State { test_keys: true, date: now, ..State::new([1, 2]) };
        let run = oracle.run(&mut state, &packet::build_in(policy, spec));
        run.verdict == Verdict::Forward && run.sent.is_some()
    });
    let Some(spec) = served.next() else { return Some(Err("no signed packet of its tests is sent on")) };
    let authority = spec.signed.and_then(|signed| policy.authorities.get(signed.authority.index()));
    Some(match authority {
        Some(authority) if authority.every_packet => {
            Err("each packet goes to user space: `verify every packet`")
        }
        Some(authority) if authority.strip => {
            Err("`strip` shortens the frame, which is sent many times over")
        }
        _ => Ok(spec.clone()),
    })
}

/// The policy without `verify`, and what hangs on it.
pub fn uncertified(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    strip(&mut policy.root);
    for tree in &mut policy.trees {
        strip(&mut tree.chain);
    }
    for tracker in &mut policy.trackers {
        tracker.key = TrackKey::Flow;
    }
    for pool in policy.pools.iter_mut().filter(|pool| pool.pick == Pick::Certificate) {
        pool.pick = Pick::RoundRobin;
    }
    policy
}

fn strip(chain: &mut Chain) {
    chain.stages.retain(|stage| !matches!(stage.kind, StageKind::Verify { .. }));
    for exit in chain.stages.iter_mut().flat_map(|stage| stage.kind.exits_mut()) {
        strip(&mut exit.chain);
    }
    match &mut chain.tail {
        Tail::Match(all) => {
            all.arms.iter_mut().for_each(|arm| strip(&mut arm.chain));
            strip(&mut all.otherwise);
        }
        Tail::Every(every) => every.ways.iter_mut().for_each(strip),
        Tail::End(..) | Tail::Tree(..) => {}
    }
}

/// Sends the first packet, as far as its signature goes, and the answer; whether there is a flow that lives then.
pub fn establish(
    program: &mut Trial,
    verifier: &Verifier,
    spec: &PacketSpec,
    frame: &[u8],
    ifindex: u32,
) -> Result<bool, Error> {
    program.set_templates(&[frame.to_vec()])?;
    program.run_through(frame, ifindex, verifier)?;
    let flows = program.flows(FlowTable::New)?;
    let Some((_, flow)) = flows.into_iter().find(|(of, _)| Some(*of) == key(spec)) else { return Ok(false) };
    let proto = ProtoSpec::Udp { sport: flow.dport, dport: flow.sport };
    let back =
        PacketSpec { payload: vec![0; 32], ..PacketSpec::new(address(flow.dst), address(flow.src), proto) };
    let back = packet::build(&back);
    program.set_templates(std::slice::from_ref(&back))?;
    program.run(&back, ifindex)?;
    Ok(program.flows(FlowTable::Answered)?.iter().any(|(of, _)| Some(*of) == key(spec)))
}
