//! Owns what stands pinned of an instance: links by device, programs with their maps by load.
//! Never decides which of them are right.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::paths::{PROGRAM, Paths, RESUME};
use crate::plane::Plane;
use crate::program::Programs;
use crate::state::Maps;
use crate::sys::object::{self, LinkInfo};

/// A pinned link to a device.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
    /// 0 when the device is gone.
    pub(crate) ifindex: u32,
    /// Id of the program in it.
    pub(crate) program: u32,
}

impl Link {
    fn open(path: PathBuf) -> io::Result<Link> {
        let fd = object::open_pin(&path)?;
        let LinkInfo { ifindex, program, .. } = object::link_info(fd.as_fd())?;
        Ok(Link { path, fd, ifindex, program })
    }

    /// Takes the program off the device, whoever else holds the link, and forgets the pin.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match object::link_detach(self.fd.as_fd()) {
            // A device that is gone took its program along.
            Err(error) if self.ifindex != 0 && error.raw_os_error() != Some(libc::ENOLINK) => {
                return Err(Error::kernel(format!("detach from interface {}", self.ifindex), error));
            }
            _ => {}
        }
        unlink(&self.path)
    }
}

/// The instance's links, those to vanished devices included.
pub(crate) fn links(paths: &Paths) -> Result<Vec<Link>, Error> {
    let directory = paths.links();
    let mut links = Vec::new();
    for path in entries(&directory)? {
        links.push(Link::open(path.clone()).map_err(|e| Error::file(path, e))?);
    }
    links.sort_by_key(|link| link.ifindex);
    Ok(links)
}

/// Pins a link under its device, in place of one to a device that had the number before.
pub(crate) fn pin_link(paths: &Paths, ifindex: u32, link: &OwnedFd) -> Result<(), Error> {
    make_directory(&paths.links())?;
    let path = paths.link(ifindex);
    unlink(&path)?;
    object::pin(link.as_fd(), &path).map_err(|e| Error::file(path, e))
}

/// Forgets the pin of a link, which then lives as long as its descriptors.
pub(crate) fn unpin_link(paths: &Paths, ifindex: u32) -> Result<(), Error> {
    unlink(&paths.link(ifindex))
}

/// Pins a program and its maps as those of generation `load`.
pub(crate) fn pin_plane(paths: &Paths, load: u32, plane: &Plane) -> Result<(), Error> {
    let directory = paths.load(load);
    remove_load(&directory)?;
    make_directory(&directory)?;
    plane.maps.pin(&directory)?;
    if let Some(resume) = &plane.resume {
        let path = directory.join(RESUME);
        object::pin(resume.as_fd(), &path).map_err(|e| Error::file(path, e))?;
    }
    // Last: what has a program has all.
    let path = directory.join(PROGRAM);
    object::pin(plane.program.as_fd(), &path).map_err(|e| Error::file(path, e))
}

/// The program and maps of generation `load`; `None` if they are not all there.
pub(crate) fn plane(paths: &Paths, load: u32) -> Result<Option<Plane>, Error> {
    let directory = paths.load(load);
    let Some(maps) = Maps::open(&directory).map_err(|e| Error::file(&directory, e))? else { return Ok(None) };
    let Some(packets) = open(&directory.join(PROGRAM))? else { return Ok(None) };
    let resume = open(&directory.join(RESUME))?;
    Plane::over(Programs { packets, resume }, maps).map(Some)
}

/// What is pinned there, if anything is.
fn open(path: &Path) -> Result<Option<OwnedFd>, Error> {
    match object::open_pin(path) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path, error)),
    }
}

/// Id of the program that generation `load` brought, if it is pinned.
pub(crate) fn program_id(paths: &Paths, load: u32) -> Option<u32> {
    let program = object::open_pin(&paths.load(load).join(PROGRAM)).ok()?;
    object::program_info(program.as_fd()).ok().map(|info| info.id)
}

/// The highest load of which there are pins, 0 without any.
pub(crate) fn latest_load(paths: &Paths) -> u32 {
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix("load-")?.parse().ok();
    entries(&paths.pins).unwrap_or_default().into_iter().filter_map(number).max().unwrap_or_default()
}

/// Unpins every load but `keep`.
pub(crate) fn remove_loads(paths: &Paths, keep: Option<u32>) -> Result<(), Error> {
    let keep = keep.map(|load| paths.load(load));
    for path in entries(&paths.pins)? {
        if Some(&path) != keep.as_ref() && path != paths.links() {
            remove_load(&path)?;
        }
    }
    Ok(())
}

/// Unpins what is left of the instance.
pub(crate) fn remove_all(paths: &Paths) -> Result<(), Error> {
    for link in links(paths)? {
        link.remove()?;
    }
    remove_loads(paths, None)?;
    remove_directory(&paths.links())?;
    remove_directory(&paths.pins)
}

pub(crate) fn remove_load(directory: &Path) -> Result<(), Error> {
    for path in entries(directory)? {
        unlink(&path)?;
    }
    remove_directory(directory)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Error::file(path, e))
}

fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}

fn unlink(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}

/// What is in a directory that need not exist.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::file(directory, error)),
    }
}
