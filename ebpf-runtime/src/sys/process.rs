//! Owns calls about this process and the machine: detached mounts, membarrier, clocks, namespaces.
//! Never changes the caller's own namespaces.

use std::ffi::{CStr, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// Waits until every packet that was in the program when this was called has left it: XDP runs under RCU, and the
/// global barrier is an RCU grace period (kernel/sched/membarrier.c). Some 5 ms.
pub(crate) fn wait_for_packets() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: c_int = 1;
    // SAFETY: no address is passed.
    match unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has this thread give way to others, by so many steps more than it does.
pub(crate) fn give_way(steps: c_int) {
    // SAFETY: no address is passed. On Linux it is the thread's alone (nice(2), "C library/kernel differences"), and a
    // refusal leaves it as it was.
    unsafe { libc::nice(steps) };
}

/// Number of CPUs there may ever be: per-CPU values come in as many copies.
pub(crate) fn cpus() -> io::Result<usize> {
    static CPUS: OnceLock<usize> = OnceLock::new();
    if let Some(cpus) = CPUS.get() {
        return Ok(*cpus);
    }
    let cpus = aya::util::nr_cpus()
        .map_err(|(path, cause)| io::Error::new(cause.kind(), format!("{path}: {cause}")))?;
    Ok(*CPUS.get_or_init(|| cpus))
}

/// The clock the data path reads (`bpf_ktime_get_coarse_ns`), in ns.
pub(crate) fn coarse_clock() -> io::Result<u64> {
    Ok(clock(libc::CLOCK_MONOTONIC_COARSE)?.cast_unsigned())
}

/// What is to be added to that clock to have ns since 1970. Both are set at the same moments, so that the difference
/// stays as it is until the wall clock is set or slewed.
pub(crate) fn wall_offset() -> io::Result<i64> {
    loop {
        let before = clock(libc::CLOCK_MONOTONIC_COARSE)?;
        let wall = clock(libc::CLOCK_REALTIME_COARSE)?;
        if clock(libc::CLOCK_MONOTONIC_COARSE)? == before {
            return Ok(wall.saturating_sub(before));
        }
    }
}

fn clock(clock: libc::clockid_t) -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

fn syscall_fd(number: c_long, arguments: [c_long; 5]) -> io::Result<OwnedFd> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers below pass integers and strings of static lifetime only.
    let fd = unsafe { libc::syscall(number, a, b, c, d, e) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// A bpffs that is mounted nowhere: pins in it (`/proc/self/fd/N/NAME`) go with the descriptor.
pub(crate) fn detached_bpffs() -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: c_int = 6;
    const FSOPEN_CLOEXEC: c_long = 1;
    const FSMOUNT_CLOEXEC: c_long = 1;
    const NAME: &CStr = c"bpf";
    let context = syscall_fd(libc::SYS_fsopen, [NAME.as_ptr() as c_long, FSOPEN_CLOEXEC, 0, 0, 0])?;
    // SAFETY: the command takes no key and no value.
    let made = unsafe {
        let none = std::ptr::null::<u8>();
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0)
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    syscall_fd(libc::SYS_fsmount, [context.as_raw_fd() as c_long, FSMOUNT_CLOEXEC, 0, 0, 0])
}

/// `memlock` of a BPF object's `fdinfo`, in bytes; 0 where the kernel does not say.
pub(crate) fn locked_memory(object: BorrowedFd<'_>) -> u64 {
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd())).unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok()).unwrap_or_default()
}

/// A number that the kernel gives each network namespace once and never again until the next boot
/// (`SO_NETNS_COOKIE`, Linux 5.14), of this thread's namespace.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: c_int = 71;
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut cookie: u64 = 0;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` and `len` live until the call returns, and `len` is the size of `cookie`.
    let failed = unsafe {
        let (value, len) = (std::ptr::from_mut(&mut cookie), std::ptr::from_mut(&mut len));
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value.cast(), len)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}
