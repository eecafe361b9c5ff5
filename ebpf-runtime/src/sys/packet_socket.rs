//! Owns sending whole frames out of devices, many in one call (packet(7), sendmmsg(2)).
//! Never receives: what arrives meets the XDP program alone.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{from_mut, from_ref, null_mut};
use std::time::Duration;

/// Most frames of one call.
const BATCH: usize = 64;
/// Bytes of frames that may be on their way out of devices; one that takes none for so long loses what is sent to it.
const BUFFER: libc::c_int = 8 << 20;
const PATIENCE: Duration = Duration::from_millis(100);

/// A socket that sends out of any device of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: OwnedFd,
}

/// How many frames were sent, and how many no device took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

impl PacketSocket {
    /// Needs CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<PacketSocket> {
        // Protocol 0 receives nothing.
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just handed this descriptor to us alone.
        let socket = PacketSocket { socket: unsafe { OwnedFd::from_raw_fd(fd) } };
        let on: libc::c_int = 1;
        // As frames that the program sends by itself, past the queueing discipline.
        socket.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &on)?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &BUFFER)?;
        let patience = libc::timeval { tv_sec: 0, tv_usec: PATIENCE.subsec_micros() as libc::suseconds_t };
        socket.set(libc::SOL_SOCKET, libc::SO_SNDTIMEO, &patience)?;
        Ok(socket)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the value lives until the call returns and has the size given.
        let done = unsafe {
            let size = size_of::<T>() as libc::socklen_t;
            libc::setsockopt(self.socket.as_raw_fd(), level, option, from_ref(value).cast(), size)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends each frame, Ethernet header first, out of the interface beside it, in order. One that cannot be sent is
    /// left out.
    pub(crate) fn send<'f>(&self, frames: impl Iterator<Item = (u32, &'f [u8])>) -> Sent {
        let mut sent = Sent::default();
        let mut frames = frames.peekable();
        while frames.peek().is_some() {
            self.send_some(frames.by_ref().take(BATCH), &mut sent);
        }
        sent
    }

    fn send_some<'f>(&self, frames: impl Iterator<Item = (u32, &'f [u8])>, sent: &mut Sent) {
        // SAFETY: plain old data, for which all zeros is a valid value.
        let mut addresses: [libc::sockaddr_ll; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        let places = addresses.iter_mut().zip(&mut parts).zip(&mut messages);
        for ((ifindex, frame), ((address, part), message)) in frames.zip(places) {
            address.sll_family = libc::AF_PACKET as libc::c_ushort;
            address.sll_ifindex = ifindex.cast_signed();
            *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_name = from_mut(address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = null_mut();
            count += 1;
        }
        let mut from = 0;
        while from < count {
            let Some(rest) = messages.get_mut(from..count) else { return };
            // SAFETY: the messages, their addresses and frames live until the call returns; frames are only read.
            let done = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            match done {
                1.. => {
                    sent.sent += done as u64;
                    from += done as usize;
                }
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // It is the first one that could not be sent.
                _ => {
                    sent.failed += 1;
                    from += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Namespace;

    #[test]
    fn what_a_device_refuses_is_left_out() {
        let namespace = Namespace::new("sender").unwrap();
        let sent = namespace
            .run(|| {
                let socket = PacketSocket::open().unwrap();
                // `lo` takes frames; interface 99 is none.
                let frames: Vec<(u32, Vec<u8>)> =
                    (0..200u32).map(|i| (if i % 3 == 0 { 99 } else { 1 }, vec![0; 60])).collect();
                socket.send(frames.iter().map(|(ifindex, frame)| (*ifindex, frame.as_slice())))
            })
            .unwrap();
        assert_eq!(sent, Sent { sent: 133, failed: 67 });
        assert_eq!(namespace.frames("lo").unwrap().sent, 133);
    }
}
