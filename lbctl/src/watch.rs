//! Owns saying the same again every so often, for people and for programs that read along. Never what is said.

use std::time::Duration;

use crate::args;
use crate::console::{Console, Exit, Outcome};

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct WatchArgs {
    /// Say it again every TIME, until it is interrupted.
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    pub watch: Option<Duration>,
}

impl WatchArgs {
    /// Says it once, or until somebody interrupts or nobody reads any more.
    pub fn run(&self, console: &mut Console, mut say: impl FnMut(&mut Console) -> Outcome) -> Outcome {
        const SHORTEST: Duration = Duration::from_millis(100);
        let mut exit = Exit::Well;
        loop {
            let said = say(console)?;
            if said != Exit::Well {
                exit = said;
            }
            console.flush()?;
            match self.watch {
                Some(every) if !console.is_closed() => std::thread::sleep(every.max(SHORTEST)),
                _ => return Ok(exit),
            }
        }
    }
}
