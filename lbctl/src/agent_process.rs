//! Owns starting the agent as a process of its own, with its log in the run directory, and seeing that it runs.
//! Never what the agent does.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ebpf_runtime::instance::Instance;
use ebpf_runtime::run_dir::RunDir;
use serde::Serialize;

use crate::args::PlaceArgs;
use crate::console::Failure;
use crate::files;

/// How long a new agent may take until it holds its lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the wish for an agent.
#[derive(Serialize, Debug)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Agent {
    /// The policy has neither flows nor backends.
    NotNeeded,
    /// `--no-agent`.
    NotWanted,
    Running {
        pid: u32,
    },
    Started {
        pid: u32,
        log: PathBuf,
    },
}

/// Starts an agent for the instance in the network namespace of this thread, unless one runs, and waits until it
/// serves. It outlives this process and its terminal. `workers`: its threads that check signatures, if not as many as it
/// takes by itself.
pub fn start(
    run_dir: &RunDir,
    instance: &str,
    place: &PlaceArgs,
    workers: Option<u32>,
) -> Result<Agent, Failure> {
    let agent = || Instance::status(run_dir, instance).map(|status| status.agent);
    if let Some(pid) = agent().map_err(|error| Failure::new(error.to_string()))? {
        return Ok(Agent::Running { pid });
    }
    let path = Instance::agent_log(run_dir, instance).map_err(|error| Failure::new(error.to_string()))?;
    let mut log = open_log(&path)?;
    let from = log.seek(SeekFrom::End(0)).unwrap_or(0);
    let mut child = spawn(instance, place, workers, &log)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match agent() {
            Ok(Some(pid)) if pid == child.id() => return Ok(Agent::Started { pid, log: path }),
            // Another apply was faster; ours finds the lock taken and ends.
            Ok(Some(pid)) => return Ok(Agent::Running { pid }),
            _ => {}
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > deadline {
            let how = if ended.is_some() { "ended at once" } else { "does not serve yet" };
            return Err(Failure::new(format!("the agent {how}: {}", last_words(&path, from))));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open_log(path: &Path) -> Result<File, Failure> {
    let options = OpenOptions::new().create(true).append(true).mode(0o600).clone();
    options.open(path).map_err(|error| Failure::new(format!("{}: {}", path.display(), files::said(&error))))
}

/// A copy of this program that leaves the session it was born in.
fn spawn(instance: &str, place: &PlaceArgs, workers: Option<u32>, log: &File) -> Result<Child, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("can't start the agent: {}", files::said(&error)));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["agent", "--detached", "--instance", instance]);
    // The child is born in the network namespace of this thread, so that it needs no name for it.
    if let Some(run_dir) = &place.run_dir {
        command.arg("--run-dir").arg(std::path::absolute(run_dir).map_err(failed)?);
    }
    if let Some(workers) = workers {
        command.arg("--workers").arg(workers.to_string());
    }
    let log = || log.try_clone().map(Stdio::from);
    command.stdin(Stdio::null()).stdout(log().map_err(failed)?).stderr(log().map_err(failed)?);
    command.current_dir("/").spawn().map_err(failed)
}

/// What the agent said last, for the message that it failed.
fn last_words(path: &Path, from: u64) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut log| {
        log.seek(SeekFrom::Start(from))?;
        log.take(1 << 16).read_to_string(&mut text)
    });
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    match (read, last) {
        (Ok(_), Some(line)) => line.trim_start_matches("lbctl: error: ").to_owned(),
        _ => format!("see {}", path.display()),
    }
}
