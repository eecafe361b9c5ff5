//! Owns `verify`: whether a packet's trailer is that of a certificate which the authority accepts now ("verify" in
//! `docs/packet-path.md`). Never cuts the trailer off: that is planned.

use lb_abi::image::FRAG_NONE;
use lb_abi::maps::DIR_ORIGINAL;

use super::{Plan, Way, live_flow};
use crate::eval::State;
use crate::packet::{Fields, Layer4, flow_key, payload, test_public_key, trailer};

/// Settings of a `verify`.
#[derive(Clone, Copy)]
pub struct VerifyParams<'a> {
    /// Ordinal of the authority.
    pub id: u32,
    /// `once per session`.
    pub once: bool,
    pub strip: bool,
    /// For how many ns a signature is remembered.
    pub replay: Option<u64>,
    /// The authority's certificate with this id.
    pub certificate: &'a dyn Fn(u8) -> Option<Certified<'a>>,
}

/// A certificate of an authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certified<'a> {
    /// `Policy::certificate_number`, an ordinal of the image.
    pub number: u32,
    pub hash: [u8; 32],
    /// SEC 1, section 2.3.3, uncompressed; none where the agent generates it.
    pub key: Option<&'a [u8; 65]>,
    /// Seconds since 1970, ends included.
    pub valid: Option<(i64, i64)>,
    pub is_revoked: bool,
    pub subject: &'a str,
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
    let Some(certificate) = (params.certificate)(trailer.id) else {
        return (Way::Invalid, format!("no certificate {}", trailer.id));
    };
    if trailer.hash != certificate.hash {
        return (Way::Invalid, format!("the hash is not that of certificate {}", trailer.id));
    }
    if trailer.reserved != [0; 3] {
        return (Way::Invalid, "the reserved bytes are not 0".to_owned());
    }
    if certificate.is_revoked {
        return (Way::Revoked, format!("certificate {} is revoked", trailer.id));
    }
    let now = state.wall_clock();
    if let Some((from, until)) = certificate.valid
        && !(from..=until).contains(&now)
    {
        let why = if now < from { "not valid yet" } else { "valid no longer" };
        return (Way::Expired, format!("certificate {} is {why}", trailer.id));
    }
    let is_in_session = params.once && session(state, fields) == Some(certificate.number);
    if !is_in_session {
        let is_signed = if state.test_keys {
            trailer.is_signed_by(&test_public_key(&certificate.hash), signed)
        } else {
            certificate.key.is_some_and(|key| trailer.is_signed_by(key, signed))
        };
        if !is_signed {
            return (Way::Invalid, format!("not the signature of certificate {}", trailer.id));
        }
        if let Some(window) = params.replay
            && !remember(state, (params.id, trailer.one_form()), window)
        {
            return (Way::Replayed, "the signature was seen before".to_owned());
        }
    }
    plan.learned.certificate = Some(certificate.number);
    plan.strip = plan.strip || params.strip;
    let before = if is_in_session { ", verified before" } else { "" };
    let subject = match certificate.subject {
        "" => String::new(),
        subject => format!(", \"{subject}\""),
    };
    (Way::On, format!("certificate {}{subject}{before}", trailer.id))
}

/// Remembers a signature of an authority; false if it was seen within the window.
fn remember(state: &mut State, signature: (u32, [u8; 64]), window: u64) -> bool {
    let now = state.clock;
    state.signatures.retain(|(of, _), seen| *of != signature.0 || now.saturating_sub(*seen) <= window);
    if state.signatures.contains_key(&signature) {
        return false;
    }
    state.signatures.insert(signature, now);
    true
}

/// The certificate that the packet's live flow was verified by, in the direction in which it was.
fn session(state: &State, fields: &Fields) -> Option<u32> {
    live_flow(state, fields).filter(|flow| flow.dir == DIR_ORIGINAL)?;
    state.learned.get(&flow_key(fields))?.certificate
}
