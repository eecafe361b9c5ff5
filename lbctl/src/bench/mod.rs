//! Owns measuring a policy: its packet mixes, and the program's time for them above a program that passes everything.
//! Never the terminal.

pub mod builtin;
mod certified;
mod flows;

mod measure;
mod mixes;

use std::net::IpAddr;

use compiler::{expect, packet};
use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::slow::Verifier;
use ebpf_runtime::trial::{Action, Trial};
use lb_abi::bundle::Image;
use lb_abi::maps::NextHop;
use lb_abi::mode::{FEATURE_BENCH, FEATURE_BENCH_FLOOR};
use policy_lang::policy::{PacketSpec, Policy};
use policy_lang::source::Sources;
use serde::Serialize;

use crate::console::Failure;
use crate::policy_file;
pub use flows::address;
use measure::{Bench, Figures, Frames};

/// What was measured.
#[derive(Serialize)]
pub struct Report {
    pub verified_instructions: u32,
    pub rows: Vec<Row>,
    /// Mixes for which the policy has no packet, and why.
    pub missing: Vec<Missing>,
}

#[derive(Serialize)]
pub struct Missing {
    pub mix: &'static str,
    pub why: &'static str,
}

/// One mix.
#[derive(Serialize)]
pub struct Row {
    pub mix: &'static str,
    /// Different packets it consists of.
    pub packets: usize,
    /// What becomes of them.
    pub ends: Vec<&'static str>,
    #[serde(flatten)]
    pub figures: Figures,
    pub budget_ns: Option<u32>,
    pub over_budget: bool,
}

/// Where packets to unknown addresses go in the bench's own network.
const GATEWAYS: [&str; 2] = ["198.19.255.254", "2001:db8:ffff::fffe"];

/// Flows begun together: no more than the table of new flows holds until they are proven.
const AT_ONCE: usize = 8_192;

/// Measures every mix that the policy has packets for. Needs root; all of it happens in namespaces of its own.
pub fn run(policy: &Policy, sources: &Sources, image: &Image, rounds: u32) -> Result<Report, Failure> {
    let certified = certified::find(policy, policy_file::now());
    let certified = certified.map(|found| {
        let found = found.map(|spec| (certified::uncertified(policy), spec));
        // Guards may ask for what nobody learns then.
        found.and_then(|(without, spec)| match compiler::compile(&without, sources) {
            Ok(image) => Ok((spec, image)),
            Err(_) => Err("without certificates it is another policy"),
        })
    });
    let gateways: Vec<IpAddr> = GATEWAYS.iter().filter_map(|text| text.parse().ok()).collect();
    let mut backends: Vec<IpAddr> =
        image.backends.iter().map(|backend| flows::address(backend.addr)).collect();
    backends.sort();
    backends.dedup();
    let plan = Plan {
        arms: Arms::One,
        balancer: Vec::new(),
        clients: vec![gateways.clone()],
        backends: vec![backends],
    };
    let lab = Lab::build(&plan).map_err(|error| Failure::new(error.to_string()))?;
    let routed = gateways.iter().try_for_each(|&gateway| {
        let anywhere = if gateway.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap_or(gateway);
        lab.devices.iter().try_for_each(|device| lab.balancer.route(device, anywhere, 0, Some(gateway)))
    });
    routed.map_err(|error| Failure::new(error.to_string()))?;
    let device = lab.devices.first().map_or("", String::as_str);
    let ifindex = lab.balancer.index(device).map_err(|error| Failure::new(error.to_string()))?;
    let next_hop =
        lab.backends.first().map(|host| NextHop { ifindex, dmac: host.mac, smac: host.balancer_mac });
    let hop = next_hop.unwrap_or_default();
    let measured = lab.balancer.run(|| within(policy, image, certified, rounds, ifindex, hop));
    measured
        .map_err(|error| Failure::new(error.to_string()))?
        .map_err(|error| Failure::new(error.to_string()))
}

