//! Owns what can become of a packet at a stage, whatever the state. Never what follows behind the stage.

use policy_lang::policy::{Exit, LimitUnit, Policy, Pool, StageKind, Via};

use super::conditions::Conditions;
use crate::lower::diagram::{NOTHING, Ref, TRUE, TooLarge};
use crate::lower::region::Regions;

/// How a packet can leave a stage.
#[derive(Clone, Copy)]
pub enum Outcome<'p> {
    On,
    /// On, as the SYN that the packet's cookie stands for.
    Opens,
    Exit(&'p Exit, &'static str),
    /// Dropped by the stage itself.
    Refused,
}

/// What can become of packets at a stage, whatever the state (`docs/packet-path.md`, section 3).
pub fn outcomes<'p>(
    stage: &'p StageKind,
    policy: &Policy,
    is: &Conditions<Ref>,
    regions: &mut Regions<'_, '_>,
) -> Result<Vec<(Outcome<'p>, Ref)>, TooLarge> {
    Ok(match stage {
        StageKind::Count { .. } | StageKind::Log { .. } | StageKind::Ban { .. } => {
            vec![(Outcome::On, TRUE)]
        }
        StageKind::Verify { authority, exits } => {
            let accepted = is.certified.get(authority.index()).copied().unwrap_or(NOTHING);
            let others = regions.diagrams.not(accepted)?;
            let refused = regions.diagrams.mask(is.signable, others)?;
            let when = |exit, packets| if policy.can_leave(stage, exit) { packets } else { NOTHING };
            vec![
                (Outcome::On, accepted),
                (Outcome::Exit(&exits.missing, "missing"), others),
                (Outcome::Exit(&exits.invalid, "invalid"), refused),
                (Outcome::Exit(&exits.expired, "expired"), when("expired", refused)),
                (Outcome::Exit(&exits.revoked, "revoked"), when("revoked", refused)),
                (Outcome::Exit(&exits.replayed, "replayed"), when("replayed", refused)),
            ]
        }
        StageKind::Map { missing, invalid, full, .. } => {
            let others = regions.diagrams.not(is.named)?;
            let asking = regions.diagrams.mask(is.datagram, others)?;
            vec![
                (Outcome::On, is.named),
                (Outcome::Exit(missing, "missing"), others),
                (Outcome::Exit(invalid, "invalid"), asking),
                (Outcome::Exit(full, "full"), asking),
            ]
        }
        // A SYN that is answered by a cookie comes to no end of the policy.
        StageKind::Synguard { bad, .. } => vec![
            (Outcome::On, TRUE),
            (Outcome::Opens, is.opening),
            (Outcome::Exit(bad, "bad"), is.opening),
            (Outcome::Refused, is.tcp),
        ],
        StageKind::Limit { limit, exceed } => {
            let counted = match policy.limits.get(limit.index()).map(|limit| limit.unit) {
                Some(LimitUnit::Syns) => is.syn,
                Some(LimitUnit::Connections) => is.connection,
                _ => TRUE,
            };
            vec![(Outcome::On, TRUE), (Outcome::Exit(exceed, "exceed"), counted)]
        }
        StageKind::Track { full, invalid, .. } => {
            let whole = regions.diagrams.not(is.fragment)?;
            let is_nat = |pool: &Pool| pool.via == Via::Nat;
            // Towards a pool that answers clients itself, flows are picked up at any packet.
            let picked_up = if policy.pools.iter().all(is_nat) { NOTHING } else { whole };
            let invalid_when = if policy.pools.is_empty() || policy.pools.iter().any(is_nat) {
                is.track_invalid
            } else {
                NOTHING
            };
            let unknown = regions.diagrams.not(is.known)?;
            let refused = regions.diagrams.mask(picked_up, unknown)?;
            vec![
                (Outcome::On, regions.diagrams.over(is.trackable, picked_up)?),
                (Outcome::Exit(full, "full"), regions.diagrams.over(is.track_full, refused)?),
                (Outcome::Exit(invalid, "invalid"), invalid_when),
                (Outcome::Refused, is.fragment),
            ]
        }
        StageKind::Translate { pool, empty, ports } => {
            let served =
                policy.pools.get(pool.index()).map_or(Ok(NOTHING), |pool| served(pool, is, regions))?;
            let on = regions.diagrams.mask(is.translatable, served)?;
            let others = regions.diagrams.not(is.translatable)?;
            let refused = regions.diagrams.over(others, is.known)?;
            vec![
                (Outcome::On, on),
                (Outcome::Exit(empty, "empty"), is.translatable),
                (Outcome::Exit(ports, "ports"), if policy.can_leave(stage, "ports") { on } else { NOTHING }),
                (Outcome::Refused, refused),
            ]
        }
        StageKind::TranslateBack { invalid } => {
            let whole = regions.diagrams.not(is.fragment)?;
            let on = regions.diagrams.mask(is.translatable, is.known)?;
            vec![
                (Outcome::On, on),
                (Outcome::Exit(invalid, "invalid"), whole),
                (Outcome::Refused, is.fragment),
            ]
        }
    })
}

/// Packets of a family that the pool has a backend of: one for new flows, or for known ones one that drains.
fn served(pool: &Pool, is: &Conditions<Ref>, regions: &mut Regions<'_, '_>) -> Result<Ref, TooLarge> {
    let v6 = regions.diagrams.not(is.v4)?;
    let mut parts = Vec::new();
    for backend in &pool.backends {
        let takes = if backend.weight > 0 && !backend.drain { TRUE } else { is.known };
        for (family, has) in [(is.v4, backend.v4.is_some()), (v6, backend.v6.is_some())] {
            if has {
                parts.push(regions.diagrams.mask(family, takes)?);
            }
        }
    }
    parts.sort_unstable();
    parts.dedup();
    parts.iter().try_fold(NOTHING, |any, &part| regions.diagrams.over(any, part))
}
