//! What becomes of a flow that loses one of its entries to eviction: others fill the table while one direction alone is
//! used.

use std::net::Ipv6Addr;

use ebpf_runtime::trial::{Action, FlowTable};
use lb_abi::maps::{DIR_ORIGINAL, DIR_REPLY};
use lb_abi::reason::Reason;

use crate::build::{ACK, SYN, ipv4, ipv6, tcp, udp};
use crate::flows::{BACKEND, Balancer, CLIENT, SECOND, SOURCE, VIP};

const PORT: u16 = 10_000;
/// More than a tick later, less than any timeout.
const LATER: u64 = SECOND + SECOND / 100;

fn query(sport: u16) -> Vec<u8> {
    ipv4(CLIENT, VIP, 17, &udp(sport, 443, b"query"), 6)
}

fn answer() -> Vec<u8> {
    ipv4(BACKEND, SOURCE, 17, &udp(8443, PORT, b"answer"), 6)
}

/// Another flow over IPv6, where no port is taken; with `answered` both directions of it.
fn stranger(number: u16, answered: bool) -> Vec<Vec<u8>> {
    let client = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number).octets();
    let (vip, backend) = ("2001:db8::2".parse::<Ipv6Addr>(), "2001:db8:9::9".parse::<Ipv6Addr>());
    let (vip, backend) = (vip.expect("an address").octets(), backend.expect("an address").octets());
    let there = ipv6(client, vip, 17, &udp(4000, 443, b""), 6);
    let back = ipv6(backend, client, 17, &udp(443, 4000, b""), 6);
    if answered { vec![there, back] } else { vec![there] }
}

/// The directions there are of the one flow over IPv4.
fn directions(balancer: &Balancer, table: FlowTable) -> Vec<u8> {
    let flows = balancer.trial.flows(table).expect("flows");
    let ours = flows.iter().filter(|(key, _)| key.src[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    let mut directions: Vec<u8> = ours.map(|(_, flow)| flow.dir).collect();
    directions.sort_unstable();
    directions
}

/// Sends other flows, and `hot` between them, until the flow has lost the direction that `hot` is not.
fn evict(balancer: &Balancer, table: FlowTable, hot: &[u8], left: u8) {
    let answered = table == FlowTable::Answered;
    let mut number = 0;
    while directions(balancer, table) != [left] {
        let batch = number..number + 32;
        number = batch.end;
        assert!(number < 20_000, "it stays: {:?}", directions(balancer, table));
        let frames = batch.flat_map(|number| stranger(number, answered));
        let sent = balancer.lab.balancer.run(|| {
            frames.chain([hot.to_vec()]).all(|frame| {
                balancer.trial.run(&frame, balancer.ifindex).expect("a run").action == Action::Tx
            })
        });
        assert!(sent.expect("a namespace"), "{:?}", balancer.reasons());
    }
}

fn repaired(balancer: &Balancer) -> u64 {
    balancer.trial.reasons().expect("reasons")[Reason::PairRepaired as usize]
}

#[test]
fn a_query_restores_the_way_back() {
    let mut balancer = Balancer::with_ports(500, 1);
    balancer.forwarded(&query(4000));
    evict(&balancer, FlowTable::New, &query(4000), DIR_ORIGINAL);
    balancer.dropped(&answer());
    balancer.trial.set_clock(LATER);
    balancer.forwarded(&query(4000));
    assert_eq!(repaired(&balancer), 1);
    assert_eq!(directions(&balancer, FlowTable::New), [DIR_ORIGINAL, DIR_REPLY]);
    let home = balancer.forwarded(&answer());
    assert_eq!((&home[30..34], &home[36..38]), (&CLIENT[..], &4000u16.to_be_bytes()[..]));
}

#[test]
fn an_answer_restores_the_way_there() {
    let mut balancer = Balancer::with_ports(500, 1);
    balancer.forwarded(&query(4000));
    balancer.forwarded(&answer());
    evict(&balancer, FlowTable::Answered, &answer(), DIR_REPLY);
    balancer.trial.set_clock(LATER);
    balancer.forwarded(&answer());
    assert_eq!(repaired(&balancer), 1);
    // There is one port only, and the flow has it still.
    let there = balancer.forwarded(&query(4000));
    assert_eq!((&there[26..30], &there[34..36]), (&SOURCE[..], &PORT.to_be_bytes()[..]));
}

#[test]
fn a_handshake_goes_on_after_a_syn_sent_again() {
    let mut balancer = Balancer::with_ports(500, 1);
    let syn = ipv4(CLIENT, VIP, 6, &tcp(4000, 443, SYN, 100, 0), 16);
    balancer.forwarded(&syn);
    evict(&balancer, FlowTable::New, &syn, DIR_ORIGINAL);
    balancer.trial.set_clock(LATER);
    balancer.forwarded(&syn);
    balancer.forwarded(&ipv4(BACKEND, SOURCE, 6, &tcp(8443, PORT, SYN | ACK, 500, 101), 16));
    balancer.forwarded(&ipv4(CLIENT, VIP, 6, &tcp(4000, 443, ACK, 101, 501), 16));
    assert_eq!(directions(&balancer, FlowTable::Proven), [DIR_ORIGINAL, DIR_REPLY]);
}

/// Who lost the way back may find it taken: two clients with one tuple would read each other's answers.
#[test]
fn a_port_that_another_flow_took_meanwhile_is_not_shared() {
    let mut balancer = Balancer::with_ports(500, 1);
    balancer.forwarded(&query(4000));
    evict(&balancer, FlowTable::New, &query(4000), DIR_ORIGINAL);
    let taken = balancer.forwarded(&query(4001));
    assert_eq!(taken[34..36], PORT.to_be_bytes());
    balancer.trial.set_clock(LATER);
    balancer.dropped(&query(4000));
    let home = balancer.forwarded(&answer());
    assert_eq!(home[36..38], 4001u16.to_be_bytes());
}
