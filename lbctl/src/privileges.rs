//! Owns asking whether this process may do what a verb needs, before anything is touched.
//! Never gains or drops a privilege.

use std::fs;

use crate::console::Failure;

/// Bits of `/proc/self/status`' capability sets (include/uapi/linux/capability.h).
const NEEDED: &[(u32, &str)] =
    &[(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// What an agent needs besides, where certificates are checked: it sends by a packet socket, and may receive by AF_XDP.
const FOR_CERTIFICATES: &[(u32, &str)] = &[(13, "CAP_NET_RAW")];

/// Names of the capabilities that loading, attaching and pinning need and this process lacks.
pub fn missing() -> Vec<&'static str> {
    lacking(NEEDED)
}

/// Likewise of those that an agent needs besides to have checked packets go on.
pub fn missing_for_certificates() -> Vec<&'static str> {
    lacking(FOR_CERTIFICATES)
}

fn lacking(capabilities: &[(u32, &'static str)]) -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective(&status);
    capabilities.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|&(_, name)| name).collect()
}

fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Refuses in one sentence to go on with `lbctl VERB` where it would fail half-way.
pub fn require(verb: &str) -> Result<(), Failure> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let need = if nix::unistd::geteuid().is_root() {
        format!(
            "lbctl {verb} lacks {} although it runs as root: a container must be given them",
            list(&missing)
        )
    } else {
        format!("lbctl {verb} needs root (or {}): run it with sudo", list(&missing))
    };
    Err(Failure::new(need))
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read_from_the_process_status() {
        let status =
            "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\tffffffffffffffff\nCapEff:\t0000008000001000\n";
        assert_eq!(effective(status), 1 << 39 | 1 << 12);
        assert_eq!(effective(""), 0);
    }
}
