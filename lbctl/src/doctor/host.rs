//! Owns the findings on the host: kernel, privileges, bpffs, routing and the hash key.
//! Never looks at a device or an instance.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ebpf_runtime::run_dir::RunDir;

use super::Finding;
use crate::privileges;

/// Fetching atomics, `bpf_xdp_load_bytes` and large map values.
const KERNEL: (u32, u32) = (6, 1);

pub fn examine(hash_key: &Path) -> Vec<Finding> {
    vec![kernel(), btf(), jit(), capabilities(), memlock(), forwarding(), key(hash_key)]
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    kernel_of(release.trim())
}

fn kernel_of(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let wanted = format!("{}.{}", KERNEL.0, KERNEL.1);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL => {
            Finding::ok("kernel", format!("Linux {release}, at least {wanted}"))
        }
        _ => Finding::fail(
            "kernel",
            format!("Linux {release} is older than {wanted}"),
            "install a newer kernel (Debian 12, Ubuntu 24.04, RHEL 10 or later have one)",
        ),
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok("BTF", "the kernel describes its types")
    } else {
        Finding::warn(
            "BTF",
            "the kernel has no /sys/kernel/btf/vmlinux: programs load, but tools show them without names",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

fn jit() -> Finding {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => Finding::warn(
            "JIT",
            "programs are interpreted, many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Finding::ok("JIT", "programs are compiled"),
        // The switch is missing where the JIT is always on, and outside of the host's first network namespace.
        Err(_) => Finding::ok("JIT", "no switch in this network namespace"),
    }
}

fn capabilities() -> Finding {
    capabilities_without(&privileges::missing(), &privileges::missing_for_certificates())
}

fn capabilities_without(missing: &[&str], for_certificates: &[&str]) -> Finding {
    if !missing.is_empty() {
        return Finding::fail("capabilities", format!("missing {}", missing.join(", ")), "sudo lbctl doctor");
    }
    if !for_certificates.is_empty() {
        let what = format!(
            "missing {}: an agent without it cannot send on what it has checked (verify)",
            for_certificates.join(", ")
        );
        return Finding::warn("capabilities", what, "give it to the service, or run lbctl as root");
    }
    Finding::ok("capabilities", "all that loading, attaching, pinning and certificates need")
}

/// Since Linux 5.11 maps are charged to the memory control group, and 6.1 is needed anyway.
fn memlock() -> Finding {
    Finding::ok("locked memory", "maps count against the control group, not RLIMIT_MEMLOCK")
}

pub fn bpffs(run_dir: &RunDir) -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.split_whitespace().last() == Some("bpf")) {
        let cure = "boot a kernel built with CONFIG_BPF_SYSCALL=y";
        return Finding::fail("bpffs", "the kernel has no bpf file system", cure);
    }
    // Pins belong to the mount namespace of process 1, where every command finds them.
    let mounts = fs::read_to_string("/proc/1/mounts").or_else(|_| fs::read_to_string("/proc/self/mounts"));
    let place = run_dir.path().join("bpf");
    let mounted = mounts.unwrap_or_default().lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == place.to_str() && words.next() == Some("bpf")
    });
    if mounted {
        Finding::ok("bpffs", format!("mounted at {}", place.display()))
    } else {
        Finding::ok("bpffs", format!("to be had; apply mounts it at {}", place.display()))
    }
}

fn forwarding() -> Finding {
    let off: Vec<&str> = [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        ("net.ipv6.conf.all.forwarding", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ]
    .iter()
    .filter(|(_, path)| fs::read_to_string(path).is_ok_and(|value| value.trim() == "0"))
    .map(|(name, _)| *name)
    .collect();
    if off.is_empty() {
        Finding::ok("forwarding", "the kernel's routes serve `forward`, by IPv4 and IPv6")
    } else {
        let settings: Vec<String> = off.iter().map(|name| format!("{name}=1")).collect();
        Finding::warn(
            "forwarding",
            format!("{} off: `forward` finds no route where no next hop is known", off.join(" and ")),
            format!("sysctl -w {}", settings.join(" ")),
        )
    }
}

fn key(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok("hash key", format!("{shown} is not there yet; the first apply makes it"))
        }
        Err(error) => {
            Finding::fail("hash key", format!("{shown} can't be looked at: {error}"), "sudo lbctl doctor")
        }
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Finding::fail(
            "hash key",
            format!("{shown} is open to others (mode {:o})", metadata.permissions().mode() & 0o777),
            format!("chmod 600 {shown}"),
        ),
        Ok(metadata) if metadata.len() != 16 => Finding::fail(
            "hash key",
            format!("{shown} has {} bytes instead of 16", metadata.len()),
            format!("head -c 16 /dev/urandom > {shown}  # the same on every node of a set"),
        ),
        Ok(_) => Finding::ok("hash key", format!("{shown}, for us alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn kernels_are_compared_as_numbers() {
        for (release, level) in [
            ("6.1.0-13-amd64", Level::Ok),
            ("6.10.3", Level::Ok),
            ("10.0-rc1", Level::Ok),
            ("5.15.0-91-generic", Level::Fail),
            ("6.0.19", Level::Fail),
            ("", Level::Fail),
        ] {
            assert_eq!(kernel_of(release).level, level, "{release}");
        }
    }

    #[test]
    fn what_only_certificates_need_is_a_warning() {
        let level = |missing: &[&str], more: &[&str]| capabilities_without(missing, more).level;
        assert_eq!(level(&[], &[]), Level::Ok);
        assert_eq!(level(&[], &["CAP_NET_RAW"]), Level::Warn);
        assert_eq!(level(&["CAP_BPF"], &["CAP_NET_RAW"]), Level::Fail);
    }

    #[test]
    fn a_hash_key_is_ours_alone_and_has_its_length() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("hash.key");
        assert_eq!(key(&path).level, Level::Ok);
        fs::write(&path, [7; 16]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(key(&path).mend.unwrap(), format!("chmod 600 {}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(key(&path).level, Level::Ok);
        fs::write(&path, [7; 15]).unwrap();
        assert_eq!(key(&path).level, Level::Fail);
    }
}
