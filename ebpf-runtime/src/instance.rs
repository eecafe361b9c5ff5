//! Owns an instance under its lock: opening, detaching, listing.
//! Never works without the lock, and never waits for it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use lb_abi::bundle::Image;

use crate::apply::{Applied, ApplyOptions, Detached};
use crate::error::Error;
use crate::lock::{self, Lock, Taken};
use crate::paths::Paths;
use crate::record::{self, Record};
use crate::run_dir::RunDir;
use crate::status::Status;
use crate::{attach, change, pinned, report, settle};

/// An instance whose lock this value holds.
#[derive(Debug)]
pub struct Instance {
    name: String,
    run_dir: RunDir,
    pub(crate) paths: Paths,
    /// The generation in place, or why it cannot be known.
    pub(crate) record: Result<Option<Record>, Error>,
    _lock: Lock,
}

impl Instance {
    /// Takes the lock of instance `name` in the network namespace of this thread, and clears away what a killed
    /// process left half-done.
    ///
    /// # Errors
    /// `InstanceName`, `Busy`, `Pins` where no bpffs can be had, `File`.
    pub fn open(run_dir: &RunDir, name: &str) -> Result<Instance, Error> {
        crate::paths::check_name(name)?;
        let base = run_dir.prepare()?;
        let paths = Paths::new(&base, name)?;
        let lock = lock(&paths, name)?;
        let record = match settle::recover(&paths) {
            // To be replaced by `fresh_state`, or detached.
            Err(error @ Error::Record { .. }) => Err(error),
            other => Ok(other?),
        };
        Ok(Instance { name: name.to_owned(), run_dir: run_dir.clone(), paths, record, _lock: lock })
    }

