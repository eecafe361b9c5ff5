//! Owns a balancer whose one device leads everywhere: default routes of both families to a neighbour it knows.
//! Never attaches a program: images are run here by `trial`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Arms, Error, Lab, Plan};

/// A network in which every packet has a way out, which is the way in. It goes with the value.
#[derive(Debug)]
pub struct Gateway {
    lab: Lab,
    ifindex: u32,
}

const NEIGHBOUR_MAC: [u8; 6] = [0x02, 0x6c, 0x62, 3, 0, 0];

impl Gateway {
    /// Builds it. Needs root; on an error nothing is left.
    pub fn build() -> Result<Gateway, Error> {
        let lab = Lab::build(&Plan {
            arms: Arms::Two,
            balancer: Vec::new(),
            clients: vec![Vec::new()],
            backends: Vec::new(),
        })?;
        let gateways: [(IpAddr, IpAddr); 2] = [
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(169, 254, 9, 9).into()),
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 9, 9).into()),
        ];
        let mut ifindex = 0;
        for device in &lab.devices {
            for (everything, gateway) in gateways {
                lab.balancer.route(device, everything, 0, Some(gateway))?;
                lab.balancer.neighbour(device, gateway, NEIGHBOUR_MAC)?;
            }
            ifindex = lab.balancer.index(device)?;
        }
        Ok(Gateway { lab, ifindex })
    }

    /// Runs `work` inside, with the index of the device that frames arrive on; a panic in it goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce(u32) -> T + Send) -> Result<T, Error> {
        self.lab.balancer.run(|| work(self.ifindex))
    }
}
