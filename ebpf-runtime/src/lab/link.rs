//! Owns devices, addresses, routes and neighbours of a lab's namespaces, by rtnetlink.
//! Never decides which of them a network has: that is the layout's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkXdp, State};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{ConstantProgram, Error, Namespace};
use crate::ethtool::{self, Offload};
use crate::net;

/// Frames a device has seen since it exists, as the kernel counts them (`rtnl_link_stats64`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frames {
    pub received: u64,
    pub sent: u64,
    /// Dropped on receive and on send.
    pub receive_dropped: u64,
    pub send_dropped: u64,
}

/// One end of a veth pair: its namespace, its name (at most 15 bytes) and its MAC.
pub(super) struct End<'a> {
    pub namespace: &'a Namespace,
    pub device: &'a str,
    pub mac: [u8; 6],
}

/// `include/uapi/linux/ipv6_route.h`.
const RTF_LOCAL: u32 = 0x8000_0000;
/// How long a device may take to have a carrier, and an address its route.
const CARRIER: Duration = Duration::from_secs(5);
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Makes a veth pair with an end in each namespace, both up, with checksums computed in software.
pub(super) fn veth(near: &End<'_>, far: &End<'_>) -> Result<(), Error> {
    let doing = format!(
        "link {} of {} with {} of {}",
        near.device,
        near.namespace.name(),
        far.device,
        far.namespace.name()
    );
    let far_fd = far.namespace.net_fd();
    near.namespace.netlink(&doing, async |handle| {
        let peer = LinkMessageBuilder::<LinkUnspec>::default()
            .name(far.device)
            .address(far.mac.to_vec())
            .setns_by_fd(far_fd)
            .build();
        let info = InfoData::Veth(InfoVeth::Peer(peer));
        let pair = LinkVeth::new(near.device, far.device).address(near.mac.to_vec()).set_info_data(info);
        handle.link().add(pair.build()).execute().await
    })?;
    for end in [near, far] {
        end.namespace.offload(end.device, Offload::TxChecksum, false)?;
        end.namespace.up(end.device)?;
    }
    near.namespace.ready(near.device)?;
    far.namespace.ready(far.device)
}

impl Namespace {
    /// Asks rtnetlink inside the namespace.
    fn netlink<T, F>(&self, doing: &str, ask: F) -> Result<T, Error>
    where
        T: Send,
        F: AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error> + Send,
    {
        let answer = self.run(|| net::ask(ask))?;
        answer.map_err(|cause| Error::new(doing, cause))
    }

    /// Interface index of a device; `NotFound` without one.
    pub fn index(&self, device: &str) -> Result<u32, Error> {
        self.run(|| nix::net::if_::if_nametoindex(device))?
            .map_err(|cause| Error::new(format!("find {device} in {}", self.name()), cause))
    }

    pub fn up(&self, device: &str) -> Result<(), Error> {
        let link = LinkUnspec::new_with_name(device).up().build();
        self.netlink(&format!("bring up {device} of {}", self.name()), async |handle| {
            handle.link().set(link).execute().await
        })
    }

