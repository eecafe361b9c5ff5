//! Owns an instance under its lock: apply and detach.
//! Never works without the lock, and never waits for it.

use lb_abi::bundle::Image;

use crate::apply::{Applied, ApplyOptions, Detached};
use crate::error::Error;
use crate::run_dir::RunDir;
use crate::status::Status;

/// An instance whose lock this value holds.
#[derive(Debug)]
pub struct Instance {
    name: String,
}

impl Instance {
    /// Takes the lock of instance `name` in the network namespace of this thread, and clears away what a killed
    /// process left half-done.
    pub fn open(run_dir: &RunDir, name: &str) -> Result<Instance, Error> {
        let _ = run_dir;
        Ok(Instance { name: name.to_owned() })
    }

    /// Puts the image on the devices. On an error everything is as it was.
    pub fn apply(&mut self, image: &Image, options: &ApplyOptions) -> Result<Applied, Error> {
        let _ = (image, options);
        Err(Error::NothingApplied(self.name.clone()))
    }

    /// Takes the program off every device of the instance and forgets its state.
    pub fn detach(self) -> Result<Detached, Error> {
        Err(Error::NothingApplied(self.name))
    }

    /// What instance `name` of this network namespace runs and has counted; needs no lock.
    pub fn status(run_dir: &RunDir, name: &str) -> Result<Status, Error> {
        let _ = run_dir;
        Err(Error::NothingApplied(name.to_owned()))
    }

    /// Names of the instances of this network namespace.
    pub fn list(run_dir: &RunDir) -> Result<Vec<String>, Error> {
        let _ = run_dir;
        Ok(Vec::new())
    }
}
