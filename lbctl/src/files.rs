//! Owns files: the policy named on the command line, the texts that a policy names below its directory, and the
//! whole replacement of a file. Never what a text means.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use policy_lang::source::Loader;

use crate::console::Failure;

/// Largest text that is read, in bytes: five million IPv6 prefixes fit.
const MAX_BYTES: u64 = 256 << 20;

/// The policy as named on the command line, and where the texts it names are found.
pub struct Policy {
    /// As shown in messages.
    pub name: String,
    pub text: String,
    pub directory: Directory,
}

/// Reads the policy; `-` is standard input, whose includes and lists are relative to the current directory.
pub fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let stdin = path == Path::new("-");
    let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let text = if stdin { read_text(io::stdin().lock()) } else { read_file(path) };
    let text = text.map_err(|why| {
        // What a shell makes of `<(…)`.
        let fifo = !stdin && fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        let cure = if fifo { "; for standard input, write -" } else { "" };
        Failure::new(format!("{name}: {why}{cure}"))
    })?;
    let directory = match path.parent() {
        Some(parent) if !stdin && parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = fs::canonicalize(directory)
        .map_err(|error| Failure::new(format!("{}: {error}", directory.display())))?;
    Ok(Policy { name, text, directory: Directory(directory) })
}

/// The directory of the root policy, without symbolic links; nothing outside of it is read.
pub struct Directory(PathBuf);

impl Loader for Directory {
    fn load(&self, name: &Path) -> Result<String, String> {
        for component in name.components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err("`..` would leave the policy's directory".into()),
                Component::RootDir | Component::Prefix(_) => {
                    return Err("is absolute; paths are relative to the policy's directory".into());
                }
            }
        }
        let path = fs::canonicalize(self.0.join(name)).map_err(|error| said(&error))?;
        if !path.starts_with(&self.0) {
            return Err("is a symbolic link that leaves the policy's directory".into());
        }
        read_file(&path)
    }
}

/// The text of a regular file.
pub fn read_file(path: &Path) -> Result<String, String> {
    read_text(open(path)?)
}

/// Opens a regular file of a size that can be read.
pub fn open(path: &Path) -> Result<File, String> {
    // Looked at before it is opened: to open a FIFO waits for a writer, and to open a device may do anything.
    regular(&fs::metadata(path).map_err(|error| said(&error))?)?;
    let file = File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| said(&error))?;
    let metadata = file.metadata().map_err(|error| said(&error))?;
    regular(&metadata)?;
    if metadata.len() > MAX_BYTES {
        return Err(too_large());
    }
    Ok(file)
}

fn regular(metadata: &fs::Metadata) -> Result<(), String> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "is a directory",
        () if kind.is_fifo() => "is a FIFO",
        () if kind.is_socket() => "is a socket",
        () => "is a device",
    };
    Err(what.into())
}

fn read_text(input: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| said(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// Names the first byte that is no UTF-8 by line and column.
fn not_text(bytes: &[u8], at: usize) -> String {
    let (before, rest) = bytes.split_at(at);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    let byte = rest.first().copied().unwrap_or_default();
    format!("is no text: byte 0x{byte:02x} in line {line}, column {column} is not UTF-8")
}

/// Writes a file so that a reader sees the old content or the whole new one. Mode bits and symbolic links stay.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("{}: {}", path.display(), said(&error)));
    let (target, mode) = match fs::canonicalize(path) {
        Ok(target) => {
            let mode = fs::metadata(&target).map_err(failed)?.permissions().mode();
            (target, Some(mode & 0o7777))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_path_buf(), None),
        Err(error) => return Err(failed(error)),
    };
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_new(&partial, content, mode).and_then(|()| fs::rename(&partial, &target));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        failed(error)
    })
}

fn write_new(path: &Path, content: &[u8], mode: Option<u32>) -> io::Result<()> {
    // No more open than the file it replaces, at no moment.
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode.map_or(0o666, |mode| mode & 0o777))
        .open(path)?;
    if let Some(mode) = mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(content)?;
    file.sync_all()
}

fn too_large() -> String {
    format!("is larger than {} MiB", MAX_BYTES >> 20)
}

/// An I/O error without Rust's `(os error 2)`.
pub fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory(inside: &Path) -> Directory {
        Directory(fs::canonicalize(inside).unwrap())
    }

    #[test]
    fn nothing_outside_of_the_policys_directory_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(temp.path().join("secret"), "x").unwrap();
        fs::write(root.join("list"), "192.0.2.1\n").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("list", root.join("in")).unwrap();
        let root = directory(&root);
        assert_eq!(root.load(Path::new("list")).unwrap(), "192.0.2.1\n");
        assert_eq!(root.load(Path::new("./in")).unwrap(), "192.0.2.1\n");
        for (name, why) in [
            ("../secret", "`..` would leave the policy's directory"),
            ("out", "is a symbolic link that leaves the policy's directory"),
            ("/etc/passwd", "is absolute; paths are relative to the policy's directory"),
            ("missing", "no such file"),
            (".", "is a directory"),
        ] {
            assert_eq!(root.load(Path::new(name)).unwrap_err(), why, "{name}");
        }
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&temp.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let why = directory(temp.path()).load(Path::new("fifo")).unwrap_err();
        assert_eq!(why, "is a FIFO");
    }

    #[test]
    fn a_byte_that_is_no_text_is_named_with_its_place() {
        assert_eq!(
            read_text(&b"lbp 1\n# \xc3\xa9 \xff"[..]).unwrap_err(),
            "is no text: byte 0xff in line 2, column 5 is not UTF-8"
        );
        assert_eq!(
            read_text(&b"\x7fELF\x02\x01\xc3"[..]).unwrap_err(),
            "is no text: byte 0xc3 in line 1, column 7 is not UTF-8"
        );
    }
}
