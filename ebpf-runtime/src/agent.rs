//! Owns the work that needs a process: ageing flows, ending sessions with their certificates, keeping next hops fresh and
//! checking signatures, one agent for an instance. Never decides on any other packet: traffic goes on without it, and it
//! may die at any time.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use lb_abi::maps::{BACKEND_ABSENT, NextHop};
use lb_abi::mode::FEATURE_LOAD;
use rtnetlink::MulticastGroup;

use crate::ageing;
use crate::error::Error;
use crate::lapsed::Lapsed;
use crate::lock::{self, Lock, Taken};
use crate::next_hop::{self, Asking, Way};
use crate::paths::Paths;
use crate::pinned;
use crate::plane::Plane;
use crate::record;
use crate::run_dir::RunDir;
use crate::slow;

/// How soon `stop` and a new generation are noticed.
const NOTICE: Duration = Duration::from_millis(500);
/// Events of routes and neighbours come in bursts: they are answered together, this long after the first.
const GATHER: Duration = Duration::from_millis(100);
/// How often a neighbour that does not answer is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The data path sends past the kernel's neighbour table, which therefore takes a busy neighbour for idle: it is told
/// of its use this often, and all next hops are looked at, in case an event was lost.
const KEEP_IN_USE: Duration = Duration::from_secs(20);
/// Between two passes over the flow tables; longer where a pass takes long, so that they cost a twentieth of one CPU.
const AGEING: Duration = Duration::from_secs(5);
/// Likewise where backends and trackers go by how many flows they have.
const COUNTING: Duration = Duration::from_secs(1);
const AGEING_SHARE: u32 = 20;
/// Likewise between two looks for certificates that have lapsed, whose flows are looked for then.
const LAPSING: Duration = Duration::from_secs(1);
/// How many times in a row netlink may fail before that is taken for more than a busy moment.
const REFUSALS: u32 = 5;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Threads that check signatures; otherwise one less than there are CPUs, and at least one.
    pub workers: Option<usize>,
}

/// Serves instance `name` until `stop` is set, then leaves the data path as it is. Ends too when the instance is
/// detached.
///
/// # Errors
/// `NothingApplied`; `AgentBusy` where it has an agent; `Kernel` and `File` where something breaks for good.
pub fn run(run_dir: &RunDir, name: &str, options: &Options, stop: &AtomicBool) -> Result<(), Error> {
    let paths = Paths::new(&run_dir.reach()?, name)?;
    let Some(served) = Served::open(&paths)? else { return Err(Error::NothingApplied(name.to_owned())) };
    let lock = take_lock(&paths, name)?;
    let ended = work(&paths, served, options, stop);
    if !paths.record().exists() {
        // As a detach does.
        let _ = fs::remove_dir_all(paths.keys());
        // A detach left the directory because of our lock in it.
        record::remove(&paths.agent_lock())?;
        let _ = fs::remove_dir(&paths.directory);
    }
    drop(lock);
    ended
}

