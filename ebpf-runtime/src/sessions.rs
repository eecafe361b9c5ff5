//! Owns the sessions of certificates as users see and end them: listing, dropping, revoking.
//! Never begins one: that is a packet's doing.

use std::collections::HashMap;
use std::net::SocketAddr;

use lb_abi::maps::{CERTIFICATE_REVOKED, DIR_ORIGINAL, Flow, FlowKey, SessionKey, TICK_SHIFT, TrackerState};
use serde::Serialize;

use crate::ageing::{self, FLOW_TABLES};
use crate::error::Error;
use crate::generation::{self, Count, Generation};
use crate::instance::Instance;
use crate::plane::Plane;
use crate::record;
use crate::run_dir::RunDir;
use crate::state::Which;
use crate::sys::bpf::{self, Walk};
use crate::sys::process;
use crate::{pinned, report};

/// Entries read at a time.
const BATCH: usize = 4096;

/// A certificate's session with a tracker.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// SHA-256 by which trailers name the certificate, in hex.
    pub certificate: String,
    /// The certificate's own name; empty where it has none.
    pub name: String,
    pub authority: String,
    pub id: u8,
    pub tracker: String,
    /// Where the packets of its live flows come from, in order.
    pub clients: Vec<SocketAddr>,
    /// The backend it has in each pool.
    pub backends: Vec<Backend>,
    /// Seconds since it began, and since its last packet, either way.
    pub age: f64,
    pub idle: f64,
    /// What was forwarded of the certificate's packets since then, both ways.
    pub packets: u64,
    pub bytes: u64,
    /// Live flows.
    pub flows: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub pool: String,
    pub backend: String,
    /// Address and, unless it keeps the packet's, port.
    pub address: String,
}

/// What dropping took away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Hash of the certificate, in hex.
    pub certificate: String,
    pub sessions: u64,
    pub flows: u64,
}

impl Instance {
    /// The live sessions of instance `name`, in the order of their certificates and trackers; needs no lock.
    ///
    /// # Errors
    /// As `status`.
    pub fn sessions(run_dir: &RunDir, name: &str) -> Result<Vec<Session>, Error> {
        let (_, record, plane) = report::in_place(run_dir, name)?;
        list(&record.content, &plane)
    }

    /// Ends the sessions of the certificates whose hash, in hex, begins so: with their backends and flows. The next
    /// packet of its holder is checked anew and begins another one.
    ///
    /// # Errors
    /// `NoCertificate` if it is none's, `Certificates` if several certificates' hashes begin so; `Kernel`.
    pub fn drop_session(&mut self, hash: &str) -> Result<Dropped, Error> {
        let (content, plane) = self.content()?;
        let (numbers, certificate) = named(&content, &plane, hash)?;
        let (sessions, flows) = forget(&plane, &numbers)?;
        Ok(Dropped { certificate, sessions, flows })
    }

    /// As `drop_session`, and the certificate is revoked until the next apply, which goes by the policy's own list.
    ///
    /// # Errors
    /// As `drop_session`; `File` if it cannot be written down.
    pub fn revoke(&mut self, hash: &str) -> Result<Dropped, Error> {
        let (content, plane) = self.content()?;
        let (numbers, certificate) = named(&content, &plane, hash)?;
        for &number in &numbers {
            plane.set_certificate_state(number, CERTIFICATE_REVOKED);
        }
        process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
        if let Ok(Some(record)) = &mut self.record {
            for known in record.content.certificates.iter_mut().filter(|c| numbers.contains(&c.number)) {
                known.revoked = true;
            }
            record::write(&self.paths.record(), record)?;
        }
        let (sessions, flows) = forget(&plane, &numbers)?;
        Ok(Dropped { certificate, sessions, flows })
    }

    fn content(&self) -> Result<(Generation, Plane), Error> {
        let nothing = || Error::NothingApplied(self.name().to_owned());
        let record = match &self.record {
            Ok(record) => record.clone().ok_or_else(nothing)?,
            // It gives the reason once more.
            Err(_) => record::read(&self.paths.record())?.ok_or_else(nothing)?,
        };
        let plane = pinned::plane(&self.paths, record.load)?.ok_or_else(nothing)?;
        Ok((record.content, plane))
    }
}

