//! Owns running an image without a device: the program in private maps under `BPF_PROG_TEST_RUN`.
//! Never pins or attaches anything; all of it is gone with the value.

mod slow;

use std::os::fd::AsFd;

use lb_abi::bundle::Image;
use lb_abi::hash::Key;
use lb_abi::maps;
use lb_abi::mode::{FEATURE_BENCH, FEATURE_TEST};
use lb_abi::reason::REASON_COUNT;
use lb_abi::seen::{MAC_BYTES, Seen};

use crate::ageing;
use crate::carry;
use crate::error::Error;
pub use crate::generation::Count;
use crate::generation::{self, Generation};
use crate::plane::Plane;
use crate::program::{self, Flags};
use crate::state::{Sizes, Which};
use crate::sys::bpf::{self, Walk};
use crate::sys::{object, process};

/// A loaded image that sees only the frames it is given.
#[derive(Debug)]
pub struct Trial {
    plane: Plane,
    generation: Generation,
    flags: Flags,
    features: u32,
    /// Templates there is room for, and those there are.
    room: u32,
    templates: u32,
    swaps: u32,
    /// The records for user space, and the way back, once they were asked for.
    slow: Option<slow::Slow>,
}

/// What the program did with a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub action: Action,
    /// The frame as the program left it, MACs included.
    pub frame: Vec<u8>,
}

impl Ran {
    /// What this is for `frame`, where every way out is the way in (as in [`Gateway`](crate::lab::Gateway)); `None` for
    /// actions that do not occur there.
    pub fn seen(self, frame: &[u8]) -> Option<Seen> {
        match self.action {
            Action::Drop => Some(Seen::Drop),
            Action::Pass if self.frame == frame => Some(Seen::Pass),
            Action::Pass | Action::Tx => Some(Seen::Sent(self.frame.into_iter().skip(MAC_BYTES).collect())),
            Action::Aborted | Action::Redirect => None,
        }
    }
}

/// XDP return codes (include/uapi/linux/bpf.h, `enum xdp_action`); what is none of them the kernel takes for `Aborted`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

impl From<u32> for Action {
    fn from(code: u32) -> Action {
        match code {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Tx,
            4 => Action::Redirect,
            _ => Action::Aborted,
        }
    }
}

/// The flow tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FlowTable {
    New,
    Answered,
    Proven,
}

/// In place of an ordinal: a number that the current image does not use.
pub const NO_ORDINAL: u32 = u16::MAX as u32;

fn flags(image: &Image, features: u32) -> Flags {
    Flags { fields: image.fields, ops: image.ops, features: image.features | features }
}

fn ordinal(numbers: impl IntoIterator<Item = u32>, number: u32) -> u32 {
    numbers.into_iter().position(|have| have == number).map_or(NO_ORDINAL, |ordinal| ordinal as u32)
}

impl Trial {
    /// Loads the image with `features` (`lb_abi::mode::FEATURE_*`) besides its own. Key, seed and clock are 0.
    ///
    /// # Errors
    /// `Verifier`, `Image`, `TooMany`, and `Kernel` without CAP_BPF and CAP_NET_ADMIN.
    pub fn load(image: &Image, features: u32) -> Result<Trial, Error> {
        let room = if features & FEATURE_BENCH == 0 { 1 } else { maps::MAX_TEMPLATES };
        let numbers = Generation::default().number(image);
        let sizes = Sizes::needed(image, &numbers)?.with_templates(room);
        let flags = flags(image, features);
        let plane = Plane::load(flags, &sizes, [0; 2], None)?;
        plane.write_half(0, &numbers.relocate(image)?);
        plane.clear_fresh(image, &numbers, &[])?;
        if features & FEATURE_TEST == 0 {
            plane.set_wall(process::wall_offset().map_err(|e| Error::kernel("ask for the time of day", e))?);
        }
        let generation = Generation::of(image, &numbers);
        Ok(Trial { plane, generation, flags, features, room, templates: 0, swaps: 0, slow: None })
    }

