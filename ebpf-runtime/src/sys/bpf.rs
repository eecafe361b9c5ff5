//! Owns the `bpf()` commands on maps: create, look up, update, delete, one by one and in batches.
//! Never interprets a value: keys and values are plain bytes of the sizes the map has.
//!
//! The attribute structs are the leading parts of `union bpf_attr` (include/uapi/linux/bpf.h) that the command reads;
//! the kernel takes any prefix as long as it is told its size.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A value that may be copied from and to the kernel as bytes.
///
/// # Safety
/// Implementors have no padding, and every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy + Default + 'static {}

macro_rules! plain {
    ($($type:ty),+) => {$(
        // SAFETY: integers, and structs of integers whose padding is spelled out (sizes are asserted in lb-abi).
        unsafe impl Plain for $type {}
    )+};
}

plain!(
    u8,
    u32,
    u64,
    lb_abi::maps::Control,
    lb_abi::maps::Counter,
    lb_abi::maps::LimitKey,
    lb_abi::maps::LimitState
);
plain!(lb_abi::maps::TrackerState, lb_abi::maps::PoolState, lb_abi::maps::Backend);
plain!(lb_abi::maps::FlowKey, lb_abi::maps::Flow, lb_abi::maps::Certificate, lb_abi::maps::Pending);
plain!(lb_abi::maps::SessionKey, lb_abi::maps::Session, lb_abi::maps::Punt, lb_abi::maps::Resume);
plain!(lb_abi::maps::PuntKey, lb_abi::maps::ReplayKey, lb_abi::maps::ResumeBatch);

pub(crate) const MAP_TYPE_HASH: u32 = 1;
pub(crate) const MAP_TYPE_ARRAY: u32 = 2;
pub(crate) const MAP_TYPE_PERCPU_ARRAY: u32 = 6;
pub(crate) const MAP_TYPE_LRU_HASH: u32 = 9;
pub(crate) const MAP_TYPE_XSKMAP: u32 = 17;
pub(crate) const MAP_TYPE_RINGBUF: u32 = 27;

pub(crate) const F_NO_PREALLOC: u32 = 1;
pub(crate) const F_MMAPABLE: u32 = 1 << 10;

/// Update only where there is no entry yet.
pub(crate) const NOEXIST: u64 = 1;
/// Update only where there is one.
pub(crate) const EXIST: u64 = 2;
pub(crate) const ANY: u64 = 0;

/// `enum bpf_cmd`, of which we use these.
#[derive(Clone, Copy)]
#[repr(i64)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetFdById = 13,
    ObjGetInfo = 15,
    MapLookupAndDelete = 21,
    MapLookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// How often a command that a signal interrupted is tried again.
const RETRIES: u32 = 8;

/// # Safety
/// Every address in `attr` is valid for the length that `command` uses it with, until the call returns.
pub(super) unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    let mut tries = 0;
    loop {
        // SAFETY: `attr` is a live struct of the size given; the caller vouches for the addresses in it.
        let result: c_long = unsafe {
            libc::syscall(libc::SYS_bpf, command as c_long, std::ptr::from_mut(attr), size_of::<A>())
        };
        if result >= 0 {
            return Ok(result as i32);
        }
        let error = io::Error::last_os_error();
        tries += 1;
        if tries > RETRIES || !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
            return Err(error);
        }
    }
}

/// # Safety
/// As for [`bpf`]; `command` is one that returns a new descriptor.
pub(super) unsafe fn bpf_fd<A>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: as the caller vouches.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Name in the form of the kernel: at most 15 bytes and a zero.
fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    out
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

