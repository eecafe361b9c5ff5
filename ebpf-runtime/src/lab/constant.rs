//! Owns the smallest XDP programs there are: one verdict for every frame. Never a map, never a look at the frame.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Error;

/// `return verdict`, loaded; it lives as long as a descriptor, a pin or a device holds it.
#[derive(Debug)]
pub struct ConstantProgram(OwnedFd);

/// What it returns (`enum xdp_action`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Drop = 1,
    Pass = 2,
    Tx = 3,
}

/// The words of `union bpf_attr` for BPF_PROG_LOAD up to `expected_attach_type` (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const LICENSE: &[u8] = b"MIT\0";

impl ConstantProgram {
    /// Loads it. Needs CAP_BPF and CAP_NET_ADMIN.
    pub fn load(verdict: Verdict) -> Result<ConstantProgram, Error> {
        // `r0 = verdict`; `exit`.
        let instructions: [[u8; 8]; 2] =
            [[0xb7, 0, 0, 0, verdict as u8, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let mut prog_name = [0; 16];
        prog_name[..10].copy_from_slice(b"lbctl_same");
        let attr = ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: instructions.len() as u32,
            insns: instructions.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            prog_name,
            expected_attach_type: BPF_XDP,
            ..ProgLoad::default()
        };
        // SAFETY: the attribute is a prefix of the kernel's union of the size given, and its pointers lead to
        // bytes of the lengths stated in it, which outlive the call.
        let fd =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgLoad>()) };
        if fd < 0 {
            return Err(Error::new(
                format!("load an XDP program that returns {verdict:?}"),
                io::Error::last_os_error(),
            ));
        }
        // SAFETY: the kernel has just handed this descriptor to us alone.
        Ok(ConstantProgram(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
