//! Owns the findings on the instances of this network namespace and their agents. Never takes an instance's lock.

use ebpf_runtime::Error;
use ebpf_runtime::instance::Instance;
use ebpf_runtime::run_dir::RunDir;
use ebpf_runtime::status::Status;

use super::Finding;

/// The findings, and the kernel's ids of the programs that are ours.
pub fn examine(run_dir: &RunDir) -> (Vec<Finding>, Vec<u32>) {
    let names = match Instance::list(run_dir) {
        Ok(names) => names,
        Err(error) => {
            let finding =
                Finding::warn("instances", format!("can't be listed: {error}"), "sudo lbctl doctor");
            return (vec![finding], Vec::new());
        }
    };
    if names.is_empty() {
        return (vec![Finding::ok("instances", "none in this network namespace")], Vec::new());
    }
    let mut findings = Vec::new();
    let mut ours = Vec::new();
    for name in names {
        let status = Instance::status(run_dir, &name);
        ours.extend(status.iter().map(|status| status.program.id));
        findings.push(agent(&name, &status).of(&name));
    }
    (findings, ours)
}

fn agent(name: &str, status: &Result<Status, Error>) -> Finding {
    match status {
        Err(error) => {
            let cure = format!("lbctl status --instance {name}");
            Finding::warn("agent", format!("no status: {error}"), cure)
        }
        Ok(status) if status.trackers.is_empty() => {
            Finding::ok("agent", format!("policy {} tracks no flows and needs none", status.policy))
        }
        Ok(status) => match status.agent {
            Some(id) => Finding::ok("agent", format!("process {id} serves policy {}", status.policy)),
            None => Finding::warn(
                "agent",
                format!("nobody ages the flows of policy {} or watches its neighbours", status.policy),
                format!("lbctl agent --instance {name}"),
            ),
        },
    }
}
