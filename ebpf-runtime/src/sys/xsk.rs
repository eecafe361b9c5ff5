//! Owns AF_XDP sockets for receiving, in copy mode: one for a queue of a device, with buffers of its own.
//! Never sends, and never interprets a frame or what stands in front of it.
//!
//! Layouts and offsets are those of include/uapi/linux/if_xdp.h.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, from_mut, from_ref, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Buffers of a socket, a power of two, and their size: one frame each, behind the headroom of XDP.
const BUFFERS: u32 = 4096;
const BUFFER: u32 = 4096;
/// `XDP_PACKET_HEADROOM`: what a frame in a buffer is preceded by, its metadata at the end.
pub(crate) const HEADROOM: u32 = 256;

/// A mapping of so many bytes that goes with the value.
#[derive(Debug)]
struct Area {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: plain memory, shared with the kernel; whoever holds the socket that owns it is alone with it.
unsafe impl Send for Area {}

impl Area {
    /// Of `fd` at `offset`, or anonymous memory.
    fn map(bytes: usize, of: Option<(BorrowedFd<'_>, libc::off_t)>) -> io::Result<Area> {
        let (flags, fd, offset) = match of {
            Some((fd, offset)) => (libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Area { base, bytes })
    }

    /// The place `offset` bytes into it of a value of `T`, aligned by the caller's word.
    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let fits =
            offset.checked_add(size_of::<T>())? <= self.bytes && offset.is_multiple_of(align_of::<T>());
        // SAFETY: within the mapping, as just checked.
        fits.then(|| unsafe { self.base.add(offset) }.cast())
    }

    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        // SAFETY: four aligned bytes within the mapping, which lives as long as `self`; the kernel's accesses are atomic.
        self.at::<u32>(offset).map(|at| unsafe { AtomicU32::from_ptr(at.as_ptr()) })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// One ring of entries of `T`, shared with the kernel.
#[derive(Debug)]
struct Ring {
    area: Area,
    producer: usize,
    consumer: usize,
    entries: usize,
}

impl Ring {
    fn map<T>(fd: BorrowedFd<'_>, at: libc::off_t, of: &libc::xdp_ring_offset) -> io::Result<Ring> {
        let bytes = of.desc as usize + BUFFERS as usize * size_of::<T>();
        Ok(Ring {
            area: Area::map(bytes, Some((fd, at)))?,
            producer: of.producer as usize,
            consumer: of.consumer as usize,
            entries: of.desc as usize,
        })
    }

    fn entry<T>(&self, position: u32) -> Option<NonNull<T>> {
        self.area.at(self.entries + (position % BUFFERS) as usize * size_of::<T>())
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Xsk {
    // Closed before its memory goes.
    socket: OwnedFd,
    buffers: Area,
    fill: Ring,
    received: Ring,
    // The kernel binds no socket without one.
    _completed: Ring,
}

fn set<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value lives until the call returns and has the size given.
    let done = unsafe {
        let size = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, from_ref(value).cast(), size)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: plain old data, for which all zeros is a valid value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: value and size live until the call returns, and the size is the value's.
    let done = unsafe {
        let (value, size) = (from_mut(&mut offsets).cast(), from_mut(&mut size));
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, value, size)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(offsets) }
}

impl Xsk {
    /// A socket for queue `queue` of interface `ifindex` of this thread's network namespace. `EINVAL` or `EOPNOTSUPP`
    /// where there is no such queue, `EBUSY` where it has a socket.
    pub(crate) fn open(ifindex: u32, queue: u32) -> io::Result<Xsk> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just handed this descriptor to us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let fd = socket.as_fd();
        let buffers = Area::map(BUFFERS as usize * BUFFER as usize, None)?;
        // SAFETY: plain old data, for which all zeros is a valid value.
        let mut memory: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
        memory.addr = buffers.base.as_ptr() as u64;
        memory.len = buffers.bytes as u64;
        memory.chunk_size = BUFFER;
        set(fd, libc::XDP_UMEM_REG, &memory)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            set(fd, ring, &BUFFERS)?;
        }
        let at = offsets(fd)?;
        let fill = Ring::map::<u64>(fd, libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, &at.fr)?;
        let completed = Ring::map::<u64>(fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t, &at.cr)?;
        let received = Ring::map::<libc::xdp_desc>(fd, libc::XDP_PGOFF_RX_RING, &at.rx)?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as libc::c_ushort,
            sxdp_flags: libc::XDP_COPY,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: the address is a `sockaddr_xdp` of the size given.
        let done = unsafe {
            let size = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
            libc::bind(fd.as_raw_fd(), from_ref(&address).cast(), size)
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        let xsk = Xsk { socket, buffers, fill, received, _completed: completed };
        xsk.give((0..BUFFERS).map(|number| u64::from(number) * u64::from(BUFFER)));
        Ok(xsk)
    }

    /// Hands buffers to the kernel; there is room for all there are.
    fn give(&self, buffers: impl Iterator<Item = u64>) {
        let Some(producer) = self.fill.area.word(self.fill.producer) else { return };
        let mut position = producer.load(Ordering::Relaxed);
        for buffer in buffers {
            if let Some(entry) = self.fill.entry::<u64>(position) {
                // SAFETY: aligned and within the ring; the kernel reads it once the position behind it is stored.
                unsafe { entry.write_volatile(buffer) };
                position = position.wrapping_add(1);
            }
        }
        producer.store(position, Ordering::Release);
    }

    /// Shows up to `most` frames that have arrived, each behind its headroom, whose last bytes are its metadata; how many
    /// there were. Their buffers go back to the kernel.
    pub(crate) fn receive(&mut self, most: u32, mut show: impl FnMut(&[u8])) -> u32 {
        let area = &self.received.area;
        let (Some(producer), Some(consumer)) =
            (area.word(self.received.producer), area.word(self.received.consumer))
        else {
            return 0;
        };
        let from = consumer.load(Ordering::Relaxed);
        let count = producer.load(Ordering::Acquire).wrapping_sub(from).min(most);
        if count == 0 {
            return 0;
        }
        for index in 0..count {
            let Some(entry) = self.received.entry::<libc::xdp_desc>(from.wrapping_add(index)) else {
                continue;
            };
            // SAFETY: aligned and within the ring, and the kernel has written it before the position behind it.
            let entry = unsafe { entry.read_volatile() };
            let (at, len) = (entry.addr as usize, entry.len as usize);
            let start = at.checked_sub(HEADROOM as usize);
            if let Some(start) =
                start.filter(|_| at.checked_add(len).is_some_and(|end| end <= self.buffers.bytes))
            {
                // SAFETY: within the buffers, which the kernel leaves alone until this one is given back below.
                show(unsafe {
                    let base = self.buffers.base.as_ptr().add(start);
                    std::slice::from_raw_parts(base, HEADROOM as usize + len)
                });
            }
            self.give(std::iter::once(entry.addr & !u64::from(BUFFER - 1)));
        }
        consumer.store(from.wrapping_add(count), Ordering::Release);
        count
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
