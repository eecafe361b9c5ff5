//! Owns the maps of an instance: their types and sizes, how they are made, pinned, opened and grown.
//! Never decides what stands in them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lb_abi::bundle::Image;
use lb_abi::image::{HEADER_WORDS, MAX_CERTIFICATES, MAX_TRACKERS, OP_VERIFY};
use lb_abi::maps;
use lb_abi::mode::FEATURE_LOAD;
use lb_abi::reason::REASON_COUNT;

use crate::assign::Numbers;
use crate::error::Error;
use crate::slow;
use crate::sys::{bpf, object};

/// The maps that the program shares with us, in the order of [`SPECS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Which {
    Control,
    Image,
    Counters,
    Reasons,
    LimitKeys,
    Limits,
    Turns,
    Trackers,
    Pools,
    Backends,
    FlowsNew,
    FlowsAnswered,
    FlowsProven,
    Templates,
    Certificates,
    CertificateCounts,
    BackendCounts,
    Sessions,
    Replays,
    Punts,
    PuntKeys,
    Returning,
    Pending,
    ResumeBatches,
    Resumes,
    ResumeFrames,
    Xsks,
    AgentCounts,
}

pub(crate) struct Spec {
    pub(crate) which: Which,
    pub(crate) name: &'static str,
    map_type: u32,
    key_size: usize,
    value_size: usize,
    flags: u32,
}

impl Spec {
    /// Bytes of kernel memory (kernel/bpf/arraymap.c: elements are rounded up to 8 bytes).
    pub(crate) fn bytes(&self, sizes: &Sizes, cpus: u64) -> u64 {
        let entries = u64::from(sizes.entries(self.which));
        let round = |bytes: usize| bytes.next_multiple_of(8) as u64;
        match (self.which, self.map_type) {
            (Which::Image, _) => entries * u64::from(sizes.image_words) * 4,
            (_, bpf::MAP_TYPE_ARRAY) => entries * round(self.value_size),
            // Bytes, with a page for each of its two positions.
            (_, bpf::MAP_TYPE_RINGBUF) => entries + 8_192,
            // A pointer to each socket.
            (_, bpf::MAP_TYPE_XSKMAP) => entries * 8,
            (_, bpf::MAP_TYPE_PERCPU_ARRAY) => entries * round(self.value_size) * cpus,
            _ => entries * maps::hash_entry_bytes(self.key_size, self.value_size),
        }
    }
}

const fn array<V>(which: Which, name: &'static str) -> Spec {
    // Mapped, so that both sides may use atomics on the same words.
    Spec {
        which,
        name,
        map_type: bpf::MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: size_of::<V>(),
        flags: bpf::F_MMAPABLE,
    }
}

const fn per_cpu<V>(which: Which, name: &'static str) -> Spec {
    Spec {
        which,
        name,
        map_type: bpf::MAP_TYPE_PERCPU_ARRAY,
        key_size: 4,
        value_size: size_of::<V>(),
        flags: 0,
    }
}

const fn lru<K, V>(which: Which, name: &'static str) -> Spec {
    let (key_size, value_size) = (size_of::<K>(), size_of::<V>());
    Spec { which, name, map_type: bpf::MAP_TYPE_LRU_HASH, key_size, value_size, flags: 0 }
}

/// Nothing may evict its entries, hence no LRU; they are allocated as they come.
const fn hash<K, V>(which: Which, name: &'static str) -> Spec {
    let (key_size, value_size) = (size_of::<K>(), size_of::<V>());
    Spec { which, name, map_type: bpf::MAP_TYPE_HASH, key_size, value_size, flags: bpf::F_NO_PREALLOC }
}

