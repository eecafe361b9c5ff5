//! The fixture of the evaluator's tests: a policy as text, a state, packets in a line each.

mod answers;
mod cookies;
mod ends;
mod guards;
mod names;
mod nat;
mod one_way;
mod pools;
mod sequences;
mod stages;
mod tcp;
mod verify;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN};
use lb_abi::maps::{Flow, FlowKey};
use policy_lang::policy::{End, PacketSpec, Policy, ProtoSpec, StageKind, Tail};
use policy_lang::source::Loader;

use super::*;
use crate::packet::{build, flow_key, parse};

struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// A policy and its state.
struct World {
    policy: Policy,
    state: State,
}

impl World {
    fn new(text: &str) -> World {
        let checked = policy_lang::check("test.lbp", format!("lbp 1\n{text}\n"), &NoFiles);
        let policy = checked.policy.unwrap_or_else(|| panic!("{text}\n{:#?}", checked.diagnostics));
        World { policy, state: State { clock: 1 << 50, ..State::new([3, 4]) } }
    }

    fn frame(&mut self, frame: &[u8]) -> Run {
        run(&self.policy, &mut self.state, frame)
    }

    fn run(&mut self, spec: &PacketSpec) -> Run {
        self.frame(&build(spec))
    }

    fn verdict(&mut self, spec: &PacketSpec) -> Verdict {
        self.run(spec).verdict
    }

    fn reason(&mut self, spec: &PacketSpec) -> Option<Reason> {
        self.run(spec).reason
    }

    /// Forwards the packet; source and destination with their ports as it left.
    fn leaves(&mut self, spec: &PacketSpec) -> (SocketAddr, SocketAddr) {
        let run = self.run(spec);
        assert_eq!(run.verdict, Verdict::Forward, "{run:#?}");
        ends_of(run.frame.as_deref().unwrap())
    }

    fn wait(&mut self, time: Duration) {
        self.state.clock += time.as_nanos() as u64;
    }

    fn entry(&self, spec: &PacketSpec) -> Option<Flow> {
        let key = key(spec);
        let state = &self.state;
        let tables = [&state.flows_proven, &state.flows_answered, &state.flows_new];
        tables.into_iter().find_map(|table| table.get(&key)).copied()
    }

    /// Entries in the tables of new, answered and proven flows.
    fn sizes(&self) -> (usize, usize, usize) {
        (self.state.flows_new.len(), self.state.flows_answered.len(), self.state.flows_proven.len())
    }
}

fn key(spec: &PacketSpec) -> FlowKey {
    flow_key(&parse(&build(spec)).unwrap())
}

fn ends_of(frame: &[u8]) -> (SocketAddr, SocketAddr) {
    let fields = parse(frame).unwrap();
    let (sport, dport) = fields.ports().unwrap();
    let ip = |addr: [u8; 16]| std::net::Ipv6Addr::from(addr).to_canonical();
    (SocketAddr::new(ip(fields.src), sport), SocketAddr::new(ip(fields.dst), dport))
}

fn ends(src: &str, dst: &str) -> (SocketAddr, SocketAddr) {
    (src.parse().unwrap(), dst.parse().unwrap())
}

fn spec(src: SocketAddr, dst: SocketAddr, proto: ProtoSpec) -> PacketSpec {
    PacketSpec::new(src.ip(), dst.ip(), proto)
}

/// A TCP packet; flags by their letters, such as `SA`.
fn tcp(flags: &str, src: &str, dst: &str) -> PacketSpec {
    tcp_numbered(flags, src, dst, 0, 0)
}

fn tcp_numbered(flags: &str, src: &str, dst: &str, seq: u32, ack: u32) -> PacketSpec {
    let (src, dst) = ends(src, dst);
    let bit = |letter| match letter {
        'S' => FLAG_SYN,
        'A' => FLAG_ACK,
        'F' => FLAG_FIN,
        'R' => FLAG_RST,
        other => panic!("{other}"),
    };
    let flags = flags.chars().map(bit).sum::<u32>() as u8;
    spec(src, dst, ProtoSpec::Tcp { sport: src.port(), dport: dst.port(), flags, seq, ack })
}

fn udp(src: &str, dst: &str) -> PacketSpec {
    let (src, dst) = ends(src, dst);
    spec(src, dst, ProtoSpec::Udp { sport: src.port(), dport: dst.port() })
}

fn icmp(kind: u8, src: &str, dst: &str) -> PacketSpec {
    let (src, dst): (std::net::IpAddr, std::net::IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let (src, dst) = (SocketAddr::new(src, 0), SocketAddr::new(dst, 0));
    if src.is_ipv4() {
        spec(src, dst, ProtoSpec::Icmp { kind, code: 0, id: 7 })
    } else {
        spec(src, dst, ProtoSpec::Icmp6 { kind, code: 0, id: 7 })
    }
}
