//! Owns reading a BPF ring buffer (kernel/bpf/ringbuf.c): one consumer, records in the order in which they came.
//! Never what a record means.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Of a record's length word: it is still being written; it was given up.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Length, and the page that the kernel finds the buffer by.
const HEADER: usize = 8;

/// The buffer in memory: our position, then the kernel's and the data, which is there twice, one behind the other, so
/// that every record lies in one piece. What was read before a crash is read again by nobody: the position is the map's.
#[derive(Debug)]
pub(crate) struct Ring {
    map: OwnedFd,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    /// Bytes of the data, a power of two.
    bytes: usize,
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: memory shared with the kernel; every access goes through atomics or `Ring::next`, which is exclusive.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; `&Ring` gives no access to records.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: BorrowedFd<'_>, offset: usize, bytes: usize, protection: i32) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses what lies beyond the map.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { base, bytes })
    }

    /// The position at the start of the mapping.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: the first 8 bytes of a mapping of at least a page; the kernel uses atomics as well.
        unsafe { AtomicU64::from_ptr(self.base.cast::<u64>().as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

impl Ring {
    /// Of a ring buffer of `bytes`. A second reader of one buffer takes records from the first.
    pub(crate) fn new(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Ring> {
        // SAFETY: no address is passed.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
        let bytes = bytes as usize;
        let consumer = Mapping::new(map, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(map, page, page + 2 * bytes, libc::PROT_READ)?;
        Ok(Ring { map: map.try_clone_to_owned()?, consumer, producer, page, bytes })
    }

    /// Where the next record begins that is written; positions only grow.
    pub(crate) fn written(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    /// Whether all records have been read that begin before `position`.
    pub(crate) fn is_read_to(&self, position: u64) -> bool {
        self.consumer.position().load(Ordering::Relaxed) >= position
    }

    /// Gives the oldest record to `read` and frees its place; `None` if there is none.
    pub(crate) fn next<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Option<R> {
        loop {
            let at = self.consumer.position().load(Ordering::Relaxed);
            if at == self.written() {
                return None;
            }
            let offset = self.page + (at as usize & (self.bytes - 1));
            // SAFETY: positions are multiples of 8 and masked to the data, which begins on a page; the mapping is two
            // data lengths long.
            let place = unsafe { self.producer.base.add(offset) };
            // SAFETY: 4 aligned bytes within the mapping; the kernel stores the word when the record is whole.
            let word = unsafe { AtomicU32::from_ptr(place.cast::<u32>().as_ptr()) }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                return None;
            }
            let length = ((word & !DISCARDED) as usize).min(self.bytes);
            // SAFETY: the record lies in one piece behind its header, below the second end of the data, and the kernel
            // does not write there before the position is moved.
            let record = unsafe {
                std::slice::from_raw_parts(place.add(HEADER).as_ptr(), length.min(self.bytes - HEADER))
            };
            let given = (word & DISCARDED == 0).then(|| read(record));
            let next = at.wrapping_add((HEADER + length).next_multiple_of(8) as u64);
            self.consumer.position().store(next, Ordering::Release);
            if given.is_some() {
                return given;
            }
        }
    }
}

/// Readable while there are records.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
