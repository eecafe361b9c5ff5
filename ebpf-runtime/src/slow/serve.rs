//! Owns the dispatcher: takes packets off the carriers, hands each to the thread of its flow, and follows the instance from
//! generation to generation. Never checks a signature itself, so that it is always back at the carriers in time.
//!
//! # Once at most
//! A record is gone from its carrier as soon as it stands in a thread's queue. What an agent that is killed had in its
//! queues is lost, as if a device had lost it; what it had not taken yet its successor finds in the ring buffer. So a
//! packet may be lost, and none is ever sent twice.
//!
//! # Generations
//! A packet carries the generation that it was judged by. The first one of a newer generation makes the dispatcher look
//! for that one's record, which is written before the switch (`pending.json`). Another half of the image is a change of
//! keys. For another program the threads finish what they have, since they run the old one, and others take over with
//! what was read meanwhile; sockets go over as they are. That does not wait for the apply to end, and an apply that
//! was killed behind the switch, or undone, is no hindrance.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lb_abi::maps::{Punt, RESUME_SLOTS};
use lb_abi::mode::FEATURE_XSK;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::carrier::{Carrier, FromRing, FromSocket};
use super::counts::Event;
use super::dispatched::Dispatched;
use super::place::{Place, current};
use super::queue::{Batch, Queue};
use super::worker::{Shared, Worker};
use crate::error::Error;
use crate::paths::Paths;
use crate::record::{self, Record};
use crate::sys::process;

/// How soon `stop`, a new generation and another time of day are noticed.
const NOTICE: Duration = Duration::from_millis(20);
/// Packets taken off a carrier before the next one has its turn.
const ROUND: usize = 256;
/// Where packets follow so soon upon each other, they are waited for a moment, so that they come together: to be woken
/// for each one costs the threads that check signatures more than half of what they can do.
const SOON: Duration = Duration::from_micros(100);
const MOMENT: Duration = Duration::from_micros(200);
/// How far threads that check signatures give way to others: beside a busy `ksoftirqd` they get a tenth of its CPU, so
/// that a flood of signatures does not slow the packets that need no check.
const NICE: i32 = 10;

/// What goes over from one program to the next.
#[derive(Default)]
struct Left {
    /// Packets of the next one.
    packets: Batch,
    /// They stay open: to close them and open others takes a tenth of a second.
    sockets: Vec<FromSocket>,
    dispatched: Option<Dispatched>,
    /// The newest generation that a packet was judged by; 0 before any was served.
    newest: u32,
}

/// Threads that check signatures where nobody says how many: a CPU is left to the packets.
fn threads(wanted: Option<usize>) -> usize {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or(cpus.saturating_sub(1)).clamp(1, RESUME_SLOTS as usize)
}

