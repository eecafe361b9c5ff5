//! Owns the sessions of `track { key cert }`: whether one lives, how it begins and is kept alive, and which backend it
//! has. Never the flows below them.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_abi::{
    image::{MAX_CERTIFICATES, SESSION_FLOWS, T_CERTIFICATES, T_MAX},
    maps::{BACKEND_ABSENT, DIR_ORIGINAL, Flow, Session, SessionKey},
    reason::Reason,
};

use crate::{
    addr, clock,
    flow::EXISTS,
    frame::key,
    image::Image,
    maps::{SESSIONS, TRACKERS},
    packet::Packet,
    plan::{FLOW_KNOWN, LEAVES_AS_IS, LEAVES_NEW, NEXT, drop},
    translate::backend,
};

/// Certificates that are looked at in one go.
const GROUP: u32 = 32;

#[inline(always)]
fn find(tracker: u32, cert: u32, pool: u32) -> Option<*mut Session> {
    SESSIONS.get_ptr_mut(&SessionKey { tracker, cert, pool })
}

#[inline(always)]
fn lives(session: *const Session, tick: u32) -> bool {
    // SAFETY: a value of a hash map.
    unsafe { tick.wrapping_sub((*session).last) <= (*session).timeout }
}

/// How many of `GROUP` certificates from `first` on have a live session with a tracker.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn live_sessions(tick: u32, tracker: u32, first: u32) -> u32 {
    let mut live = 0;
    for n in 0..GROUP {
        live += find(tracker, first.wrapping_add(n), 0).is_some_and(|session| lives(session, tick)) as u32;
    }
    live
}

/// Whether the tracker at `descriptor`, of number `tracker`, has no room for a new flow of the certificate `cert`: 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_full(p: *mut Packet, descriptor: u32, tracker: u32, cert: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 1 };
    let Some(image) = Image::of(p) else { return 1 };
    let max = image.word(descriptor.wrapping_add(T_MAX as u32));
    let Some(state) = TRACKERS.get_ptr(key(tracker)) else { return 1 };
    // SAFETY: an aligned word of an array map. More were taken off than put on: then there are none.
    let flows = unsafe { core::ptr::read_volatile(&raw const (*state).flows) } as i64;
    if flows >= (max as u64 * SESSION_FLOWS) as i64 {
        return 1;
    }
    let tick = clock::tick(p);
    if max >= image.word(descriptor.wrapping_add(T_CERTIFICATES as u32))
        || find(tracker, cert, 0).is_some_and(|session| lives(session, tick))
    {
        return 0;
    }
    let mut live = 0;
    for group in 0..MAX_CERTIFICATES as u32 / GROUP {
        live += live_sessions(tick, tracker, group * GROUP);
        if live >= max {
            return 1;
        }
    }
    0
}

/// Begins the planned session or keeps it alive, with the backend that the packet goes to: `NEXT`, or a drop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn commit(p: *mut Packet, replies: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let tick = clock::tick(p);
    let (tracker, cert) = (p.plan.tracker.id.wrapping_sub(1), p.plan.session.wrapping_sub(1));
    let (timeout, now) = (p.plan.tracker.idle_udp, clock::now(p));
    let mut session = find(tracker, cert, 0);
    if session.is_none_or(|session| !lives(session, tick)) {
        let flags = if session.is_none() { BPF_NOEXIST } else { BPF_ANY };
        write(&mut p.session, now, tick, timeout, 0, 0);
        match SESSIONS.insert(&SessionKey { tracker, cert, pool: 0 }, &p.session, flags as u64) {
            Ok(()) => p.born = 1,
            Err(EXISTS) => {}
            Err(_) => return drop(Reason::SessionTable),
        }
        session = find(tracker, cert, 0);
    }
    let Some(session) = session else { return drop(Reason::SessionTable) };
    // SAFETY: a value of a hash map.
    let session = unsafe { &mut *session };
    session.last = tick;
    session.timeout = timeout;
    if p.plan.leaves == LEAVES_AS_IS || replies != 0 {
        return NEXT;
    }
    let (born, number, identity) = (session.born, p.plan.backend, p.plan.identity);
    // A known flow gives its backend only to a session that has none: by the address of one family or the other it is
    // one backend, whose packets come in turn.
    // SAFETY: as above.
    let has = find(tracker, cert, p.plan.pool).is_some_and(|kept| unsafe { (*kept).born } == born);
    if has && p.plan.leaves != LEAVES_NEW {
        return NEXT;
    }
    write(&mut p.session, born, tick, timeout, number, identity);
    match SESSIONS.insert(&SessionKey { tracker, cert, pool: p.plan.pool }, &p.session, BPF_ANY as u64) {
        Ok(()) => NEXT,
        Err(_) => drop(Reason::SessionTable),
    }
}

#[inline(always)]
fn write(session: &mut Session, born: u64, last: u32, timeout: u32, backend: u32, identity: u32) {
    session.born = born;
    session.packets_before = 0;
    session.bytes_before = 0;
    session.last = last;
    session.timeout = timeout;
    session.backend = backend;
    session.identity = identity;
}

/// Keeps the session of a known flow alive, if it lives, for a packet that passed no tracker.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn touch(tracker: u32, cert: u32, tick: u32) -> u32 {
    if let Some(session) = find(tracker, cert, 0)
        && lives(session, tick)
    {
        // SAFETY: a value of a hash map.
        unsafe { (*session).last = tick };
    }
    0
}

/// 1 + the number of the backend that the planned session has in a pool, by the address of the packet's family; 0 if
/// there is none any more.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kept_backend(p: *mut Packet, pool: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    let tick = clock::tick(p);
    let (tracker, cert) = (p.plan.tracker.id.wrapping_sub(1), p.plan.session.wrapping_sub(1));
    let Some(session) = find(tracker, cert, 0) else { return 0 };
    if !lives(session, tick) {
        return 0;
    }
    let Some(kept) = find(tracker, cert, pool) else { return 0 };
    // SAFETY: values of a hash map.
    let (session, kept) = unsafe { (&*session, &*kept) };
    let mut number = kept.backend;
    let Some(own) = backend(number) else { return 0 };
    // SAFETY: a value of an array map.
    let own = unsafe { &*own };
    if kept.born != session.born || own.identity != kept.identity {
        return 0;
    }
    if addr::is_mapped(&own.addr) != (p.v6 == 0) {
        number = own.other;
    }
    // SAFETY: as above.
    let is_there = backend(number).is_some_and(|backend| unsafe { (*backend).state } != BACKEND_ABSENT);
    if is_there { number } else { 0 }
}

/// Whether a packet of this plan is a reply: those go to no backend.
#[inline(always)]
pub fn replies(p: &Packet, flow: Option<&Flow>) -> bool {
    p.plan.flow == FLOW_KNOWN
        && p.plan.leaves != LEAVES_NEW
        && flow.is_some_and(|flow| flow.dir != DIR_ORIGINAL)
}
