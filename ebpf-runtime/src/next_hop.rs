//! Owns finding the next hop of an address: the route, the neighbour on it, and both MACs, by rtnetlink in the calling
//! thread's network namespace. Never waits for a neighbour longer than it is told.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use lb_abi::maps::NextHop;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::net;

/// Where packets to an address go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Resolved {
        next_hop: NextHop,
        neighbour: IpAddr,
    },
    /// The neighbour's MAC is not known (yet).
    Unresolved {
        ifindex: u32,
        neighbour: IpAddr,
    },
    /// The address is one of this machine's own.
    Local,
    NoRoute,
    /// Out of a device without Ethernet addresses.
    NotEthernet,
}

/// Which neighbours the kernel is told that they are wanted (`NTF_USE`): it then asks for those it does not know, and
/// makes sure of those it has not heard of for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    Nobody,
    Unresolved,
    Everyone,
}

const PAUSE: Duration = Duration::from_millis(20);

/// The ways to `addresses`, in their order; waits for neighbours that are not resolved until `patience` is over.
pub(crate) fn resolve(addresses: &[IpAddr], patience: Duration) -> io::Result<Vec<Way>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let deadline = Instant::now() + patience;
        let mut found = ways(addresses, Asking::Unresolved).await?;
        while found.iter().any(|way| matches!(way, Way::Unresolved { .. })) && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            found = ways(addresses, Asking::Nobody).await?;
        }
        Ok(found)
    })
}

/// The ways to `addresses` as the kernel knows them now, in their order.
pub(crate) async fn ways(addresses: &[IpAddr], asking: Asking) -> io::Result<Vec<Way>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    net::connected(async |handle| {
        let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        let links = links.into_iter().map(net::link);
        let macs: HashMap<u32, [u8; 6]> = links.filter_map(|link| Some((link.index, link.mac?))).collect();
        let known = neighbours(&handle).await?;
        let mut ways = Vec::with_capacity(addresses.len());
        for address in addresses {
            let way = way(&handle, *address, &macs, &known).await?;
            match way {
                // To say that one is wanted takes away that it is permanent (`__neigh_update` of net/core/neighbour.c).
                Way::Resolved { next_hop, neighbour }
                    if asking == Asking::Everyone
                        && !known
                            .get(&(next_hop.ifindex, neighbour))
                            .is_some_and(|known| known.permanent) =>
                {
                    ask_neighbour(&handle, next_hop.ifindex, neighbour).await?;
                }
                Way::Unresolved { ifindex, neighbour } if asking != Asking::Nobody => {
                    ask_neighbour(&handle, ifindex, neighbour).await?;
                }
                _ => {}
            }
            ways.push(way);
        }
        Ok(ways)
    })
    .await
}

struct Known {
    mac: [u8; 6],
    /// Somebody has written it down for good.
    permanent: bool,
}

/// By interface and address.
type Neighbours = HashMap<(u32, IpAddr), Known>;

async fn neighbours(handle: &Handle) -> Result<Neighbours, rtnetlink::Error> {
    let mut known = Neighbours::new();
    let mut messages = handle.neighbours().get().execute();
    while let Some(message) = messages.try_next().await? {
        if !usable(message.header.state) {
            continue;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(v6))
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok(),
                _ => {}
            }
        }
        if let (Some(address), Some(mac)) = (address, mac) {
            let permanent = message.header.state == NeighbourState::Permanent;
            known.insert((message.header.ifindex, address), Known { mac, permanent });
        }
    }
    Ok(known)
}

/// `NUD_VALID` of include/net/neighbour.h, less `NUD_NOARP`, whose entries have no MAC worth writing.
fn usable(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Permanent
            | NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
    )
}

async fn way(
    handle: &Handle,
    address: IpAddr,
    macs: &HashMap<u32, [u8; 6]>,
    known: &Neighbours,
) -> Result<Way, rtnetlink::Error> {
    let Some(route) = route(handle, address).await? else { return Ok(Way::NoRoute) };
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Ok(Way::Local),
        _ => return Ok(Way::NoRoute),
    }
    let mut ifindex = 0;
    let mut neighbour = address;
    for attribute in route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = index,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => neighbour = IpAddr::V4(v4),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => neighbour = IpAddr::V6(v6),
            RouteAttribute::Via(netlink_packet_route::route::RouteVia::Inet6(v6)) => {
                neighbour = IpAddr::V6(v6)
            }
            _ => {}
        }
    }
    let Some(smac) = macs.get(&ifindex).filter(|mac| **mac != [0; 6]) else { return Ok(Way::NotEthernet) };
    Ok(match known.get(&(ifindex, neighbour)) {
        Some(known) => {
            Way::Resolved { next_hop: NextHop { ifindex, dmac: known.mac, smac: *smac }, neighbour }
        }
        None => Way::Unresolved { ifindex, neighbour },
    })
}

/// The route the kernel would take, as `ip route get` shows it.
async fn route(handle: &Handle, address: IpAddr) -> Result<Option<RouteMessage>, rtnetlink::Error> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let question = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, length);
    let Ok(question) = question else { return Ok(None) };
    let mut answers = Box::pin(handle.route().get(question.build()).execute());
    match answers.try_next().await {
        Ok(route) => Ok(route),
        // ENETUNREACH, EHOSTUNREACH, EINVAL or EACCES of an unreachable, blackhole or prohibit route.
        Err(rtnetlink::Error::NetlinkError(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the kernel ask the network for the neighbour's MAC, as if a packet to it were waiting.
async fn ask_neighbour(handle: &Handle, ifindex: u32, neighbour: IpAddr) -> Result<(), rtnetlink::Error> {
    let request =
        handle.neighbours().add(ifindex, neighbour).state(NeighbourState::None).flags(NeighbourFlags::Use);
    match request.replace().execute().await {
        // A device that went away, or one that does no address resolution: it stays unresolved.
        Err(rtnetlink::Error::NetlinkError(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::lab::{Arms, Lab, Plan};

    #[test]
    fn a_permanent_neighbour_stays_permanent() {
        let backend = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1));
        let plan = Plan { arms: Arms::Two, balancer: vec![], clients: vec![], backends: vec![vec![backend]] };
        let lab = Lab::build(&plan).unwrap();
        let permanent = lab
            .balancer
            .run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let ways = ways(&[backend], Asking::Everyone).await.unwrap();
                    assert!(matches!(ways[..], [Way::Resolved { neighbour, .. }] if neighbour == backend));
                    let known = net::connected(async |handle| neighbours(&handle).await).await.unwrap();
                    known.iter().map(|((_, address), known)| (*address, known.permanent)).collect::<Vec<_>>()
                })
            })
            .unwrap();
        assert!(permanent.contains(&(backend, true)), "{permanent:?}");
    }
}
