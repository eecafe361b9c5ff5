//! Owns what the kernel says about links, by rtnetlink in the calling thread's network namespace.
//! Never changes one.

use std::io;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use rtnetlink::Handle;

use crate::apply::Mode;

/// A network device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    /// Set up by the administrator (`IFF_UP`), carrier or not.
    pub up: bool,
    /// Of Ethernet devices.
    pub mac: Option<[u8; 6]>,
    /// XDP programs on it by the kernel's id: at most one in the driver and one in the stack.
    pub programs: Vec<(Mode, u32)>,
}

/// All devices, in order of their index.
pub fn links() -> io::Result<Vec<Link>> {
    ask(async |handle| {
        let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        Ok(messages.into_iter().map(link).collect())
    })
}

pub(crate) fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(address) => link.mac = address.try_into().ok(),
            LinkAttribute::Xdp(parts) => {
                link.programs = parts
                    .into_iter()
                    .filter_map(|part| match part {
                        LinkXdp::DrvProgId(id) => Some((Mode::Native, id)),
                        LinkXdp::SkbProgId(id) => Some((Mode::Generic, id)),
                        _ => None,
                    })
                    .collect();
            }
            _ => {}
        }
    }
    link
}

/// Asks rtnetlink on a connection of its own; the kernel's error number survives.
pub(crate) fn ask<T, F>(question: F) -> io::Result<T>
where
    F: AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(connected(question))
}

/// As `ask`, within a runtime that runs already.
pub(crate) async fn connected<T, F>(question: F) -> io::Result<T>
where
    F: AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
{
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let answer = question(handle).await;
    connection.abort();
    answer.map_err(|error| match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    })
}