/// Checks certificates on threads of its own beside all else. Whatever ends one of them ends the other.
fn work(paths: &Paths, served: Served, options: &Options, stop: &AtomicBool) -> Result<(), Error> {
    let failed = |e| Error::kernel("start the agent", e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let over = AtomicBool::new(false);
    let ended = |ended: Result<(), Error>| {
        over.store(true, Ordering::Relaxed);
        ended
    };
    thread::scope(|scope| {
        let slow = || ended(slow::serve(paths, options.workers, &|| is_set(stop) || is_set(&over)));
        let slow = thread::Builder::new().name("dispatcher".to_owned()).spawn_scoped(scope, slow);
        let slow = slow.map_err(failed)?;
        let rest = ended(runtime.block_on(serve(paths, served, &|| is_set(stop) || is_set(&over))));
        slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(rest)
    })
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

fn take_lock(paths: &Paths, name: &str) -> Result<Lock, Error> {
    let path = paths.agent_lock();
    match lock::take(&path).map_err(|e| Error::file(&path, e))? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Busy(holder) => {
            let holder = holder.map_or_else(|| "unknown process".to_owned(), |pid| format!("process {pid}"));
            Err(Error::AgentBusy { instance: name.to_owned(), holder })
        }
    }
}

/// The generation the agent works on.
struct Served {
    plane: Plane,
    written: SystemTime,
    /// Whether flows are counted (`FEATURE_LOAD`).
    loads: bool,
    /// Dense number and address of the backends in service.
    backends: Vec<(u32, IpAddr)>,
    lapsed: Lapsed,
}

impl Served {
    /// What is in place now; `None` after a detach.
    fn open(paths: &Paths) -> Result<Option<Served>, Error> {
        let path = paths.record();
        // Before reading: what is written later is noticed then.
        let Some(written) = record::written(&path) else { return Ok(None) };
        let Some(record) = record::read(&path)? else { return Ok(None) };
        let Some(plane) = pinned::plane(paths, record.load)? else { return Ok(None) };
        let in_service = record.content.backends.iter().filter(|backend| backend.state != BACKEND_ABSENT);
        let backends = in_service.map(|backend| (backend.number, backend.addr)).collect();
        let loads = record.flags.features & FEATURE_LOAD != 0;
        Ok(Some(Served { plane, written, loads, backends, lapsed: Lapsed::default() }))
    }

    /// Writes the next hops of all backends as they are now.
    async fn refresh(&self, asking: Asking) -> Result<(), Error> {
        let addresses: Vec<IpAddr> = self.backends.iter().map(|(_, address)| *address).collect();
        let ways =
            next_hop::ways(&addresses, asking).await.map_err(|e| Error::kernel("find the next hops", e))?;
        for ((number, _), way) in self.backends.iter().zip(ways) {
            let next_hop = match way {
                Way::Resolved { next_hop, .. } => next_hop,
                // The data path asks the routing table then, and counts what it drops by its reason.
                _ => NextHop::default(),
            };
            self.plane.set_next_hop(*number, next_hop);
        }
        Ok(())
    }
}

/// When each kind of work is due.
struct Due {
    events: Option<Instant>,
    ask: Instant,
    in_use: Instant,
    ageing: Instant,
    lapsing: Instant,
}

/// When work that began then, and is over now, is due again.
fn after(began: Instant, pause: Duration) -> Instant {
    Instant::now() + pause.max(began.elapsed() * AGEING_SHARE)
}

async fn serve(paths: &Paths, mut served: Served, stop: &dyn Fn() -> bool) -> Result<(), Error> {
    let groups =
        [MulticastGroup::Neigh, MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    let (connection, _handle, mut events) =
        rtnetlink::new_multicast_connection(&groups).map_err(|e| Error::kernel("listen to netlink", e))?;
    tokio::spawn(connection);
    let start = Instant::now();
    let mut due = Due { events: None, ask: start, in_use: start, ageing: start + AGEING, lapsing: start };
    let mut failed = 0;
    while !stop() {
        if record::written(&paths.record()) != Some(served.written) {
            match Served::open(paths)? {
                Some(now) => served = now,
                // An apply moves the pins after the record: there may be a moment without them.
                None if paths.record().exists() => {}
                None => return Ok(()),
            }
            due.in_use = Instant::now();
        }
        let now = Instant::now();
        if !served.backends.is_empty() {
            let asking = match &due {
                due if due.in_use <= now => Some(Asking::Everyone),
                due if due.ask <= now => Some(Asking::Unresolved),
                due if due.events.is_some_and(|at| at <= now) => Some(Asking::Nobody),
                _ => None,
            };
            if let Some(asking) = asking {
                match served.refresh(asking).await {
                    Ok(()) => failed = 0,
                    Err(error) if failed == REFUSALS => return Err(error),
                    Err(_) => failed += 1,
                }
                due.events = None;
                if asking != Asking::Nobody {
                    due.ask = now + ASK_AGAIN;
                }
                if asking == Asking::Everyone {
                    due.in_use = now + KEEP_IN_USE;
                }
            }
        }
        if due.ageing <= now {
            let began = Instant::now();
            ageing::pass(&served.plane, served.loads, stop)?;
            due.ageing = after(began, if served.loads { COUNTING } else { AGEING });
        }
        if due.lapsing <= now {
            let began = Instant::now();
            served.lapsed.end(&served.plane, began)?;
            due.lapsing = after(began, LAPSING);
        }
        let wait = due.events.map_or(NOTICE, |at| at.saturating_duration_since(Instant::now()).min(NOTICE));
        match tokio::time::timeout(wait, events.next()).await {
            Ok(Some(_)) => {
                due.events.get_or_insert(Instant::now() + GATHER);
            }
            Ok(None) => {
                let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(Error::kernel("listen to netlink", gone));
            }
            Err(_) => {}
        }
    }
    Ok(())
}
