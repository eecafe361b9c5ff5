//! Owns one policy of the demo: putting it in place, its backends, and what it is tried with.
//! Never whether an attempt went well, or how it is shown.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use compiler::eval::backend_ordinals;
use ebpf_runtime::apply::{Applied, ApplyOptions};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::Lab;
use lb_abi::bundle::Image;
use policy_lang::policy::{Pick, Policy};
use policy_lang::source::{Loader, Sources};

use super::attempt::Kind;
use super::backends::Servers;
use super::page::Page;
use super::report::SceneReport;
use super::trial::Trial;
use crate::console::Failure;

/// Instance of the demo, in its own run directory.
pub const INSTANCE: &str = "demo";
/// Attempts at the first service that are shown with their way.
const SHOWN: usize = 3;
/// A port on which no service of the demo is.
const CLOSED: u16 = 22;

pub struct Scene {
    file: &'static str,
    pub policy: Policy,
    pub sources: Sources,
    image: Image,
    /// Attempts at the policy's first address by hand; none: every port of every vip.
    by_hand: Vec<(Kind, u16)>,
}

/// The demo's policies name no other file.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("the demo has no files".into())
    }
}

/// A policy of the demo, checked and compiled.
pub fn compiled(
    file: &'static str,
    text: &str,
    loader: &dyn Loader,
) -> Result<(Policy, Sources, Image), Failure> {
    let said = |diagnostics: &[policy_lang::diagnostic::Diagnostic]| {
        let first = diagnostics.first().map_or(String::new(), |one| one.message.clone());
        Failure::new(format!("{file}, which is part of lbctl, does not compile: {first}"))
    };
    let checked = policy_lang::check(file, text.to_owned(), loader);
    let policy = checked.policy.ok_or_else(|| said(&checked.diagnostics))?;
    let image = compiler::compile(&policy, &checked.sources).map_err(|diagnostics| said(&diagnostics))?;
    Ok((policy, checked.sources, image))
}

/// Puts it on every device of the balancer.
pub fn apply(image: &Image, lab: &Lab) -> Result<Applied, Failure> {
    let mut options = ApplyOptions::new(compiler::image::id(image), lab.devices.clone());
    options.hash_key = hash_key();
    let applied = lab.balancer.run(|| Instance::open(&Lab::run_dir(), INSTANCE)?.apply(image, &options));
    applied.map_err(failure)?.map_err(failure)
}

impl Scene {
    pub fn load(file: &'static str, text: &str, by_hand: Vec<(Kind, u16)>) -> Result<Scene, Failure> {
        let (policy, sources, image) = compiled(file, text, &NoFiles)?;
        Ok(Scene { file, policy, sources, image, by_hand })
    }

    /// Those that clients talk to and those that backends see.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let vips = self
            .policy
            .vips
            .iter()
            .flat_map(|vip| vip.v4.map(IpAddr::from).into_iter().chain(vip.v6.map(IpAddr::from)));
        let sources = self.policy.pools.iter().flat_map(|pool| {
            let v4 = pool.sources_v4.iter().map(|&v4| IpAddr::from(v4));
            v4.chain(pool.sources_v6.iter().map(|&v6| IpAddr::from(v6)))
        });
        vips.chain(sources).collect()
    }

    /// Number of the host and address: the first backend of each pool is the first host, and so on.
    pub fn backend_addresses(&self) -> Vec<(usize, IpAddr)> {
        backend_ordinals(&self.policy).map(|one| (one.index, IpAddr::from(one.addr).to_canonical())).collect()
    }
}

/// What a service is tried with: a kind of attempt at one address and port.
type Service = (Kind, SocketAddr);

impl Scene {
    /// Puts the policy on every device of the balancer and tries it.
    pub fn play(
        &self,
        lab: &Lab,
        number: usize,
        mut page: Option<&mut Page<'_>>,
    ) -> Result<SceneReport, Failure> {
        let started = Instant::now();
        let applied = apply(&self.image, lab)?;
        let mut report = SceneReport {
            file: self.file,
            policy: self.policy.name.clone(),
            generation: applied.generation,
            devices: applied.devices.clone(),
            apply_micros: started.elapsed().as_micros() as u64,
            steps: Vec::new(),
            rounds: Vec::new(),
            arms: Vec::new(),
            reasons: Vec::new(),
            backends: Vec::new(),
        };
        if let Some(page) = &mut page {
            page.scene(number, &report)?;
        }
        let servers = self.serve(lab)?;
        let mut trial = Trial::start(self, lab)?;
        for (kind, target) in self.shown() {
            let step = trial.step(kind, target)?;
            if let Some(page) = &mut page {
                page.step(&step)?;
            }
            report.steps.push(step);
        }
        for (kind, target) in self.rounds() {
            let round = trial.round(kind, target)?;
            if let Some(page) = &mut page {
                page.round(&round)?;
            }
            report.rounds.push(round);
        }
        trial.close(&servers, &mut report)?;
        if let Some(page) = &mut page {
            page.counts(&report)?;
        }
        Ok(report)
    }

