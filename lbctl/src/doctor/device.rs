//! Owns the findings on a network device: state, driver, XDP, MTU, offloads. Never attaches anything to find out.

use std::fs;

use ebpf_runtime::Error;
use ebpf_runtime::ethtool::{self, Offload};
use ebpf_runtime::net::Link;
use ebpf_runtime::netdev;

use super::Finding;

/// Largest MTU that every driver takes without XDP's multi-buffer mode, which the program does not have: one page less
/// headroom, headers and the kernel's own trailer.
const MTU: u32 = 3_498;

/// The devices of those names, or all that are up but for the loopback.
pub fn choose<'a>(links: &'a [Link], names: &[String]) -> Result<Vec<&'a Link>, Error> {
    if names.is_empty() {
        return Ok(links.iter().filter(|link| link.up && link.name != "lo").collect());
    }
    let named = |name: &String| {
        let unknown = || {
            let near =
                links.iter().map(|link| link.name.clone()).filter(|other| other != "lo").take(8).collect();
            Error::UnknownDevice { name: name.clone(), near }
        };
        links.iter().find(|link| link.name == *name).ok_or_else(unknown)
    };
    names.iter().map(named).collect()
}

/// `ours` are the ids of programs that instances of ours have attached.
pub fn examine(link: &Link, ours: &[u32]) -> Vec<Finding> {
    let device = link.name.as_str();
    let driver = ethtool::driver(device).ok();
    let findings = [
        Some(state(device, link.up)),
        Some(native(link.index, driver.as_deref())),
        Some(programs(link, ours)),
        Some(mtu(device, link.mtu)),
        lro(device),
        vlan(device),
        forwarding(device),
        (driver.as_deref() == Some("veth")).then(veth),
    ];
    findings.into_iter().flatten().map(|finding| finding.of(device)).collect()
}

fn state(device: &str, up: bool) -> Finding {
    if up {
        Finding::ok("state", "up")
    } else {
        Finding::fail("state", "down", format!("ip link set {device} up"))
    }
}

fn native(index: u32, driver: Option<&str>) -> Finding {
    let driver = driver.unwrap_or("of unknown name");
    match netdev::xdp_features(index) {
        Ok(Some(features)) if features.native() => {
            let redirect = match (features.redirect(), features.redirect_target()) {
                (true, true) => " and redirects",
                (true, false) => ", but takes no frames from other devices until it runs one",
                (false, _) => ", but redirects nothing",
            };
            Finding::ok("native XDP", format!("driver {driver} runs programs{redirect}"))
        }
        Ok(Some(_)) => Finding::warn(
            "native XDP",
            format!("driver {driver} runs no programs; the network stack can, several times slower"),
            "lbctl apply --mode generic",
        ),
        Ok(None) => Finding::ok("native XDP", format!("driver {driver}; this kernel can't say, apply will")),
        Err(error) => Finding::warn(
            "native XDP",
            format!("driver {driver}; the kernel did not say: {error}"),
            "lbctl apply, which tries it",
        ),
    }
}

fn programs(link: &Link, ours: &[u32]) -> Finding {
    match link.programs.iter().find(|(_, id)| !ours.contains(id)) {
        Some((mode, id)) => Finding::fail(
            "XDP program",
            format!("another program (id {id}, {mode}) is attached; apply will not replace it"),
            format!("ip link set {} xdp off", link.name),
        ),
        None => match link.programs.first() {
            Some((mode, _)) => Finding::ok("XDP program", format!("ours is attached, {mode}")),
            None => Finding::ok("XDP program", "none attached"),
        },
    }
}

/// `bpf_fib_lookup` wants forwarding on the device that a packet came in by.
fn forwarding(device: &str) -> Option<Finding> {
    let off = |path: &str| fs::read_to_string(path).is_ok_and(|value| value.trim() == "0");
    // Off for all is the host's finding.
    let all = off("/proc/sys/net/ipv4/ip_forward");
    (!all && off(&format!("/proc/sys/net/ipv4/conf/{device}/forwarding"))).then(|| {
        Finding::warn(
            "forwarding",
            "off: `forward` of what comes in here finds no route where no next hop is known",
            format!("sysctl -w net.ipv4.conf.{device}.forwarding=1"),
        )
    })
}

fn mtu(device: &str, mtu: u32) -> Finding {
    if mtu <= MTU {
        Finding::ok("MTU", format!("{mtu}, at most {MTU}"))
    } else {
        Finding::fail(
            "MTU",
            format!("{mtu} does not fit one buffer; most drivers refuse native XDP above {MTU}"),
            format!("ip link set {device} mtu 1500"),
        )
    }
}

fn lro(device: &str) -> Option<Finding> {
    match ethtool::offload(device, Offload::Lro) {
        Ok(true) => Some(Finding::warn(
            "LRO",
            "on: the device joins packets to larger ones, which drivers refuse with XDP",
            format!("ethtool -K {device} lro off"),
        )),
        Ok(false) => Some(Finding::ok("LRO", "off")),
        Err(_) => None,
    }
}

fn vlan(device: &str) -> Option<Finding> {
    match ethtool::offload(device, Offload::RxVlan) {
        Ok(true) => Some(Finding::warn(
            "VLAN offload",
            "on: the device may take tags off before the policy sees them",
            format!("ethtool -K {device} rxvlan off"),
        )),
        Ok(false) => Some(Finding::ok("VLAN offload", "off")),
        Err(_) => None,
    }
}

fn veth() -> Finding {
    Finding::warn(
        "veth peer",
        "can't be seen from here: it must compute its checksums, and needs GRO or a native program of its own for \
         frames to reach it",
        "ethtool -K PEER tx off gro on  # where the other end is",
    )
}

#[cfg(test)]
mod tests {
    use ebpf_runtime::apply::Mode;

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_name_that_is_no_device_is_unknown() {
        let links = [Link { name: "lo".into(), up: true, ..Link::default() }];
        for name in ["", "..", "../../etc", "no-such-device"] {
            assert!(choose(&links, &[name.to_owned()]).is_err(), "{name}");
        }
        assert_eq!(choose(&links, &[]).unwrap(), Vec::<&Link>::new());
    }

    #[test]
    fn jumbo_frames_fail() {
        assert_eq!(mtu("eth0", 1_500).level, Level::Ok);
        assert_eq!(mtu("eth0", 9_000).mend.unwrap(), "ip link set eth0 mtu 1500");
    }

    #[test]
    fn a_program_that_is_not_ours_fails() {
        let link = Link { name: "eth0".into(), programs: vec![(Mode::Native, 7)], ..Link::default() };
        assert_eq!(programs(&link, &[7]).level, Level::Ok);
        assert_eq!(programs(&link, &[8]).mend.unwrap(), "ip link set eth0 xdp off");
    }
}
