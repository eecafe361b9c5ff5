//! Owns what the kernel says a driver can do with XDP: the generic netlink family `netdev` (Linux 6.3,
//! `Documentation/netlink/specs/netdev.yaml`). Never attaches anything to find out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// `enum netdev_xdp_act`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// XDP_PASS, XDP_DROP, XDP_TX and XDP_ABORTED in the driver.
    pub fn native(self) -> bool {
        self.0 & 1 != 0
    }

    /// XDP_REDIRECT out of the driver.
    pub fn redirect(self) -> bool {
        self.0 & 2 != 0
    }

    /// Frames redirected to the device are sent; some drivers say so only while they run a program.
    pub fn redirect_target(self) -> bool {
        self.0 & 4 != 0
    }
}

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// Length of `struct nlmsghdr` and of it with `struct genlmsghdr`.
const HEADER: usize = 16;
const BODY: usize = 20;

/// Of a device of the calling thread's network namespace. `None` where the kernel is too old to say.
pub fn xdp_features(ifindex: u32) -> io::Result<Option<XdpFeatures>> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
    // The kernel answers within the call; the limit is for a kernel that does not.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(Duration::from_secs(1).as_secs() as i64, 0))?;
    let family = match ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0") {
        Ok(answer) => attribute(&answer, CTRL_ATTR_FAMILY_ID),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    let Some(&[low, high]) = family.as_deref().and_then(|value| value.first_chunk()) else { return Ok(None) };
    let family = u16::from_ne_bytes([low, high]);
    let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes())?;
    let word = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES);
    Ok(word
        .as_deref()
        .and_then(|value| value.first_chunk())
        .map(|value| XdpFeatures(u64::from_ne_bytes(*value))))
}

/// Sends one request with one attribute and returns the message that answers it.
fn ask(socket: &OwnedFd, family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let attribute = 4 + value.len();
    let length = BODY + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend([command, 1, 0, 0]);
    message.extend((attribute as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(length, 0);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut answer = vec![0; 8_192];
    let received = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(received);
    match (answer.get(4..6), answer.get(HEADER..HEADER + 4)) {
        (Some(kind), Some(&[a, b, c, d])) if kind == NLMSG_ERROR.to_ne_bytes() => {
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]).wrapping_neg()))
        }
        (Some(_), Some(_)) => Ok(answer),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

/// The value of the first attribute of that kind in a generic netlink message.
fn attribute(message: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut rest = message.get(BODY..)?;
    while let Some(&[l0, l1, k0, k1]) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) == wanted {
            return Some(value.to_vec());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_or_endless_attribute_is_no_attribute() {
        let mut message = vec![0; BODY];
        message.extend([6, 0, 3, 0, 0xaa, 0xbb, 0, 0]);
        assert_eq!(attribute(&message, 3), Some(vec![0xaa, 0xbb]));
        assert_eq!(attribute(&message, 4), None);
        for length in 0..message.len() - 2 {
            assert_eq!(attribute(&message[..length], 3), None, "{length}");
        }
        message[BODY] = 0;
        assert_eq!(attribute(&message, 4), None);
    }
}
