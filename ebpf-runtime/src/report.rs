//! Owns making a status report from the record, the pins and what the kernel says of the devices.
//! Never takes the lock: where an apply moves the pins under its feet, it looks again.

use std::collections::HashMap;

use lb_abi::maps::{self, BACKEND_ACTIVE, BACKEND_DRAINING, LimitKey, LimitState, TrackerState};
use lb_abi::reason::{FIRST_EVENT, FIRST_FAULT, REASONS};

use crate::error::Error;
use crate::generation::{self, Generation};
use crate::net::Link;
use crate::paths::Paths;
use crate::plane::Plane;
use crate::record::{self, Record};
use crate::run_dir::RunDir;
use crate::state::{Maps, Which};
use crate::status::{
    Backend, BackendState, Device, Limit, NextHop, Pool, Program, Reason, ReasonKind, Status, Table, Tally,
    Tracker,
};
use crate::sys::bpf::{self, Plain, Walk};
use crate::{attach, lock, pinned};

/// Entries read at a time.
const BATCH: usize = 4096;

/// How often to look again while applies go by.
const TRIES: u32 = 5;

pub(crate) fn status(run_dir: &RunDir, name: &str) -> Result<Status, Error> {
    let paths = Paths::new(&run_dir.reach()?, name)?;
    let mut tries = 0;
    loop {
        let nothing = || Error::NothingApplied(name.to_owned());
        let record = record::read(&paths.record())?.ok_or_else(nothing)?;
        let plane = pinned::plane(&paths, record.load)?;
        tries += 1;
        match plane {
            Some(plane) if plane.control().generation == record.generation || tries == TRIES => {
                return report(name, &paths, &record, &plane);
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
        pools: pools(content, plane, &links),
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

fn reasons(maps: &Maps) -> Result<Vec<Reason>, Error> {
    let counts = generation::reasons(maps)?;
    let reason = |(reason, name): &(lb_abi::reason::Reason, &'static str)| {
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
    let tracker = |entry: &generation::Numbered| {
        let state = bpf::lookup::<u32, TrackerState>(maps.fd(Which::Trackers), &entry.number);
        let state = state.map_err(|e| Error::kernel("read a tracker", e))?.unwrap_or_default();
        Ok(Tracker { name: entry.name.clone(), proven: state.proven, max: entry.max })
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

fn pools(content: &Generation, plane: &Plane, links: &[Link]) -> Vec<Pool> {
    let backend = |backend: &generation::Backend| {
        let entry = plane.backend(backend.number).unwrap_or_default();
        let next_hop = entry.next_hop;
        let device = links.iter().find(|link| link.index == next_hop.ifindex);
        Backend {
            name: backend.name.clone(),
            address: backend.addr.to_string(),
            port: backend.port,
            state: match entry.state {
                BACKEND_ACTIVE => BackendState::Active,
                BACKEND_DRAINING => BackendState::Draining,
                _ => BackendState::Absent,
            },
            flows: entry.flows,
            next_hop: (next_hop.ifindex != 0).then(|| NextHop {
                device: device
                    .map_or_else(|| format!("interface {}", next_hop.ifindex), |link| link.name.clone()),
                mac: mac(next_hop.dmac),
            }),
        }
    };
    let pool = |(index, pool): (usize, &generation::Numbered)| Pool {
        name: pool.name.clone(),
        backends: content.backends.iter().filter(|have| have.pool as usize == index).map(backend).collect(),
    };
    content.pools.iter().enumerate().map(pool).collect()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
