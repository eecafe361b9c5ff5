//! Owns the report on an instance: what it runs, where, and what it has counted, from any process.
//! Never changes anything and never takes the lock.

use serde::{Deserialize, Serialize};

use crate::apply::Mode;

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub instance: String,
    /// Name of the network namespace, as it was given at `apply`.
    pub namespace: Option<String>,
    /// Name of the policy.
    pub policy: String,
    /// sha256 of the image, in hex.
    pub id: String,
    pub generation: u32,
    /// Seconds since 1970 at which the generation was applied.
    pub applied: u64,
    /// Process id of the agent that serves the instance.
    pub agent: Option<u32>,
    pub program: Program,
    pub devices: Vec<Device>,
    pub tallies: Vec<Tally>,
    /// Those that are not zero.
    pub reasons: Vec<Reason>,
    pub tables: Vec<Table>,
    pub trackers: Vec<Tracker>,
    pub limits: Vec<Limit>,
    pub pools: Vec<Pool>,
    /// Where the policy checks certificates.
    pub slow_path: Option<SlowPath>,
}

/// Packets that went through the agent, since the instance exists.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SlowPath {
    /// Signatures that were good, and those that were not or were seen before.
    pub accepted: u64,
    pub invalid: u64,
    pub replayed: u64,
    /// In session: no signature was looked at.
    pub in_order: u64,
    /// Began anew, because another policy had come into place.
    pub anew: u64,
    /// Came by AF_XDP sockets; all others by the ring buffer.
    pub by_socket: u64,
    /// Sent out of a device, and given to this host.
    pub sent: u64,
    pub passed: u64,
    /// Dropped by the agent: its queue was full, or they had waited for too long.
    pub queue_full: u64,
    pub too_old: u64,
    /// Dropped because nothing more can be remembered for `replay`.
    pub replay_full: u64,
    /// That no device took.
    pub send_failed: u64,
    /// Must stay 0.
    pub faults: u64,
    pub sessions_begun: u64,
    pub sessions: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Program {
    pub id: u32,
    /// Instructions the verifier walked, of a million.
    pub verified_instructions: Option<u32>,
    /// Bytes of all maps and the program, as the kernel accounts them.
    pub memory: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Device {
    pub name: String,
    /// 0 if there is no such device any more.
    pub ifindex: u32,
    /// As the kernel reports it; `None` if nothing of ours is attached.
    pub mode: Option<Mode>,
    /// Program the kernel reports there, ours or not.
    pub program: Option<u32>,
    /// Why it does not do what was asked for.
    pub problem: Option<String>,
}

/// What an arm, an exit or a named counter has seen since the instance exists.
#[derive(Clone, Debug, Serialize)]
pub struct Tally {
    pub kind: TallyKind,
    pub label: String,
    pub tree: String,
    pub file: String,
    pub line: u32,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TallyKind {
    Arm,
    Exit,
    Named,
    Way,
}

#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    pub reason: &'static str,
    pub kind: ReasonKind,
    pub packets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// The packet ended there.
    Drop,
    Event,
    /// A fault of the program or its image.
    Fault,
}

/// Fill of a table; entries are single directions, so that a flow has two.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    pub name: &'static str,
    pub entries: u64,
    pub capacity: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Tracker {
    pub name: String,
    pub proven: u64,
    /// Sessions, where it is keyed by certificates; `max` is theirs then.
    pub sessions: u64,
    /// Live flows of its sessions, where it is keyed by certificates.
    pub flows: u64,
    pub max: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    pub name: String,
    /// Keys in the table now, and those it had to forget.
    pub keys: u64,
    pub evicted: u64,
    /// 0 without a key.
    pub max: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Pool {
    pub name: String,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub name: String,
    /// Address in its usual text form.
    pub address: String,
    /// 0 keeps the packet's port.
    pub port: u16,
    pub state: BackendState,
    /// New flows sent there since the backend exists.
    pub flows: u64,
    /// Live flows that do not close; only where the policy goes by them.
    pub connections: Option<u64>,
    /// Packets and bytes sent there, of frames as they arrived; where connections are counted.
    pub requests: u64,
    pub bytes: u64,
    pub next_hop: Option<NextHop>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    Active,
    Draining,
    Absent,
}

#[derive(Clone, Debug, Serialize)]
pub struct NextHop {
    /// Device, by name where it still has one.
    pub device: String,
    pub mac: String,
}
