//! Owns the examination of a host: what a policy needs of kernel, privileges, devices and ports, each as a finding with
//! the command that mends it. Never mends anything itself.

mod device;
mod host;
mod instances;

use std::path::Path;

use ebpf_runtime::run_dir::RunDir;
use ebpf_runtime::{Error, net};
use policy_lang::policy::Policy;
use serde::Serialize;

use crate::source_ports;

/// What was found of one thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at: `kernel`, `MTU`, `source ports`.
    pub check: &'static str,
    /// Device, pool or instance; nothing for the host.
    pub of: Option<String>,
    pub level: Level,
    pub found: String,
    /// The command that mends it.
    pub mend: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// It works, but not as well or not with every policy.
    Warn,
    /// `apply` or the policy will not work.
    Fail,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, of: None, level: Level::Ok, found: found.into(), mend: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { check, of: None, level: Level::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { check, of: None, level: Level::Fail, found: found.into(), mend: Some(mend.into()) }
    }

    fn of(self, of: &str) -> Finding {
        Finding { of: Some(of.to_owned()), ..self }
    }
}

/// What to look at besides the host.
pub struct Scope<'a> {
    pub hash_key: &'a Path,
    /// None: every device that is up.
    pub devices: &'a [String],
    pub policy: Option<&'a Policy>,
}

/// Looks at everything in scope, in the order in which it matters. `UnknownDevice` for a device that is not there.
pub fn examine(run_dir: &RunDir, scope: &Scope<'_>) -> Result<Vec<Finding>, Error> {
    let links = net::links().map_err(|cause| Error::kernel("list the network devices", cause))?;
    let chosen = device::choose(&links, scope.devices)?;
    let mut findings = host::examine(scope.hash_key);
    findings.push(host::bpffs(run_dir));
    let (instances, ours) = instances::examine(run_dir);
    findings.extend(instances);
    findings.extend(chosen.into_iter().flat_map(|link| device::examine(link, &ours)));
    if let Some(policy) = scope.policy {
        findings.extend(source_ports(policy));
    }
    Ok(findings)
}

fn source_ports(policy: &Policy) -> impl Iterator<Item = Finding> + '_ {
    const CHECK: &str = "source ports";
    let conflicts = source_ports::conflicts(policy);
    policy.pools.iter().enumerate().filter_map(move |(index, pool)| {
        let (first, last) = pool.ports?;
        let finding = match conflicts.iter().find(|conflict| conflict.pool == index) {
            Some(conflict) => Finding::fail(CHECK, &conflict.found, &conflict.mend),
            None => Finding::ok(CHECK, format!("{first}-{last} are nobody else's")),
        };
        Some(finding.of(&pool.name))
    })
}
