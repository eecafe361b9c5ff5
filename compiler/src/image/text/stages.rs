//! Owns the text of nodes, limits, trackers, pools and backends. Never decision rows.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lb_abi::bundle::{Certificate, Image};
use lb_abi::image::*;
use lb_abi::maps::{Addr, BACKEND_DRAINING, TICK_SHIFT};

use super::super::rows::row_ways;
use super::{Layout, MAX_LISTED, op_name, tally_name};

/// Word `index` of what stands at `offset`; 0 beyond the words.
fn word(image: &Image, offset: u32, index: usize) -> u32 {
    image.words.get((offset as usize).saturating_add(index)).copied().unwrap_or(0)
}

/// The nodes that a node leads to, and its region noted.
pub(super) fn ways(image: &Image, layout: &mut Layout, node: u32) -> Vec<u32> {
    let at = |index| word(image, node, index);
    match at(N_OP) {
        OP_DECIDE => {
            let region = (at(N_P0), at(N_P1));
            if layout.regions.contains(&region) {
                return Vec::new();
            }
            layout.regions.push(region);
            leaves(image, layout, region)
        }
        OP_EVERY => (0..at(N_P2) as usize).map(|way| word(image, at(N_NEXT), way)).collect(),
        OP_VERIFY => {
            let exits = (0..VERIFY_EXITS).map(|exit| word(image, at(N_P1), exit));
            [at(N_NEXT)].into_iter().chain(exits).collect()
        }
        OP_LIMIT | OP_TRANSLATE_BACK => vec![at(N_NEXT), at(N_EXIT_A)],
        OP_TRACK | OP_TRANSLATE => vec![at(N_NEXT), at(N_EXIT_A), at(N_EXIT_B)],
        _ => Vec::new(),
    }
}

/// Where a region leads, in the order of offsets, which is that of its arms.
fn leaves(image: &Image, layout: &Layout, (mask, root): (u32, u32)) -> Vec<u32> {
    let mut rows = HashSet::from([root]);
    for field in ALL_FIELDS.into_iter().filter(|field| mask & field.bit() != 0) {
        let mut below = HashSet::new();
        for row in rows {
            if let Some(ways) = row_ways(&image.words, row, layout.class_count(field)) {
                below.extend(ways.default.into_iter().chain(ways.ways.into_iter().map(|way| way.1)));
            }
        }
        rows = below;
    }
    let mut leaves: Vec<u32> = rows.into_iter().collect();
    leaves.sort_unstable();
    leaves
}

pub(super) fn write_nodes(image: &Image, layout: &Layout, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\nnodes")?;
    for (number, &node) in layout.nodes.iter().enumerate().take(MAX_LISTED) {
        write!(out, "  n{number} {}", body(image, layout, node))?;
        if let Some(counter) = word(image, node, N_COUNTER).checked_sub(1) {
            let tallies = image.counters.get(counter as usize).map(|counter| counter.tallies.as_slice());
            let names: Vec<_> =
                tallies.unwrap_or_default().iter().map(|&tally| tally_name(image, tally)).collect();
            write!(out, "  # {}", names.join(" | "))?;
        }
        writeln!(out)?;
    }
    if layout.nodes.len() > MAX_LISTED {
        writeln!(out, "  and {} more nodes", layout.nodes.len() - MAX_LISTED)?;
    }
    Ok(())
}

fn body(image: &Image, layout: &Layout, node: u32) -> String {
    let at = |index| word(image, node, index);
    let to = |index| layout.node(at(index));
    let op = op_name(at(N_OP));
    match at(N_OP) {
        OP_DECIDE => {
            let region = layout.regions.iter().position(|&region| region == (at(N_P0), at(N_P1)));
            format!("{op} by g{}", region.unwrap_or(0))
        }
        OP_LIMIT => {
            let limit = image.limits.get(word(image, at(N_P0), L_ID) as usize);
            let name = limit.map_or("?", |limit| &limit.name);
            format!("{op} {name} -> {} (exceed -> {})", to(N_NEXT), to(N_EXIT_A))
        }
        OP_EVERY => {
            let mode = match at(N_P0) {
                EVERY_FLOW => " by flow",
                EVERY_RANDOM => " at random",
                _ => "",
            };
            let ways: Vec<_> = (0..at(N_P2) as usize)
                .take(MAX_LISTED)
                .map(|way| layout.node(word(image, at(N_NEXT), way)))
                .collect();
            format!("{op} {}{mode} -> {}", at(N_P2), ways.join(" "))
        }
        OP_VERIFY => {
            let authority = image.authorities.get(word(image, at(N_P0), A_ID) as usize);
            let name = authority.map_or("?", |authority| &authority.name);
            let exits = ["missing", "invalid", "expired", "revoked", "replayed"]
                .iter()
                .enumerate()
                .map(|(exit, name)| format!("{name} -> {}", layout.node(word(image, at(N_P1), exit))));
            let exits: Vec<String> = exits.collect();
            format!("{op} {name} -> {} ({})", to(N_NEXT), exits.join(", "))
        }
        OP_TRACK => {
            let tracker = image.trackers.get(word(image, at(N_P0), T_ID) as usize);
            let name = tracker.map_or("?", |tracker| &tracker.name);
            format!("{op} {name} -> {} (full -> {}, invalid -> {})", to(N_NEXT), to(N_EXIT_A), to(N_EXIT_B))
        }
        OP_TRANSLATE => {
            let pool = image.pools.get(word(image, at(N_P0), P_ID) as usize);
            let name = pool.map_or("?", |pool| &pool.name);
            format!("{op} {name} -> {} (empty -> {}, ports -> {})", to(N_NEXT), to(N_EXIT_A), to(N_EXIT_B))
        }
        OP_TRANSLATE_BACK => format!("{op} -> {} (invalid -> {})", to(N_NEXT), to(N_EXIT_A)),
        _ => match at(N_P0) {
            END_PASS => "pass",
            END_FORWARD => "forward",
            END_REPLY_ECHO => "reply echo",
            _ => "drop",
        }
        .to_owned(),
    }
}

