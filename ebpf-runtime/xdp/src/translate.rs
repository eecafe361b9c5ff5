//! Owns `translate POOL` and `translate back`: which tuple a packet is to leave with. Never rewrites it, nor writes a
//! flow.

use lb_abi::{
    hash::scale,
    image::{
        FLAG_SYN, FRAG_NONE, Field, OP_VERIFY, P_BACKENDS4, P_BACKENDS4_LEN, P_BACKENDS6, P_BACKENDS6_LEN,
        P_ID, P_PICK, P_PORT_COUNT, P_PORT_FIRST, P_SLOTS4, P_SLOTS4_LEN, P_SLOTS6, P_SLOTS6_LEN, P_SOURCES4,
        P_SOURCES4_LEN, P_SOURCES6, P_SOURCES6_LEN, PICK_CERTIFICATE, PICK_FLOW, PICK_LEAST, PICK_RANDOM,
        PICK_ROUND_ROBIN, PICK_SOURCE, PORT_TRIES,
    },
    maps::{BACKEND_ABSENT, Backend, DIR_ORIGINAL, Flow, PoolState},
    mode::{FEATURE_HASH, FEATURE_LOAD},
    reason::Reason,
};

use crate::{
    addr, atomic, clock,
    every::{flow_hash, source_hash},
    flow,
    frame::key,
    image::Image,
    load,
    maps::{BACKENDS, POOLS, feature, op_occurs},
    packet::{Packet, set_proto},
    parse::{TCP, UDP},
    plan::{EXIT_A, EXIT_B, FLOW_KNOWN, LEAVES_KEPT, LEAVES_NEW, NEXT, drop},
    session, track,
    verify::{self, certificate_hash},
};

/// Plans the tuple towards a backend of the pool at `descriptor`. Exits `empty` and `ports`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn translate(p: *mut Packet, flow: *mut Flow, descriptor: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let Some(image) = Image::of(p) else { return drop(Reason::NoImage) };
    if p.plan.tracker.id == 0 {
        return drop(Reason::BadImage);
    }
    if p.get(Field::Frag) != FRAG_NONE || (p.proto != TCP && p.proto != UDP) {
        return drop(Reason::Untranslatable);
    }
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    // SAFETY: the packet's live flow, or null.
    if p.plan.flow == FLOW_KNOWN
        && let Some(flow) = unsafe { flow.as_ref() }
    {
        if flow.dir != DIR_ORIGINAL {
            return drop(Reason::WrongDirection);
        }
        if flow.pool == word(P_ID).wrapping_add(1) && still_there(flow) {
            keep(p, flow);
            return NEXT;
        }
        if p.proto == TCP && p.get(Field::TcpFlags) != FLAG_SYN {
            return drop(Reason::BackendGone);
        }
    }
    let Some(state) = POOLS.get_ptr_mut(key(word(P_ID))) else { return drop(Reason::BadImage) };
    let mut number = 0;
    if p.plan.session != 0 && op_occurs(OP_VERIFY) {
        number = session::kept_backend(p, word(P_ID).wrapping_add(1));
    }
    if number == 0 {
        number = match choose(p, flow, &image, descriptor, state) {
            Ok(number) => number,
            Err(way) => return way,
        };
    }
    let Some(backend) = backend(number) else { return EXIT_A };
    // SAFETY: a value of an array map.
    let backend = unsafe { &*backend };
    addr::write(&mut p.other.src, addr::read(&backend.addr));
    p.other.sport = if backend.port == 0 { p.key.dport } else { backend.port };
    set_proto(&mut p.other, p.proto);
    if !source(p, &image, descriptor, state) {
        return EXIT_B;
    }
    addr::write(&mut p.plan.out.src, addr::read(&p.other.dst));
    addr::write(&mut p.plan.out.dst, addr::read(&p.other.src));
    p.plan.out.sport = p.other.dport;
    p.plan.out.dport = p.other.sport;
    p.plan.leaves = LEAVES_NEW;
    p.plan.pool = word(P_ID).wrapping_add(1);
    p.plan.backend = number;
    p.plan.identity = backend.identity;
    NEXT
}

/// The backend with number `number - 1`.
#[inline(always)]
pub fn backend(number: u32) -> Option<*mut Backend> {
    if number == 0 { None } else { BACKENDS.get_ptr_mut(key(number - 1)) }
}

/// Whether the flow's backend still is the one that it started with: numbers are used again.
#[inline(always)]
fn still_there(flow: &Flow) -> bool {
    backend(flow.backend).is_some_and(|backend| {
        // SAFETY: a value of an array map.
        let backend = unsafe { &*backend };
        backend.identity == flow.identity && backend.state != BACKEND_ABSENT
    })
}

/// Plans that the packet leaves with the tuple of its flow.
#[inline(always)]
fn keep(p: &mut Packet, flow: &Flow) {
    addr::write(&mut p.plan.out.src, addr::read(&flow.src));
    addr::write(&mut p.plan.out.dst, addr::read(&flow.dst));
    p.plan.out.sport = flow.sport;
    p.plan.out.dport = flow.dport;
    p.plan.leaves = LEAVES_KEPT;
    p.plan.pool = flow.pool;
    p.plan.backend = flow.backend;
    p.plan.identity = flow.identity;
}

