//! Owns who plays in the demo of certificates: keys and certificates made for it, and clients that send. Never what the
//! balancer counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use compiler::packet::Signer;
use ebpf_runtime::lab::Lab;
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use policy_lang::certificate::{self, Identity};
use policy_lang::source::Loader;
use serde::Serialize;

use super::scene::failure;
use super::{PORT, VIP};
use crate::client::{self, Event, Payload, Plan};
use crate::console::Failure;
use crate::{certificates, policy_file};

const DAY: i64 = 86_400;

/// Two addresses of one host, then a host each.
const HONEST: [[u8; 4]; 2] = [[198, 51, 100, 7], [203, 0, 113, 77]];
const FORGER: [u8; 4] = [198, 51, 100, 66];
const LATE: [u8; 4] = [198, 51, 100, 99];

/// The files that the policy names, with certificates made now, and the clients.
pub struct Cast {
    files: BTreeMap<&'static str, String>,
    pub clients: Vec<Client>,
}

pub struct Client {
    pub name: &'static str,
    /// What there is to know of it.
    pub what: &'static str,
    /// Number of its host.
    host: usize,
    pub address: Ipv4Addr,
    signer: Signer,
    /// When it starts, how many packets it sends, and how often.
    start: Duration,
    count: u64,
    interval: Duration,
    pub may_come_in: bool,
    pub expired: bool,
}

#[derive(Debug, Serialize)]
pub struct ClientReport {
    pub name: &'static str,
    pub address: Ipv4Addr,
    pub may_come_in: bool,
    pub expired: bool,
    pub sent: u64,
    pub answered: u64,
    /// Who answered.
    pub backends: BTreeSet<String>,
    /// Microseconds to the reply to the first packet, whose signature is checked, and the median of the others.
    pub first_micros: Option<u64>,
    pub median_micros: Option<u64>,
}

impl Cast {
    pub fn new() -> Result<Cast, Failure> {
        let now = policy_file::now();
        let [honest, forger, late, other, revoked] = {
            let mut keys = Vec::new();
            for _ in 0..5 {
                keys.push(certificates::generate()?);
            }
            <[SecretKey; 5]>::try_from(keys).map_err(|_| failure("five keys"))?
        };
        let text = certificates::issue(&honest, "device-0", now - DAY, now + 365 * DAY)?;
        let late_text = certificates::issue(&late, "device-1", now - 30 * DAY, now - DAY)?;
        let revoked_text = certificates::issue(&revoked, "device-4", now - DAY, now + 365 * DAY)?;
        let honest_one = identity(&text)?;
        let hash: String = identity(&revoked_text)?.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let signer = |key: &SecretKey, hash: [u8; 32], id| Signer { key: SigningKey::from(key), hash, id };
        let client = |name, what, host, address: [u8; 4], signer, start, per_second: u64| {
            let interval = Duration::from_secs(1) / per_second as u32;
            // Everyone stops a second before the last statistics.
            let count = (11_000 - start) * per_second / 1_000;
            let (start, address) = (Duration::from_millis(start), Ipv4Addr::from(address));
            Client {
                name,
                what,
                host,
                address,
                signer,
                start,
                count,
                interval,
                may_come_in: false,
                expired: false,
            }
        };
        let [first, second] = HONEST;
        let clients = vec![
            Client {
                may_come_in: true,
                ..client("honest", "has certificate 0", 0, first, signer(&honest, honest_one.hash, 0), 0, 20)
            },
            Client {
                may_come_in: true,
                ..client(
                    "honest",
                    "the same, from another address",
                    0,
                    second,
                    signer(&honest, honest_one.hash, 0),
                    3_000,
                    20,
                )
            },
            client(
                "forger",
                "names certificate 0, and signs with a key of its own",
                1,
                FORGER,
                signer(&forger, honest_one.hash, 0),
                200,
                10,
            ),
            Client {
                expired: true,
                ..client(
                    "late",
                    "has certificate 1, which expired yesterday",
                    2,
                    LATE,
                    signer(&late, identity(&late_text)?.hash, 1),
                    400,
                    10,
                )
            },
        ];
        let files = BTreeMap::from([
            ("certs/device-0.pem", text),
            ("certs/device-1.pem", late_text),
            ("certs/device-2.pub", certificates::public_key(&other)?),
            ("certs/device-4.pem", revoked_text),
            ("certs/revoked.txt", format!("{hash}\n")),
        ]);
        Ok(Cast { files, clients })
    }

    /// Of each host.
    pub fn addresses(&self) -> Vec<Vec<IpAddr>> {
        let mut hosts: BTreeMap<usize, Vec<IpAddr>> = BTreeMap::new();
        for client in &self.clients {
            hosts.entry(client.host).or_default().push(client.address.into());
        }
        hosts.into_values().collect()
    }
}

fn identity(text: &str) -> Result<Identity, Failure> {
    certificate::certificate(text).map_err(|fault| failure(fault.message))
}

impl Loader for Cast {
    fn load(&self, name: &Path) -> Result<String, String> {
        let text = name.to_str().and_then(|name| self.files.get(name));
        text.cloned().ok_or_else(|| "the demo has no such file".into())
    }
}

impl Client {
    /// Sends all that it is to send.
    pub fn play(&self, lab: &Lab) -> Result<ClientReport, Failure> {
        let host = lab.clients.get(self.host).ok_or_else(|| failure("the lab has too few clients"))?;
        let plan = Plan {
            to: SocketAddr::new(VIP.parse().map_err(failure)?, PORT),
            from: Some(SocketAddr::new(self.address.into(), 40_000)),
            signer: Some(self.signer.clone()),
            payload: Payload::Text(self.name.to_owned()),
            count: self.count,
            interval: self.interval,
            timeout: Duration::from_millis(500),
            forge: false,
            replay: false,
        };
        std::thread::sleep(self.start);
        let mut backends = BTreeSet::new();
        let outcome = host.namespace.run(|| {
            client::run(&plan, |event| {
                if let Event::Reply { bytes, .. } = event {
                    let answer = String::from_utf8_lossy(bytes);
                    backends.insert(answer.split(" sees ").next().unwrap_or_default().to_owned());
                }
            })
        });
        let outcome = outcome.map_err(failure)?.map_err(failure)?;
        let micros = |took: &Duration| took.as_micros() as u64;
        let mut others: Vec<u64> = outcome.took.iter().skip(1).flatten().map(micros).collect();
        others.sort_unstable();
        Ok(ClientReport {
            name: self.name,
            address: self.address,
            may_come_in: self.may_come_in,
            expired: self.expired,
            sent: outcome.took.len() as u64,
            answered: outcome.answered(),
            backends,
            first_micros: outcome.took.first().and_then(Option::as_ref).map(micros),
            median_micros: others.get(others.len() / 2).copied(),
        })
    }
}

/// What clients saw otherwise than it ought to be.
pub fn wrong(clients: &[ClientReport]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut answering = BTreeSet::new();
    for client in clients {
        let due = if client.may_come_in { client.sent } else { 0 };
        if client.answered != due {
            let ClientReport { name, address, answered, sent, .. } = client;
            wrong
                .push(format!("{name} from {address}: {answered} of {sent} answered, and {due} ought to be"));
        }
        answering.extend(&client.backends);
    }
    if answering.len() != 1 {
        wrong.push(format!("one certificate has one backend, and {answering:?} answered"));
    }
    wrong
}
