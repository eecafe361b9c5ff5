//! Owns `verify`: whether a packet's trailer is that of a certificate which the authority accepts now ("verify" in
//! `docs/packet-path.md`). Never cuts the trailer off: that is planned.

use lb_abi::image::FRAG_NONE;
use lb_abi::maps::DIR_ORIGINAL;
use policy_lang::policy::Authority;

use super::{Plan, Way, live_flow};
use crate::eval::State;
use crate::packet::{Fields, Layer4, flow_key, payload, test_public_key, trailer};

/// The authority of a `verify`, and its place among all.
#[derive(Clone, Copy)]
pub struct VerifyParams<'a> {
    pub id: u32,
    pub authority: &'a Authority,
    /// `Policy::certificate_number` of its first certificate.
    pub first: u32,
}

/// Plans that the packet has a certificate, or says in words why not; all exits of `verify`.
pub fn verify(
    state: &mut State,
    params: &VerifyParams<'_>,
    frame: &[u8],
    fields: &Fields,
    plan: &mut Plan,
) -> (Way, String) {
    let is_udp = fields.frag == FRAG_NONE && matches!(fields.layer4, Layer4::Udp { .. });
    let found = payload(frame, fields).filter(|_| is_udp).and_then(trailer);
    let Some((signed, trailer)) = found else {
        return (Way::Missing, "no trailer at the end".to_owned());
    };
    let mut numbered = (params.first..).zip(&params.authority.certificates);
    let Some((number, certificate)) = numbered.find(|(_, certificate)| certificate.id == trailer.id) else {
        return (Way::Invalid, format!("no certificate {}", trailer.id));
    };
    if trailer.hash != certificate.hash {
        return (Way::Invalid, format!("the hash is not that of certificate {}", trailer.id));
    }
    if trailer.reserved != [0; 3] {
        return (Way::Invalid, "the reserved bytes are not 0".to_owned());
    }
    let is_in_session = !params.authority.every_packet && session(state, fields) == Some(number);
    let is_signed = || {
        if state.test_keys {
            trailer.is_signed_by(&test_public_key(certificate), signed)
        } else {
            certificate.key.as_ref().is_some_and(|key| trailer.is_signed_by(key, signed))
        }
    };
    if !is_in_session && !is_signed() {
        return (Way::Invalid, format!("not the signature of certificate {}", trailer.id));
    }
    if params.authority.revoked.contains(&certificate.hash) {
        return (Way::Revoked, format!("certificate {} is revoked", trailer.id));
    }
    let now = state.wall_clock();
    if let Some((from, until)) = certificate.valid
        && !(from..=until).contains(&now)
    {
        let why = if now < from { "not valid yet" } else { "valid no longer" };
        return (Way::Expired, format!("certificate {} is {why}", trailer.id));
    }
    if let Some(window) = params.authority.replay.filter(|_| !is_in_session) {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let now = state.clock;
        state.signatures.retain(|(of, _), seen| *of != params.id || now.saturating_sub(*seen) <= window);
        let signature = (params.id, trailer.one_form());
        if state.signatures.contains_key(&signature) {
            return (Way::Replayed, "the signature was seen before".to_owned());
        }
        state.signatures.insert(signature, now);
    }
    plan.learned.certificate = Some(number);
    plan.strip = plan.strip || params.authority.strip;
    let before = if is_in_session { ", verified before" } else { "" };
    let subject = match certificate.subject.as_str() {
        "" => String::new(),
        subject => format!(", \"{subject}\""),
    };
    (Way::On, format!("certificate {}{subject}{before}", trailer.id))
}

/// The certificate that the packet's live flow was verified by, in the direction in which it was.
fn session(state: &State, fields: &Fields) -> Option<u32> {
    live_flow(state, fields).filter(|flow| flow.dir == DIR_ORIGINAL)?;
    state.learned.get(&flow_key(fields))?.certificate
}
