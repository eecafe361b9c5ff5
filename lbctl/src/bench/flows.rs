//! Owns bringing flows to life in a loaded program, as their two ends would.
//! Never times anything.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use compiler::packet;
use ebpf_runtime::Error;
use ebpf_runtime::trial::FlowTable;
use lb_abi::image::{FLAG_ACK, FLAG_SYN};
use lb_abi::maps::{Addr, DIR_ORIGINAL, FlowKey};
use policy_lang::policy::{PacketSpec, ProtoSpec};

use super::measure::Bench;

/// A frame of each direction of a flow that lives.
pub struct Flow {
    pub forward: Vec<u8>,
    pub back: Vec<u8>,
}

/// The server's initial sequence number.
const ISN: u32 = 7_000;

/// Sends first packets, their answers and, for TCP, the acknowledgements that prove the flows. Flows that the program
/// did not take are not among the result.
pub fn establish(bench: &mut Bench, first: &[PacketSpec]) -> Result<Vec<Flow>, Error> {
    bench.send(&first.iter().map(packet::build).collect::<Vec<_>>())?;
    let new = bench.program.flows(FlowTable::New)?;
    let new: HashMap<FlowKey, _> = new.into_iter().filter(|(_, flow)| flow.dir == DIR_ORIGINAL).collect();
    let mut flows = Vec::new();
    let (mut answers, mut proofs) = (Vec::new(), Vec::new());
    for spec in first {
        let Some(flow) = key(spec).and_then(|key| new.get(&key)) else { continue };
        // The answer's way is that of the rewritten packet, turned round.
        let back =
            |proto| PacketSpec { src: address(flow.dst), dst: address(flow.src), proto, ..spec.clone() };
        let (sport, dport) = (flow.dport, flow.sport);
        match spec.proto {
            ProtoSpec::Tcp { sport: client, dport: service, .. } => {
                let tcp =
                    |flags: u32, seq, ack| ProtoSpec::Tcp { sport, dport, flags: flags as u8, seq, ack };
                let flags = FLAG_ACK as u8;
                let acknowledge =
                    ProtoSpec::Tcp { sport: client, dport: service, flags, seq: 1, ack: ISN + 1 };
                answers.push(packet::build(&back(tcp(FLAG_SYN | FLAG_ACK, ISN, 1))));
                let forward = packet::build(&PacketSpec { proto: acknowledge, ..spec.clone() });
                proofs.push(forward.clone());
                flows.push(Flow { forward, back: packet::build(&back(tcp(FLAG_ACK, ISN + 1, 1))) });
            }
            _ => {
                let back = packet::build(&back(ProtoSpec::Udp { sport, dport }));
                answers.push(back.clone());
                flows.push(Flow { forward: packet::build(spec), back });
            }
        }
    }
    bench.send(&answers)?;
    bench.send(&proofs)?;
    Ok(flows)
}

/// What the tables know its packets by.
pub fn key(spec: &PacketSpec) -> Option<FlowKey> {
    let (proto, sport, dport) = match spec.proto {
        ProtoSpec::Tcp { sport, dport, .. } => (packet::TCP, sport, dport),
        ProtoSpec::Udp { sport, dport } => (packet::UDP, sport, dport),
        _ => return None,
    };
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    Some(FlowKey { src: mapped(spec.src), dst: mapped(spec.dst), sport, dport, proto, pad: [0; 3] })
}

/// As people know it: IPv4 where it is mapped.
pub fn address(addr: Addr) -> IpAddr {
    let v6 = Ipv6Addr::from(addr);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}
