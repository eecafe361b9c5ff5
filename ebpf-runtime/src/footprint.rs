//! Owns the question how large an image's maps are, before any is made.
//! Never makes one.

use lb_abi::bundle::Image;
use serde::Serialize;

use crate::error::Error;
use crate::generation::Generation;
use crate::state::{SPECS, Sizes};

/// One map as a first `apply` of the image makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MapSize {
    pub name: &'static str,
    pub entries: u32,
    /// Memory in the kernel, all CPUs together; a table of proven flows takes it as flows come.
    pub bytes: u64,
}

/// The maps of an image, in the order of their making.
///
/// # Errors
/// `TooMany` where the image or a table is beyond what a map can hold.
pub fn maps(image: &Image) -> Result<Vec<MapSize>, Error> {
    let sizes = Sizes::needed(image, &Generation::default().number(image))?;
    let cpus = crate::sys::process::cpus().map_err(|e| Error::kernel("count CPUs", e))? as u64;
    let size = |spec: &crate::state::Spec| MapSize {
        name: spec.name,
        entries: sizes.entries(spec.which),
        bytes: spec.bytes(&sizes, cpus),
    };
    Ok(SPECS.iter().map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_counts_twice_and_a_flow_twice() {
        let tracker = lb_abi::bundle::Tracker { identity: 1, name: "t".into(), max: 1_000_000 };
        let image = Image { words: vec![0; 1 << 20], trackers: vec![tracker], ..Image::default() };
        let maps = maps(&image).unwrap();
        let of = |name: &str| maps.iter().find(|map| map.name == name).copied().unwrap();
        assert_eq!(of(lb_abi::maps::MAP_IMAGE).bytes, 8 << 20);
        let proven = of(lb_abi::maps::MAP_FLOWS_PROVEN);
        assert_eq!(proven.entries, 1 << 21);
        // 48 bytes of `struct htab_elem`, key 40, value 96, and a bucket of 16.
        assert_eq!(proven.bytes, (200 << 21));
    }
}