pub(crate) const SPECS: [Spec; 28] = [
    array::<maps::Control>(Which::Control, maps::MAP_CONTROL),
    // Its value size is the image's own.
    array::<u32>(Which::Image, maps::MAP_IMAGE),
    per_cpu::<maps::Counter>(Which::Counters, maps::MAP_COUNTERS),
    per_cpu::<u64>(Which::Reasons, maps::MAP_REASONS),
    lru::<maps::LimitKey, u64>(Which::LimitKeys, maps::MAP_LIMIT_KEYS),
    array::<maps::LimitState>(Which::Limits, maps::MAP_LIMITS),
    array::<u64>(Which::Turns, maps::MAP_TURNS),
    array::<maps::TrackerState>(Which::Trackers, maps::MAP_TRACKERS),
    array::<maps::PoolState>(Which::Pools, maps::MAP_POOLS),
    array::<maps::Backend>(Which::Backends, maps::MAP_BACKENDS),
    lru::<maps::FlowKey, maps::Flow>(Which::FlowsNew, maps::MAP_FLOWS_NEW),
    lru::<maps::FlowKey, maps::Flow>(Which::FlowsAnswered, maps::MAP_FLOWS_ANSWERED),
    hash::<maps::FlowKey, maps::Flow>(Which::FlowsProven, maps::MAP_FLOWS_PROVEN),
    array::<[u64; size_of::<maps::Template>() / 8]>(Which::Templates, maps::MAP_TEMPLATES),
    array::<maps::Certificate>(Which::Certificates, maps::MAP_CERTIFICATES),
    per_cpu::<maps::Counter>(Which::CertificateCounts, maps::MAP_CERTIFICATE_COUNTS),
    per_cpu::<maps::Counter>(Which::BackendCounts, maps::MAP_BACKEND_COUNTS),
    hash::<maps::SessionKey, maps::Session>(Which::Sessions, maps::MAP_SESSIONS),
    hash::<maps::ReplayKey, u64>(Which::Replays, maps::MAP_REPLAYS),
    Spec {
        which: Which::Punts,
        name: maps::MAP_PUNTS,
        map_type: bpf::MAP_TYPE_RINGBUF,
        key_size: 0,
        value_size: 0,
        flags: 0,
    },
    lru::<maps::PuntKey, u64>(Which::PuntKeys, maps::MAP_PUNT_KEYS),
    array::<u64>(Which::Returning, maps::MAP_RETURNING),
    array::<maps::Pending>(Which::Pending, maps::MAP_PENDING),
    array::<maps::ResumeBatch>(Which::ResumeBatches, maps::MAP_RESUME_BATCHES),
    array::<maps::Resume>(Which::Resumes, maps::MAP_RESUMES),
    array::<[u8; maps::PUNT_FRAME]>(Which::ResumeFrames, maps::MAP_RESUME_FRAMES),
    Spec {
        which: Which::Xsks,
        name: maps::MAP_XSKS,
        map_type: bpf::MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        flags: 0,
    },
    // The data path has no part in it.
    array::<u64>(Which::AgentCounts, slow::MAP_NAME),
];

/// Most entries of `FLOWS_NEW`, two for each flow on its first packets. A flood of new flows keeps it full, and what it
/// then evicts is cold: a new flow cost 2.1 µs (median) with this size on the machine where it was chosen, 1.2 µs with
/// half of it and 5.7 µs with four times as many. 16,384 handshakes at a time remain.
const NEW_FLOWS: u64 = 1 << 15;

/// Sources whose buckets of signatures are kept at once; others lose theirs to eviction, and begin with a full one.
const PUNT_SOURCES: u64 = 1 << 15;

/// Most sessions and their backends, one for each pool.
const MOST_SESSIONS: u64 = 1 << 20;

/// Least and most signatures that are remembered for `replay`; whatever an authority asks for, what comes beyond is
/// dropped.
const REPLAYS: (u64, u64) = (1 << 12, 1 << 20);

const _: () = assert!(size_of::<maps::Template>().is_multiple_of(8));

/// How many entries each map needs, in the order of [`SPECS`]; powers of two, so that growth is rare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    entries: [u32; SPECS.len()],
    /// Words of one image half, a power of two.
    pub(crate) image_words: u32,
}

impl Sizes {
    pub(crate) fn entries(&self, which: Which) -> u32 {
        self.entries[which as usize]
    }

