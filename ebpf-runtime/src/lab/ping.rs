//! Owns one ICMP or ICMPv6 echo exchange by a raw socket (RFC 792, RFC 4443). Never retries.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, sendto, socket,
};

use super::{Error, Namespace};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;

/// Sends one echo request with that identifier and sequence number and waits for its reply: the time it took, or
/// nothing.
pub fn ping(
    namespace: &Namespace,
    source: IpAddr,
    target: IpAddr,
    identifier: u16,
    sequence: u16,
    wait: Duration,
) -> Result<Option<Duration>, Error> {
    namespace
        .run(|| exchange(source, target, identifier, sequence, wait))?
        .map_err(|cause| Error::new(format!("ping {target} from {}", namespace.name()), cause))
}

fn exchange(
    source: IpAddr,
    target: IpAddr,
    identifier: u16,
    sequence: u16,
    wait: Duration,
) -> io::Result<Option<Duration>> {
    let (family, protocol, kind) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, ECHO_REQUEST),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, ECHO_REQUEST6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    let request = request(kind, identifier, sequence);
    let started = Instant::now();
    sendto(
        socket.as_raw_fd(),
        &request,
        &SockaddrStorage::from(SocketAddr::new(target, 0)),
        MsgFlags::empty(),
    )?;
    loop {
        let left = wait.saturating_sub(started.elapsed());
        let left = PollTimeout::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], left)? == 0 {
            return Ok(None);
        }
        let mut packet = [0; 2_048];
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty())?;
        if answers(packet.get(..length).unwrap_or(&[]), target.is_ipv4(), identifier, sequence) {
            return Ok(Some(started.elapsed()));
        }
    }
}

/// The kernel fills in the checksum of ICMPv6 (RFC 3542, section 3.1), not that of ICMP.
fn request(kind: u8, identifier: u16, sequence: u16) -> [u8; 16] {
    let [i0, i1] = identifier.to_be_bytes();
    let [s0, s1] = sequence.to_be_bytes();
    let mut message = [kind, 0, 0, 0, i0, i1, s0, s1, b'l', b'b', b'c', b't', b'l', b' ', b'h', b'i'];
    if kind == ECHO_REQUEST {
        let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// A raw IPv4 socket hands out the IP header as well.
fn answers(packet: &[u8], v4: bool, identifier: u16, sequence: u16) -> bool {
    let header = match packet.first() {
        Some(first) if v4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let [i0, i1] = identifier.to_be_bytes();
    let [s0, s1] = sequence.to_be_bytes();
    let reply = if v4 { ECHO_REPLY } else { ECHO_REPLY6 };
    match packet.get(header..).and_then(|message| message.first_chunk::<8>()) {
        Some([kind, 0, _, _, rest @ ..]) => *kind == reply && *rest == [i0, i1, s0, s1],
        _ => false,
    }
}
