//! Owns raw Ethernet frames on a device of a namespace: sending any bytes, receiving what arrives (packet(7)).
//! Never builds or reads a header.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Error, Namespace};

/// An AF_PACKET socket bound to one device. It sees frames that arrive, not those that are sent, and those only after
/// an XDP program has passed them; the kernel takes an outer VLAN tag out of what is received.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    of: String,
}

const ETH_P_ALL: u16 = 0x0003;
const LONGEST: usize = 65_536;

impl FrameSocket {
    /// Opens it. Needs CAP_NET_RAW in the namespace.
    pub fn open(namespace: &Namespace, device: &str) -> Result<FrameSocket, Error> {
        let of = format!("{device} of {}", namespace.name());
        let index = namespace.index(device)?;
        let socket = namespace.run(|| bound(index))?;
        let socket = socket.map_err(|cause| Error::new(format!("open a raw socket on {of}"), cause))?;
        Ok(FrameSocket { socket, of })
    }

    /// Sends one frame, Ethernet header first.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        nix::sys::socket::send(self.socket.as_raw_fd(), frame, nix::sys::socket::MsgFlags::empty())
            .map(drop)
            .map_err(|cause| Error::new(format!("send {} bytes out of {}", frame.len(), self.of), cause))
    }

    /// The next frame within `wait` that `wanted` likes; others are lost.
    pub fn receive_where(
        &self,
        wait: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, Error> {
        let failed = |cause: nix::Error| Error::new(format!("receive from {}", self.of), cause);
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, left).map_err(failed)? == 0 {
                return Ok(None);
            }
            let mut frame = vec![0; LONGEST];
            let flags = nix::sys::socket::MsgFlags::empty();
            let length =
                nix::sys::socket::recv(self.socket.as_raw_fd(), &mut frame, flags).map_err(failed)?;
            frame.truncate(length);
            if wanted(&frame) {
                return Ok(Some(frame));
            }
        }
    }
}

fn bound(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0 first, so that no frame of another device gets in before the bind.
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int of the size given.
    let ignored = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if ignored < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `sockaddr_ll` is plain old data, for which all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address is a `sockaddr_ll` of the size given.
    let done = unsafe {
        libc::bind(fd, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