/// Numbers of the certificate whose hash begins with `prefix`: one for each authority that has it. And its whole hash.
fn named(content: &Generation, plane: &Plane, prefix: &str) -> Result<(Vec<u32>, String), Error> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found: Vec<(String, u32)> = Vec::new();
    for certificate in &content.certificates {
        let Some(entry) = plane.certificate(certificate.number) else { continue };
        let hash = hex(&entry.hash);
        if !wanted.is_empty() && hash.starts_with(&wanted) {
            found.push((hash, certificate.number));
        }
    }
    let Some((first, _)) = found.first() else { return Err(Error::NoCertificate(prefix.to_owned())) };
    let first = first.clone();
    if found.iter().any(|(hash, _)| *hash != first) {
        return Err(Error::Certificates { prefix: prefix.to_owned(), count: found.len() });
    }
    Ok((found.into_iter().map(|(_, number)| number).collect(), first))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ends the sessions of these certificates: how many, and how many flows. Flows first, so that no packet in session keeps
/// the session alive; then once more those that came in between.
pub(crate) fn forget(plane: &Plane, certificates: &[u32]) -> Result<(u64, u64), Error> {
    let mut flows = forget_flows(plane, certificates)?;
    process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
    let failed = |e| Error::kernel("drop a session", e);
    let map = plane.maps.fd(Which::Sessions);
    let mut gone = 0;
    let mut walk = Walk::<SessionKey, lb_abi::maps::Session>::new(map, BATCH);
    let mut keys = Vec::new();
    while let Some((some, _)) = walk.next_batch().map_err(failed)? {
        keys.extend(some.iter().filter(|key| certificates.contains(&key.cert)).copied());
    }
    for key in keys {
        let taken = bpf::take::<SessionKey, lb_abi::maps::Session>(map, &key).map_err(failed)?;
        gone += u64::from(taken.is_some() && key.pool == 0);
    }
    flows += forget_flows(plane, certificates)?;
    Ok((gone, flows))
}

/// Deletes all flows of these certificates, both directions; how many flows.
fn forget_flows(plane: &Plane, certificates: &[u32]) -> Result<u64, Error> {
    let mut gone = 0;
    for which in FLOW_TABLES {
        let failed = |e| Error::kernel(format!("drop flows of {which:?}"), e);
        let map = plane.maps.fd(which);
        let mut keys = Vec::new();
        let mut walk = Walk::<FlowKey, Flow>::new(map, BATCH);
        while let Some((some, flows)) = walk.next_batch().map_err(failed)? {
            let theirs = |flow: &Flow| {
                flow.cert.checked_sub(1).is_some_and(|number| certificates.contains(&number.into()))
            };
            keys.extend(some.iter().zip(flows).filter(|(_, flow)| theirs(flow)).map(|(key, _)| *key));
        }
        for key in keys {
            let Some(flow) = bpf::take::<FlowKey, Flow>(map, &key).map_err(failed)? else { continue };
            gone += u64::from(flow.dir == DIR_ORIGINAL);
            ageing::one_less(plane, which, &flow)?;
        }
    }
    Ok(gone)
}