/// Serves the generation in place and those after it, until `stop` is set or the instance is detached.
pub(crate) fn serve(
    paths: &Paths,
    workers: Option<usize>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(), Error> {
    let mut left = Left::default();
    while !stop() {
        match Place::open(paths, left.newest)? {
            Some(place) if place.plane.resume.is_some() => {
                left = serve_one(paths, &place, threads(workers), stop, left)?;
            }
            None if !paths.record().exists() => return Ok(()),
            Some(_) => {
                // It checks nothing.
                left = Left { newest: left.newest, ..Left::default() };
                thread::sleep(NOTICE);
            }
            None => thread::sleep(NOTICE),
        }
    }
    Ok(())
}

/// Serves generations that share one program.
fn serve_one(
    paths: &Paths,
    place: &Place,
    workers: usize,
    stop: &(dyn Fn() -> bool + Sync),
    mut left: Left,
) -> Result<Left, Error> {
    let nothing = || Error::Pins("the program that goes on with checked packets is missing".to_owned());
    let program = place.plane.resume.as_ref().ok_or_else(nothing)?;
    let now = place.current(paths)?;
    let generation = now.generation;
    let shared = Shared::new(&place.plane.maps, program.as_fd(), left.dispatched.take(), now)?;
    if left.newest == 0 {
        // What an agent before us had taken and not finished is lost: no flow shall wait for it.
        shared.resumes.all_done();
    }
    let queues: Vec<Queue> = (0..workers).map(|_| Queue::default()).collect();
    let served = thread::scope(|scope| {
        let started = (0..).zip(&queues).try_for_each(|(slot, queue)| {
            let mut worker = Worker::new(&shared, slot)?;
            let work = move || {
                process::give_way(NICE);
                worker.run(queue);
            };
            let thread = thread::Builder::new().name(format!("signatures-{slot}"));
            thread.spawn_scoped(scope, work).map(drop).map_err(|e| Error::kernel("start a thread", e))
        });
        let served = started.and_then(|()| {
            let dispatcher = Dispatcher {
                paths,
                place,
                shared: &shared,
                queues: &queues,
                written: place.written,
                generation,
                devices: place.record.devices.clone(),
                newest: if is_newer(left.newest, generation) { left.newest } else { generation },
                left: Batch::default(),
                ends: false,
            };
            dispatcher.run(stop, left)
        });
        queues.iter().for_each(Queue::close);
        served
    });
    Ok(Left { dispatched: shared.into_dispatched(), ..served? })
}

fn is_newer(generation: u32, than: u32) -> bool {
    generation.wrapping_sub(than).cast_signed() > 0
}

struct Dispatcher<'s> {
    paths: &'s Paths,
    place: &'s Place,
    shared: &'s Shared<'s>,
    queues: &'s [Queue],
    /// When the record was written by which it goes, if that one is in place.
    written: Option<SystemTime>,
    generation: u32,
    devices: Vec<record::Device>,
    /// The newest generation that a packet was judged by; its record has been looked for.
    newest: u32,
    /// Packets of a generation that has another program.
    left: Batch,
    ends: bool,
}