    /// # Errors
    /// `TooMany` where an image or a table is beyond what a map can hold.
    pub(crate) fn needed(image: &Image, numbers: &Numbers) -> Result<Sizes, Error> {
        let trackers = numbers.trackers.entries();
        if trackers as usize > MAX_TRACKERS {
            let what = "trackers, with those of the policy before it,";
            return Err(Error::TooMany { what, wanted: trackers.into(), max: MAX_TRACKERS as u64 });
        }
        let flows: u64 = image.trackers.iter().map(|tracker| u64::from(tracker.max)).sum();
        let keys: u64 = image.limits.iter().map(|limit| u64::from(limit.max)).sum();
        // A flow has an entry for each direction.
        let flow_entries = flows.saturating_mul(2);
        let mut entries = [1; SPECS.len()];
        let mut need = |which: Which, what, least: u64, wanted: u64| -> Result<(), Error> {
            const MOST: u64 = 1 << 26;
            if wanted > MOST {
                return Err(Error::TooMany { what, wanted, max: MOST });
            }
            entries[which as usize] = wanted.max(least).next_power_of_two() as u32;
            Ok(())
        };
        need(Which::Image, "image halves", 2, 2)?;
        need(Which::Counters, "counters", 256, numbers.counters.entries().into())?;
        need(Which::Reasons, "reasons", REASON_COUNT as u64, 0)?;
        // An LRU keeps free entries back for each CPU (BPF_LRU_LIST, LOCAL_FREE_TARGET of 128).
        let kept_back = 128 * crate::sys::process::cpus().map_err(|e| Error::kernel("count CPUs", e))? as u64;
        need(
            Which::LimitKeys,
            "keys of limits",
            if keys == 0 { 64 } else { 1024 },
            keys + kept_back.min(keys),
        )?;
        need(Which::Limits, "limits", 16, numbers.limits.entries().into())?;
        need(Which::Turns, "turns", 16, numbers.turns.entries().into())?;
        need(Which::Trackers, "trackers", 1 + MAX_TRACKERS as u64, 0)?;
        need(Which::Pools, "pools", 16, numbers.pools.entries().into())?;
        need(Which::Backends, "backends", 64, numbers.backends.entries().into())?;
        let least = if flows == 0 { 64 } else { 1024 };
        need(Which::FlowsNew, "flows", least, flow_entries.min(NEW_FLOWS))?;
        need(Which::FlowsAnswered, "flows", least, flow_entries)?;
        need(Which::FlowsProven, "flows", least, flow_entries)?;
        need(Which::Templates, "templates", 1, 0)?;
        // What certificates need costs memory only where one is asked for.
        let verifies = image.ops & 1 << OP_VERIFY != 0;
        let if_verified = |entries: u32| if verifies { entries.into() } else { 1 };
        // Those of certificates that are gone stay until the new policy is in place.
        let sessions = u64::from(numbers.certificates.entries())
            * image.trackers.len() as u64
            * (1 + image.pools.len() as u64);
        // Replayed are what was accepted within the window, at most what is checked in it.
        let replays = image
            .authorities
            .iter()
            .map(|authority| authority.replay.unwrap_or_default() as u128 * u128::from(authority.checks))
            .sum::<u128>()
            / 1_000_000_000;
        need(Which::Certificates, "certificates", if_verified(MAX_CERTIFICATES as u32), 0)?;
        need(Which::CertificateCounts, "certificates", if_verified(MAX_CERTIFICATES as u32), 0)?;
        let counted = if image.features & FEATURE_LOAD == 0 { 0 } else { numbers.backends.entries() };
        need(Which::BackendCounts, "backends", 1, counted.into())?;
        need(Which::Sessions, "sessions", if_verified(1_024), sessions.min(MOST_SESSIONS))?;
        let (least, most) = if replays == 0 { (1, 1) } else { REPLAYS };
        need(Which::Replays, "signatures to remember", least, replays.min(most.into()) as u64)?;
        // A ring buffer is at least a page long.
        need(Which::Punts, "bytes of packets to user space", 4_096, if_verified(maps::PUNTS_BYTES))?;
        need(Which::PuntKeys, "sources", 64, if verifies { PUNT_SOURCES + kept_back } else { 0 })?;
        need(Which::Returning, "sources", if_verified(maps::RETURNING_SLOTS), 0)?;
        need(Which::Pending, "flows", if_verified(maps::PENDING_SLOTS), 0)?;
        let resumed = maps::RESUME_SLOTS * maps::RESUME_BATCH;
        need(Which::ResumeBatches, "resumed packets", if_verified(maps::RESUME_SLOTS), 0)?;
        need(Which::Resumes, "resumed packets", if_verified(resumed), 0)?;
        need(Which::ResumeFrames, "resumed packets", if_verified(resumed), 0)?;
        need(Which::AgentCounts, "counts", slow::COUNTS.into(), 0)?;
        need(Which::Xsks, "sockets", if_verified(maps::XSK_SLOTS), 0)?;
        let words = image.words.len().max(HEADER_WORDS) as u64;
        const MOST_WORDS: u64 = 1 << 28;
        if words > MOST_WORDS {
            return Err(Error::TooMany { what: "words of image", wanted: words, max: MOST_WORDS });
        }
        Ok(Sizes { entries, image_words: words.next_power_of_two() as u32 })
    }

