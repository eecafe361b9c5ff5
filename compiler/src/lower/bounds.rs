//! Owns the numbers that an image cannot hold: too many trackers, slots, turns of weights, times of limits. Never what
//! takes too many words or classes, which shows as they are written.

use lb_abi::image::{LIMIT_SHIFT, MAX_TRACKERS};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Backend, Limit, LimitUnit, Pick, Policy, Pool};

use super::refusals;
use super::slots::{self, Candidate};

/// Times of a limit in 1/64 ns stay below this, so that no sum of two overflows in the kernel: about two years.
const LIMIT_BOUND: u128 = 1 << 62;

/// Everything declared that no image can hold, whether a chain names it or not: images hold all of it.
pub fn beyond(policy: &Policy) -> Vec<Diagnostic> {
    let trackers =
        policy.trackers.get(MAX_TRACKERS).map(|first| refusals::trackers(policy.trackers.len(), first.span));
    let limits = policy.limits.iter().filter_map(|limit| limit_times(limit).err());
    let pools = policy.pools.iter().filter_map(|pool| pool_slots(pool).err());
    trackers.into_iter().chain(limits).chain(pools).map(|refused| *refused).collect()
}

/// Time of one unit and of the burst, in 1/64 ns.
pub fn limit_times(limit: &Limit) -> Result<(u64, u64), Box<Diagnostic>> {
    // A limit on bits counts bytes.
    let bits = if limit.unit == LimitUnit::Bits { 8 } else { 1 };
    let interval = limit.per.as_nanos() * bits * (1 << LIMIT_SHIFT) / u128::from(limit.rate.max(1));
    let burst = interval * (u128::from(limit.burst) / bits);
    let most = interval * if bits == 8 { 65_535 } else { 1 };
    if most >= LIMIT_BOUND || burst >= LIMIT_BOUND {
        return Err(refusals::limit(limit));
    }
    Ok((interval as u64, burst as u64))
}

fn pool_slots(pool: &Pool) -> Result<(), Box<Diagnostic>> {
    for v4 in [true, false] {
        let of_family = |backend: &&Backend| if v4 { backend.v4.is_some() } else { backend.v6.is_some() };
        let backends = pool.backends.iter().filter(of_family).filter(|backend| takes_flows(backend));
        let candidates: Vec<Candidate<'_>> = backends
            .map(|backend| Candidate { name: &backend.name, weight: backend.weight, backend: 0 })
            .collect();
        slots_fit(pool, &candidates)?;
    }
    Ok(())
}

/// Whether a slot table can be made of these backends of a pool.
pub fn slots_fit(pool: &Pool, candidates: &[Candidate<'_>]) -> Result<(), Box<Diagnostic>> {
    if slots::turn_count(candidates) > slots::MAX_TURNS {
        return Err(refusals::weights(&pool.name, pool.span));
    }
    match pool.pick {
        Pick::Maglev { slots, .. } if !slots::is_prime(slots) => {
            Err(refusals::slots(&pool.name, slots, pool.span))
        }
        _ => Ok(()),
    }
}

/// Whether a backend is given new flows.
pub fn takes_flows(backend: &Backend) -> bool {
    !backend.drain && backend.weight > 0
}
