//! Owns the ends of a packet as an `expect` writes them: `A:P`, a vip, a backend. Never which of them a packet has.

use std::net::IpAddr;

use super::Typing;
use crate::ast::Word;
use crate::value::addr;

impl Typing<'_> {
    /// The addresses (one of each family at most) and the port (0 without) of `ADDRESS[:PORT]` or `NAME[:PORT]`.
    pub(super) fn endpoint(&mut self, word: &Word, ports: bool) -> Option<(Vec<IpAddr>, u16)> {
        let (host, port) = match addr::host_port_of_packet(&word.text) {
            Ok(parts) => parts,
            Err(fault) => {
                self.fault(word, fault);
                return None;
            }
        };
        let backend = self.backends_named(host);
        let host = Word { text: host.to_owned(), ..word.clone() };
        let mut backend_port = None;
        let found: Vec<IpAddr> = match backend.as_slice() {
            // A reply comes from a backend: its name stands for its address, and for its port where it has one.
            [(pool, index)] if self.names.look_up(&host.text).is_none() => {
                let backend = self.pools.get(*pool as usize)?.backends.get(*index as usize)?;
                backend_port = backend.v4.map(|(_, port)| port).or(backend.v6.map(|(_, port)| port));
                let v4 = backend.v4.map(|(address, _)| IpAddr::V4(address));
                v4.into_iter().chain(backend.v6.map(|(address, _)| IpAddr::V6(address))).collect()
            }
            _ => self.literal_addresses(&host).into_iter().map(|(_, address)| address).collect(),
        };
        if found.is_empty() {
            return None;
        }
        let port = port.or(backend_port.filter(|&port| port != 0));
        match port {
            None if ports => {
                self.report
                    .error("E0322", word.span, format!("`{}` has no port", word.text))
                    .help("write `ADDRESS:PORT`; an IPv6 address stands in brackets: `[2001:db8::1]:80`");
                None
            }
            Some(_) if !ports && word.text.rsplit_once(':').is_some_and(|_| addr_has_port(&word.text)) => {
                self.report
                    .error("E0322", word.span, "this protocol has no ports")
                    .help("write the address alone");
                None
            }
            port => Some((found, port.unwrap_or(0))),
        }
    }
}

fn addr_has_port(text: &str) -> bool {
    addr::host_port_of_packet(text).is_ok_and(|(_, port)| port.is_some())
}

/// The first pair of one family; IPv4 before IPv6 where both have both.
pub(super) fn same_family(src: &[IpAddr], dst: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    [true, false].into_iter().find_map(|v4| {
        let of = |list: &[IpAddr]| list.iter().copied().find(|address| address.is_ipv4() == v4);
        of(src).zip(of(dst))
    })
}
