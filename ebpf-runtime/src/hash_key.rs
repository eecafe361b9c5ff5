//! Owns the file with the instance's secret: 16 random bytes that keep attackers from choosing their backend.
//! Never prints them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use lb_abi::hash::Key;

use crate::error::Error;

const LENGTH: usize = 16;

/// The key in `path`, two little-endian words; made with mode 0600 if there is none.
///
/// # Errors
/// `KeyKind` for a directory and the like, `KeyReadable` where group or others may read it, `KeyLength`, `File`.
pub(crate) fn read_or_make(path: &Path) -> Result<Key, Error> {
    match read(path) {
        Err(Error::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|e| Error::file(path, e))?;
            read(path)
        }
        other => other,
    }
}

fn read(path: &Path) -> Result<Key, Error> {
    let failed = |e| Error::file(path, e);
    // Never waits for the other end of a FIFO.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::KeyKind { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::KeyReadable { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(LENGTH as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let (Some((low, high)), LENGTH) = (bytes.split_first_chunk::<8>(), bytes.len()) else {
        return Err(Error::KeyLength { path: path.to_owned(), len: bytes.len() });
    };
    let high = high.first_chunk::<8>().copied().unwrap_or_default();
    Ok([u64::from_le_bytes(*low), u64::from_le_bytes(high)])
}

/// Written aside and linked into place, so that two that make it at once end with one.
fn make(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let aside = directory.join(format!(".hash.key.{}", std::process::id()));
    let mut random = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    // A killed process of the same number may have left one.
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let linked =
        file.write_all(&random).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/hash.key");
        let key = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), key);
        assert_ne!(key, [0; 2]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    /// Nobody is told to take rights from a directory, or to delete a device.
    #[test]
    fn a_key_that_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path(), Path::new("/dev/null")] {
            assert!(matches!(read_or_make(path), Err(Error::KeyKind { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_key_that_others_read_or_of_another_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hash.key");
        fs::write(&path, [1; 16]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_or_make(&path), Err(Error::KeyReadable { mode: 0o640, .. })));
        for length in [0, 15, 17] {
            fs::write(&path, vec![1; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read_or_make(&path), Err(Error::KeyLength { .. })), "{length}");
        }
    }
}