impl Dispatcher<'_> {
    fn run(mut self, stop: &(dyn Fn() -> bool + Sync), left: Left) -> Result<Left, Error> {
        for (punt, frame) in left.packets.iter() {
            self.dispatch(*punt, frame)?;
        }
        self.queues.iter().for_each(Queue::wake);
        let mut ring = FromRing::open(&self.place.plane.maps)?;
        let mut sockets = left.sockets;
        self.open_sockets(&mut ring, &mut sockets)?;
        let mut look = Instant::now();
        let mut last = look;
        while !stop() && !self.ends {
            if look <= Instant::now() {
                look = Instant::now() + NOTICE;
                if self.look()? {
                    self.open_sockets(&mut ring, &mut sockets)?;
                }
                continue;
            }
            let mut carriers: Vec<&mut dyn Carrier> = vec![&mut ring];
            carriers.extend(sockets.iter_mut().map(|socket| socket as &mut dyn Carrier));
            wait(&carriers)?;
            if last.elapsed() < SOON {
                thread::sleep(MOMENT);
            }
            self.receive(&mut ring)?;
            for socket in &mut sockets {
                let count = self.receive(socket)?;
                self.shared.counts.add(Event::BySocket, count as u64);
            }
            self.queues.iter().for_each(Queue::wake);
            last = Instant::now();
        }
        if !self.ends {
            self.close_sockets(std::mem::take(&mut sockets))?;
        }
        Ok(Left { packets: self.left, sockets, dispatched: None, newest: self.newest })
    }

    /// One round of a carrier: how many packets it had.
    fn receive(&mut self, carrier: &mut dyn Carrier) -> Result<usize, Error> {
        let mut failed = None;
        let count = carrier.receive(ROUND, &mut |packet| match packet {
            Some((punt, frame)) => {
                if let Err(error) = self.dispatch(punt, frame) {
                    failed = Some(error);
                }
            }
            None => self.shared.counts.add(Event::Fault, 1),
        });
        failed.map_or(Ok(count), Err)
    }

    /// What has come by the sockets is still served.
    fn close_sockets(&mut self, mut sockets: Vec<FromSocket>) -> Result<(), Error> {
        if sockets.is_empty() {
            return Ok(());
        }
        sockets.iter().try_for_each(FromSocket::retire)?;
        process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
        for socket in &mut sockets {
            loop {
                let count = self.receive(socket)?;
                self.shared.counts.add(Event::BySocket, count as u64);
                if count == 0 {
                    break;
                }
            }
        }
        self.queues.iter().for_each(Queue::wake);
        Ok(())
    }

    /// Hands a packet to the thread of its flow.
    fn dispatch(&mut self, punt: Punt, frame: &[u8]) -> Result<(), Error> {
        if is_newer(punt.generation, self.generation) && is_newer(punt.generation, self.newest) {
            self.newest = punt.generation;
            self.follow(punt.generation)?;
        }
        if self.ends {
            self.left.push(punt, frame);
            return Ok(());
        }
        // The lower half chooses its place in `PENDING`.
        let thread = (punt.flow >> 32) as usize % self.queues.len().max(1);
        if !self.queues.get(thread).is_some_and(|queue| queue.push(punt, frame)) {
            self.shared.counts.add(Event::QueueFull, 1);
            self.shared.resumes.done(&punt, process::coarse_clock().unwrap_or_default());
        }
        Ok(())
    }

    /// Goes by the record of `generation`, in place or just on its way there.
    fn follow(&mut self, generation: u32) -> Result<(), Error> {
        for path in [self.paths.pending(), self.paths.record()] {
            // One that cannot be read is being changed, or not whole.
            if let Ok(Some(record)) = record::read(&path)
                && record.generation == generation
            {
                return self.take_up(&record);
            }
        }
        Ok(())
    }

    fn take_up(&mut self, record: &Record) -> Result<(), Error> {
        if record.load != self.place.record.load {
            self.ends = true;
            // An older one, if the apply of this one was undone.
            self.newest = record.generation;
            return Ok(());
        }
        self.shared.set_current(current(self.paths, record, &self.place.plane)?);
        self.generation = record.generation;
        self.devices.clone_from(&record.devices);
        Ok(())
    }

    /// Whether the record in place is another than before. Tells the data path the time of day, too.
    fn look(&mut self) -> Result<bool, Error> {
        let wall = process::wall_offset().map_err(|e| Error::kernel("read the clocks", e))?;
        if self.place.plane.control().wall != wall {
            self.place.plane.set_wall(wall);
        }
        if self.written.is_none() && self.paths.pending().exists() {
            return Ok(false);
        }
        let written = record::written(&self.paths.record());
        if written.is_none() {
            self.ends = true;
            return Ok(false);
        }
        if written == self.written {
            return Ok(false);
        }
        self.written = written;
        match record::read(&self.paths.record())? {
            Some(record) => self.take_up(&record)?,
            None => self.ends = true,
        }
        Ok(!self.ends)
    }

    /// Opens the sockets of devices that have none, and closes those of devices that are the instance's no more. What came
    /// by the ring buffer until then goes before what comes by the new ones.
    fn open_sockets(&mut self, ring: &mut FromRing, sockets: &mut Vec<FromSocket>) -> Result<(), Error> {
        let maps = &self.place.plane.maps;
        let uses_sockets = self.place.record.flags.features & FEATURE_XSK != 0;
        let mut gone = Vec::new();
        for socket in std::mem::take(sockets) {
            let is_ours = self.devices.iter().any(|device| device.ifindex == socket.ifindex);
            let stays = uses_sockets && is_ours && socket.is_of(maps)?;
            if stays { &mut *sockets } else { &mut gone }.push(socket);
        }
        self.close_sockets(gone)?;
        if !uses_sockets {
            return Ok(());
        }
        let before = sockets.len();
        for device in &self.devices {
            if !sockets.iter().any(|socket| socket.ifindex == device.ifindex) {
                sockets.extend(FromSocket::open_all(maps, device.ifindex)?);
            }
        }
        if sockets.len() == before {
            return Ok(());
        }
        process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
        let written = ring.written();
        while !ring.is_read_to(written) {
            // The record that is just being written is whole in a moment.
            if self.receive(ring)? == 0 {
                thread::yield_now();
            }
            self.queues.iter().for_each(Queue::wake);
        }
        Ok(())
    }
}

/// Waits until some carrier has packets, or there is something else to look at.
fn wait(carriers: &[&mut dyn Carrier]) -> Result<(), Error> {
    let mut polled: Vec<PollFd<'_>> =
        carriers.iter().map(|carrier| PollFd::new(carrier.fd(), PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(NOTICE).unwrap_or(PollTimeout::ZERO);
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(Error::kernel("wait for packets", error.into())),
    }
}
