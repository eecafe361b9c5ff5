//! An `apply` killed at every system call that changes something, or with each of these calls failing: the old
//! generation is in place or the new one, as the apply says, and the next to open the instance leaves nothing half-made.
//!
//! The test runs itself as the process that is killed, under ptrace(2), so that each point is met exactly once.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::counting;
use ebpf_runtime::Error;
use ebpf_runtime::apply::{Applied, ApplyOptions};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::net;
use lb_abi::bundle::Image;
use lb_abi::image::{END_PASS, OP_VERIFY};
use lb_abi::mode::FEATURE_FORWARD;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Which way the killed apply goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// Nothing was in place before.
    First,
    /// A store into the other half.
    Half,
    /// A new program, with one device more.
    Program,
}

/// What happens at a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Kill,
    /// The call does nothing and returns this error number.
    #[cfg(target_arch = "x86_64")]
    Fail(i32),
}

const FATES: &[Fate] = &[
    Fate::Kill,
    // Registers are the architecture's own.
    #[cfg(target_arch = "x86_64")]
    Fate::Fail(libc::ENOMEM),
];

/// How an apply ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Killed,
    Succeeded,
    Refused,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child-first") => drop(apply(Change::First, 0)),
        Some("child-half") => drop(apply(Change::Half, 1)),
        Some("child-program") => drop(apply(Change::Program, 1)),
        _ => {
            for change in [Change::First, Change::Half, Change::Program] {
                for fate in FATES {
                    let points = sweep(change, *fate);
                    println!("{change:?}, {fate:?}: {points} points");
                }
            }
        }
    }
}

fn image(change: Change, step: u32) -> Image {
    let mut image = counting(&[1, u64::from(2 + step)], END_PASS);
    if change == Change::Program {
        // Another set of flags is another program.
        image.features = FEATURE_FORWARD * step;
        // One that hands packets to user space has a second program.
        image.ops |= 1 << OP_VERIFY;
    }
    image
}

fn apply(change: Change, step: u32) -> Applied {
    let devices: &[&str] = if change == Change::Program && step == 1 { &["wan0", "lan0"] } else { &["wan0"] };
    let mut options = ApplyOptions::new([0; 32], devices.iter().map(|device| (*device).to_owned()).collect());
    options.hash_key = PathBuf::from("/run/hash.key");
    let mut instance = Instance::open(&Lab::run_dir(), "main").unwrap();
    instance.apply(&image(change, step), &options).unwrap()
}

/// Has it happen at the first point, the second and so on, until an apply meets fewer.
fn sweep(change: Change, fate: Fate) -> u32 {
    let plan = Plan {
        arms: Arms::Two,
        balancer: vec![],
        clients: vec![vec![IpAddr::from([192, 0, 2, 1])]],
        backends: vec![vec![IpAddr::from([10, 0, 0, 1])]],
    };
    let lab = Lab::build(&plan).unwrap();
    let start = || {
        lab.balancer
            .run(|| match change {
                Change::First => {
                    // The first time there is nothing to detach.
                    let _ = Instance::open(&Lab::run_dir(), "main").unwrap().detach();
                    0
                }
                Change::Half | Change::Program => apply(change, 0).generation,
            })
            .unwrap()
    };
    let mut before = start();
    let mut ends = BTreeSet::new();
    for point in 1.. {
        let (met, end) = run_to(&lab, change, fate, point);
        let now = examine(&lab, before, change);
        match end {
            End::Killed => {}
            End::Succeeded => assert_eq!(now, before + 1, "point {point}"),
            End::Refused => assert_eq!(now, before, "point {point}: refused, yet in place"),
        }
        ends.insert(now - before);
        if !met {
            assert_eq!(end, End::Succeeded);
            assert_eq!(ends.len(), 2, "too early or too late to tell");
            return point - 1;
        }
        before = start();
    }
    unreachable!()
}

/// Whether the apply came to its `point`th call that changes something, and how it ended.
fn run_to(lab: &Lab, change: Change, fate: Fate, point: u32) -> (bool, End) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(match change {
        Change::First => "child-first",
        Change::Half => "child-half",
        Change::Program => "child-program",
    });
    // Its panic is the refusal that is looked for.
    command.stderr(Stdio::null());
    lab.balancer.place(&mut command).unwrap();
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Stopped(_, Signal::SIGTRAP)));
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    let mut met = 0;
    let mut entering = true;
    let mut signal = None;
    let end = loop {
        ptrace::syscall(pid, signal.take()).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                let here = entering && changes_something(pid);
                met += u32::from(here);
                entering = !entering;
                if here && met == point {
                    match fate {
                        Fate::Kill => {
                            child.kill().unwrap();
                            break End::Killed;
                        }
                        #[cfg(target_arch = "x86_64")]
                        Fate::Fail(error) => {
                            fail(pid, error);
                            entering = true;
                        }
                    }
                }
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, 0) => break End::Succeeded,
            WaitStatus::Exited(_, 101) => break End::Refused,
            other => panic!("the apply ended otherwise: {other:?}"),
        }
    };
    // ECHILD where it was reaped above.
    let _ = child.wait();
    (met >= point, end)
}

