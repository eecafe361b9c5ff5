//! Owns the descriptors of authorities, and the lists of their certificates. Never the check of a signature.

use std::fmt::Write;

use lb_abi::bundle::{self, Dense, Image, Relocation};
use lb_abi::image::{
    A_ALL_BURST, A_ALL_INTERVAL, A_CERTIFICATES, A_FLAGS, A_ID, A_SOURCE_BURST, A_SOURCE_INTERVAL,
    AUTHORITY_IDS, AUTHORITY_ONCE, AUTHORITY_STRIP, AUTHORITY_WORDS,
};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Authority, AuthorityId, Certificate, Policy, Rate};

use super::identity::identity;
use super::words::{Full, Words};
use super::{bounds, refusals};

/// All authorities and certificates, in the order in which the policy numbers them.
pub fn declare(policy: &Policy, image: &mut Image) {
    for (ordinal, authority) in (0..).zip(&policy.authorities) {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        image.authorities.push(bundle::Authority {
            identity: identity(&["authority", &authority.name]),
            name: authority.name.clone(),
            replay: authority.replay.map(nanoseconds),
            checks: a_second(authority.checks),
        });
        let certificate = |certificate: &Certificate| bundle::Certificate {
            identity: certificate_identity(authority, certificate),
            authority: ordinal,
            id: certificate.id,
            hash: certificate.hash,
            key: certificate.key,
            valid: certificate.valid,
            revoked: authority.revoked.contains(&certificate.hash),
            name: certificate.subject.clone(),
        };
        image.certificates.extend(authority.certificates.iter().map(certificate));
    }
}

fn a_second(rate: Rate) -> u64 {
    let a_second = (u128::from(rate.count) * 1_000_000_000).div_ceil(rate.per.as_nanos().max(1));
    u64::try_from(a_second).unwrap_or(u64::MAX)
}

/// The same certificate keeps its session under another id; a key that is yet to be made has but its id.
fn certificate_identity(authority: &Authority, certificate: &Certificate) -> u64 {
    let own = match certificate.key {
        Some(_) => certificate.hash.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        None => certificate.id.to_string(),
    };
    identity(&["certificate", &authority.name, &own])
}

pub fn authority(
    id: AuthorityId,
    policy: &Policy,
    words: &mut Words,
    image: &mut Image,
) -> Result<u32, Box<Diagnostic>> {
    let authority = &policy.authorities[id.index()];
    let full = |Full| refusals::words(authority.span);
    let mut row = [0; AUTHORITY_WORDS];
    row[A_ID] = id.0;
    row[A_FLAGS] = if authority.every_packet { 0 } else { AUTHORITY_ONCE }
        | if authority.strip { AUTHORITY_STRIP } else { 0 };
    for (rate, interval_at, burst_at) in [
        (authority.checks_per_source, A_SOURCE_INTERVAL, A_SOURCE_BURST),
        (authority.checks, A_ALL_INTERVAL, A_ALL_BURST),
    ] {
        let (interval, tolerance) = bounds::check_times(rate);
        (row[interval_at], row[interval_at + 1]) = (interval as u32, (interval >> 32) as u32);
        (row[burst_at], row[burst_at + 1]) = (tolerance as u32, (tolerance >> 32) as u32);
    }
    let ids = words.reserve(AUTHORITY_IDS).map_err(full)?;
    row[A_CERTIFICATES] = ids;
    for (number, certificate) in (policy.certificate_number(id, 0)..).zip(&authority.certificates) {
        let word = ids + u32::from(certificate.id);
        words.words[word as usize] = 1 + number;
        image.relocations.push(Relocation { word, kind: Dense::Certificate });
    }
    words.append(&row).map_err(full)
}
