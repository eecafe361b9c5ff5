//! Owns every way in which the kernel side can refuse, each one clear sentence with the cure.
//! Never a panic, and never a cause that is only a number.

use std::io;
use std::path::PathBuf;

/// Why something could not be done. Nothing that was in place is changed by an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0:?} is not a name for an instance: use 1 to 32 letters, digits, `-` or `_`, a letter or digit first"
    )]
    InstanceName(String),
    #[error("instance {instance} is busy: {holder}; wait for it to end")]
    Busy { instance: String, holder: String },
    #[error("an agent of instance {instance} already runs ({holder}); stop it with TERM first")]
    AgentBusy { instance: String, holder: String },
    #[error(
        "instance {0} has no policy in place in this network namespace; `lbctl status` lists those that have"
    )]
    NothingApplied(String),
    #[error("no network namespace is called {name:?}{}; `ip netns list` shows those there are", unless_missing(.cause))]
    UnknownNamespace { name: String, cause: io::Error },
    #[error("a policy is applied to devices: name at least one")]
    NoDevice,
    #[error("no device is called {name:?}{}", did_you_mean(.near))]
    UnknownDevice { name: String, near: Vec<String> },
    #[error(
        "device {device} already runs an XDP program that is not this run directory's (id {id}, {name}): {}",
        removal(device, name)
    )]
    ForeignProgram { device: String, id: u32, name: String },
    #[error("device {device} belongs to instance {instance}: detach that one first")]
    OtherInstance { device: String, instance: String },
    #[error("device {device} is none of instance {instance}; `lbctl status` lists those that are")]
    NotOfInstance { device: String, instance: String },
    #[error(
        "instance {0} would have no device left: detach without naming devices to take it off, which forgets flows and counters"
    )]
    EveryDevice(String),
    #[error("device {device} cannot run XDP in its driver ({cause}): {cure}")]
    NativeRefused { device: String, cause: io::Error, cure: String },
    #[error("device {device} refused the program ({cause})")]
    AttachRefused { device: String, cause: io::Error },
    #[error(
        "device {device} was asked to run the program in mode {wanted} but the kernel runs it in mode {got}; it was detached again"
    )]
    WrongMode { device: String, wanted: String, got: String },
    #[error(
        "device {device} has an MTU of {mtu}, more than the {max} that its driver can give XDP in one buffer: set it to at most {max} (ip link set {device} mtu {max})"
    )]
    Mtu { device: String, mtu: u32, max: u32 },
    #[error(
        "the maps in place were made by another version of lbctl (schema {found}, this one has {ours}): apply with fresh state to replace them, which forgets flows and counters"
    )]
    Schema { found: u32, ours: u32 },
    #[error("the kernel's verifier refused the program: {0}")]
    Verifier(String),
    #[error("{what}: {cause}{}", needs_root(.cause))]
    Kernel { what: String, cause: io::Error },
    #[error("{path}: {cause}{}", needs_root(.cause))]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "{path} does not tell what is in place ({cause}): apply with fresh state to replace it, which forgets flows and counters, or detach"
    )]
    Record { path: PathBuf, cause: String },
    #[error(
        "the hash key {path} is readable by others (mode {mode:o}): chmod 600 it, or delete it to have a new one made"
    )]
    KeyReadable { path: PathBuf, mode: u32 },
    #[error("the hash key {path} is no regular file: name one, or a place where one can be made")]
    KeyKind { path: PathBuf },
    #[error("the hash key {path} has {len} bytes instead of 16: delete it to have a new one made")]
    KeyLength { path: PathBuf, len: usize },
    #[error("the run directory {path} cannot be made ({cause}): name another with --run-dir{}", needs_root(.cause))]
    RunDir { path: PathBuf, cause: io::Error },
    #[error("pins cannot be kept: {0}")]
    Pins(String),
    #[error("the image is not one this version can load: {0}")]
    Image(String),
    #[error(
        "no certificate of this instance has a hash that begins with {0:?}; `lbctl sessions` lists those in use"
    )]
    NoCertificate(String),
    #[error("the hashes of {count} certificates begin with {prefix:?}: give more of it")]
    Certificates { prefix: String, count: usize },
    #[error("the policy needs {wanted} {what}, more than the {max} there can be")]
    TooMany { what: &'static str, wanted: u64, max: u64 },
}

impl Error {
    /// A system call that failed, in the words of what was tried.
    pub fn kernel(what: impl Into<String>, cause: io::Error) -> Error {
        Error::Kernel { what: what.into(), cause }
    }

    pub fn file(path: impl Into<PathBuf>, cause: io::Error) -> Error {
        Error::File { path: path.into(), cause }
    }
}

fn needs_root(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        "; this needs root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN)"
    } else {
        ""
    }
}

/// That a name leads nowhere is what the sentence says already.
fn unless_missing(cause: &io::Error) -> String {
    if cause.kind() == io::ErrorKind::NotFound { String::new() } else { format!(" ({cause})") }
}

/// How to get rid of a program that we did not put there.
fn removal(device: &str, name: &str) -> String {
    if name == crate::program::NAME {
        "another lbctl put it there: detach that one with its own --run-dir".to_owned()
    } else {
        format!("detach it first (ip link set {device} xdp off, or end what holds it)")
    }
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        many => format!("; did you mean one of {}?", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_want_of_rights_says_so() {
        let denied = || io::Error::from_raw_os_error(libc::EPERM);
        let told = "make map X: Operation not permitted (os error 1); this needs root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN)";
        assert_eq!(Error::kernel("make map X", denied()).to_string(), told);
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(Error::file("/x", missing).to_string(), "/x: No such file or directory (os error 2)");
    }
}
