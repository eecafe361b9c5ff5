//! Owns the way from one generation to the next up to the moment it is current: by one store, or by a new program in
//! the links. Never changes what packets meet before everything that can fail has succeeded.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_abi::SCHEMA;
use lb_abi::bundle::Image;
use lb_abi::image::OP_VERIFY;
use lb_abi::maps::{Control, NextHop};
use lb_abi::mode::FEATURE_XSK;

use crate::apply::{Applied, ApplyOptions, Swap};
use crate::assign::Numbers;
use crate::attach;
use crate::carry;
use crate::error::Error;
use crate::generation::{self, Generation};
use crate::hash_key;
use crate::instance::Instance;
use crate::net;
use crate::next_hop::{self, Way};
use crate::pinned::{self, Link};
use crate::plane::Plane;
use crate::program::Flags;
use crate::record::{self, Record};
use crate::settle::settle;
use crate::state::Sizes;
use crate::sys::{object, process};

/// How long `apply` waits for neighbours of backends.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Everything known before anything is changed.
struct Change<'a> {
    instance: &'a Instance,
    image: &'a Image,
    options: &'a ApplyOptions,
    numbers: Numbers,
    words: Vec<u32>,
    sizes: Sizes,
    flags: Flags,
    key: lb_abi::hash::Key,
    /// By ordinal of the backends.
    next_hops: Vec<Option<NextHop>>,
    devices: Vec<net::Link>,
    /// Links in place.
    links: Vec<Link>,
    next: Record,
}

pub(crate) fn apply(
    instance: &mut Instance,
    image: &Image,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    if options.devices.is_empty() {
        return Err(Error::NoDevice);
    }
    let found = attach::links()?;
    let links = pinned::links(&instance.paths)?;
    let ours: Vec<u32> = links.iter().map(|link| link.program).collect();
    let mut devices: Vec<net::Link> = Vec::new();
    for name in &options.devices {
        let device = attach::find(&found, name)?;
        if devices.iter().any(|have| have.index == device.index) {
            continue;
        }
        if !links.iter().any(|link| link.ifindex == device.index) {
            instance.refuse_others(device)?;
        }
        attach::refuse_foreign(device, &ours)?;
        devices.push(device.clone());
    }
    let key = hash_key::read_or_make(&options.hash_key)?;
    let (old, plane) = in_place(instance, options)?;
    let content = old.as_ref().map(|old| old.content.clone()).unwrap_or_default();
    let numbers = content.number(image);
    let words = numbers.relocate(image)?;
    let sizes = Sizes::needed(image, &numbers)?;
    let by_socket = options.af_xdp && image.ops & 1 << OP_VERIFY != 0;
    let features = image.features | if by_socket { FEATURE_XSK } else { 0 };
    let flags = Flags { fields: image.fields, ops: image.ops, features };
    let mut warnings = Vec::new();
    for device in devices.iter().filter(|device| !device.up) {
        let name = &device.name;
        warnings.push(format!("{name} is down: nothing arrives until it is set up (ip link set {name} up)"));
    }
    let next_hops = find_next_hops(image, &mut warnings)?;

    let generation = 1 + latest_generation(instance, old.as_ref());
    let same_key = plane.as_ref().is_some_and(|plane| plane.control().hash_key == key);
    let fits = match &plane {
        Some(plane) => plane.maps.fit(&sizes)?,
        None => false,
    };
    let in_links = |device: &net::Link| {
        let linked = links.iter().any(|link| link.ifindex == device.index);
        linked && device.programs.iter().all(|(mode, _)| *mode == options.mode)
    };
    let half = old.as_ref().is_some_and(|old| old.flags == flags)
        && same_key
        && fits
        && devices.iter().all(in_links);
    let next = Record {
        format: record::FORMAT,
        boot: record::boot()?,
        namespace: options.namespace.clone(),
        policy: image.name.clone(),
        id: hex(&options.id),
        generation,
        load: old.as_ref().filter(|_| half).map_or(generation, |old| old.load),
        applied: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        mode: options.mode,
        fresh: old.is_none(),
        devices: devices
            .iter()
            .map(|device| record::Device { name: device.name.clone(), ifindex: device.index })
            .collect(),
        flags,
        content: Generation::of(image, &numbers),
    };
    let detached = detached(&found, &links, &devices);
    let change = Change {
        instance,
        image,
        options,
        numbers,
        words,
        sizes,
        flags,
        key,
        next_hops,
        devices,
        links,
        next,
    };
    let swap = match (plane, half, &old, change.links.is_empty()) {
        (Some(plane), true, _, _) => {
            change.by_half(&plane)?;
            Swap::Half
        }
        (plane, _, old, nothing) => {
            change.by_program(plane.as_ref(), &mut warnings)?;
            match (old, nothing) {
                (Some(_), _) => Swap::Program,
                (None, true) => Swap::First,
                (None, false) => Swap::Fresh,
            }
        }
    };
    let Change { devices, links, next, .. } = change;
    let load = next.load;
    instance.record = match settle(&instance.paths, old.as_ref(), next) {
        Ok(settled) => Ok(Some(settled)),
        Err(error) if old.is_none() => {
            if links.is_empty() {
                let _ = pinned::remove_all(&instance.paths);
                let _ = record::remove(&instance.paths.pending());
            }
            return Err(error);
        }
        Err(error) => {
            warnings.push(format!(
                "the new policy is in place, but not all is done that follows ({error}); the next apply does it"
            ));
            let cause = "the apply before was not finished".to_owned();
            Err(Error::Record { path: instance.paths.record(), cause })
        }
    };
    let applied = Applied {
        generation,
        swap,
        program_id: pinned::program_id(&instance.paths, load).unwrap_or_default(),
        devices: devices.into_iter().map(|device| device.name).collect(),
        detached,
        warnings,
    };
    Ok(applied)
}

