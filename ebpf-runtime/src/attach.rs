//! Owns links between the program and devices: finding the device, attaching in the mode asked for, and refusing with
//! the reason. Never falls back from one mode to the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::apply::Mode;
use crate::error::Error;
use crate::ethtool::{self, Offload};
use crate::net::{self, Link};
use crate::netdev;
use crate::sys::object::{self, XDP_FLAGS_DRV, XDP_FLAGS_SKB};

/// Largest MTU that leaves room in a 4-KiB page for the headroom of XDP (256), `struct skb_shared_info` (320) and the
/// Ethernet header: what veth, virtio_net and most drivers take without multi-buffer support.
const MOST_MTU: u32 = 3506;

/// All links of this network namespace.
pub(crate) fn links() -> Result<Vec<Link>, Error> {
    net::links().map_err(|e| Error::kernel("list the network devices", e))
}

/// The device of that name, or an error that names those spelled alike.
pub(crate) fn find<'l>(links: &'l [Link], name: &str) -> Result<&'l Link, Error> {
    links.iter().find(|link| link.name == name).ok_or_else(|| {
        let mut near: Vec<(usize, &str)> = links
            .iter()
            .map(|link| (strsim::damerau_levenshtein(name, &link.name), link.name.as_str()))
            .filter(|(distance, near)| *distance <= 2 || near.starts_with(name) || name.starts_with(near))
            .collect();
        near.sort_unstable();
        let near = near.into_iter().take(3).map(|(_, near)| near.to_owned()).collect();
        Error::UnknownDevice { name: name.to_owned(), near }
    })
}

/// Refuses a device that runs a program other than those of `ours`.
pub(crate) fn refuse_foreign(link: &Link, ours: &[u32]) -> Result<(), Error> {
    match link.programs.iter().find(|(_, id)| !ours.contains(id)) {
        None => Ok(()),
        Some((_, id)) => {
            Err(Error::ForeignProgram { device: link.name.clone(), id: *id, name: program_name(*id) })
        }
    }
}

/// Name of a loaded program, as its author gave it.
fn program_name(id: u32) -> String {
    let info = object::program_by_id(id).and_then(|program| object::program_info(program.as_fd()));
    match info {
        Ok(info) if !info.name.is_empty() => info.name,
        _ => "without a name".to_owned(),
    }
}

/// Attaches the program, and makes sure by netlink that the kernel runs it where it was told to. The link lives as
/// long as the descriptor, unless it is pinned.
pub(crate) fn attach(program: BorrowedFd<'_>, device: &Link, mode: Mode) -> Result<OwnedFd, Error> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV,
        Mode::Generic => XDP_FLAGS_SKB,
    };
    let link =
        object::link_create(program, device.index, flags).map_err(|cause| refusal(device, mode, cause))?;
    let info = object::program_info(program).map_err(|e| Error::kernel("ask for the program", e))?;
    verify(device, mode, info.id)?;
    Ok(link)
}

/// Asks the kernel where it runs program `id` on the device.
fn verify(device: &Link, mode: Mode, id: u32) -> Result<(), Error> {
    let links = links()?;
    let now = links.iter().find(|link| link.index == device.index);
    match now.and_then(|link| link.programs.iter().find(|(_, program)| *program == id)) {
        Some((got, _)) if *got == mode => Ok(()),
        got => Err(Error::WrongMode {
            device: device.name.clone(),
            wanted: mode.to_string(),
            got: got.map_or("none".to_owned(), |(got, _)| got.to_string()),
        }),
    }
}

/// What the kernel's error number means on this device, and what to do.
fn refusal(device: &Link, mode: Mode, cause: io::Error) -> Error {
    let name = device.name.clone();
    if cause.raw_os_error() == Some(libc::EBUSY) {
        let programs =
            links().ok().and_then(|links| links.into_iter().find(|link| link.index == device.index));
        if let Some((_, id)) = programs.and_then(|link| link.programs.first().copied()) {
            return Error::ForeignProgram { device: name, id, name: program_name(id) };
        }
    }
    if mode == Mode::Generic {
        return Error::AttachRefused { device: name, cause };
    }
    // Linux before 6.3 does not say; then the error number has to.
    let native = netdev::xdp_features(device.index).ok().flatten().is_none_or(|features| features.native());
    // veth answers ERANGE for the MTU of its peer; virtio_net and others EINVAL or EOPNOTSUPP for their own.
    if native && (cause.raw_os_error() == Some(libc::ERANGE) || device.mtu > MOST_MTU) {
        return Error::Mtu { device: name, mtu: device.mtu, max: MOST_MTU };
    }
    let cure = if ethtool::offload(&device.name, Offload::Lro).unwrap_or(false) {
        format!("its large receive offload is on; turn it off (ethtool -K {name} lro off)")
    } else if cause.raw_os_error() == Some(libc::EOPNOTSUPP) {
        "its driver has no XDP, or not with the queues and offloads set now; use the generic mode (--mode generic)".to_owned()
    } else {
        "see the kernel's log for the driver's reason, or use the generic mode (--mode generic)".to_owned()
    };
    Error::NativeRefused { device: name, cause, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Link> {
        names.iter().map(|name| Link { name: (*name).to_owned(), ..Link::default() }).collect()
    }

    #[test]
    fn a_misspelt_device_is_answered_with_those_alike() {
        let links = named(&["lo", "eth0", "eth1", "wlan0"]);
        assert_eq!(find(&links, "eth1").unwrap().name, "eth1");
        let Err(Error::UnknownDevice { near, .. }) = find(&links, "eth3") else { panic!("found eth3") };
        assert_eq!(near, ["eth0", "eth1"]);
        let error = find(&links, "wlan").unwrap_err().to_string();
        assert_eq!(error, "no device is called \"wlan\"; did you mean wlan0?");
        assert_eq!(find(&links, "dummy7").unwrap_err().to_string(), "no device is called \"dummy7\"");
    }

    #[test]
    fn a_program_of_others_is_refused() {
        let mut link = Link { name: "eth0".to_owned(), ..Link::default() };
        assert!(refuse_foreign(&link, &[]).is_ok());
        link.programs = vec![(Mode::Generic, 7)];
        assert!(refuse_foreign(&link, &[7]).is_ok());
        assert!(matches!(refuse_foreign(&link, &[8]), Err(Error::ForeignProgram { id: 7, .. })));
    }
}