    /// Room for a bench mix of `templates` packets.
    pub(crate) fn with_templates(mut self, templates: u32) -> Sizes {
        self.entries[Which::Templates as usize] = templates;
        self
    }
}

/// Descriptors of all maps, in the order of [`SPECS`].
#[derive(Debug)]
pub(crate) struct Maps {
    fds: Vec<OwnedFd>,
}

impl Maps {
    /// New maps of these sizes; state that `adopted` holds in maps large enough is shared instead. `CONTROL`, `IMAGE`
    /// and `TEMPLATES` are the program's own and never shared.
    pub(crate) fn create(sizes: &Sizes, adopted: Option<&Maps>) -> Result<Maps, Error> {
        let mut fds = Vec::with_capacity(SPECS.len());
        for spec in &SPECS {
            let old = match (adopted, spec.which) {
                (None, _) | (_, Which::Control | Which::Image | Which::Templates) => None,
                (Some(adopted), which) => Some(adopted.fd(which)),
            };
            if let Some(old) = old {
                let capacity = entries_of(old, spec.name)?;
                if capacity >= sizes.entries(spec.which) {
                    let shared = old.try_clone_to_owned();
                    fds.push(shared.map_err(|e| Error::kernel(format!("share map {}", spec.name), e))?);
                    continue;
                }
            }
            fds.push(make(spec, sizes)?);
        }
        Ok(Maps { fds })
    }

    /// The maps pinned in `directory`; `None` if it does not hold all of them.
    pub(crate) fn open(directory: &Path) -> io::Result<Option<Maps>> {
        let mut fds = Vec::with_capacity(SPECS.len());
        for spec in &SPECS {
            match object::open_pin(&directory.join(spec.name)) {
                Ok(fd) => fds.push(fd),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Maps { fds }))
    }

    pub(crate) fn pin(&self, directory: &Path) -> Result<(), Error> {
        for spec in &SPECS {
            let path = directory.join(spec.name);
            object::pin(self.fd(spec.which), &path).map_err(|e| Error::file(path, e))?;
        }
        Ok(())
    }

    pub(crate) fn fd(&self, which: Which) -> BorrowedFd<'_> {
        self.fds[which as usize].as_fd()
    }

    pub(crate) fn entries(&self, which: Which) -> Result<u32, Error> {
        entries_of(self.fd(which), SPECS[which as usize].name)
    }

    /// Words of one image half.
    pub(crate) fn image_words(&self) -> Result<u32, Error> {
        let info =
            object::map_info(self.fd(Which::Image)).map_err(|e| Error::kernel("ask for map IMAGE", e))?;
        Ok(info.value_size / 4)
    }

    /// Whether these maps, as they are, can serve an image of such sizes.
    pub(crate) fn fit(&self, sizes: &Sizes) -> Result<bool, Error> {
        if self.image_words()? < sizes.image_words {
            return Ok(false);
        }
        for spec in &SPECS {
            if self.entries(spec.which)? < sizes.entries(spec.which) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes the kernel accounts to the maps, by their `fdinfo`.
    pub(crate) fn memory(&self) -> u64 {
        self.fds.iter().map(|fd| crate::sys::process::locked_memory(fd.as_fd())).sum()
    }
}

fn entries_of(map: BorrowedFd<'_>, name: &str) -> Result<u32, Error> {
    let info = object::map_info(map).map_err(|e| Error::kernel(format!("ask for map {name}"), e))?;
    Ok(info.max_entries)
}

fn make(spec: &Spec, sizes: &Sizes) -> Result<OwnedFd, Error> {
    let value_size = match spec.which {
        Which::Image => sizes.image_words as usize * 4,
        _ => spec.value_size,
    };
    let entries = sizes.entries(spec.which);
    bpf::map_create(spec.name, spec.map_type, spec.key_size as u32, value_size as u32, entries, spec.flags)
        .map_err(|e| {
            Error::kernel(format!("make map {} of {entries} entries of {value_size} bytes", spec.name), e)
        })
}
