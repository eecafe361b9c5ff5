//! Owns a trial's part of the slow path: what its program hands over, and how that goes on. Never a thread, a queue or a
//! device: the caller says when, and what came of it is the result.

use std::io;
use std::os::fd::AsFd;

use lb_abi::maps;

use super::{Ran, Trial};
use crate::error::Error;
use crate::resume::{self, Resumed, Resumes};
use crate::slow::{KernelReplays, Verdict, Verifier};
use crate::state::Which;
use crate::sys::ring::Ring;

/// The reader of what a program hands over, and what resumes it. Of one plane.
#[derive(Debug)]
pub(super) struct Slow {
    ring: Ring,
    resumes: Resumes,
}

impl Trial {
    fn slow(&mut self) -> Result<&mut Slow, Error> {
        let slow = match self.slow.take() {
            Some(slow) => slow,
            None => {
                let maps = &self.plane.maps;
                let program = self.plane.resume.as_ref();
                let program = program.ok_or_else(|| {
                    Error::kernel(
                        "read packets for user space",
                        io::Error::other("the image hands none over"),
                    )
                })?;
                let ring = Ring::new(maps.fd(Which::Punts), maps.entries(Which::Punts)?)
                    .map_err(|e| Error::kernel("map the ring buffer into memory", e))?;
                let resumes = Resumes::new(program.as_fd(), maps)?;
                Slow { ring, resumes }
            }
        };
        Ok(self.slow.insert(slow))
    }

    /// The packets that the program has handed over since the last call, oldest first.
    ///
    /// # Errors
    /// `Kernel`, also for an image without `verify`.
    pub fn punts(&mut self) -> Result<Vec<(maps::Punt, Vec<u8>)>, Error> {
        let slow = self.slow()?;
        let mut punts = Vec::new();
        while let Some(punt) =
            slow.ring.next(|record| resume::punted(record).map(|(punt, frame)| (punt, frame.to_vec())))
        {
            punts.extend(punt);
        }
        Ok(punts)
    }

    /// Goes on with a packet by a verdict `lb_abi::maps::RESUME_*`, in this thread's network namespace, and counts it as
    /// done with. Nothing leaves: the frame that would is the result, or for a drop the one given.
    pub fn resume(
        &mut self,
        punt: &maps::Punt,
        frame: &[u8],
        verdict: u32,
    ) -> Result<(Resumed, Vec<u8>), Error> {
        let now = self.now()?;
        let slow = self.slow()?;
        slow.resumes.put(0, 0, punt, frame, verdict);
        slow.resumes.run(0, 1, punt, &[])?;
        slow.resumes.done(punt, now);
        let mut out = Vec::new();
        slow.resumes.frame(0, 0, &mut out);
        Ok((slow.resumes.outcome(0, 0), out))
    }

    /// As `run`; a packet that the program hands over is checked by `verifier` and goes on, as the agent sees to it.
    ///
    /// # Errors
    /// As `run` and `resume`.
    pub fn run_through(&mut self, frame: &[u8], ifindex: u32, verifier: &Verifier) -> Result<Ran, Error> {
        let mut ran = self.run(frame, ifindex)?;
        if self.plane.resume.is_none() {
            return Ok(ran);
        }
        let mut handed = self.punts()?;
        while let Some((punt, frame)) = handed.pop() {
            let replays = KernelReplays::new(self.plane.maps.fd(Which::Replays));
            let verdict = match verifier.verdict(&punt, &frame, &replays) {
                Verdict::On => maps::RESUME_ON,
                Verdict::Exit(exit) => maps::RESUME_EXIT + exit,
                Verdict::Anew => maps::RESUME_ANEW,
                Verdict::Full => continue,
            };
            let (resumed, out) = self.resume(&punt, &frame, verdict)?;
            // What began anew may have been handed over again.
            handed.extend(resumed.again.map(|punt| (punt, frame)));
            ran = Ran { action: resumed.action, frame: out };
        }
        Ok(ran)
    }
}
