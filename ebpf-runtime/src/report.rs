//! Owns making a status report from the record, the pins and what the kernel says of the devices.
//! Never takes the lock: where an apply moves the pins under its feet, it looks again.

use std::collections::HashMap;

use lb_abi::maps::{
    self, BACKEND_ACTIVE, BACKEND_DRAINING, LimitKey, LimitState, Session, SessionKey, TrackerState,
};
use lb_abi::mode::FEATURE_LOAD;
use lb_abi::reason::{self, FIRST_EVENT, FIRST_FAULT, REASONS};

use crate::error::Error;
use crate::generation::{self, Generation};
use crate::net::Link;
use crate::paths::Paths;
use crate::plane::Plane;
use crate::record::{self, Record};
use crate::run_dir::RunDir;
use crate::sessions;
use crate::slow::{Counts, Event};
use crate::state::{Maps, Which};
use crate::status::{
    Backend, BackendState, Device, Limit, NextHop, Pool, Program, Reason, ReasonKind, SlowPath, Status,
    Table, Tally, Tracker,
};
use crate::sys::bpf::{self, Plain, Walk};
use crate::{attach, lock, pinned};

/// Entries read at a time.
const BATCH: usize = 4096;

/// How often to look again while applies go by.
const TRIES: u32 = 5;

pub(crate) fn status(run_dir: &RunDir, name: &str) -> Result<Status, Error> {
    let (paths, record, plane) = in_place(run_dir, name)?;
    report(name, &paths, &record, &plane)
}

