//! Owns the numbers that an image cannot hold: too many trackers, slots, turns of weights, times of limits. Never what
//! takes too many words or classes, which shows as they are written.

use lb_abi::image::{LIMIT_SHIFT, MAX_PICKED, MAX_POLICY_CERTIFICATES, MAX_TRACKERS};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Backend, Limit, LimitUnit, Pick, Policy, Pool, Rate};

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
    let certificates = policy.authorities.iter().flat_map(|authority| &authority.certificates);
    let certificates = certificates
        .clone()
        .nth(MAX_POLICY_CERTIFICATES)
        .map(|first| refusals::certificates(certificates.count(), first.span));
    trackers.into_iter().chain(limits).chain(pools).chain(certificates).map(|refused| *refused).collect()
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

/// Time of one signature and of the burst, in 1/64 ns. The burst is what the rate brings in a tenth of a second, and a few
/// at least.
pub fn check_times(rate: Rate) -> (u64, u64) {
    let per = rate.per.as_nanos();
    let interval = per * (1 << LIMIT_SHIFT) / u128::from(rate.count.max(1));
    let burst = (u128::from(rate.count) * 100_000_000 / per.max(1)).max(16);
    let bound = |time: u128| time.min(LIMIT_BOUND - 1) as u64;
    (bound(interval), bound(interval * burst))
}

/// Whether a slot table can be made of these backends of a pool.
pub fn slots_fit(pool: &Pool, candidates: &[Candidate<'_>]) -> Result<(), Box<Diagnostic>> {
    if let Some(first) = candidates.get(MAX_PICKED) {
        return Err(refusals::picked(&pool.name, first.name, pool.span));
    }
    if pool.pick != Pick::LeastConnections && slots::turn_count(candidates) > slots::MAX_TURNS {
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
