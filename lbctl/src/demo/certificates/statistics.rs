//! Owns the statistics of a certificate balancer by their names, read off the program's counters, and what they must add up
//! to. Never how they look.

use std::time::Duration;

use ebpf_runtime::status::{Status, TallyKind};
use serde::Serialize;

use super::cast::ClientReport;

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Statistics {
    pub after_millis: u64,
    pub total_packets: u64,
    pub sessions_created: u64,
    pub sessions_reused: u64,
    pub auth_success: u64,
    pub auth_failed: u64,
    pub cert_invalid: u64,
    pub cert_expired: u64,
    pub no_backend_available: u64,
    pub load_balanced: u64,
    pub backends: Vec<Backend>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Backend {
    pub name: String,
    pub connections: u64,
    pub requests: u64,
    pub bytes: u64,
}

impl Statistics {
    pub fn of(status: &Status, after: Duration) -> Statistics {
        let named = |name: &str| {
            let named = status.tallies.iter().filter(|tally| tally.kind == TallyKind::Named);
            named.filter(|tally| tally.label == name).map(|tally| tally.packets).sum()
        };
        let created = status.slow_path.map_or(0, |slow| slow.sessions_begun);
        let load_balanced: u64 = named("load_balanced");
        let backends = status.pools.iter().flat_map(|pool| &pool.backends);
        Statistics {
            after_millis: after.as_millis() as u64,
            total_packets: named("total_packets"),
            sessions_created: created,
            // Every packet that is sent on is of a session: of one that it begins, or of one that is there.
            sessions_reused: load_balanced.saturating_sub(created),
            auth_success: named("auth_success"),
            auth_failed: named("auth_failed"),
            cert_invalid: named("cert_invalid"),
            cert_expired: named("cert_expired"),
            no_backend_available: named("no_backend_available"),
            load_balanced,
            backends: backends
                .map(|backend| Backend {
                    name: backend.name.clone(),
                    connections: backend.connections.unwrap_or(0),
                    requests: backend.requests,
                    bytes: backend.bytes,
                })
                .collect(),
        }
    }

    /// By name, as they are told.
    pub fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("total packets", self.total_packets),
            ("auth success", self.auth_success),
            ("cert invalid", self.cert_invalid),
            ("sessions created", self.sessions_created),
            ("auth failed", self.auth_failed),
            ("cert expired", self.cert_expired),
            ("sessions reused", self.sessions_reused),
            ("load balanced", self.load_balanced),
            ("no backend available", self.no_backend_available),
        ]
    }

    /// What they say otherwise than the clients, each of which knows what it sent.
    pub fn wrong(&self, clients: &[ClientReport]) -> Vec<String> {
        let sent = |which: &dyn Fn(&ClientReport) -> bool| -> u64 {
            clients.iter().filter(|client| which(client)).map(|client| client.sent).sum()
        };
        let served = sent(&|client| client.may_come_in);
        let flows = clients.iter().filter(|client| client.may_come_in).count() as u64;
        let due = Statistics {
            after_millis: self.after_millis,
            total_packets: sent(&|_| true),
            sessions_created: 1,
            sessions_reused: served.saturating_sub(1),
            auth_success: served,
            auth_failed: sent(&|client| !client.may_come_in),
            cert_invalid: sent(&|client| !client.may_come_in && !client.expired),
            cert_expired: sent(&|client| client.expired),
            no_backend_available: 0,
            load_balanced: served,
            backends: Vec::new(),
        };
        let told = self.named().into_iter().zip(due.named()).filter(|(is, due)| is != due);
        let mut wrong: Vec<String> =
            told.map(|((name, is), (_, due))| format!("{name}: {is}, and {due} ought to be")).collect();
        let sums = |of: &dyn Fn(&Backend) -> u64| -> u64 { self.backends.iter().map(of).sum() };
        for (name, is, due) in [
            ("requests", sums(&|backend| backend.requests), served),
            ("connections", sums(&|backend| backend.connections), flows),
        ] {
            if is != due {
                wrong.push(format!("{name} of the backends: {is}, and {due} ought to be"));
            }
        }
        wrong
    }
}
