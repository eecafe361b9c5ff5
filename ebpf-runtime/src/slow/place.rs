//! Owns finding the generation that packets are judged by, and what its record says of certificates. Never serves it.

use std::time::SystemTime;

use super::keys;
use super::verify::{Authority, Verifier};
use super::worker::Current;
use crate::error::Error;
use crate::generation;
use crate::paths::Paths;
use crate::pinned;
use crate::plane::Plane;
use crate::record::{self, Record};

/// A generation as it was found.
pub(super) struct Place {
    /// When the record in place was written; `None` for a generation that is still on its way there.
    pub(super) written: Option<SystemTime>,
    pub(super) record: Record,
    pub(super) plane: Plane,
}

impl Place {
    /// The generation in place, or `newest`, where packets follow that one already. `None` while there is none, or while
    /// an apply moves it.
    pub(super) fn open(paths: &Paths, newest: u32) -> Result<Option<Place>, Error> {
        // A pending one that cannot be read is being changed, or not whole.
        if let Ok(Some(record)) = record::read(&paths.pending())
            && record.generation == newest
            && let Ok(Some(plane)) = pinned::plane(paths, record.load)
        {
            return Ok(Some(Place { written: None, record, plane }));
        }
        let path = paths.record();
        // Before reading: what is written later is noticed then.
        let Some(written) = record::written(&path) else { return Ok(None) };
        let Some(record) = record::read(&path)? else { return Ok(None) };
        let plane = pinned::plane(paths, record.load)?;
        Ok(plane.map(|plane| Place { written: Some(written), record, plane }))
    }

    pub(super) fn current(&self, paths: &Paths) -> Result<Current, Error> {
        current(paths, &self.record, &self.plane)
    }
}

/// What a generation over `plane` says of certificates.
pub(super) fn current(paths: &Paths, record: &Record, plane: &Plane) -> Result<Current, Error> {
    let content = &record.content;
    let authority = |authority: &generation::Authority| Authority {
        identity: authority.identity,
        replay: authority.replay,
    };
    Ok(Current {
        generation: record.generation,
        verifier: Verifier::new(content.authorities.iter().map(authority), keys::of(paths, content, plane)?),
        trackers: content.trackers.iter().map(|tracker| tracker.number).collect(),
    })
}
