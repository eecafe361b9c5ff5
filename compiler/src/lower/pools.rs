//! Owns the descriptors of pools: slot tables, sources, and what is known of each backend that can be picked. Never which
//! backends there are.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_abi::bundle::{Dense, Image, Relocation};
use lb_abi::image::{
    B_MAX_CONN, B_NUMBER, B_OTHER, B_WEIGHT, BACKEND_WORDS, P_BACKENDS4, P_BACKENDS6, P_ID, P_PICK,
    P_PORT_COUNT, P_PORT_FIRST, P_SLOTS4, P_SLOTS6, P_SOURCES4, P_SOURCES6, P_VIA, PICK_CERTIFICATE,
    PICK_FLOW, PICK_LEAST, PICK_RANDOM, PICK_ROUND_ROBIN, PICK_SOURCE, POOL_WORDS, VIA_NAT,
};
use lb_abi::maps::Addr;
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Backend, Pick, Pool, Via};

use super::slots::{self, Candidate};
use super::words::{Full, Words};
use super::{bounds, not_yet, refusals};

/// An IPv4 address as maps and images hold it.
pub fn mapped(addr: Ipv4Addr) -> Addr {
    addr.to_ipv6_mapped().octets()
}

/// Writes a pool's descriptor with its slot tables and sources. `backends`: offset of the words that hold the backends'
/// numbers, in order of ordinals.
pub fn pool(
    ordinal: u32,
    pool: &Pool,
    backends: u32,
    words: &mut Words,
    image: &mut Image,
) -> Result<u32, Box<Diagnostic>> {
    let full = |Full| refusals::words(pool.span);
    let mut row = [0; POOL_WORDS];
    row[P_ID] = ordinal;
    row[P_PICK] = match pool.pick {
        Pick::LeastConnections => PICK_LEAST,
        Pick::Certificate => PICK_CERTIFICATE,
        Pick::RoundRobin => PICK_ROUND_ROBIN,
        Pick::Random => PICK_RANDOM,
        Pick::Source | Pick::Maglev { by_flow: false, .. } => PICK_SOURCE,
        Pick::Maglev { by_flow: true, .. } => PICK_FLOW,
    };
    row[P_VIA] = match pool.via {
        Via::Nat => VIA_NAT,
        Via::L2dsr | Via::Ipip | Via::Gue { .. } => return Err(Box::new(not_yet::VIA.at(pool.span))),
    };
    if let Some((first, last)) = pool.ports {
        row[P_PORT_FIRST] = u32::from(first);
        row[P_PORT_COUNT] = u32::from(last.saturating_sub(first)) + 1;
    }
    let addresses = addresses(ordinal, pool, image);
    for (v4, slots_at, backends_at) in [(true, P_SLOTS4, P_BACKENDS4), (false, P_SLOTS6, P_BACKENDS6)] {
        let picked = addresses.iter().filter(|address| bounds::takes_flows(address.backend));
        let picked: Vec<&Address<'_>> = picked.filter(|address| address.v4 == v4).collect();
        if picked.is_empty() {
            continue;
        }
        let slots: Vec<u32> = slot_table(pool, &picked)?.iter().map(|backend| backends + backend).collect();
        if !slots.is_empty() {
            row[slots_at] = words.append(&slots).map_err(full)?;
            row[slots_at + 1] = slots.len() as u32;
        }
        let rows: Vec<u32> = picked.iter().flat_map(|one| backend_row(one, &addresses, backends)).collect();
        row[backends_at] = words.append(&rows).map_err(full)?;
        row[backends_at + 1] = picked.len() as u32;
    }
    let v4: Vec<Addr> = pool.sources_v4.iter().copied().map(mapped).collect();
    let v6: Vec<Addr> = pool.sources_v6.iter().map(Ipv6Addr::octets).collect();
    for (sources, at) in [(v4, P_SOURCES4), (v6, P_SOURCES6)] {
        if !sources.is_empty() {
            let flat: Vec<u32> = sources.iter().flat_map(address_words).collect();
            row[at] = words.append(&flat).map_err(full)?;
            row[at + 1] = sources.len() as u32;
        }
    }
    let offset = words.append(&row).map_err(full)?;
    image.relocations.push(Relocation { word: offset + P_ID as u32, kind: Dense::Pool });
    Ok(offset)
}

/// An address as four words: its bytes in order, each word little-endian.
fn address_words(addr: &Addr) -> [u32; 4] {
    std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| addr[4 * at + byte])))
}

/// An address of a pool's backend.
struct Address<'p> {
    backend: &'p Backend,
    v4: bool,
    ordinal: u32,
}

/// All of a pool, in the order of their ordinals.
fn addresses<'p>(ordinal: u32, pool: &'p Pool, image: &Image) -> Vec<Address<'p>> {
    let own = (0..).zip(&image.backends).filter(|(_, backend)| backend.pool == ordinal);
    let written = pool.backends.iter().flat_map(|backend| {
        let families = [(backend.v4.is_some(), true), (backend.v6.is_some(), false)];
        families.into_iter().filter(|(has, _)| *has).map(move |(_, v4)| (backend, v4))
    });
    let zipped = written.zip(own);
    zipped.map(|((backend, v4), (ordinal, _))| Address { backend, v4, ordinal }).collect()
}

/// Ordinals of the backends of one family by slot.
fn slot_table(pool: &Pool, picked: &[&Address<'_>]) -> Result<Vec<u32>, Box<Diagnostic>> {
    let candidates: Vec<Candidate<'_>> = picked.iter().map(|address| candidate(address)).collect();
    bounds::slots_fit(pool, &candidates)?;
    Ok(match pool.pick {
        Pick::LeastConnections => Vec::new(),
        Pick::RoundRobin | Pick::Random => slots::round(&candidates),
        Pick::Source | Pick::Certificate => slots::maglev(&candidates, slots::SOURCE_SLOTS),
        Pick::Maglev { slots, .. } => slots::maglev(&candidates, slots),
    })
}

fn candidate<'p>(address: &Address<'p>) -> Candidate<'p> {
    let backend = address.backend;
    Candidate { name: &backend.name, weight: backend.weight, backend: address.ordinal }
}

fn backend_row(address: &Address<'_>, all: &[Address<'_>], numbers: u32) -> [u32; BACKEND_WORDS] {
    let is_other =
        |other: &&Address<'_>| std::ptr::eq(other.backend, address.backend) && other.v4 != address.v4;
    let mut row = [0; BACKEND_WORDS];
    row[B_NUMBER] = numbers + address.ordinal;
    row[B_OTHER] = all.iter().find(is_other).map_or(0, |other| numbers + other.ordinal);
    row[B_WEIGHT] = address.backend.weight;
    row[B_MAX_CONN] = address.backend.max_conn.unwrap_or(0);
    row
}
