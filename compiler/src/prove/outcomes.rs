//! Owns what can become of a packet at a stage, whatever the state. Never what follows behind the stage.

use policy_lang::policy::{Exit, LimitUnit, Policy, Pool, StageKind};

use super::conditions::Conditions;
use crate::lower::diagram::{NOTHING, Ref, TRUE, TooLarge};
use crate::lower::region::Regions;

/// How a packet can leave a stage.
#[derive(Clone, Copy)]
pub enum Outcome<'p> {
    On,
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
        // Signatures, hellos and cookies may turn out either way.
        StageKind::Verify { .. } | StageKind::Map { .. } | StageKind::Synguard { .. } => {
            let exits = stage.exits().into_iter();
            let exits = exits.map(|(name, exit)| (Outcome::Exit(exit, name), TRUE));
            std::iter::once((Outcome::On, TRUE)).chain(exits).collect()
        }
        StageKind::Limit { limit, exceed } => {
            let counted = match policy.limits.get(limit.index()).map(|limit| limit.unit) {
                Some(LimitUnit::Syns) => is.syn,
                Some(LimitUnit::Connections) => is.connection,
                _ => TRUE,
            };
            vec![(Outcome::On, TRUE), (Outcome::Exit(exceed, "exceed"), counted)]
        }
        StageKind::Track { full, invalid, .. } => vec![
            (Outcome::On, is.trackable),
            (Outcome::Exit(full, "full"), is.track_full),
            (Outcome::Exit(invalid, "invalid"), is.track_invalid),
            (Outcome::Refused, is.fragment),
        ],
        StageKind::Translate { pool, empty, ports } => {
            let served =
                policy.pools.get(pool.index()).map_or(Ok(NOTHING), |pool| served(pool, is, regions))?;
            let on = regions.diagrams.mask(is.translatable, served)?;
            let others = regions.diagrams.not(is.translatable)?;
            let refused = regions.diagrams.over(others, is.known)?;
            vec![
                (Outcome::On, on),
                (Outcome::Exit(empty, "empty"), is.translatable),
                (Outcome::Exit(ports, "ports"), on),
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
