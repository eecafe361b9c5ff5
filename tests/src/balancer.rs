//! Owns a balancer in a lab, driven by the `lbctl` binary as a user drives it: policies put on its devices, its agent,
//! and what `status` says. Never calls the runtime behind the binary's back.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ebpf_runtime::lab::{Arms, Lab, Plan};
use serde_json::Value;
use tempfile::TempDir;

use crate::sockets::WAIT;

/// A lab whose balancer runs a policy. Dropping it detaches the policy and takes the lab down.
#[derive(Debug)]
pub struct Balancer {
    pub lab: Lab,
    /// Policies, hash key and logs.
    dir: TempDir,
    agent: Option<Child>,
    /// Devices to apply to.
    pub devices: Vec<String>,
}

/// `addresses("10.0.0.1 2001:db8::1")`.
pub fn addresses(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|word| word.parse().expect("an address")).collect()
}

/// One client and two backends of both families around a balancer that owns 203.0.113.10, 2001:db8:f::10 (to be
/// talked to), 10.9.0.1 and fd09::1 (to talk as).
pub fn plan(arms: Arms) -> Plan {
    Plan {
        arms,
        balancer: addresses("203.0.113.10 2001:db8:f::10 10.9.0.1 fd09::1"),
        clients: vec![addresses("198.51.100.9 2001:db8:c::9")],
        backends: vec![addresses("10.1.0.1 fd01::1"), addresses("10.1.0.2 fd01::2")],
    }
}

/// The backends of `plan` as a pool of echo servers, and the sides. `source`: as whom it talks to them, where not as the
/// clients themselves.
pub fn echoes(source: &str) -> String {
    format!(
        "pool echoes {{
  pick round-robin; via nat{source}
  backend b1 10.1.0.1, fd01::1
  backend b2 10.1.0.2, fd01::2
}}

side servers when src in echoes
side clients otherwise
"
    )
}

impl Balancer {
    /// Builds the lab. Without root this fails with a message that says so: a test that cannot run is a failed test.
    pub fn new(plan: &Plan) -> Balancer {
        must_be_root();
        let lab = Lab::build(plan).unwrap_or_else(|error| panic!("{error}"));
        let devices = lab.devices.clone();
        let dir = tempfile::tempdir().expect("a directory for policies");
        Balancer { lab, dir, agent: None, devices }
    }

    /// Builds the lab and puts the policy on every device of the balancer, without an agent.
    pub fn with_policy(plan: &Plan, policy: &str) -> Balancer {
        let mut balancer = Balancer::new(plan);
        balancer.apply(policy);
        balancer
    }

    /// Writes a policy where `lbctl` can read it.
    pub fn write(&self, name: &str, policy: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, policy).expect("a policy file");
        path
    }

    /// Applies a policy to every device; its failure is the test's.
    pub fn apply(&mut self, policy: &str) -> Output {
        let output = self.try_apply(policy);
        assert!(output.status.success(), "apply failed: {}", told(&output));
        output
    }

    pub fn try_apply(&mut self, policy: &str) -> Output {
        self.apply_command(policy).output().expect("lbctl runs")
    }

    /// `lbctl apply` of a policy to every device, without an agent and with a hash key of its own.
    pub fn apply_command(&self, policy: &str) -> Command {
        let path = self.write("policy.lbp", policy);
        let mut command = self.lbctl("apply");
        command.arg(path).arg("--no-agent").arg("--hash-key").arg(self.dir.path().join("hash.key"));
        for device in &self.devices {
            command.args(["--device", device]);
        }
        command
    }

    /// `lbctl VERB`, to be run inside the balancer's namespaces.
    pub fn lbctl(&self, verb: &str) -> Command {
        let mut command = Command::new(lbctl_binary());
        command.arg(verb).args(["--run-dir", "/run/lbctl"]);
        command.stdin(Stdio::null());
        self.lab.balancer.place(&mut command).unwrap_or_else(|error| panic!("{error}"));
        command
    }

    /// Starts the agent in the foreground; it dies with the calling thread.
    pub fn start_agent(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("agent.log")).expect("the agent's log");
        let mut command = self.lbctl("agent");
        command.arg("--foreground").stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().expect("the agent starts"));
        let wanted = self.agent.as_ref().map(|agent| u64::from(agent.id()));
        let serves = || self.status()["agent"].as_u64() == wanted;
        assert!(eventually(WAIT, serves), "no agent serves: {}", self.agent_log());
    }

    /// `kill -9`, and waits for the end.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.kill().expect("SIGKILL is sent");
        agent.wait().expect("the agent ends");
    }

    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    /// The instance in `lbctl status --json`.
    pub fn status(&self) -> Value {
        let output = self.lbctl("status").arg("--json").output().expect("lbctl runs");
        assert!(output.status.success(), "status failed: {}", told(&output));
        let status: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
        status["instances"][0].clone()
    }

    /// Packets of the tallies whose label contains `label`.
    pub fn tally(&self, label: &str) -> u64 {
        let status = self.status();
        let tallies = status["tallies"].as_array().expect("tallies");
        let named = tallies.iter().filter(|tally| tally["label"].as_str().unwrap_or("").contains(label));
        named.map(|tally| tally["packets"].as_u64().expect("a count")).sum()
    }

    /// Packets that ended for a reason.
    pub fn reason(&self, name: &str) -> u64 {
        let status = self.status();
        let reasons = status["reasons"].as_array().expect("reasons");
        let found = reasons.iter().find(|reason| reason["reason"] == name);
        found.map_or(0, |reason| reason["packets"].as_u64().expect("a count"))
    }

    /// Flows in the tables of proven flows.
    pub fn proven(&self) -> u64 {
        let status = self.status();
        let trackers = status["trackers"].as_array().expect("trackers");
        trackers.iter().map(|tracker| tracker["proven"].as_u64().expect("a count")).sum()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended by itself; the namespaces go in any case.
            let _ended = agent.kill();
            let _status = agent.wait();
        }
        let _detached = self.lbctl("detach").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Fails with what to do about it.
pub fn must_be_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test loads programs into the kernel and makes namespaces: run it as root (sudo cargo test --workspace)"
    );
}

/// What a command printed, and how it ended.
pub fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}{err}", output.status)
}

/// Whether `holds` becomes true within `wait`.
pub fn eventually(wait: Duration, holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

/// The binary of this workspace, built now if it is older than its sources: `cargo test -p lb-tests` alone would not.
pub fn lbctl_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build().unwrap_or_else(|error| panic!("lbctl could not be built: {error}")))
}

fn build() -> io::Result<PathBuf> {
    // target/PROFILE/deps/TEST: the binary lies two levels up.
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).ok_or_else(|| io::Error::other("no target directory"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--offline", "--package", "lbctl", "--bin", "lbctl"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    cargo.arg("--target-dir").arg(profile.parent().ok_or_else(|| io::Error::other("no target directory"))?);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(told(&output)));
    }
    Ok(profile.join("lbctl"))
}