    /// Waits until frames may flow. The kernel hears of a carrier a moment after the device is up; until then what is
    /// sent is lost, and a bridge takes the device for a dead port.
    fn ready(&self, device: &str) -> Result<(), Error> {
        let doing = format!("wait for the carrier of {device} of {}", self.name());
        let until = Instant::now() + CARRIER;
        let index = self.index(device)?;
        self.netlink(&doing, async |handle| {
            loop {
                let link = handle.link().get().match_index(index).execute().try_next().await?;
                let attributes = link.into_iter().flat_map(|link| link.attributes);
                if attributes.into_iter().any(|attribute| attribute == LinkAttribute::OperState(State::Up)) {
                    return Ok(());
                }
                if Instant::now() > until {
                    return Err(rtnetlink::Error::RequestFailed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    pub fn down(&self, device: &str) -> Result<(), Error> {
        let link = LinkUnspec::new_with_name(device).down().build();
        self.netlink(&format!("take down {device} of {}", self.name()), async |handle| {
            handle.link().set(link).execute().await
        })
    }

    pub fn mtu(&self, device: &str, mtu: u32) -> Result<(), Error> {
        let link = LinkUnspec::new_with_name(device).mtu(mtu).build();
        self.netlink(&format!("set the MTU of {device} of {}", self.name()), async |handle| {
            handle.link().set(link).execute().await
        })
    }

    /// Deletes a device, and with a veth its peer.
    pub fn delete(&self, device: &str) -> Result<(), Error> {
        let index = self.index(device)?;
        self.netlink(&format!("delete {device} of {}", self.name()), async |handle| {
            handle.link().del(index).execute().await
        })
    }

    pub(super) fn bridge(&self, device: &str, ports: &[String]) -> Result<(), Error> {
        let doing = format!("make the bridge {device} of {}", self.name());
        self.netlink(&doing, async |handle| {
            handle.link().add(LinkBridge::new(device).up().build()).execute().await
        })?;
        let bridge = self.index(device)?;
        for port in ports {
            let link = LinkUnspec::new_with_name(port).controller(bridge).build();
            self.netlink(&doing, async |handle| handle.link().set(link).execute().await)?;
        }
        Ok(())
    }

    /// Adds an address; without a route to its neighbours where `prefix_len` is that of a single host.
    pub fn address(&self, device: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
        let index = self.index(device)?;
        let doing = format!("add the address {address}/{prefix_len} to {device} of {}", self.name());
        self.netlink(&doing, async |handle| {
            handle.address().add(index, address, prefix_len).execute().await
        })?;
        match address {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(address) => self.local(address),
        }
    }

    /// Waits until packets to an IPv6 address of ours are taken in: the kernel adds its local route from a work queue,
    /// duplicate address detection or not (`addrconf_dad_work` in net/ipv6/addrconf.c).
    fn local(&self, address: Ipv6Addr) -> Result<(), Error> {
        let start =
            address.octets().iter().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}")) + " 80 ";
        let found = |routes: &str| {
            routes.lines().filter_map(|line| line.strip_prefix(&start)).any(|rest| {
                let flags =
                    rest.split_whitespace().nth(6).and_then(|flags| u32::from_str_radix(flags, 16).ok());
                flags.is_some_and(|flags| flags & RTF_LOCAL != 0)
            })
        };
        let until = Instant::now() + CARRIER;
        let waited = self.run(|| {
            while !found(&std::fs::read_to_string("/proc/thread-self/net/ipv6_route")?) {
                if Instant::now() > until {
                    return Err(io::Error::from(io::ErrorKind::TimedOut));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })?;
        waited.map_err(|cause| Error::new(format!("wait for {address} in {}", self.name()), cause))
    }

    /// Adds a route to `to`/`prefix_len` out of `device`, directly or by a gateway that need not be on a known subnet.
    pub fn route(
        &self,
        device: &str,
        to: IpAddr,
        prefix_len: u8,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let index = self.index(device)?;
        let message = match (to, gateway) {
            (IpAddr::V4(to), None) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, prefix_len)
                .scope(netlink_packet_route::route::RouteScope::Link)
                .output_interface(index)
                .build(),
            (IpAddr::V4(to), Some(IpAddr::V4(gateway))) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, prefix_len)
                .gateway(gateway)
                .output_interface(index)
                .onlink()
                .build(),
            (IpAddr::V6(to), None) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, prefix_len)
                .output_interface(index)
                .build(),
            (IpAddr::V6(to), Some(IpAddr::V6(gateway))) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, prefix_len)
                .gateway(gateway)
                .output_interface(index)
                .onlink()
                .build(),
            (to, Some(gateway)) => {
                let cause = io::Error::new(io::ErrorKind::InvalidInput, "two address families");
                return Err(Error::new(format!("route {to} by {gateway}"), cause));
            }
        };
        self.netlink(&format!("route {to}/{prefix_len} out of {device} of {}", self.name()), async |handle| {
            handle.route().add(message).execute().await
        })
    }

    /// Adds a permanent neighbour.
    pub fn neighbour(&self, device: &str, address: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        let index = self.index(device)?;
        self.netlink(&format!("add the neighbour {address} to {device} of {}", self.name()), async |handle| {
            handle.neighbours().add(index, address).link_layer_address(&mac).replace().execute().await
        })
    }

    pub fn offload(&self, device: &str, offload: Offload, on: bool) -> Result<(), Error> {
        self.run(|| ethtool::set_offload(device, offload, on))?
            .map_err(|cause| Error::new(format!("switch {offload:?} of {device} in {}", self.name()), cause))
    }

    /// Puts a program on a device, in native mode.
    pub fn attach(&self, device: &str, program: &ConstantProgram) -> Result<(), Error> {
        self.set_program(device, program.fd().as_raw_fd())
    }

    /// Takes the program off again.
    pub fn detach(&self, device: &str) -> Result<(), Error> {
        self.set_program(device, -1)
    }

    fn set_program(&self, device: &str, fd: RawFd) -> Result<(), Error> {
        let link = LinkUnspec::new_with_name(device)
            .append_extra_attribute(LinkAttribute::Xdp(vec![
                LinkXdp::Fd(fd),
                LinkXdp::Flags(XDP_FLAGS_DRV_MODE),
            ]))
            .build();
        self.netlink(&format!("change the program of {device} of {}", self.name()), async |handle| {
            handle.link().set(link).execute().await
        })
    }

    pub fn frames(&self, device: &str) -> Result<Frames, Error> {
        let index = self.index(device)?;
        let doing = format!("count the frames of {device} of {}", self.name());
        let found = self.netlink(&doing, async |handle| {
            handle.link().get().match_index(index).execute().try_next().await
        })?;
        let stats =
            found.into_iter().flat_map(|link| link.attributes).find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats),
                _ => None,
            });
        match stats {
            Some(stats) => Ok(Frames {
                received: stats.rx_packets,
                sent: stats.tx_packets,
                receive_dropped: stats.rx_dropped,
                send_dropped: stats.tx_dropped,
            }),
            None => Err(Error::new(doing, io::Error::from(io::ErrorKind::NotFound))),
        }
    }
}