    /// The frames of a bench mix: the first [`maps::TEMPLATE_BYTES`] bytes of each, sent in this order over and over
    /// under `FEATURE_BENCH`.
    ///
    /// # Errors
    /// `TooMany`; `Kernel` if the map cannot be written.
    pub fn set_templates(&mut self, frames: &[Vec<u8>]) -> Result<(), Error> {
        if frames.len() > self.room as usize {
            let max = self.room.into();
            return Err(Error::TooMany { what: "packets of a bench mix", wanted: frames.len() as u64, max });
        }
        for (index, frame) in (0..).zip(frames) {
            self.write_template(index, frame)?;
        }
        // The program may stand anywhere in the former mix: it goes back to the start where it finds an end.
        for index in frames.len() as u32..self.templates {
            self.write_template(index, &[])?;
        }
        self.templates = frames.len() as u32;
        Ok(())
    }

    fn write_template(&self, index: u32, frame: &[u8]) -> Result<(), Error> {
        const VALUE: usize = size_of::<maps::Template>();
        let mut value = [0; VALUE];
        let len = frame.len().min(maps::TEMPLATE_BYTES);
        for (to, from) in value.iter_mut().zip((len as u32).to_ne_bytes()) {
            *to = from;
        }
        for (to, from) in value.iter_mut().skip(8).zip(frame.iter().take(len)) {
            *to = *from;
        }
        bpf::update_bytes(self.plane.maps.fd(Which::Templates), index, &value, VALUE)
            .map_err(|e| Error::kernel("write a template", e))
    }

    /// Makes another image current as `apply` would, with the same state: by a store where flags and sizes are the
    /// same, otherwise by a new program.
    pub fn swap(&mut self, image: &Image) -> Result<(), Error> {
        let numbers = self.generation.number(image);
        let words = numbers.relocate(image)?;
        let sizes = Sizes::needed(image, &numbers)?.with_templates(self.room);
        let flags = flags(image, self.features);
        let mut next = Generation::of(image, &numbers);
        self.swaps = self.swaps.wrapping_add(1);
        if flags == self.flags && self.plane.maps.fit(&sizes)? {
            next.inherit(&self.generation, &self.plane.maps, false, false)?;
            self.plane.write_other_half(&words)?;
            self.plane.clear_fresh(image, &numbers, &[])?;
            self.plane.refresh(image, &numbers, &[]);
            self.plane.switch(self.swaps);
        } else {
            let plane = Plane::load(flags, &sizes, [0; 2], Some(&self.plane.maps))?;
            let old = self.plane.control();
            plane.set_control(|control| {
                *control = maps::Control { current: 0, generation: self.swaps, ..old }
            });
            carry::before_switch(&self.plane.maps, &plane.maps)?;
            carry::counters(&self.plane.maps, &plane.maps)?;
            let other_backends = carry::replaced(&self.plane.maps, &plane.maps, Which::BackendCounts)?;
            next.inherit(&self.generation, &self.plane.maps, false, other_backends)?;
            plane.write_half(0, &words);
            plane.clear_fresh(image, &numbers, &[])?;
            plane.refresh(image, &numbers, &[]);
            self.plane = plane;
            self.slow = None;
            self.flags = flags;
        }
        carry::forget_limits(&self.plane.maps, &self.generation.limits_gone(&next))?;
        for gone in self.generation.backends_gone(&next) {
            self.plane.set_backend_state(gone.number, maps::BACKEND_ABSENT);
        }
        let certificates = self.generation.certificates_gone(&next);
        for &gone in &certificates {
            self.plane.set_certificate_state(gone, maps::CERTIFICATE_ABSENT);
        }
        carry::forget_sessions(&self.plane.maps, &self.generation.trackers_gone(&next), &certificates)?;
        self.generation = next;
        Ok(())
    }