/// The generation in place with its program, unless its state is to be given up.
fn in_place(
    instance: &mut Instance,
    options: &ApplyOptions,
) -> Result<(Option<Record>, Option<Plane>), Error> {
    let old = match std::mem::replace(&mut instance.record, Ok(None)) {
        Err(_) if options.fresh_state => return Ok((None, None)),
        Err(error) => return Err(error),
        Ok(old) => old,
    };
    instance.record = Ok(old.clone());
    let Some(old) = old else { return Ok((None, None)) };
    let Some(plane) = pinned::plane(&instance.paths, old.load)? else { return Ok((None, None)) };
    match plane.control().schema {
        SCHEMA => Ok((Some(old), Some(plane))),
        _ if options.fresh_state => Ok((None, None)),
        found => Err(Error::Schema { found, ours: SCHEMA }),
    }
}

/// The highest generation there ever was: its pins may still be about when its state is given up.
fn latest_generation(instance: &Instance, old: Option<&Record>) -> u32 {
    let recorded = match &instance.record {
        Ok(Some(record)) => record.generation,
        _ => 0,
    };
    old.map_or(0, |old| old.generation).max(recorded).max(pinned::latest_load(&instance.paths))
}

/// Names of devices that have a link and shall not.
fn detached(found: &[net::Link], links: &[Link], devices: &[net::Link]) -> Vec<String> {
    let wanted: BTreeSet<u32> = devices.iter().map(|device| device.index).collect();
    let gone = links.iter().filter(|link| link.ifindex != 0 && !wanted.contains(&link.ifindex));
    gone.filter_map(|link| found.iter().find(|device| device.index == link.ifindex))
        .map(|device| device.name.clone())
        .collect()
}

fn find_next_hops(image: &Image, warnings: &mut Vec<String>) -> Result<Vec<Option<NextHop>>, Error> {
    let addresses: Vec<IpAddr> = image.backends.iter().map(|backend| generation::ip(backend.addr)).collect();
    let ways = next_hop::resolve(&addresses, PATIENCE).map_err(|e| Error::kernel("find the next hops", e))?;
    let mut told = BTreeSet::new();
    for (address, way) in addresses.iter().zip(&ways) {
        let why = match way {
            Way::Resolved { .. } => continue,
            Way::Unresolved { neighbour, .. } if neighbour == address => {
                "does not answer on its link; its packets are dropped until it does".to_owned()
            }
            Way::Unresolved { neighbour, .. } => {
                format!("is behind {neighbour}, which does not answer; its packets are dropped until it does")
            }
            Way::Local => "is this machine's own; packets cannot be forwarded to it".to_owned(),
            Way::NoRoute => "has no route; its packets are dropped until there is one".to_owned(),
            Way::NotEthernet => {
                "is behind a device without Ethernet addresses; it cannot be reached".to_owned()
            }
        };
        if told.insert(address) {
            warnings.push(format!("backend {address} {why}"));
        }
    }
    let resolved = |way: &Way| match way {
        Way::Resolved { next_hop, .. } => Some(*next_hop),
        _ => None,
    };
    Ok(ways.iter().map(resolved).collect())
}

