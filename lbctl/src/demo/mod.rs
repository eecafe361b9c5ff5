//! Owns the demos, on a balancer in namespaces of its own with real traffic: two policies, one after the other, compared with
//! what the evaluator says; and certificates. Never touches a device or a file of the host.

mod attempt;
mod backends;
pub mod certificates;
mod page;
mod path;
mod report;
mod scene;
mod trial;

use ebpf_runtime::lab::{Arms, Lab, Plan};

use crate::console::{Console, Exit, Failure, Outcome};
use attempt::Kind;
use report::Report;
use scene::Scene;

/// Address of the one client, by family.
const CLIENT: [&str; 2] = ["10.0.0.9", "2001:db8:a::9"];

/// Runs it. `Exit::Findings` where something went otherwise than the policies say.
pub fn run(json: bool, console: &mut Console) -> Outcome {
    let scenes = [
        Scene::load(
            "policies/firewall-tree-demo.lbp",
            include_str!("../../../policies/firewall-tree-demo.lbp"),
            firewall_tree(),
        )?,
        Scene::load("policies/nat.lbp", include_str!("../../../policies/nat.lbp"), Vec::new())?,
    ];
    let lab = Lab::build(&plan(&scenes)?).map_err(scene::failure)?;
    let mut page = (!json).then(|| page::Page::new(console));
    if let Some(page) = &mut page {
        page.start(&lab)?;
    }
    let mut report = Report::default();
    for (number, scene) in scenes.iter().enumerate() {
        let done = scene.play(&lab, number, page.as_mut())?;
        report.scenes.push(done);
    }
    let wrong = report.close();
    match page {
        Some(mut page) => page.end(&report)?,
        None => console.json(&report)?,
    }
    Ok(if wrong == 0 { Exit::Well } else { Exit::Findings })
}

/// What the console of the firewall-tree demo does by hand.
fn firewall_tree() -> Vec<(Kind, u16)> {
    vec![
        (Kind::Ping, 0),
        (Kind::Ping, 0),
        (Kind::Ping, 0),
        (Kind::Ping, 0),
        (Kind::Http, 80),
        (Kind::Tcp, 22),
        (Kind::Tcp, 8443),
        (Kind::Udp, 53),
    ]
}

/// One client, a balancer that owns every address the policies speak for, and as many backends as the larger pool has.
fn plan(scenes: &[Scene]) -> Result<Plan, Failure> {
    let mut balancer = Vec::new();
    let mut backends: Vec<Vec<_>> = Vec::new();
    for scene in scenes {
        balancer.extend(scene.addresses());
        for (host, address) in scene.backend_addresses() {
            if backends.len() <= host {
                backends.resize(host + 1, Vec::new());
            }
            if let Some(addresses) = backends.get_mut(host)
                && !addresses.contains(&address)
            {
                addresses.push(address);
            }
        }
    }
    balancer.sort();
    balancer.dedup();
    let client = CLIENT.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    let client = client.map_err(|error| Failure::new(format!("the client's address: {error}")))?;
    Ok(Plan { arms: Arms::Two, balancer, clients: vec![client], backends })
}