/// Turns the call that is about to be made into none, and goes on to its return with the error in place.
#[cfg(target_arch = "x86_64")]
fn fail(pid: Pid, error: i32) {
    let mut registers = ptrace::getregs(pid).unwrap();
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers).unwrap();
    ptrace::syscall(pid, None).unwrap();
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::PtraceSyscall(_)));
    registers.rax = i64::from(-error).cast_unsigned();
    ptrace::setregs(pid, registers).unwrap();
}

/// Everything that is pinned below a directory of a bpffs.
fn pinned(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let own = entries.filter(|path| path.extension().is_none_or(|extension| extension != "debug"));
    own.flat_map(|path| if path.is_dir() { pinned(&path) } else { vec![path] }).collect()
}

fn changes_something(pid: Pid) -> bool {
    let info = ptrace::syscall_info(pid).unwrap();
    assert_eq!(info.op, libc::PTRACE_SYSCALL_INFO_ENTRY);
    // SAFETY: of the union, this is the part that the kernel fills on entry, as just checked.
    let entry = unsafe { info.u.entry };
    // Commands of bpf(2) whose work outlives the process, see `enum bpf_cmd`: pins and links.
    const OBJ_PIN: u64 = 6;
    const LINK_CREATE: u64 = 28;
    const LINK_UPDATE: u64 = 29;
    const LINK_DETACH: u64 = 34;
    const CHANGING: [i64; 7] = [
        libc::SYS_rename,
        libc::SYS_unlink,
        libc::SYS_unlinkat,
        libc::SYS_rmdir,
        libc::SYS_mkdir,
        libc::SYS_membarrier,
        libc::SYS_fsync,
    ];
    match entry.nr.cast_signed() {
        libc::SYS_bpf => [OBJ_PIN, LINK_CREATE, LINK_UPDATE, LINK_DETACH].contains(&entry.args[0]),
        number => CHANGING.contains(&number),
    }
}

/// The generation in place after a kill, everything about it having been looked at.
fn examine(lab: &Lab, before: u32, change: Change) -> u32 {
    lab.balancer
        .run(|| {
            let programs = |name: &str| {
                let links = net::links().unwrap();
                links.into_iter().find(|link| link.name == name).unwrap().programs
            };
            if before > 0 {
                assert_eq!(programs("wan0").len(), 1, "never without a program");
            }
            drop(Instance::open(&Lab::run_dir(), "main").unwrap());
            if change == Change::First && programs("wan0").is_empty() {
                let error = Instance::status(&Lab::run_dir(), "main").unwrap_err();
                assert!(matches!(error, Error::NothingApplied(_)), "{error}");
                assert_eq!(pinned(Path::new("/run/lbctl/bpf")), Vec::<PathBuf>::new());
                return 0;
            }
            let status = Instance::status(&Lab::run_dir(), "main").unwrap();
            let now = status.generation;
            assert!(now == before || now == before + 1, "{before} {now}");
            for device in &status.devices {
                assert_eq!(device.problem, None, "{device:?}");
            }
            let on_both = change == Change::Program && now == before + 1;
            assert_eq!(status.devices.len(), if on_both { 2 } else { 1 });
            assert_eq!(programs("lan0").len(), usize::from(on_both));

            let names = |path: &Path| -> Vec<String> {
                let entries = std::fs::read_dir(path).unwrap().flatten();
                let mut names: Vec<String> =
                    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                names.sort();
                names
            };
            let only = |path: &Path| {
                let entries = std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path());
                let mut found: Vec<PathBuf> =
                    entries.filter(|path| !path.ends_with("bpf") && path.is_dir()).collect();
                assert_eq!(found.len(), 1, "{found:?}");
                found.remove(0)
            };
            let run = Lab::run_dir().path().to_owned();
            let directory = only(&run);
            assert_eq!(names(&directory), ["lock", "record.json"]);
            let pins = names(&only(&run.join("bpf")));
            assert_eq!(pins.len(), 2, "{pins:?}");
            assert_eq!(pins[0], "links");
            now
        })
        .unwrap()
}
