//! Owns the shape of a lab: clients and backends around one balancer, in two arms or in one.
//! Never runs a policy: the balancer's devices are bare until someone attaches to them.
//!
//! Every host has its addresses as single hosts and one default route by the balancer (169.254.1.1 and fe80::1 on each
//! link), so addresses may be chosen freely, as a policy file has them. The balancer owns a route and a permanent
//! neighbour for each; hosts ask for the balancer's MAC as hosts do.
//!
//! ```text
//! two arms:   c1 eth0 ── wan0 ┐            ┌ lan0 ── eth0 b1
//!             c2 eth0 ── wan1 ┴ balancer ──┴ lan1 ── eth0 b2
//! one arm:    c1, c2, b1, b2 eth0 ── bridge ── arm0 balancer
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::link::{End, veth};
use super::{ConstantProgram, Error, Namespace, Verdict};
use crate::run_dir::RunDir;

/// How the balancer is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arms {
    /// Everything comes and goes by `arm0`, over a bridge in a namespace of its own.
    One,
    /// A device for each host: `wan0…` for clients, `lan0…` for backends.
    Two,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Plan {
    pub arms: Arms,
    /// Addresses of the balancer: virtual ones, and those it translates to.
    pub balancer: Vec<IpAddr>,
    /// Addresses of each host.
    pub clients: Vec<Vec<IpAddr>>,
    pub backends: Vec<Vec<IpAddr>>,
}

/// A client or a backend; its one device is `eth0`.
#[derive(Debug)]
pub struct Host {
    pub namespace: Namespace,
    pub addresses: Vec<IpAddr>,
    pub mac: [u8; 6],
    /// The balancer's device that leads here, and that device's MAC.
    pub by: String,
    pub balancer_mac: [u8; 6],
}

impl Host {
    /// Its first address of the family of `other`.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == other.is_ipv4())
    }
}

/// A network that is up. Dropping it, or the end of the process, takes all of it down.
#[derive(Debug)]
pub struct Lab {
    pub balancer: Namespace,
    /// The balancer's devices, to attach to.
    pub devices: Vec<String>,
    pub clients: Vec<Host>,
    pub backends: Vec<Host>,
    /// The bridge's namespace, where there is one.
    pub bridge: Option<Namespace>,
}

/// The device of every host.
pub const HOST_DEVICE: &str = "eth0";
const GATEWAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const ARM: &str = "arm0";
const BRIDGE: &str = "br0";

fn mac(side: u8, number: usize) -> [u8; 6] {
    // Locally administered, unicast.
    [0x02, 0x6c, 0x62, side, (number >> 8) as u8, number as u8]
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Lab {
    /// Builds it. Needs root; on an error nothing is left.
    pub fn build(plan: &Plan) -> Result<Lab, Error> {
        let balancer = Namespace::with_own_run("balancer")?;
        let pass = ConstantProgram::load(Verdict::Pass)?;
        prepare(&balancer)?;
        for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            balancer.sysctl(path, "1")?;
        }
        // The balancer sends packets out of the device they came in by; it shall not tell hosts of shorter ways.
        balancer.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        balancer.sysctl("net/ipv4/conf/default/send_redirects", "0")?;
        for address in &plan.balancer {
            balancer.address("lo", *address, host_prefix(*address))?;
        }

        let bridge = match plan.arms {
            Arms::Two => None,
            Arms::One => Some(one_arm(&balancer, &pass)?),
        };
        let mut lab =
            Lab { balancer, devices: Vec::new(), clients: Vec::new(), backends: Vec::new(), bridge };
        if lab.bridge.is_some() {
            lab.devices.push(ARM.to_owned());
        }
        let clients = plan.clients.iter().map(|addresses| (false, addresses));
        let backends = plan.backends.iter().map(|addresses| (true, addresses));
        for (number, (backend, addresses)) in clients.chain(backends).enumerate() {
            lab.add(number, backend, addresses, &pass)?;
        }
        if let Some(bridge) = &lab.bridge {
            let hosts = lab.clients.len() + lab.backends.len();
            let ports: Vec<String> = (0..hosts).map(port).chain([ARM.to_owned()]).collect();
            bridge.bridge(BRIDGE, &ports)?;
        }
        Ok(lab)
    }

    /// Where instances of the balancer live, seen from inside it; gone with the lab.
    pub fn run_dir() -> RunDir {
        RunDir::at(RunDir::SYSTEM)
    }

    fn add(
        &mut self,
        number: usize,
        backend: bool,
        addresses: &[IpAddr],
        pass: &ConstantProgram,
    ) -> Result<(), Error> {
        let (side, letter, arm) =
            if backend { (&mut self.backends, 'b', "lan") } else { (&mut self.clients, 'c', "wan") };
        let namespace = Namespace::new(&format!("{letter}{}", side.len() + 1))?;
        prepare(&namespace)?;
        let host_mac = mac(1, number);
        let far = End { namespace: &namespace, device: HOST_DEVICE, mac: host_mac };
        let (by, balancer_mac) = match &self.bridge {
            Some(bridge) => {
                veth(&End { namespace: bridge, device: &port(number), mac: mac(2, number) }, &far)?;
                (ARM.to_owned(), mac(0, 0))
            }
            None => {
                let device = format!("{arm}{}", side.len());
                let near_mac = mac(0, number);
                veth(&End { namespace: &self.balancer, device: &device, mac: near_mac }, &far)?;
                gateways(&self.balancer, &device)?;
                self.devices.push(device.clone());
                (device, near_mac)
            }
        };
        namespace.attach(HOST_DEVICE, pass)?;
        for address in addresses {
            namespace.address(HOST_DEVICE, *address, host_prefix(*address))?;
            self.balancer.route(&by, *address, host_prefix(*address), None)?;
            self.balancer.neighbour(&by, *address, host_mac)?;
        }
        namespace.route(HOST_DEVICE, Ipv4Addr::UNSPECIFIED.into(), 0, Some(GATEWAY4))?;
        namespace.route(HOST_DEVICE, Ipv6Addr::UNSPECIFIED.into(), 0, Some(GATEWAY6))?;
        side.push(Host { namespace, addresses: addresses.to_vec(), mac: host_mac, by, balancer_mac });
        Ok(())
    }
}

fn port(number: usize) -> String {
    format!("port{number}")
}

/// The balancer's single arm and the bridge's end of it.
fn one_arm(balancer: &Namespace, pass: &ConstantProgram) -> Result<Namespace, Error> {
    let bridge = Namespace::new("bridge")?;
    prepare(&bridge)?;
    let near = End { namespace: balancer, device: ARM, mac: mac(0, 0) };
    let far = End { namespace: &bridge, device: ARM, mac: mac(2, 0xffff) };
    veth(&near, &far)?;
    bridge.attach(ARM, pass)?;
    gateways(balancer, ARM)?;
    Ok(bridge)
}

fn gateways(balancer: &Namespace, device: &str) -> Result<(), Error> {
    balancer.address(device, GATEWAY4, 32)?;
    balancer.address(device, GATEWAY6, 64)
}

/// Before any device exists: addresses are usable at once (no duplicate address detection), nobody sends router
/// solicitations or group reports of its own accord where it can be helped, and no source address is doubted.
fn prepare(namespace: &Namespace) -> Result<(), Error> {
    for (path, value) in [
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/dad_transmits", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        // On one arm the balancer's stack tells of shorter ways, which would lead past it.
        ("net/ipv6/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/accept_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/default/accept_redirects", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ] {
        namespace.sysctl(path, value)?;
    }
    Ok(())
}
