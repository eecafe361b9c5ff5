//! Owns runs of the `lbctl` binary on files of a directory of their own, and how a run reads in a snapshot.
//! Never a namespace or a device.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::balancer::lbctl_binary;

/// A policy that nothing is to be said about.
pub const SOUND: &str = "\
lbp 1
set office : net = { 198.51.100.0/24, 2001:db8:100::/48 }
policy p { default drop } =
  match {
    src in office -> pass
    else          -> drop
  }
";

/// A directory in which `lbctl` runs, so that every path in its messages is relative.
#[derive(Debug)]
pub struct Desk {
    dir: TempDir,
}

/// Exit code and both streams of a run; its `Display` is for snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Desk {
    /// With these files, by name and content.
    pub fn new(files: &[(&str, &str)]) -> Desk {
        let desk = Desk { dir: tempfile::tempdir().expect("a directory") };
        for (name, content) in files {
            desk.write(name, content);
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory for the file");
        }
        fs::write(path, content).expect("a file");
    }

    /// `lbctl ARGS` with an environment that does not depend on who runs the tests.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(lbctl_binary());
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("RUST_BACKTRACE");
        command
    }

    pub fn lbctl(&self, args: &[&str]) -> Ran {
        self.command(args).output().expect("lbctl runs").into()
    }

    /// With this on standard input.
    pub fn lbctl_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("lbctl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let sent = input.to_vec();
        // A run that ends early does not read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&sent)));
        let output = child.wait_with_output().expect("lbctl ends");
        writer.join().expect("the writer ends");
        output.into()
    }

    /// As the user nobody, whatever the tests run as; for the user to find it, the binary is copied here.
    pub fn lbctl_as_nobody(&self, args: &[&str]) -> Ran {
        const NOBODY: u32 = 65_534;
        let binary = self.path("lbctl");
        if !binary.exists() {
            fs::copy(lbctl_binary(), &binary).expect("a copy of lbctl");
            open_to_all(self.dir.path());
        }
        let mut command = Command::new(binary);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        loop {
            match command.output() {
                // A test of another thread forked while the copy was being written, and has not called exec yet.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ran => break ran.expect("lbctl runs").into(),
            }
        }
    }
}

fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("permissions");
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit {code}")?,
            None => writeln!(f, "killed by a signal")?,
        }
        for (name, text) in [("out", &self.out), ("err", &self.err)] {
            if !text.is_empty() {
                writeln!(f, "--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}