/// 1 + the number of a backend by the pool's rule, the next one where that is absent or full; 0 for none. `Err` is a way.
#[inline(always)]
fn choose(
    p: &mut Packet,
    flow: *mut Flow,
    image: &Image,
    descriptor: u32,
    state: *mut PoolState,
) -> Result<u32, u32> {
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let (rows, backends) =
        if p.v6 == 0 { (P_BACKENDS4, P_BACKENDS4_LEN) } else { (P_BACKENDS6, P_BACKENDS6_LEN) };
    let (rows, backends) = (word(rows), word(backends));
    let how = word(P_PICK);
    if feature(FEATURE_LOAD) && how == PICK_LEAST {
        return Ok(load::least(p, rows, backends));
    }
    let (slots, count) = if p.v6 == 0 { (P_SLOTS4, P_SLOTS4_LEN) } else { (P_SLOTS6, P_SLOTS6_LEN) };
    let (slots, count) = (word(slots), word(count));
    if count == 0 {
        return Err(EXIT_A);
    }
    // SAFETY: the packet's live flow, or null.
    let Some(slot) = pick(p, unsafe { flow.as_ref() }, how, count, state) else {
        return Err(drop(Reason::BadImage));
    };
    let at = image.word(slots.wrapping_add(slot));
    let number = image.word(at);
    // SAFETY: a value of an array map.
    let is_there = backend(number).is_some_and(|backend| unsafe { (*backend).state } != BACKEND_ABSENT);
    if is_there && !feature(FEATURE_LOAD) {
        return Ok(number);
    }
    Ok(load::usable(p, rows, backends, at))
}

#[inline(always)]
fn pick(p: &Packet, flow: Option<&Flow>, how: u32, slots: u32, state: *mut PoolState) -> Option<u32> {
    match how {
        PICK_ROUND_ROBIN => {
            // SAFETY: an aligned word of an array map.
            let turn = unsafe { atomic::fetch_add(&raw mut (*state).turn, 1) };
            Some((turn % slots as u64) as u32)
        }
        PICK_RANDOM => Some(clock::draw() % slots),
        PICK_SOURCE if feature(FEATURE_HASH) => Some(scale(source_hash(p), slots)),
        PICK_FLOW if feature(FEATURE_HASH) => Some(scale(flow_hash(p), slots)),
        PICK_CERTIFICATE if feature(FEATURE_HASH) => {
            let cert = verify::of_packet(p, flow);
            if cert == 0 { None } else { Some(scale(certificate_hash(cert), slots)) }
        }
        _ => None,
    }
}

/// Completes the reply's key in `Packet::other` with a source address and port that no other flow has (RFC 6056,
/// section 3.3.3); `false` if each one tried is taken.
#[inline(always)]
fn source(p: &mut Packet, image: &Image, descriptor: u32, state: *mut PoolState) -> bool {
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let (sources, count) =
        if p.v6 == 0 { (P_SOURCES4, P_SOURCES4_LEN) } else { (P_SOURCES6, P_SOURCES6_LEN) };
    let (sources, count) = (word(sources), word(count));
    if count == 0 {
        addr::write(&mut p.other.dst, addr::read(&p.key.src));
        p.other.dport = p.key.sport;
        return flow::taken(p) == 0;
    }
    let (first, ports) = (word(P_PORT_FIRST), word(P_PORT_COUNT) as u64);
    let total = count as u64 * ports;
    if total == 0 {
        return false;
    }
    let start = clock::draw() as u64;
    for n in 0..PORT_TRIES {
        if n as u64 >= total {
            break;
        }
        // SAFETY: an aligned word of an array map.
        let turn = unsafe { atomic::fetch_add(&raw mut (*state).port, 1) };
        let choice = start.wrapping_add(turn) % total;
        let at = sources.wrapping_add((choice / ports) as u32 * 4);
        let half =
            |n| image.word(at.wrapping_add(n)) as u64 | (image.word(at.wrapping_add(n + 1)) as u64) << 32;
        addr::write(&mut p.other.dst, [half(0), half(2)]);
        p.other.dport = first.wrapping_add((choice % ports) as u32) as u16;
        if flow::taken(p) == 0 {
            return true;
        }
    }
    false
}

/// Plans that a reply leaves with its client's tuple. Exit A is `invalid`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn translate_back(p: *mut Packet, flow: *mut Flow) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    if p.get(Field::Frag) != FRAG_NONE {
        return drop(Reason::Untranslatable);
    }
    // SAFETY: the packet's live flow, or null.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return EXIT_A };
    if flow.backend == 0 || flow.dir == DIR_ORIGINAL || !track::plan_known(p, flow) {
        return EXIT_A;
    }
    keep(p, flow);
    NEXT
}
