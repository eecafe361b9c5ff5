//! Owns what does not fit: flows and the ports they need, packets and the headers put in front of them. Never the image,
//! whose bounds `lower` holds.

use std::collections::{BTreeMap, BTreeSet};

use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{Chain, Policy, Pool, PoolId, StageKind, TrackerId, Via};
use policy_lang::source::Span;

/// IPv4 and IPv6 without options, UDP.
const OUTER: [u32; 2] = [20, 40];
const UDP: u32 = 8;

pub fn tables(policy: &Policy) -> Vec<Diagnostic> {
    let mut uses = Uses::default();
    uses.chain(&policy.root);
    policy.trees.iter().for_each(|tree| uses.chain(&tree.chain));
    let mut found = Vec::new();
    ports(policy, &uses, &mut found);
    headroom(policy, &uses, &mut found);
    found
}

/// Pools that are translated to, and those behind each tracker in its own chain.
#[derive(Default)]
struct Uses {
    pools: BTreeSet<PoolId>,
    behind: BTreeMap<TrackerId, BTreeSet<PoolId>>,
    /// Trackers in a chain that does not translate itself.
    elsewhere: BTreeSet<TrackerId>,
}

impl Uses {
    fn chain(&mut self, chain: &Chain) {
        super::each_chain(chain, &mut |chain| {
            let mut tracker = None;
            for stage in &chain.stages {
                match stage.kind {
                    StageKind::Track { tracker: by, .. } => tracker = Some(by),
                    StageKind::Translate { pool, .. } => {
                        self.pools.insert(pool);
                        if let Some(tracker) = tracker.take() {
                            self.behind.entry(tracker).or_default().insert(pool);
                        }
                    }
                    _ => {}
                }
            }
            self.elsewhere.extend(tracker);
        });
    }
}

/// Flows that a pool has ports for: each address and port of a backend has all sources and ports of its own.
fn capacity(pool: &Pool) -> Option<u64> {
    let (first, last) = pool.ports.filter(|_| pool.via == Via::Nat)?;
    let ports = u64::from(last.saturating_sub(first)) + 1;
    let usable = || pool.backends.iter().filter(|backend| !backend.drain && backend.weight > 0);
    let v4 = usable().filter(|backend| backend.v4.is_some()).count() * pool.sources_v4.len();
    let v6 = usable().filter(|backend| backend.v6.is_some()).count() * pool.sources_v6.len();
    Some((v4 + v6) as u64 * ports)
}

/// A tracker all of whose pools together have fewer ports than it has flows.
fn ports(policy: &Policy, uses: &Uses, found: &mut Vec<Diagnostic>) {
    for (id, pools) in uses.behind.iter().filter(|(id, _)| !uses.elsewhere.contains(id)) {
        let Some(tracker) = policy.trackers.get(id.index()) else { continue };
        let pools: Vec<&Pool> = pools.iter().filter_map(|pool| policy.pools.get(pool.index())).collect();
        // A pool without sources takes no ports of ours.
        let Some(room) = pools.iter().map(|pool| capacity(pool)).sum::<Option<u64>>() else { continue };
        if room < u64::from(tracker.max) {
            let places = pools.iter().map(|pool| (pool.span, "its sources, ports and backends".to_owned()));
            let message =
                format!("`{}` may know {} flows, and there are ports for {room}", tracker.name, tracker.max);
            let why = "each backend can have as many flows as there are sources times ports";
            let help = "list more sources or ports, or let `max` be what can be reached";
            found.push(warning("W0451", tracker.span, message, places.collect(), why, help));
        }
    }
}

/// Packets as long as the smallest interface takes must fit some interface with the outer header in front.
fn headroom(policy: &Policy, uses: &Uses, found: &mut Vec<Diagnostic>) {
    let mtus: Option<Vec<u32>> = policy.interfaces.iter().map(|interface| interface.mtu).collect();
    let Some(mtus) = mtus else { return };
    let (Some(&least), Some(&most)) = (mtus.iter().min(), mtus.iter().max()) else { return };
    for pool in uses.pools.iter().filter_map(|pool| policy.pools.get(pool.index())) {
        let udp = match pool.via {
            Via::Nat | Via::L2dsr => continue,
            Via::Ipip => 0,
            Via::Gue { .. } => UDP,
        };
        let is_v6 = pool.backends.iter().any(|backend| backend.v6.is_some());
        let header = OUTER.get(usize::from(is_v6)).copied().unwrap_or(0) + udp;
        if least + header > most {
            let places = policy.interfaces.iter().map(|interface| (interface.span, String::new()));
            let message = format!(
                "`{}` adds {header} bytes to each packet, and no interface takes more than {most}",
                pool.name
            );
            let why = "a packet that fills the interface it comes by does not fit out again";
            let help = "raise the `mtu` towards the backends, or have clients told a smaller MSS";
            found.push(warning("W0452", pool.span, message, places.collect(), why, help));
        }
    }
}

pub fn warning(
    code: &'static str,
    place: Span,
    message: String,
    secondary: Vec<(Span, String)>,
    why: &str,
    help: &str,
) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Warning,
        message,
        primary: (place, String::new()),
        secondary,
        reason: Some(why.to_owned()),
        help: Some(help.to_owned()),
    }
}