    /// One frame that arrived on interface `ifindex` of this thread's network namespace (0: loopback). Threads that run
    /// frames at once must be pinned to a CPU each: a packet's state is its CPU's.
    ///
    /// # Errors
    /// `Kernel` for frames that the kernel never hands to a program: shorter than 14 bytes, or longer than one page
    /// less the headroom.
    pub fn run(&self, frame: &[u8], ifindex: u32) -> Result<Ran, Error> {
        let ran = self.test_run(frame, ifindex, 1)?;
        Ok(Ran { action: ran.code.into(), frame: ran.frame })
    }

    /// The frame `repeat` times over; mean nanoseconds of one, in whole ones as the kernel reports them. The kernel
    /// does not restore the frame between the runs: that is what `FEATURE_BENCH` is for.
    pub fn run_repeat(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<u32, Error> {
        Ok(self.test_run(frame, ifindex, repeat)?.duration)
    }

    fn test_run(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<object::TestRan, Error> {
        object::test_run(self.plane.program.as_fd(), frame, ifindex, repeat)
            .map_err(|e| Error::kernel(format!("run a frame of {} bytes", frame.len()), e))
    }

    /// A certificate by ordinal of the current image; others than those there are ignored.
    pub fn set_certificate(&mut self, ordinal: u32, certificate: maps::Certificate) {
        if let Some(entry) = self.generation.certificates.get(ordinal as usize) {
            self.plane.set_certificate(entry.number, certificate);
        }
    }

    /// What is added to the clock to have the time of day, in ns.
    pub fn set_wall(&mut self, wall: i64) {
        self.plane.set_wall(wall);
    }

    /// Packets forwarded for each certificate, by ordinal of the current image.
    pub fn certificate_counts(&self) -> Result<Vec<Count>, Error> {
        let numbers = self.generation.certificates.iter().map(|entry| entry.number);
        numbers
            .map(|number| generation::count_in(&self.plane.maps, Which::CertificateCounts, number))
            .collect()
    }

    /// Packets sent to each backend, by ordinal of the current image.
    pub fn backend_counts(&self) -> Result<Vec<Count>, Error> {
        let numbers = self.generation.backends.iter().map(|entry| entry.number);
        numbers.map(|number| generation::count_in(&self.plane.maps, Which::BackendCounts, number)).collect()
    }

    /// All entries of `SESSIONS`, with dense numbers.
    pub fn sessions(&self) -> Result<Vec<(maps::SessionKey, maps::Session)>, Error> {
        let failed = |e| Error::kernel("read the sessions", e);
        let mut walk = Walk::<maps::SessionKey, maps::Session>::new(self.plane.maps.fd(Which::Sessions), 256);
        let mut sessions = Vec::new();
        while let Some((keys, values)) = walk.next_batch().map_err(failed)? {
            sessions.extend(keys.iter().copied().zip(values.iter().copied()));
        }
        sessions.sort_by_key(|(key, _)| *key);
        Ok(sessions)
    }

    /// What stands in `TRACKERS`, by ordinal of the current image.
    pub fn trackers(&self) -> Result<Vec<maps::TrackerState>, Error> {
        let read = |entry: &generation::Numbered| {
            bpf::lookup::<u32, maps::TrackerState>(self.plane.maps.fd(Which::Trackers), &entry.number)
                .map(Option::unwrap_or_default)
                .map_err(|e| Error::kernel("read a tracker", e))
        };
        self.generation.trackers.iter().map(read).collect()
    }

    /// Instructions the verifier walked for the program that resumes.
    pub fn verified_instructions_of_resume(&self) -> Result<Option<u32>, Error> {
        self.plane.resume.as_ref().map(program::verified_instructions).transpose()
    }

    /// Clock in ns under `FEATURE_TEST`.
    pub fn set_clock(&mut self, ns: u64) {
        self.plane.set_control(|control| control.clock = ns);
    }

    /// Seed of random draws under `FEATURE_TEST`; the draws are counted on.
    pub fn set_seed(&mut self, seed: u64) {
        self.plane.set_control(|control| control.seed = seed);
    }

    pub fn set_hash_key(&mut self, key: Key) {
        self.plane.set_control(|control| control.hash_key = key);
    }

    /// Packets and bytes by ordinal of `Image::counters`.
    pub fn counters(&self) -> Result<Vec<Count>, Error> {
        let counters = self.generation.counters.iter();
        counters.map(|counter| generation::count(&self.plane.maps, counter.number)).collect()
    }

    /// Packets and bytes by index of `Image::tallies`, those of earlier images with the same tally included.
    pub fn tallies(&self) -> Result<Vec<Count>, Error> {
        self.generation.tally_counts(&self.plane.maps)
    }

    /// Packets by `Reason`.
    pub fn reasons(&self) -> Result<[u64; REASON_COUNT], Error> {
        generation::reasons(&self.plane.maps)
    }

    /// All entries of a flow table, with tracker, pool and backend as ordinals of the current image (or `NO_ORDINAL`).
    pub fn flows(&self, table: FlowTable) -> Result<Vec<(maps::FlowKey, maps::Flow)>, Error> {
        let which = match table {
            FlowTable::New => Which::FlowsNew,
            FlowTable::Answered => Which::FlowsAnswered,
            FlowTable::Proven => Which::FlowsProven,
        };
        let failed = |e| Error::kernel("read a flow table", e);
        let mut walk = Walk::<maps::FlowKey, maps::Flow>::new(self.plane.maps.fd(which), 256);
        let mut flows = Vec::new();
        while let Some((keys, values)) = walk.next_batch().map_err(failed)? {
            flows.extend(keys.iter().zip(values).map(|(key, flow)| (*key, self.canonical(*flow))));
        }
        Ok(flows)
    }

    fn canonical(&self, mut flow: maps::Flow) -> maps::Flow {
        let generation = &self.generation;
        flow.tracker =
            ordinal(generation.trackers.iter().map(|entry| entry.number), flow.tracker.into()) as u16;
        if let Some(number) = flow.pool.checked_sub(1) {
            flow.pool = 1 + ordinal(generation.pools.iter().map(|entry| entry.number), number);
        }
        if let Some(number) = flow.backend.checked_sub(1) {
            flow.backend = 1 + ordinal(generation.backends.iter().map(|entry| entry.number), number);
        }
        if let Some(number) = u32::from(flow.cert).checked_sub(1) {
            flow.cert = 1 + ordinal(generation.certificates.iter().map(|entry| entry.number), number) as u16;
        }
        flow
    }

    /// Proven flows by ordinal of `Image::trackers`.
    pub fn proven(&self) -> Result<Vec<u64>, Error> {
        Ok(self.trackers()?.iter().map(|state| state.proven).collect())
    }

    /// The program's clock in ns: under `FEATURE_TEST` the one that was set.
    fn now(&self) -> Result<u64, Error> {
        if self.flags.features & FEATURE_TEST != 0 {
            return Ok(self.plane.control().clock);
        }
        process::coarse_clock().map_err(|e| Error::kernel("read the clock", e))
    }

    /// Sets the counts of live flows that trackers and backends keep right, as the agent does now and then.
    pub fn recount(&self) -> Result<(), Error> {
        ageing::recount(&self.plane, self.now()?)
    }

    /// What stands in `BACKENDS`, by ordinal of the current image.
    pub fn backends(&self) -> Vec<maps::Backend> {
        let entry = |backend: &generation::Backend| self.plane.backend(backend.number).unwrap_or_default();
        self.generation.backends.iter().map(entry).collect()
    }

    /// State and next hop of a backend by ordinal of the current image; others than those there are ignored.
    pub fn set_backend(&mut self, ordinal: u32, state: u16, next_hop: maps::NextHop) {
        if let Some(backend) = self.generation.backends.get(ordinal as usize) {
            self.plane.set_backend_state(backend.number, state);
            self.plane.set_next_hop(backend.number, next_hop);
        }
    }

    /// Instructions the verifier walked.
    pub fn verified_instructions(&self) -> Result<u32, Error> {
        self.plane.verified_instructions()
    }
}