    /// As `open`, for an instance that is there: where nothing of it is, nothing is made.
    ///
    /// # Errors
    /// As `open`, and `NothingApplied`.
    pub fn open_existing(run_dir: &RunDir, name: &str) -> Result<Instance, Error> {
        crate::paths::check_name(name)?;
        let paths = Paths::new(&run_dir.reach()?, name)?;
        if !paths.directory.exists() && !paths.pins.exists() {
            return Err(Error::NothingApplied(name.to_owned()));
        }
        Instance::open(run_dir, name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Puts the image on the devices. On an error everything is as it was.
    ///
    /// # Errors
    /// Devices: `UnknownDevice`, `ForeignProgram`, `OtherInstance`, `NativeRefused`, `Mtu`, `WrongMode`. State in place:
    /// `Schema` and `Record`, unless `fresh_state`. The image: `Image`, `TooMany`, `Verifier`.
    pub fn apply(&mut self, image: &Image, options: &ApplyOptions) -> Result<Applied, Error> {
        let applied = change::apply(self, image, options);
        if applied.is_err() && matches!(self.record, Ok(None)) && !self.paths.pins.exists() {
            // Nothing was there before, and the refusal stands whatever becomes of an empty directory.
            let _ = self.clear_directory();
        }
        applied
    }

    /// Removes what an instance that is nowhere in place keeps beside its pins. An agent that still runs keeps its own lock
    /// file, and with it the directory, until it sees that it is over.
    fn clear_directory(&self) -> Result<(), Error> {
        record::remove(&self.paths.pending())?;
        record::remove(&self.paths.record())?;
        record::remove(&self.paths.lock())?;
        // The sessions of generated keys are gone, so that nobody needs them.
        let _ = fs::remove_dir_all(self.paths.keys());
        let _ = fs::remove_dir(&self.paths.directory);
        Ok(())
    }

    /// Where an agent of instance `name` in the network namespace of this thread logs that has no terminal: one file for
    /// each instance.
    ///
    /// # Errors
    /// `InstanceName`.
    pub fn agent_log(run_dir: &RunDir, name: &str) -> Result<PathBuf, Error> {
        Paths::new(run_dir.path(), name).map(|paths| paths.agent_log())
    }

    /// Refuses devices on which another instance of this run directory runs.
    pub(crate) fn refuse_others(&self, device: &crate::net::Link) -> Result<(), Error> {
        let base = self.run_dir.reach()?;
        for name in self.run_dir.instances()?.into_iter().filter(|name| *name != self.name) {
            let links = pinned::links(&Paths::new(&base, &name)?)?;
            if links.iter().any(|link| link.ifindex == device.index) {
                return Err(Error::OtherInstance { device: device.name.clone(), instance: name });
            }
        }
        Ok(())
    }

    /// Takes the program off every device of the instance and forgets its state.
    ///
    /// # Errors
    /// `NothingApplied`, `Kernel` and `File` where something resists; what is left can be detached again.
    pub fn detach(self) -> Result<Detached, Error> {
        let links = attach::links()?;
        let name_of = |ifindex: u32| {
            let link = links.iter().find(|link| link.index == ifindex);
            link.map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
        };
        let pinned = pinned::links(&self.paths)?;
        let nothing = pinned.is_empty() && matches!(self.record, Ok(None));
        let devices =
            pinned.iter().filter(|link| link.ifindex != 0).map(|link| name_of(link.ifindex)).collect();
        pinned::remove_all(&self.paths)?;
        self.clear_directory()?;
        if nothing { Err(Error::NothingApplied(self.name)) } else { Ok(Detached { devices }) }
    }

    /// Takes the program off some of the devices; on the others it runs on, with flows and counters. A device that is
    /// gone is known by the name it had.
    ///
    /// # Errors
    /// `NothingApplied`, `Record`; `UnknownDevice`, `NotOfInstance`; `EveryDevice` if none would be left.
    pub fn detach_devices(&mut self, names: &[String]) -> Result<Detached, Error> {
        let found = attach::links()?;
        let mut record = match std::mem::replace(&mut self.record, Ok(None)) {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Error::NothingApplied(self.name.clone())),
            Err(error) => return Err(error),
        };
        self.record = Ok(Some(record.clone()));
        let mut devices = Vec::new();
        for name in names {
            let index = found.iter().find(|link| link.name == *name).map(|link| link.index);
            let at = record.devices.iter().position(|device| match index {
                Some(index) => device.ifindex == index,
                None => device.name == *name,
            });
            match at {
                Some(at) => {
                    record.devices.remove(at);
                    devices.push(name.clone());
                }
                None if devices.contains(name) => {}
                None => {
                    attach::find(&found, name)?;
                    return Err(Error::NotOfInstance { device: name.clone(), instance: self.name.clone() });
                }
            }
        }
        if record.devices.is_empty() {
            return Err(Error::EveryDevice(self.name.clone()));
        }
        // Written first: what is killed here, the next one to open the instance finishes.
        record::write(&self.paths.record(), &record)?;
        for link in pinned::links(&self.paths)? {
            if !record.devices.iter().any(|device| device.ifindex == link.ifindex) {
                link.remove()?;
            }
        }
        self.record = Ok(Some(record));
        Ok(Detached { devices })
    }

    /// What instance `name` of this network namespace runs and has counted; needs no lock.
    ///
    /// # Errors
    /// `NothingApplied`, `Record`, `Kernel`.
    pub fn status(run_dir: &RunDir, name: &str) -> Result<Status, Error> {
        report::status(run_dir, name)
    }

    /// Names of the instances of this network namespace, in order.
    pub fn list(run_dir: &RunDir) -> Result<Vec<String>, Error> {
        run_dir.instances()
    }
}

fn lock(paths: &Paths, name: &str) -> Result<Lock, Error> {
    let path = paths.lock();
    loop {
        let directory = &paths.directory;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| Error::file(directory, e))?;
        match lock::take(&path) {
            Ok(Taken::Ours(lock)) => return Ok(lock),
            Ok(Taken::Busy(holder)) => {
                let holder = holder.map_or_else(
                    || "another process changes it".to_owned(),
                    |pid| format!("process {pid} changes it"),
                );
                return Err(Error::Busy { instance: name.to_owned(), holder });
            }
            // A detach removed the directory in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file(path, error)),
        }
    }
}