pub(crate) fn map_create(
    name: &str,
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
) -> io::Result<OwnedFd> {
    let map_name = object_name(name);
    let mut attr = MapCreate {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags,
        inner_map_fd: 0,
        numa_node: 0,
        map_name,
    };
    // SAFETY: the attribute holds no address.
    unsafe { bpf_fd(Command::MapCreate, &mut attr) }
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(map: BorrowedFd<'_>, key: *const u8, value: *const u8, flags: u64) -> MapElement {
    MapElement { map_fd: map.as_raw_fd() as u32, pad: 0, key: key as u64, value: value as u64, flags }
}

/// The value under `key`, `None` if there is none. The map has keys and values of these types.
pub(crate) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = element(map, std::ptr::from_ref(key).cast(), std::ptr::from_mut(&mut value).cast(), 0);
    // SAFETY: key and value live until the call returns and have the sizes of the map (`state::Spec` made it).
    match unsafe { bpf(Command::MapLookup, &mut attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The values of every CPU under `key`, one after the other; `cpus` as in `/sys/devices/system/cpu/possible`.
pub(crate) fn lookup_per_cpu<V: Plain>(map: BorrowedFd<'_>, key: u32, values: &mut [V]) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(&key).cast(), values.as_mut_ptr().cast(), 0);
    // SAFETY: `values` has room for every possible CPU (`process::cpus`), each value a multiple of 8 bytes.
    unsafe { bpf(Command::MapLookup, &mut attr) }.map(drop)
}

pub(crate) fn update_per_cpu<V: Plain>(map: BorrowedFd<'_>, key: u32, values: &[V]) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(&key).cast(), values.as_ptr().cast(), ANY);
    // SAFETY: as for `lookup_per_cpu`, and the kernel only reads.
    unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
}

pub(crate) fn update<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
    flags: u64,
) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), std::ptr::from_ref(value).cast(), flags);
    // SAFETY: key and value live until the call returns and have the sizes of the map; the kernel only reads them.
    unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
}

/// Enters a socket in a map of sockets.
pub(crate) fn update_socket(map: BorrowedFd<'_>, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    update(map, &key, &(socket.as_raw_fd() as u32), ANY)
}

/// Takes the socket out of a map of sockets; it need not be there any more.
pub(crate) fn delete_socket(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(&key).cast(), std::ptr::null(), 0);
    // SAFETY: the key lives until the call returns, and the command looks at no value.
    match unsafe { bpf(Command::MapDelete, &mut attr) } {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Writes `bytes`, which must be a whole value of the map, under array index `key`.
pub(crate) fn update_bytes(map: BorrowedFd<'_>, key: u32, bytes: &[u8], value_size: usize) -> io::Result<()> {
    if bytes.len() != value_size {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut attr = element(map, std::ptr::from_ref(&key).cast(), bytes.as_ptr(), ANY);
    // SAFETY: `bytes` is one whole value, as just checked; the kernel only reads it.
    unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
}

/// Deletes an entry of a hash map and gives what stood in it, in one step (Linux 5.14).
pub(crate) fn take<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = element(map, std::ptr::from_ref(key).cast(), std::ptr::from_mut(&mut value).cast(), 0);
    // SAFETY: key and value live until the call returns and have the sizes of the map (`state::Spec` made it).
    match unsafe { bpf(Command::MapLookupAndDelete, &mut attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Walks a hash map bucket by bucket with `BPF_MAP_LOOKUP_BATCH`. Entries that come or go meanwhile may be missed;
/// none is seen twice unless it was deleted and inserted again.
pub(crate) struct Walk<'m, K, V> {
    map: BorrowedFd<'m>,
    cursor: Option<u32>,
    keys: Vec<K>,
    values: Vec<V>,
    done: bool,
}

impl<'m, K: Plain, V: Plain> Walk<'m, K, V> {
    /// At most about `batch` entries at a time.
    pub(crate) fn new(map: BorrowedFd<'m>, batch: usize) -> Walk<'m, K, V> {
        Walk {
            map,
            cursor: None,
            keys: vec![K::default(); batch],
            values: vec![V::default(); batch],
            done: false,
        }
    }

    /// The next entries; `None` after the last.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<(&[K], &[V])>> {
        while !self.done {
            let cursor = self.cursor.unwrap_or_default();
            let mut after: u32 = 0;
            let mut attr = MapBatch {
                in_batch: if self.cursor.is_some() { std::ptr::from_ref(&cursor) as u64 } else { 0 },
                out_batch: std::ptr::from_mut(&mut after) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: self.keys.len() as u32,
                map_fd: self.map.as_raw_fd() as u32,
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: both buffers hold `count` entries of the map's sizes, the cursors of a hash map are 4 bytes,
            // and all of them live until the call returns.
            match unsafe { bpf(Command::MapLookupBatch, &mut attr) } {
                Ok(_) => self.cursor = Some(after),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.done = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    // One bucket holds more than the whole buffer.
                    let larger = self.keys.len().saturating_mul(2).max(16);
                    self.keys.resize(larger, K::default());
                    self.values.resize(larger, V::default());
                    continue;
                }
                Err(error) => return Err(error),
            }
            let count = (attr.count as usize).min(self.keys.len());
            if count > 0 {
                return Ok(self.keys.get(..count).zip(self.values.get(..count)));
            }
        }
        Ok(None)
    }
}