    /// Starts every backend's servers: at its own port, or at every port that is tried.
    fn serve(&self, lab: &Lab) -> Result<Vec<(String, Servers)>, Failure> {
        let ports: Vec<u16> =
            self.services().map(|(_, target)| target.port()).filter(|port| *port != 0).collect();
        let mut servers = Vec::new();
        for (pool, item) in self.policy.pools.iter().enumerate() {
            for (index, backend) in item.backends.iter().enumerate() {
                let host =
                    lab.backends.get(index).ok_or_else(|| Failure::new("the lab has too few backends"))?;
                let addresses: Vec<SocketAddr> = backend_ordinals(&self.policy)
                    .filter(|one| one.pool.index() == pool && one.index == index)
                    .flat_map(|one| {
                        let own = (one.port != 0).then_some(one.port);
                        let tried = ports.iter().copied().filter(move |_| own.is_none());
                        let address = IpAddr::from(one.addr).to_canonical();
                        own.into_iter().chain(tried).map(move |port| SocketAddr::new(address, port))
                    })
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect();
                servers.push((
                    backend.name.clone(),
                    Servers::start(host, &backend.name, &addresses).map_err(failure)?,
                ));
            }
        }
        Ok(servers)
    }

    /// Everything that is tried, once each.
    fn services(&self) -> impl Iterator<Item = Service> + '_ {
        let by_hand = self.by_hand.iter().filter_map(|&(kind, port)| {
            self.addresses().first().map(|address| (kind, SocketAddr::new(*address, port)))
        });
        let none = self.by_hand.is_empty();
        by_hand.chain(self.rounds_of_vips().filter(move |_| none))
    }

    fn rounds_of_vips(&self) -> impl Iterator<Item = Service> + '_ {
        self.policy.vips.iter().flat_map(|vip| {
            let addresses = vip.v4.map(IpAddr::from).into_iter().chain(vip.v6.map(IpAddr::from));
            addresses.flat_map(|address| {
                vip.ports.iter().map(move |ports| {
                    let kind = match (ports.proto, ports.first) {
                        (17, _) => Kind::Udp,
                        (_, 80) => Kind::Http,
                        _ => Kind::Tcp,
                    };
                    (kind, SocketAddr::new(address, ports.first))
                })
            })
        })
    }

    /// Attempts that are shown with their way, in order.
    fn shown(&self) -> Vec<Service> {
        if !self.by_hand.is_empty() {
            return self.services().collect();
        }
        let mut shown = Vec::new();
        for vip in &self.policy.vips {
            let addresses = vip.v4.map(IpAddr::from).into_iter().chain(vip.v6.map(IpAddr::from));
            shown.extend(addresses.map(|address| (Kind::Ping, SocketAddr::new(address, 0))));
        }
        for (number, service) in self.services().enumerate() {
            shown.extend(std::iter::repeat_n(service, if number == 0 { SHOWN } else { 1 }));
        }
        if let Some((_, target)) = self.services().next() {
            shown.push((Kind::Tcp, SocketAddr::new(target.ip(), CLOSED)));
        }
        shown
    }

    /// Services that are tried many times.
    fn rounds(&self) -> Vec<Service> {
        if self.by_hand.is_empty() { self.services().collect() } else { Vec::new() }
    }

    pub fn picks_at_random(&self, pool: u32) -> bool {
        self.policy.pools.get(pool as usize).is_some_and(|pool| pool.pick == Pick::Random)
    }
}

/// In the lab, and gone with it.
pub fn hash_key() -> PathBuf {
    Lab::run_dir().path().join("hash.key")
}

/// Whatever failed, the namespaces go with this process.
pub fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{error}; nothing is left behind"))
}
