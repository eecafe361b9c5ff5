//! Owns a view of an array map through `mmap`: plain loads and stores that the data path sees at once.
//! Never grows: the length is the map's own.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::bpf::Plain;

/// `len` values of `T` of an array map made with `BPF_F_MMAPABLE`. The map's value sizes are multiples of 8; `T` is one of
/// them, or a part of which they are made.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    base: NonNull<u8>,
    len: usize,
    bytes: usize,
    values: PhantomData<T>,
}

// SAFETY: the view is memory shared with the kernel anyway; every access goes through volatile or atomic operations.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as for Send.
unsafe impl<T> Sync for Mapped<T> {}

impl<T: Plain> Mapped<T> {
    pub(crate) fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Mapped<T>> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses lengths beyond the map.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapped { base, len, bytes, values: PhantomData })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn at(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: within the mapping, which is `len` values long and page-aligned.
        (index < self.len).then(|| unsafe { self.base.cast::<T>().add(index) })
    }

    pub(crate) fn get(&self, index: usize) -> Option<T> {
        // SAFETY: in range and aligned by `at`; the data path may write meanwhile, hence volatile.
        self.at(index).map(|value| unsafe { value.read_volatile() })
    }

    /// Whether there is such an index.
    pub(crate) fn set(&self, index: usize, value: T) -> bool {
        match self.at(index) {
            // SAFETY: in range and aligned by `at`.
            Some(at) => unsafe { at.write_volatile(value) },
            None => return false,
        }
        true
    }

    /// Writes `values` from `start` on, as far as the map goes.
    pub(crate) fn fill(&self, start: usize, values: &[T]) {
        let count = values.len().min(self.len.saturating_sub(start));
        let Some(at) = self.at(start) else { return };
        // SAFETY: `count` values from `start` on lie within the mapping; the source is another allocation.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), at.as_ptr(), count) };
    }

    /// Adds `count` values from `start` on to `to`, as far as the map goes. Nobody writes them meanwhile.
    pub(crate) fn append(&self, start: usize, count: usize, to: &mut Vec<T>) {
        let count = count.min(self.len.saturating_sub(start));
        let Some(at) = self.at(start) else { return };
        to.reserve(count);
        // SAFETY: `count` values from `start` on lie within the mapping, and there is room for as many behind `to`, which is
        // another allocation; all bit patterns are values.
        unsafe {
            std::ptr::copy_nonoverlapping(at.as_ptr(), to.as_mut_ptr().add(to.len()), count);
            to.set_len(to.len() + count);
        }
    }

    /// A 64-bit word of value `index`, `offset` bytes into it (a multiple of 8).
    pub(crate) fn word(&self, index: usize, offset: usize) -> Option<&AtomicU64> {
        let fits =
            offset.is_multiple_of(8) && offset + 8 <= size_of::<T>() && size_of::<T>().is_multiple_of(8);
        let at = self.at(index).filter(|_| fits)?;
        // SAFETY: 8 aligned bytes within the mapping, which lives as long as `self`; shared writers use atomics too.
        Some(unsafe { AtomicU64::from_ptr(at.cast::<u8>().add(offset).cast::<u64>().as_ptr()) })
    }

    /// A 32-bit word of value `index`, `offset` bytes into it (a multiple of 4).
    pub(crate) fn half_word(&self, index: usize, offset: usize) -> Option<&AtomicU32> {
        let fits =
            offset.is_multiple_of(4) && offset + 4 <= size_of::<T>() && size_of::<T>().is_multiple_of(4);
        let at = self.at(index).filter(|_| fits)?;
        // SAFETY: 4 aligned bytes within the mapping, which lives as long as `self`; shared writers use atomics too.
        Some(unsafe { AtomicU32::from_ptr(at.cast::<u8>().add(offset).cast::<u32>().as_ptr()) })
    }

    /// A 16-bit word of value `index`, `offset` bytes into it (a multiple of 2).
    pub(crate) fn quarter_word(&self, index: usize, offset: usize) -> Option<&AtomicU16> {
        let fits =
            offset.is_multiple_of(2) && offset + 2 <= size_of::<T>() && size_of::<T>().is_multiple_of(2);
        let at = self.at(index).filter(|_| fits)?;
        // SAFETY: 2 aligned bytes within the mapping, which lives as long as `self`; shared writers use atomics too.
        Some(unsafe { AtomicU16::from_ptr(at.cast::<u8>().add(offset).cast::<u16>().as_ptr()) })
    }

    /// Makes all stores so far visible before those that follow.
    pub(crate) fn fence(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
