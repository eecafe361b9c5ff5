//! Owns the demo of certificates: `policies/sessions.lbp` on a balancer in namespaces of its own, an agent, three clients of
//! which one may come in, and what that has to add up to. Never the certificates in the repository: it makes its own.

mod cast;
mod page;
mod statistics;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::sessions::Session;
use ebpf_runtime::status::Status;
use policy_lang::policy::Policy;
use serde::Serialize;

use super::backends::Servers;
use super::scene::{self, INSTANCE, failure};
use crate::console::{Console, Exit, Failure, Outcome};
use cast::{Cast, ClientReport};
use statistics::Statistics;

const FILE: &str = "policies/sessions.lbp";
const POLICY: &str = include_str!("../../../../policies/sessions.lbp");
/// Where the clients send to.
const VIP: &str = "203.0.113.10";
const PORT: u16 = 8080;
/// When the statistics are told, in seconds: as such a balancer does, every five, and once before that.
const TOLD: [u64; 3] = [2, 7, 12];
/// How long an agent may take until it serves.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long counters may lag behind the last reply.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    policy: String,
    clients: Vec<ClientReport>,
    statistics: Vec<Statistics>,
    sessions: Vec<Session>,
    well: bool,
    wrong: Vec<String>,
}

/// Runs it. `Exit::Findings` where it did not go as the policy says.
pub fn run(json: bool, console: &mut Console) -> Outcome {
    let cast = Cast::new()?;
    let (policy, _, image) = scene::compiled(FILE, POLICY, &cast)?;
    let lab = Lab::build(&plan(&cast, &policy)?).map_err(failure)?;
    let applied = scene::apply(&image, &lab)?;
    let mut agent = Agent::start(&lab)?;
    let servers = serve(&lab, &policy)?;
    let mut page = (!json).then(|| page::Page::new(console));
    if let Some(page) = &mut page {
        page.start(FILE, &applied, &agent.process, &cast)?;
    }
    let started = Instant::now();
    let told = TOLD.map(|at| started + Duration::from_secs(at));
    let mut statistics = Vec::new();
    let clients = std::thread::scope(|scope| {
        let clients = cast.clients.iter().map(|client| scope.spawn(|| client.play(&lab)));
        let clients: Vec<_> = clients.collect();
        for at in told {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // The last ones count when every client is done.
            if at != *told.last().unwrap_or(&at) {
                let now = Statistics::of(&status(&lab)?, started.elapsed());
                if let Some(page) = &mut page {
                    page.statistics(&now)?;
                }
                statistics.push(now);
            }
        }
        let join = |client: std::thread::ScopedJoinHandle<'_, Result<ClientReport, Failure>>| {
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        clients.into_iter().map(join).collect::<Result<Vec<ClientReport>, Failure>>()
    })?;
    let last = settled(&lab, &clients, started)?;
    let sessions = lab.balancer.run(|| Instance::sessions(&Lab::run_dir(), INSTANCE));
    let sessions = sessions.map_err(failure)?.map_err(failure)?;
    agent.end();
    let mut wrong = cast::wrong(&clients);
    wrong.extend(last.wrong(&clients));
    wrong.extend(unlike(&sessions, &clients, &servers));
    if let Some(page) = &mut page {
        page.statistics(&last)?;
        page.clients(&clients)?;
        page.sessions(&sessions)?;
        page.end(&wrong, clients.iter().map(|client| client.sent).sum())?;
    }
    statistics.push(last);
    let report = Report {
        version: 1,
        policy: policy.name.clone(),
        clients,
        statistics,
        sessions,
        well: wrong.is_empty(),
        wrong,
    };
    if json {
        console.json(&report)?;
    }
    Ok(if report.well { Exit::Well } else { Exit::Findings })
}

fn plan(cast: &Cast, policy: &Policy) -> Result<Plan, Failure> {
    let vip = VIP.parse().map_err(failure)?;
    let backends = policy.pools.iter().flat_map(|pool| &pool.backends);
    Ok(Plan {
        arms: Arms::Two,
        balancer: vec![vip],
        clients: cast.addresses(),
        backends: backends.filter_map(|backend| Some(vec![backend.v4?.0.into()])).collect(),
    })
}

/// A server for each backend, which says its name and who it sees.
fn serve(lab: &Lab, policy: &Policy) -> Result<Vec<(String, Servers)>, Failure> {
    let backends = policy.pools.iter().flat_map(|pool| &pool.backends);
    let each = backends.zip(&lab.backends).filter_map(|(backend, host)| {
        let (address, port) = backend.v4?;
        let servers = Servers::start(host, &backend.name, &[(address, port).into()]);
        Some(servers.map(|servers| (backend.name.clone(), servers)).map_err(failure))
    });
    each.collect()
}

fn status(lab: &Lab) -> Result<Status, Failure> {
    lab.balancer.run(|| Instance::status(&Lab::run_dir(), INSTANCE)).map_err(failure)?.map_err(failure)
}

/// The last statistics, once everything that was sent has been counted.
fn settled(lab: &Lab, clients: &[ClientReport], started: Instant) -> Result<Statistics, Failure> {
    let until = Instant::now() + SETTLED;
    loop {
        let last = Statistics::of(&status(lab)?, started.elapsed());
        if last.wrong(clients).is_empty() || Instant::now() > until {
            return Ok(last);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What sessions and servers say otherwise than the clients.
fn unlike(sessions: &[Session], clients: &[ClientReport], servers: &[(String, Servers)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let served: Vec<&ClientReport> = clients.iter().filter(|client| client.may_come_in).collect();
    let answered: u64 = served.iter().map(|client| client.answered).sum();
    let seen: u64 = servers.iter().map(|(_, servers)| servers.seen()).sum();
    if seen != answered {
        wrong.push(format!("the backends saw {seen} packets, and {answered} were answered"));
    }
    match sessions {
        [one] => {
            let backends: Vec<&str> = one.backends.iter().map(|backend| backend.backend.as_str()).collect();
            let answering: Vec<&str> = served
                .first()
                .map(|client| client.backends.iter().map(String::as_str).collect())
                .unwrap_or_default();
            if backends != answering {
                wrong.push(format!("the session is with {backends:?}, and {answering:?} answered"));
            }
            if one.clients.len() != served.len() {
                wrong.push(format!("the session knows {} clients of {}", one.clients.len(), served.len()));
            }
        }
        other => wrong.push(format!("{} sessions, and there ought to be one", other.len())),
    }
    wrong
}

/// The balancer's agent, a process of its own that dies with this one.
struct Agent {
    process: Child,
}

impl Agent {
    fn start(lab: &Lab) -> Result<Agent, Failure> {
        let mut command = Command::new(std::env::current_exe().map_err(failure)?);
        command
            .args(["agent", "--foreground", "--instance", INSTANCE, "--run-dir"])
            .arg(Lab::run_dir().path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        lab.balancer.place(&mut command).map_err(failure)?;
        let agent = Agent { process: command.spawn().map_err(failure)? };
        let until = Instant::now() + PATIENCE;
        while status(lab)?.agent != Some(agent.process.id()) {
            if Instant::now() > until {
                return Err(failure("the agent does not serve"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(agent)
    }

    fn end(&mut self) {
        // It may have ended by itself; the namespaces go in any case.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}
