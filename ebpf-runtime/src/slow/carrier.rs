//! Owns the ways on which packets come from the data path: the ring buffer `PUNTS`, and AF_XDP sockets for queues of
//! devices. Never what is done with a packet; a record that was shown is gone, so that none is worked on twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lb_abi::maps::{Punt, xsk_slot};

use crate::error::Error;
use crate::resume::punted;
use crate::state::{Maps, Which};
use crate::sys::ring::Ring;
use crate::sys::xsk::{HEADROOM, Xsk};
use crate::sys::{bpf, object};

/// Shows a packet with its description; `None` stands for a record that is none of ours.
pub(super) type Show<'s> = dyn FnMut(Option<(Punt, &[u8])>) + 's;

pub(super) trait Carrier {
    /// Shows up to `most` packets that are waiting, oldest first; how many.
    fn receive(&mut self, most: usize, show: &mut Show<'_>) -> usize;

    /// Readable while packets are waiting.
    fn fd(&self) -> BorrowedFd<'_>;
}

pub(super) struct FromRing {
    ring: Ring,
}

impl FromRing {
    /// What an agent before us had not read is still there.
    pub(super) fn open(maps: &Maps) -> Result<FromRing, Error> {
        let failed = |e| Error::kernel("map PUNTS into memory", e);
        let map = maps.fd(Which::Punts);
        Ok(FromRing { ring: Ring::new(map, maps.entries(Which::Punts)?).map_err(failed)? })
    }

    /// How far it is written; [`is_read_to`](FromRing::is_read_to) says when all that was written until then has been shown.
    pub(super) fn written(&self) -> u64 {
        self.ring.written()
    }

    pub(super) fn is_read_to(&self, position: u64) -> bool {
        self.ring.is_read_to(position)
    }
}

impl Carrier for FromRing {
    fn receive(&mut self, most: usize, show: &mut Show<'_>) -> usize {
        (0..most).take_while(|_| self.ring.next(|record| show(punted(record))).is_some()).count()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The socket of one queue, in copy mode, and its place in `XSKS`.
pub(super) struct FromSocket {
    socket: Xsk,
    pub(super) ifindex: u32,
    slot: u32,
    map: OwnedFd,
}

/// Queues of a device that may have a socket each, as [`xsk_slot`] has room for them.
const QUEUES: u32 = 16;

impl FromSocket {
    /// A socket for each queue of a device, entered in `XSKS`. Where one is refused, that queue's packets come by the ring
    /// buffer.
    pub(super) fn open_all(maps: &Maps, ifindex: u32) -> Result<Vec<FromSocket>, Error> {
        let mut sockets = Vec::new();
        let map = maps.fd(Which::Xsks);
        for queue in 0..QUEUES {
            let socket = match Xsk::open(ifindex, queue) {
                Ok(socket) => socket,
                // EINVAL: no such queue; EBUSY: it has a socket of somebody else; EOPNOTSUPP: none of this device has.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => continue,
                Err(_) => break,
            };
            let slot = xsk_slot(ifindex, queue);
            match bpf::update_socket(map, slot, socket.as_fd()) {
                Ok(()) => {
                    let map = map.try_clone_to_owned().map_err(|e| Error::kernel("keep XSKS", e))?;
                    sockets.push(FromSocket { socket, ifindex, slot, map });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::kernel("enter a socket in XSKS", error)),
            }
        }
        Ok(sockets)
    }

    /// Whether the program over these maps gives it packets.
    pub(super) fn is_of(&self, maps: &Maps) -> Result<bool, Error> {
        let id =
            |map| object::map_info(map).map(|info| info.id).map_err(|e| Error::kernel("ask for XSKS", e));
        Ok(id(self.map.as_fd())? == id(maps.fd(Which::Xsks))?)
    }

    /// No packet comes by it any more, once those are through that are in the program now; what has come still waits.
    pub(super) fn retire(&self) -> Result<(), Error> {
        bpf::delete_socket(self.map.as_fd(), self.slot)
            .map_err(|e| Error::kernel("take a socket out of XSKS", e))
    }
}

impl Carrier for FromSocket {
    fn receive(&mut self, most: usize, show: &mut Show<'_>) -> usize {
        const DESCRIBED: usize = HEADROOM as usize - size_of::<Punt>();
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let show = |buffer: &[u8]| show(buffer.get(DESCRIBED..).and_then(punted));
        self.socket.receive(most, show) as usize
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
