//! Owns what SIOCETHTOOL says and sets of a device of the calling thread's network namespace: offloads and the driver's
//! name. Never XDP itself, which is netlink's and bpf(2)'s.

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// An offload that matters to XDP (`include/uapi/linux/ethtool.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offload {
    TxChecksum,
    Lro,
    /// VLAN tags are taken out of the frame on receive.
    RxVlan,
}

/// `include/uapi/linux/sockios.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
/// Bits of the flags word.
const ETH_FLAG_LRO: u32 = 1 << 15;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

impl Offload {
    /// Commands that get and set it, and its bit in their value.
    fn commands(self) -> (u32, u32, u32) {
        match self {
            Offload::TxChecksum => (0x16, 0x17, 1),
            Offload::Lro => (ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_LRO),
            Offload::RxVlan => (ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_RXVLAN),
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    cmd: u32,
    word: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// Whether the offload is on. Errors are the kernel's: ENODEV, EOPNOTSUPP.
pub fn offload(device: &str, offload: Offload) -> io::Result<bool> {
    let (get, _, bit) = offload.commands();
    let mut value = Value { cmd: get, word: 0 };
    ask(device, &mut value)?;
    Ok(value.word & bit != 0)
}

/// Switches the offload. Needs CAP_NET_ADMIN.
pub fn set_offload(device: &str, offload: Offload, on: bool) -> io::Result<()> {
    let (get, set, bit) = offload.commands();
    let mut value = Value { cmd: get, word: 0 };
    ask(device, &mut value)?;
    value.cmd = set;
    value.word = if on { value.word | bit } else { value.word & !bit };
    ask(device, &mut value)
}

/// Name of the driver: `veth`, `virtio_net`, `ixgbe`.
pub fn driver(device: &str) -> io::Result<String> {
    let mut info = DriverInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ask(device, &mut info)?;
    Ok(info.driver.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect())
}

/// `T` is one of the structs above: it starts with its command, which says how much of it the kernel reads and writes.
fn ask<T>(device: &str, request: &mut T) -> io::Result<()> {
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain old data, for which all zeros is a valid value.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = ifreq.ifr_name.len() - 1;
    if device.is_empty() || device.len() > room {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in ifreq.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as c_char;
    }
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: the socket is open, `ifreq` names a device in a terminated string and points to a struct of the size
    // that its own first word, the command, stands for; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const _: () = assert!(size_of::<DriverInfo>() == 196);