fn list(content: &Generation, plane: &Plane) -> Result<Vec<Session>, Error> {
    let failed = |e| Error::kernel("read the sessions", e);
    let clock = process::coarse_clock().map_err(failed)?;
    let now = (clock >> TICK_SHIFT) as u32;
    let mut entries: HashMap<SessionKey, lb_abi::maps::Session> = HashMap::new();
    let mut walk = Walk::<SessionKey, lb_abi::maps::Session>::new(plane.maps.fd(Which::Sessions), BATCH);
    while let Some((keys, values)) = walk.next_batch().map_err(failed)? {
        entries.extend(keys.iter().copied().zip(values.iter().copied()));
    }
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let flows = flows(plane, now)?;
    let mut sessions = Vec::new();
    for certificate in &content.certificates {
        for tracker in &content.trackers {
            let key = SessionKey { tracker: tracker.number, cert: certificate.number, pool: 0 };
            let Some(session) = entries.get(&key) else { continue };
            let idle = now.wrapping_sub(session.last).cast_signed().max(0).cast_unsigned();
            if idle > session.timeout {
                continue;
            }
            let counted = generation::count_in(&plane.maps, Which::CertificateCounts, certificate.number)?;
            let since = Count {
                packets: counted.packets.saturating_sub(session.packets_before),
                bytes: counted.bytes.saturating_sub(session.bytes_before),
            };
            let mut clients = flows.get(&(tracker.number, certificate.number)).cloned().unwrap_or_default();
            clients.sort_unstable();
            let live = clients.len() as u64;
            clients.dedup();
            sessions.push(Session {
                certificate: hex(&plane.certificate(certificate.number).unwrap_or_default().hash),
                name: certificate.name.clone(),
                authority: content
                    .authorities
                    .get(certificate.authority as usize)
                    .map(|authority| authority.name.clone())
                    .unwrap_or_default(),
                id: certificate.id,
                tracker: tracker.name.clone(),
                clients,
                backends: backends(content, plane, &entries, &key, session.born),
                age: clock.saturating_sub(session.born) as f64 / 1e9,
                idle: (u64::from(idle) << TICK_SHIFT) as f64 / 1e9,
                packets: since.packets,
                bytes: since.bytes,
                flows: live,
            });
        }
    }
    sessions.sort_by(|a, b| (&a.authority, a.id, &a.tracker).cmp(&(&b.authority, b.id, &b.tracker)));
    Ok(sessions)
}

/// The backends that a session has, by pool.
fn backends(
    content: &Generation,
    plane: &Plane,
    entries: &HashMap<SessionKey, lb_abi::maps::Session>,
    key: &SessionKey,
    born: u64,
) -> Vec<Backend> {
    let backend = |pool: &generation::Numbered| {
        let kept = entries.get(&SessionKey { pool: pool.number + 1, ..*key })?;
        let number = kept.backend.checked_sub(1).filter(|_| kept.born == born)?;
        let entry = plane.backend(number).filter(|entry| entry.identity == kept.identity)?;
        let known = content.backends.iter().find(|backend| backend.number == number)?;
        let address = match entry.port {
            0 => known.addr.to_string(),
            port => SocketAddr::new(known.addr, port).to_string(),
        };
        Some(Backend { pool: pool.name.clone(), backend: known.name.clone(), address })
    };
    content.pools.iter().filter_map(backend).collect()
}

/// Clients of the live flows of sessions, by tracker and certificate.
fn flows(plane: &Plane, now: u32) -> Result<HashMap<(u32, u32), Vec<SocketAddr>>, Error> {
    let mut clients: HashMap<(u32, u32), Vec<SocketAddr>> = HashMap::new();
    for which in FLOW_TABLES {
        let failed = |e| Error::kernel(format!("read {which:?}"), e);
        let mut walk = Walk::<FlowKey, Flow>::new(plane.maps.fd(which), BATCH);
        while let Some((keys, flows)) = walk.next_batch().map_err(failed)? {
            for (key, flow) in keys.iter().zip(flows) {
                let Some(certificate) = flow.cert.checked_sub(1) else { continue };
                if flow.dir == DIR_ORIGINAL && ageing::lives(plane, which, key, flow, now).map_err(failed)? {
                    let client = SocketAddr::new(generation::ip(key.src), key.sport);
                    clients.entry((flow.tracker.into(), certificate.into())).or_default().push(client);
                }
            }
        }
    }
    Ok(clients)
}

/// Live flows of a tracker's sessions, as the data path counts them.
pub(crate) fn flows_of(state: &TrackerState) -> u64 {
    // It may be below 0 for a moment.
    state.flows.cast_signed().max(0).cast_unsigned()
}
