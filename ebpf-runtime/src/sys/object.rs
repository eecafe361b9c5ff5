//! Owns the `bpf()` commands on pins, links, programs and what the kernel tells about them.
//! Never decides which program goes where.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::bpf::{Command, bpf, bpf_fd};

/// `enum bpf_attach_type`. Programs are loaded for it and links made for it, since a link never changes it.
const ATTACH_TYPE_XDP: u32 = 37;

pub(crate) const XDP_FLAGS_SKB: u32 = 1 << 1;
pub(crate) const XDP_FLAGS_DRV: u32 = 1 << 2;

#[repr(C)]
struct Pin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Pin { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd() as u32, file_flags: 0 };
    // SAFETY: the path ends in a zero and lives until the call returns.
    unsafe { bpf(Command::ObjPin, &mut attr) }.map(drop)
}

pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Pin { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path ends in a zero and lives until the call returns.
    unsafe { bpf_fd(Command::ObjGet, &mut attr) }
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches to interface `ifindex` of this thread's network namespace; the link lives as long as its descriptors and pins.
pub(crate) fn link_create(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr =
        LinkCreate { prog_fd: program.as_raw_fd() as u32, ifindex, attach_type: ATTACH_TYPE_XDP, flags };
    // SAFETY: the attribute holds no address.
    unsafe { bpf_fd(Command::LinkCreate, &mut attr) }
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Puts another program into a link, atomically: each packet meets the one or the other.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: program.as_raw_fd() as u32,
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
}

#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Takes the program off the device although the link may still be held or pinned.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkDetach { link_fd: link.as_raw_fd() as u32 };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// # Safety
/// `I` is a struct of integers in the layout of the object's `struct bpf_…_info`, or a prefix of it.
unsafe fn info<I: Default>(object: BorrowedFd<'_>) -> io::Result<I> {
    let mut info = I::default();
    let mut attr = GetInfo {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: size_of::<I>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is zeroed, lives until the call returns, and has the length given.
    unsafe { bpf(Command::ObjGetInfo, &mut attr) }?;
    Ok(info)
}

/// Leading part of `struct bpf_link_info`, XDP's own included.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(crate) struct LinkInfo {
    pub(crate) link_type: u32,
    pub(crate) id: u32,
    pub(crate) program: u32,
    pad: u32,
    /// 0 when the device is gone.
    pub(crate) ifindex: u32,
    pad2: u32,
}

pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: integers in the kernel's layout.
    unsafe { info(link) }
}

/// Leading part of `struct bpf_map_info`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(crate) struct MapInfo {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
}

pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    // SAFETY: integers in the kernel's layout.
    unsafe { info(map) }
}

/// `struct bpf_prog_info` up to `verified_insns`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
struct RawProgramInfo {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    gpl: u32,
    netns: [u64; 2],
    counts: [u32; 2],
    symbols: [u64; 2],
    btf: [u32; 2],
    func_info: u64,
    line_counts: [u32; 2],
    line_info: [u64; 2],
    line_sizes: [u32; 4],
    tags: u64,
    run_time_ns: u64,
    run_count: u64,
    recursion_misses: u64,
    verified_instructions: u32,
    attach_btf: [u32; 2],
    pad: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct ProgramInfo {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) verified_instructions: u32,
}

pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // SAFETY: integers in the kernel's layout; its addresses are zero with counts of zero, so the kernel fills none.
    let raw: RawProgramInfo = unsafe { info(program) }?;
    let name = raw.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(ProgramInfo {
        id: raw.id,
        name: String::from_utf8_lossy(name).into_owned(),
        verified_instructions: raw.verified_instructions,
    })
}

#[repr(C)]
struct GetId {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = GetId { id, next_id: 0, open_flags: 0 };
    // SAFETY: the attribute holds no address.
    unsafe { bpf_fd(Command::ProgGetFdById, &mut attr) }
}

/// `struct xdp_md` as `BPF_PROG_TEST_RUN` takes it.
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    /// The kernel refuses an attribute whose unused bytes are not zero.
    pad: u32,
}

/// Return code, frame afterwards, mean nanoseconds.
pub(crate) struct TestRan {
    pub(crate) code: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) duration: u32,
}

/// Where a frame is said to have come from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Origin {
    /// How many bytes in front of the frame are metadata.
    pub(crate) meta: u32,
    /// Interface of this thread's network namespace (0: loopback), and its queue.
    pub(crate) ifindex: u32,
    pub(crate) queue: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES` (Linux 5.18).
const TEST_LIVE_FRAMES: u32 = 1 << 1;

/// Runs an XDP program on a frame as if it had come in by `ifindex` of this thread's network namespace (0: loopback).
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    repeat: u32,
) -> io::Result<TestRan> {
    // Room for a program that makes the frame longer by encapsulation.
    let mut out = vec![0; frame.len() + 256];
    let origin = Origin { ifindex, ..Origin::default() };
    let ran = run(program, frame, origin, TestRun { repeat, ..TestRun::default() }, &mut out)?;
    out.truncate(ran.data_size_out as usize);
    Ok(TestRan { code: ran.retval, frame: out, duration: ran.duration })
}

/// Runs it `count` times, each time on a frame of its own that begins as `input` (the metadata and the frame), and what it
/// decides on happens. For more than one the kernel waits for two grace periods, unless the program is attached somewhere
/// (net/bpf/test_run.c, kernel/bpf/dispatcher.c).
pub(crate) fn run_live(program: BorrowedFd<'_>, input: &[u8], from: Origin, count: u32) -> io::Result<()> {
    let how = TestRun { repeat: count, flags: TEST_LIVE_FRAMES, batch_size: count, ..TestRun::default() };
    run(program, input, from, how, &mut []).map(drop)
}

fn run(
    program: BorrowedFd<'_>,
    input: &[u8],
    from: Origin,
    how: TestRun,
    out: &mut [u8],
) -> io::Result<TestRun> {
    let context = XdpContext {
        data: from.meta,
        data_end: input.len() as u32,
        data_meta: 0,
        ingress_ifindex: from.ifindex,
        rx_queue_index: from.queue,
        egress_ifindex: 0,
    };
    let with_context = from.ifindex != 0 || from.meta != 0;
    let mut attr = TestRun {
        prog_fd: program.as_fd().as_raw_fd() as u32,
        data_size_in: input.len() as u32,
        data_size_out: out.len() as u32,
        data_in: input.as_ptr() as u64,
        data_out: if out.is_empty() { 0 } else { out.as_mut_ptr() as u64 },
        ctx_size_in: if with_context { size_of::<XdpContext>() as u32 } else { 0 },
        ctx_in: if with_context { std::ptr::from_ref(&context) as u64 } else { 0 },
        ..how
    };
    // SAFETY: input, output and context live until the call returns and have the lengths given.
    unsafe { bpf(Command::ProgTestRun, &mut attr) }?;
    Ok(attr)
}