fn within(
    policy: &Policy,
    image: &Image,
    certified: Option<Result<(PacketSpec, Image), &'static str>>,
    rounds: u32,
    ifindex: u32,
    next_hop: NextHop,
) -> Result<Report, ebpf_runtime::Error> {
    stay_on_one_cpu();
    let loaded = |image: &Image| {
        let mut program = Trial::load(image, FEATURE_BENCH)?;
        for (ordinal, backend) in image.backends.iter().enumerate() {
            program.set_backend(ordinal as u32, backend.state, next_hop);
        }
        Ok(program)
    };
    let load = || loaded(image);
    // It returns before it looks at its image.
    let floor = Trial::load(&Image::default(), FEATURE_BENCH | FEATURE_BENCH_FLOOR)?;
    let mut bench = Bench { program: load()?, load: &load, floor, ifindex };
    let found = mixes::find(policy);
    let mut report = Report {
        verified_instructions: bench.program.verified_instructions()?,
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let mut measure = |mix: &'static str, budget_ns: Option<u32>, frames: &Frames, bench: &mut Bench| {
        let (figures, actions) = bench.measure(frames, rounds)?;
        let packets = match frames {
            Frames::Same(frames) => frames.len(),
            Frames::Fresh(make) => make(0).len(),
        };
        let over_budget = budget_ns.is_some_and(|budget| figures.min_ns > i64::from(budget));
        let ends = actions.into_iter().map(word).collect();
        report.rows.push(Row { mix, packets, ends, figures, budget_ns, over_budget });
        Ok::<(), ebpf_runtime::Error>(())
    };
    for mix in found.simple {
        measure(mix.name, mix.budget, &Frames::Same(mix.frames), &mut bench)?;
    }
    if let Some(start) = found.flows {
        // What one mix leaves in the tables would be in the way of the next.
        bench.program = load()?;
        for flow in flows::establish(&mut bench, &[start.one()])? {
            measure("tracked flow, forward", Some(40), &Frames::Same(vec![flow.forward]), &mut bench)?;
            measure("tracked flow, back", Some(40), &Frames::Same(vec![flow.back]), &mut bench)?;
        }
        let firsts = start.many();
        let others = move |round| start.fresh(round);
        measure("new flow", Some(120), &Frames::Fresh(Box::new(others)), &mut bench)?;
        bench.program = load()?;
        let mut many = Vec::new();
        for some in firsts.chunks(AT_ONCE) {
            many.extend(flows::establish(&mut bench, some)?.into_iter().map(|flow| flow.forward));
        }
        let budget = (many.len() >= 60_000).then_some(80);
        measure("many flows, forward", budget, &Frames::Same(many), &mut bench)?;
    }
    report.missing = found.missing;
    match certified {
        None => {}
        Some(Err(why)) => report.missing.push(Missing { mix: "certified flow", why }),
        Some(Ok((spec, without))) => {
            let frame = packet::build_in(policy, &spec);
            let image = expect::with_test_keys(image);
            let mut below = None;
            for (mix, image) in
                [("the same flow, uncertified", &without), ("certified flow, forward", &image)]
            {
                bench.program = loaded(image)?;
                let verifier = Verifier::of_image(image);
                if !certified::establish(&mut bench.program, &verifier, &spec, &frame, ifindex)? {
                    report.missing.push(Missing { mix, why: "its first packet begins no flow" });
                    continue;
                }
                let (figures, actions) = bench.measure(&Frames::Same(vec![frame.clone()]), rounds)?;
                let budget_ns = below.map(|least: u32| least + certified::ABOVE);
                below = Some(u32::try_from(figures.min_ns).unwrap_or(0));
                let over_budget = budget_ns.is_some_and(|budget| figures.min_ns > i64::from(budget));
                let ends = actions.into_iter().map(word).collect();
                report.rows.push(Row { mix, packets: 1, ends, figures, budget_ns, over_budget });
            }
        }
    }
    Ok(report)
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Aborted => "aborted",
        Action::Drop => "drop",
        Action::Pass => "pass",
        Action::Tx => "tx",
        Action::Redirect => "redirect",
    }
}

/// Figures of a thread that wanders between CPUs are not comparable; where the kernel refuses, they just vary more.
fn stay_on_one_cpu() {
    let this = nix::unistd::Pid::from_raw(0);
    let pinned = nix::sched::sched_getcpu().and_then(|cpu| {
        let mut set = nix::sched::CpuSet::new();
        set.set(cpu)?;
        nix::sched::sched_setaffinity(this, &set)
    });
    let _ = pinned;
}