pub(super) fn write_lists(image: &Image, layout: &Layout, out: &mut String) -> std::fmt::Result {
    // Descriptors of one thing may be several (a limit before two trackers); each is listed once by what it says.
    let mut seen = HashSet::new();
    let mut sections: [Vec<String>; 4] = Default::default();
    for &node in &layout.nodes {
        let descriptor = word(image, node, N_P0);
        let (section, text) = match word(image, node, N_OP) {
            OP_LIMIT => (0, limit(image, descriptor)),
            OP_TRACK => (1, tracker(image, descriptor)),
            OP_TRANSLATE => (2, pool(image, descriptor)),
            OP_VERIFY => (3, authority(image, descriptor)),
            _ => continue,
        };
        if seen.insert((section, text.clone())) {
            sections[section].push(text);
        }
    }
    for (name, lines) in ["limits", "trackers", "pools", "authorities"].into_iter().zip(sections) {
        if !lines.is_empty() {
            writeln!(out, "\n{name}")?;
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    if !image.backends.is_empty() {
        writeln!(out, "\nbackends")?;
    }
    for backend in image.backends.iter().take(MAX_LISTED) {
        let pool = image.pools.get(backend.pool as usize).map_or("?", |pool| &pool.name);
        let state = if backend.state == BACKEND_DRAINING { " draining" } else { "" };
        let address = SocketAddr::new(ip(backend.addr), backend.port);
        writeln!(out, "  {pool} {} {address}{state}  # {:016x}", backend.name, backend.identity)?;
    }
    if image.backends.len() > MAX_LISTED {
        writeln!(out, "  and {} more backends", image.backends.len() - MAX_LISTED)?;
    }
    if !image.certificates.is_empty() {
        writeln!(out, "\ncertificates")?;
    }
    for certificate in image.certificates.iter().take(MAX_LISTED) {
        writeln!(out, "{}", described(image, certificate))?;
    }
    if image.certificates.len() > MAX_LISTED {
        writeln!(out, "  and {} more certificates", image.certificates.len() - MAX_LISTED)?;
    }
    Ok(())
}

fn ip(addr: Addr) -> IpAddr {
    let v6 = Ipv6Addr::from(addr);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

fn limit(image: &Image, limit: u32) -> String {
    let at = |index| word(image, limit, index);
    let wide = |index| u64::from(at(index)) | u64::from(at(index + 1)) << 32;
    let listed = image.limits.get(at(L_ID) as usize);
    let unit = match at(L_UNIT) {
        LIMIT_BYTES => "byte",
        LIMIT_SYNS => "syn",
        LIMIT_CONNS => "conn",
        _ => "packet",
    };
    let key = match at(L_KEY) {
        LIMIT_KEY_SRC => format!(" per src v4 /{} v6 /{}", at(L_V4), at(L_V6)),
        LIMIT_KEY_DST => format!(" per dst v4 /{} v6 /{}", at(L_V4), at(L_V6)),
        _ => String::new(),
    };
    format!(
        "  {}: a {unit} each {} ns, {} ns ahead{key}, {} keys",
        listed.map_or("?", |limit| &limit.name),
        wide(L_INTERVAL) >> LIMIT_SHIFT,
        wide(L_BURST) >> LIMIT_SHIFT,
        listed.map_or(0, |limit| limit.max),
    )
}

fn tracker(image: &Image, tracker: u32) -> String {
    let at = |index| word(image, tracker, index);
    let milliseconds = |ticks: u32| (u64::from(ticks) << TICK_SHIFT) / 1_000_000;
    format!(
        "  {}: idle tcp {} ms, udp {} ms, half open {} ms, {} {}",
        image.trackers.get(at(T_ID) as usize).map_or("?", |tracker| &tracker.name),
        milliseconds(at(T_IDLE_TCP)),
        milliseconds(at(T_IDLE_UDP)),
        milliseconds(at(T_HALF_OPEN)),
        at(T_MAX),
        if at(T_FLAGS) & TRACK_CERTIFICATE == 0 { "proven flows" } else { "sessions" },
    )
}

fn authority(image: &Image, authority: u32) -> String {
    let at = |index| word(image, authority, index);
    let wide = |index| (u64::from(at(index)) | u64::from(at(index + 1)) << 32) >> LIMIT_SHIFT;
    let listed = image.authorities.get(at(A_ID) as usize);
    let mut text = format!(
        "  {}: {}{}, a signature each {} ns, {} ns ahead; of one source each {} ns, {} ns ahead",
        listed.map_or("?", |authority| &authority.name),
        if at(A_FLAGS) & AUTHORITY_ONCE == 0 { "every packet" } else { "once per session" },
        if at(A_FLAGS) & AUTHORITY_STRIP == 0 { "" } else { ", strip" },
        wide(A_ALL_INTERVAL),
        wide(A_ALL_BURST),
        wide(A_SOURCE_INTERVAL),
        wide(A_SOURCE_BURST),
    );
    if let Some(replay) = listed.and_then(|authority| authority.replay) {
        text.push_str(&format!(", replay {} ms", replay / 1_000_000));
    }
    text
}

fn described(image: &Image, certificate: &Certificate) -> String {
    let authority = image.authorities.get(certificate.authority as usize);
    let mut text = format!("  {} {}", authority.map_or("?", |authority| &authority.name), certificate.id);
    if !certificate.name.is_empty() {
        text.push_str(&format!(" {:?}", certificate.name));
    }
    if let Some((from, until)) = certificate.valid {
        text.push_str(&format!(" from {from} to {until}"));
    }
    text.push_str(if certificate.revoked { " revoked" } else { "" });
    match certificate.key {
        Some(_) => {
            text.push(' ');
            certificate.hash.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        }
        None => text.push_str(" generate"),
    }
    text.push_str(&format!("  # {:016x}", certificate.identity));
    text
}

fn pool(image: &Image, pool: u32) -> String {
    let at = |index| word(image, pool, index);
    let pick = match at(P_PICK) {
        PICK_RANDOM => "random",
        PICK_SOURCE => "by source",
        PICK_FLOW => "by flow",
        PICK_CERTIFICATE => "by certificate",
        PICK_LEAST => "by connections",
        _ => "round-robin",
    };
    let name = image.pools.get(at(P_ID) as usize).map_or("?", |pool| &pool.name);
    let mut text = format!("  {name}: pick {pick}, via nat");
    for sources in [P_SOURCES4, P_SOURCES6] {
        for source in 0..at(sources + 1).min(MAX_LISTED as u32) {
            let words =
                (0..4).flat_map(|part| word(image, at(sources), (4 * source + part) as usize).to_le_bytes());
            let mut addr = [0; 16];
            addr.iter_mut().zip(words).for_each(|(byte, word)| *byte = word);
            text.push_str(&format!(", source {}", ip(addr)));
        }
    }
    if at(P_PORT_COUNT) > 0 {
        let (first, count) = (at(P_PORT_FIRST), at(P_PORT_COUNT));
        text.push_str(&format!(", ports {first}-{}", first + count - 1));
    }
    for (family, slots, rows) in [("ipv4", P_SLOTS4, P_BACKENDS4), ("ipv6", P_SLOTS6, P_BACKENDS6)] {
        if at(slots + 1) > 0 {
            text.push_str(&format!("\n    {family}: {}", shares(image, at(slots), at(slots + 1))));
        }
        let rows = at(rows)..at(rows) + at(rows + 1) * BACKEND_WORDS as u32;
        let rows: Vec<u32> = rows.step_by(BACKEND_WORDS).collect();
        if at(P_PICK) == PICK_LEAST && !rows.is_empty() {
            text.push_str(&format!("\n    {family} weights: {}", column(image, &rows, B_WEIGHT)));
        }
        if rows.iter().any(|&row| word(image, row, B_MAX_CONN) > 0) {
            text.push_str(&format!("\n    {family} connections: {}", column(image, &rows, B_MAX_CONN)));
        }
    }
    text
}

/// What stands in a word of each row other than 0: `w1 1000, w2 1000`.
fn column(image: &Image, rows: &[u32], index: usize) -> String {
    let cells = rows.iter().filter_map(|&row| {
        let ordinal = word(image, word(image, row, B_NUMBER), 0).checked_sub(1)?;
        let name = &image.backends.get(ordinal as usize)?.name;
        Some(word(image, row, index)).filter(|&value| value > 0).map(|value| format!("{name} {value}"))
    });
    cells.take(MAX_LISTED).collect::<Vec<_>>().join(", ")
}

/// How many slots each backend has: `7 slots: w1 3, w2 3, w3 1`.
fn shares(image: &Image, slots: u32, count: u32) -> String {
    let mut shares = vec![0; image.backends.len()];
    for slot in 0..count as usize {
        let number = word(image, word(image, slots, slot), 0);
        if let Some(share) = shares.get_mut((number as usize).wrapping_sub(1)) {
            *share += 1;
        }
    }
    let named = image.backends.iter().zip(shares).filter(|(_, share)| *share > 0);
    let listed: Vec<_> =
        named.map(|(backend, share)| format!("{} {share}", backend.name)).take(MAX_LISTED).collect();
    format!("{count} slots: {}", listed.join(", "))
}