/// The generation in place of instance `name`, with its program and maps.
pub(crate) fn in_place(run_dir: &RunDir, name: &str) -> Result<(Paths, Record, Plane), Error> {
    let paths = Paths::new(&run_dir.reach()?, name)?;
    let mut tries = 0;
    loop {
        let nothing = || Error::NothingApplied(name.to_owned());
        let record = record::read(&paths.record())?.ok_or_else(nothing)?;
        let plane = pinned::plane(&paths, record.load)?;
        tries += 1;
        match plane {
            Some(plane) if plane.control().generation == record.generation || tries == TRIES => {
                return Ok((paths, record, plane));
            }
            None if tries == TRIES => return Err(nothing()),
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}

fn report(name: &str, paths: &Paths, record: &Record, plane: &Plane) -> Result<Status, Error> {
    let content = &record.content;
    let links = attach::links()?;
    let program = Program {
        id: plane.program_id()?,
        verified_instructions: Some(plane.verified_instructions()?).filter(|count| *count > 0),
        memory: plane.memory(),
    };
    Ok(Status {
        instance: name.to_owned(),
        namespace: record.namespace.clone(),
        policy: record.policy.clone(),
        id: record.id.clone(),
        generation: record.generation,
        applied: record.applied,
        agent: lock::holder(&paths.agent_lock()),
        devices: devices(record, &links, program.id),
        program,
        tallies: tallies(content, &plane.maps)?,
        reasons: reasons(&plane.maps)?,
        tables: tables(&plane.maps)?,
        trackers: trackers(content, &plane.maps)?,
        limits: limits(content, &plane.maps)?,
        pools: pools(record, plane, &links)?,
        slow_path: slow_path(content, plane)?,
    })
}

fn devices(record: &Record, links: &[Link], ours: u32) -> Vec<Device> {
    let device = |recorded: &record::Device| {
        let Some(link) = links.iter().find(|link| link.index == recorded.ifindex) else {
            let problem = Some("there is no such device any more".to_owned());
            return Device { name: recorded.name.clone(), ifindex: 0, mode: None, program: None, problem };
        };
        let of_ours = link.programs.iter().find(|(_, id)| *id == ours);
        let there = of_ours.or(link.programs.first());
        let problem = match (of_ours, there) {
            (Some((mode, _)), _) if *mode != record.mode => {
                Some(format!("it was to run in mode {}", record.mode))
            }
            (Some(_), _) if !link.up => Some("it is down".to_owned()),
            (Some(_), _) => None,
            (None, Some((_, id))) => Some(format!("program {id}, not ours, runs there")),
            (None, None) => Some("no program runs there".to_owned()),
        };
        Device {
            name: link.name.clone(),
            ifindex: link.index,
            mode: of_ours.map(|(mode, _)| *mode),
            program: there.map(|(_, id)| *id),
            problem,
        }
    };
    record.devices.iter().map(device).collect()
}

fn tallies(content: &Generation, maps: &Maps) -> Result<Vec<Tally>, Error> {
    let tally = |(tally, count): (&generation::Tally, generation::Count)| Tally {
        kind: tally.kind,
        label: tally.label.clone(),
        tree: tally.tree.clone(),
        file: tally.file.clone(),
        line: tally.line,
        packets: count.packets,
        bytes: count.bytes,
    };
    Ok(content.tallies.iter().zip(content.tally_counts(maps)?).map(tally).collect())
}

/// Those that the agent drops count as the data path's own.
fn reasons(maps: &Maps) -> Result<Vec<Reason>, Error> {
    let mut counts = generation::reasons(maps)?;
    let agents = Counts::open(maps)?;
    for (reason, event) in [
        (reason::Reason::VerifyQueue, Event::QueueFull),
        (reason::Reason::VerifyQueue, Event::TooOld),
        (reason::Reason::ReplayTable, Event::ReplayFull),
    ] {
        if let Some(count) = counts.get_mut(reason as usize) {
            *count += agents.get(event);
        }
    }
    let reason = |(reason, name): &(reason::Reason, &'static str)| {
        let number = *reason as u32;
        let packets = counts.get(number as usize).copied().filter(|packets| *packets > 0)?;
        let kind = match number {
            FIRST_FAULT.. => ReasonKind::Fault,
            FIRST_EVENT.. => ReasonKind::Event,
            _ => ReasonKind::Drop,
        };
        Some(Reason { reason: name, kind, packets })
    };
    Ok(REASONS.iter().filter_map(reason).collect())
}

fn tables(maps: &Maps) -> Result<Vec<Table>, Error> {
    let table = |(which, name): &(Which, &'static str)| {
        let capacity = u64::from(maps.entries(*which)?);
        let entries = match which {
            Which::LimitKeys => entries::<LimitKey, u64>(maps, *which, |_| ())?,
            _ => entries::<maps::FlowKey, maps::Flow>(maps, *which, |_| ())?,
        };
        Ok(Table { name, entries, capacity })
    };
    [
        (Which::FlowsNew, maps::MAP_FLOWS_NEW),
        (Which::FlowsAnswered, maps::MAP_FLOWS_ANSWERED),
        (Which::FlowsProven, maps::MAP_FLOWS_PROVEN),
        (Which::LimitKeys, maps::MAP_LIMIT_KEYS),
    ]
    .iter()
    .map(table)
    .collect()
}

/// Walks a table, showing each key; how many there are.
fn entries<K: Plain, V: Plain>(maps: &Maps, which: Which, mut see: impl FnMut(&K)) -> Result<u64, Error> {
    let failed = |e| Error::kernel(format!("read {which:?}"), e);
    let mut walk = Walk::<K, V>::new(maps.fd(which), BATCH);
    let mut count = 0;
    while let Some((keys, _)) = walk.next_batch().map_err(failed)? {
        count += keys.len() as u64;
        keys.iter().for_each(&mut see);
    }
    Ok(count)
}

fn trackers(content: &Generation, maps: &Maps) -> Result<Vec<Tracker>, Error> {
    let mut sessions: HashMap<u32, u64> = HashMap::new();
    if !content.authorities.is_empty() {
        entries::<SessionKey, Session>(maps, Which::Sessions, |key| {
            *sessions.entry(key.tracker).or_default() += u64::from(key.pool == 0);
        })?;
    }
    let tracker = |entry: &generation::Numbered| {
        let state = bpf::lookup::<u32, TrackerState>(maps.fd(Which::Trackers), &entry.number);
        let state = state.map_err(|e| Error::kernel("read a tracker", e))?.unwrap_or_default();
        let flows = sessions::flows_of(&state);
        let sessions = sessions.get(&entry.number).copied().unwrap_or_default();
        Ok(Tracker { name: entry.name.clone(), proven: state.proven, sessions, flows, max: entry.max })
    };
    content.trackers.iter().map(tracker).collect()
}

fn limits(content: &Generation, maps: &Maps) -> Result<Vec<Limit>, Error> {
    let mut present: HashMap<u32, u64> = HashMap::new();
    if content.limits.iter().any(|limit| limit.max > 0) {
        entries::<LimitKey, u64>(maps, Which::LimitKeys, |key| *present.entry(key.limit).or_default() += 1)?;
    }
    let limit = |entry: &generation::Numbered| {
        let state = bpf::lookup::<u32, LimitState>(maps.fd(Which::Limits), &entry.number);
        let state = state.map_err(|e| Error::kernel("read a limit", e))?.unwrap_or_default();
        let keys = present.get(&entry.number).copied().unwrap_or_default();
        // Keys come while we count, so that there may be more of them than were inserted.
        let evicted = state.inserted.saturating_sub(keys);
        Ok(Limit {
            name: entry.name.clone(),
            keys,
            evicted: if entry.max == 0 { 0 } else { evicted },
            max: entry.max,
        })
    };
    content.limits.iter().map(limit).collect()
}

fn slow_path(content: &Generation, plane: &Plane) -> Result<Option<SlowPath>, Error> {
    if content.authorities.is_empty() {
        return Ok(None);
    }
    let counts = Counts::open(&plane.maps)?;
    let mut sessions = 0;
    entries::<SessionKey, Session>(&plane.maps, Which::Sessions, |key| sessions += u64::from(key.pool == 0))?;
    Ok(Some(SlowPath {
        accepted: counts.get(Event::Accepted),
        invalid: counts.get(Event::Invalid),
        replayed: counts.get(Event::Replayed),
        in_order: counts.get(Event::InOrder),
        anew: counts.get(Event::Anew),
        by_socket: counts.get(Event::BySocket),
        sent: counts.get(Event::Sent),
        passed: counts.get(Event::Passed),
        queue_full: counts.get(Event::QueueFull),
        too_old: counts.get(Event::TooOld),
        replay_full: counts.get(Event::ReplayFull),
        send_failed: counts.get(Event::SendFailed),
        faults: counts.get(Event::Fault),
        sessions_begun: counts.get(Event::Begun),
        sessions,
    }))
}

fn pools(record: &Record, plane: &Plane, links: &[Link]) -> Result<Vec<Pool>, Error> {
    let content = &record.content;
    let counted = record.flags.features & FEATURE_LOAD != 0;
    let backend = |backend: &generation::Backend| {
        let mut sent = backend.base;
        sent.add(generation::count_in(&plane.maps, Which::BackendCounts, backend.number)?);
        let entry = plane.backend(backend.number).unwrap_or_default();
        let next_hop = entry.next_hop;
        let device = links.iter().find(|link| link.index == next_hop.ifindex);
        Ok(Backend {
            name: backend.name.clone(),
            address: backend.addr.to_string(),
            port: backend.port,
            state: match entry.state {
                BACKEND_ACTIVE => BackendState::Active,
                BACKEND_DRAINING => BackendState::Draining,
                _ => BackendState::Absent,
            },
            flows: entry.flows,
            connections: counted.then(|| entry.connections.max(0).cast_unsigned()),
            requests: sent.packets,
            bytes: sent.bytes,
            next_hop: (next_hop.ifindex != 0).then(|| NextHop {
                device: device
                    .map_or_else(|| format!("interface {}", next_hop.ifindex), |link| link.name.clone()),
                mac: mac(next_hop.dmac),
            }),
        })
    };
    let pool = |(index, pool): (usize, &generation::Numbered)| {
        let of_pool = content.backends.iter().filter(|have| have.pool as usize == index);
        Ok(Pool { name: pool.name.clone(), backends: of_pool.map(backend).collect::<Result<_, Error>>()? })
    };
    content.pools.iter().enumerate().map(pool).collect()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