impl Change<'_> {
    fn by_half(&self, plane: &Plane) -> Result<(), Error> {
        plane.write_other_half(&self.words)?;
        plane.clear_fresh(self.image, &self.numbers, &self.next_hops)?;
        record::write(&self.instance.paths.pending(), &self.next)?;
        plane.refresh(self.image, &self.numbers, &self.next_hops);
        plane.set_wall(wall()?);
        plane.switch(self.next.generation);
        Ok(())
    }

    fn by_program(&self, old: Option<&Plane>, warnings: &mut Vec<String>) -> Result<(), Error> {
        let paths = &self.instance.paths;
        let plane = Plane::load(self.flags, &self.sizes, self.key, old.map(|old| &old.maps))?;
        plane.set_control(|control| {
            let answers = old.map_or(0, |old| old.control().answers);
            *control = Control { generation: self.next.generation, answers, ..*control };
        });
        plane.set_wall(wall()?);
        plane.write_half(0, &self.words);
        if let Some(old) = old {
            carry::before_switch(&old.maps, &plane.maps)?;
        }
        plane.clear_fresh(self.image, &self.numbers, &self.next_hops)?;
        let attached = pinned::pin_plane(paths, self.next.load, &plane)
            .and_then(|()| record::write(&paths.pending(), &self.next))
            .and_then(|()| self.attach_all(&plane, old, warnings));
        if let Err(error) = attached {
            // What cannot be cleared away now, the next one to open the instance does.
            let _ = record::remove(&paths.pending());
            let _ = pinned::remove_load(&paths.load(self.next.load));
            return Err(error);
        }
        Ok(())
    }

    /// New devices first, since they may refuse; then the others, one after the other.
    fn attach_all(
        &self,
        plane: &Plane,
        old: Option<&Plane>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let paths = &self.instance.paths;
        let linked = |device: &net::Link| self.links.iter().find(|link| link.ifindex == device.index);
        let mut made: Vec<(u32, OwnedFd)> = Vec::new();
        for device in self.devices.iter().filter(|device| linked(device).is_none()) {
            made.push((device.index, attach::attach(plane.program.as_fd(), device, self.options.mode)?));
        }
        // Pinned before any packet of the old devices meets the new program: from then on a killed apply is finished by
        // the next one, which cannot attach. Until then it is undone.
        let pinned = made.iter().try_for_each(|(ifindex, link)| pinned::pin_link(paths, *ifindex, link));
        let taken_over = pinned.and_then(|()| self.take_over(plane, old, warnings));
        if taken_over.is_err() {
            for (ifindex, _) in &made {
                let _ = pinned::unpin_link(paths, *ifindex);
            }
        }
        taken_over
    }

    /// Puts the new program into the links there are.
    fn take_over(&self, plane: &Plane, old: Option<&Plane>, warnings: &mut Vec<String>) -> Result<(), Error> {
        let linked = |device: &net::Link| self.links.iter().find(|link| link.ifindex == device.index);
        plane.refresh(self.image, &self.numbers, &self.next_hops);
        let mut updated: Vec<&Link> = Vec::new();
        let result = self.devices.iter().filter_map(|device| Some((device, linked(device)?))).try_for_each(
            |(device, link)| {
                if device.programs.iter().any(|(mode, _)| *mode != self.options.mode) {
                    let name = &device.name;
                    warnings.push(format!("{name} ran without a program for a moment, as its mode changed"));
                    return self.change_mode(plane, device, link);
                }
                object::link_update(link.fd.as_fd(), plane.program.as_fd())
                    .map_err(|e| Error::kernel(format!("replace the program on {}", device.name), e))?;
                updated.push(link);
                Ok(())
            },
        );
        if let (Err(_), Some(old)) = (&result, old) {
            for link in updated {
                // The device took this very program a moment ago.
                let _ = object::link_update(link.fd.as_fd(), old.program.as_fd());
            }
        }
        result
    }

    /// A link keeps its mode, so that another mode needs another link; on a refusal the old one is made again.
    fn change_mode(&self, plane: &Plane, device: &net::Link, link: &Link) -> Result<(), Error> {
        let paths = &self.instance.paths;
        let program =
            object::program_by_id(link.program).map_err(|e| Error::kernel("keep the old program", e))?;
        let was = device.programs.first().map(|(mode, _)| *mode);
        link.remove()?;
        match attach::attach(plane.program.as_fd(), device, self.options.mode) {
            Ok(link) => pinned::pin_link(paths, device.index, &link),
            Err(error) => {
                if let Some(was) = was {
                    let link = attach::attach(program.as_fd(), device, was)?;
                    pinned::pin_link(paths, device.index, &link)?;
                }
                Err(error)
            }
        }
    }
}

fn wall() -> Result<i64, Error> {
    process::wall_offset().map_err(|e| Error::kernel("read the clocks", e))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;
