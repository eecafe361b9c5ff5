//! Owns the signatures that an instance remembers, in the kernel's map `REPLAYS`. Never the question which ones.
//!
//! One agent writes them, on several threads. An entry is made in one step (`BPF_NOEXIST`), so that of two equal
//! signatures one is first; to take an old one's place needs the lock, and so does deleting it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use lb_abi::maps::ReplayKey;

use super::verify::{Remembered, Replays};
use crate::sys::bpf;

/// Of all who replace or delete entries: they are of this process.
static REPLACE: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelReplays<'m> {
    map: BorrowedFd<'m>,
}

impl<'m> KernelReplays<'m> {
    pub(crate) fn new(map: BorrowedFd<'m>) -> KernelReplays<'m> {
        KernelReplays { map }
    }

    /// As if it had not been accepted.
    pub(crate) fn forget(&self, key: &ReplayKey) -> io::Result<()> {
        bpf::take::<ReplayKey, u64>(self.map, key).map(drop)
    }

    /// Deletes it if it need not be remembered any more.
    pub(crate) fn forget_old(&self, key: &ReplayKey, now: u64) -> io::Result<()> {
        let _lock = REPLACE.lock().unwrap_or_else(PoisonError::into_inner);
        match bpf::lookup::<ReplayKey, u64>(self.map, key)? {
            Some(end) if end < now => self.forget(key),
            _ => Ok(()),
        }
    }
}

impl Replays for KernelReplays<'_> {
    fn remember(&self, key: &ReplayKey, now: u64, until: u64) -> io::Result<Remembered> {
        match bpf::update(self.map, key, &until, bpf::NOEXIST) {
            Ok(()) => return Ok(Remembered::First),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let _lock = REPLACE.lock().unwrap_or_else(PoisonError::into_inner);
        if bpf::lookup::<ReplayKey, u64>(self.map, key)?.is_some_and(|end| now <= end) {
            return Ok(Remembered::Again);
        }
        bpf::update(self.map, key, &until, bpf::ANY).map(|()| Remembered::First)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn map(entries: u32) -> std::os::fd::OwnedFd {
        let key = size_of::<ReplayKey>() as u32;
        bpf::map_create("replays", bpf::MAP_TYPE_HASH, key, 8, entries, bpf::F_NO_PREALLOC).unwrap()
    }

    fn key(number: u64) -> ReplayKey {
        ReplayKey { authority: number, ..ReplayKey::default() }
    }

    #[test]
    fn a_signature_is_first_once_until_it_is_old() {
        let map = map(16);
        let replays = KernelReplays::new(map.as_fd());
        assert_eq!(replays.remember(&key(1), 100, 200).unwrap(), Remembered::First);
        assert_eq!(replays.remember(&key(1), 200, 300).unwrap(), Remembered::Again);
        assert_eq!(replays.remember(&key(1), 201, 301).unwrap(), Remembered::First);
        replays.forget_old(&key(1), 301).unwrap();
        assert_eq!(replays.remember(&key(1), 250, 350).unwrap(), Remembered::Again);
        replays.forget_old(&key(1), 302).unwrap();
        assert_eq!(replays.remember(&key(1), 250, 350).unwrap(), Remembered::First);
        replays.forget(&key(1)).unwrap();
        assert_eq!(replays.remember(&key(1), 250, 350).unwrap(), Remembered::First);
    }

    #[test]
    fn of_many_at_once_one_is_first() {
        let map = map(256);
        let replays = KernelReplays::new(map.as_fd());
        // Half of them old already.
        for number in 0..64 {
            bpf::update(map.as_fd(), &key(number), &5u64, bpf::ANY).unwrap();
        }
        let first = || -> usize {
            let firsts = (0..128).map(|number| replays.remember(&key(number), 10, 20).unwrap());
            firsts.filter(|remembered| *remembered == Remembered::First).count()
        };
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(first)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, 128);
    }

    #[test]
    fn a_full_store_is_an_error() {
        let map = map(4);
        let replays = KernelReplays::new(map.as_fd());
        let full = (0..1024).any(|number| replays.remember(&key(number), 1, 2).is_err());
        assert!(full);
    }
}
