//! Owns the schema of a certificate balancer's `lb_config.toml`: `[load_balancer]`, `[[backends]]`, `[[certificates]]`.
//! Never the policy that it becomes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::fields::{Fields, Placed};
use super::node::Node;
use crate::names::is_name;
use crate::report::{Report, suggestion};
use crate::source::Span;
use crate::value::quantity;

/// Largest weight of the language.
const LARGEST_WEIGHT: u64 = 1_000;
/// Most connections that the language caps.
const MOST_CONNECTIONS: u64 = 1 << 26;
const LONGEST_DAYS: u64 = 36_500;

/// What the file says, defaults filled in.
pub(crate) struct Balancer {
    /// `[load_balancer]`; None if the file does not have it.
    pub header: Option<Span>,
    /// What the pool is to be called.
    pub name: Option<Placed<String>>,
    /// Of the balancer towards the backends; none: backends see the client's address and port.
    pub sources: Vec<Placed<IpAddr>>,
    /// Ends included; there where there is a source.
    pub ports: Option<Placed<(u16, u16)>>,
    /// Seconds without a packet that end a session.
    pub timeout: Placed<u64>,
    pub algorithm: Placed<Algorithm>,
    pub require_certificates: Placed<bool>,
    pub enabled: Placed<bool>,
    /// At least one; no id twice.
    pub backends: Vec<Backend>,
    /// No id twice.
    pub certificates: Vec<Certificate>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    RoundRobin,
    LeastConnections,
    Weighted,
}

const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("round-robin", Algorithm::RoundRobin),
    ("least-connections", Algorithm::LeastConnections),
    ("weighted", Algorithm::Weighted),
];

pub(crate) struct Backend {
    /// The header.
    pub span: Span,
    pub id: Placed<u64>,
    pub address: Placed<IpAddr>,
    pub port: Placed<u64>,
    /// A backend that is not keeps its sessions and gets no new ones.
    pub enabled: Placed<bool>,
    pub weight: Placed<u64>,
    pub max_connections: Option<Placed<u64>>,
}

pub(crate) struct Certificate {
    /// The header.
    pub span: Span,
    pub id: Placed<u64>,
    pub name: Option<Placed<String>>,
    pub key: Placed<Key>,
    /// How long it is valid from each start of the balancer.
    pub days: Option<Placed<u64>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// 65 bytes as hexadecimal digits: 4, x, y (SEC 1 section 2.3.3).
    Public(String),
    /// A new pair at each start, for testing.
    Generated,
}

/// Reads the whole file; None if anything is wrong with it.
pub(super) fn read(root: &Node, report: &mut Report) -> Option<Balancer> {
    let before = report.errors();
    let fields = Fields::of(root, "the file", &["load_balancer", "backends", "certificates"], report)?;
    let mut balancer = settings(&fields, report)?;
    let why = "without a backend there is nothing to balance";
    fields.needed("backends", why, "[[backends]]", report, |_| Some(()));
    let mut ids = Ids::of("backend");
    for node in fields.list("backends", report).into_iter().flatten() {
        balancer.backends.extend(backend(node, &mut ids, report));
    }
    let mut ids = Ids::of("certificate");
    for node in fields.list("certificates", report).into_iter().flatten() {
        balancer.certificates.extend(certificate(node, &mut ids, report));
    }
    (report.errors() == before).then_some(balancer)
}

fn settings(root: &Fields<'_>, report: &mut Report) -> Option<Balancer> {
    const KNOWN: &[&str] =
        &["session_timeout_sec", "algorithm", "require_cert_auth", "enabled", "name", "source", "ports"];
    let node = root.get("load_balancer");
    let fields = match node {
        Some(node) => Some(Fields::of(node, "`[load_balancer]`", KNOWN, report)?),
        None => None,
    };
    let fields = fields.as_ref();
    let timeout =
        fields.and_then(|own| own.whole("session_timeout_sec", 1, quantity::LONGEST.as_secs(), report));
    let require = fields.and_then(|own| own.flag("require_cert_auth", report));
    let enabled = fields.and_then(|own| own.flag("enabled", report));
    let sources: Vec<_> = fields.map(|own| own.addresses("source", report)).unwrap_or_default();
    let ports = fields.and_then(|own| own.ports("ports", report));
    if let Some(own) = fields {
        let why = "behind one source address, flows are told apart by their source port";
        match (own.get("source"), own.get("ports")) {
            (Some(_), None) => own.missing("ports", why, "ports = \"10000-60000\"", report),
            (None, Some(_)) => {
                own.missing("source", "the ports are those of an address", "source = \"192.0.2.1\"", report)
            }
            _ => {}
        }
    }
    Some(Balancer {
        header: node.map(|node| node.span),
        name: fields.and_then(|own| name(own, report)),
        sources,
        ports,
        timeout: timeout.unwrap_or(root.default(300)),
        algorithm: fields
            .and_then(|own| algorithm(own, report))
            .unwrap_or(root.default(Algorithm::RoundRobin)),
        require_certificates: require.unwrap_or(root.default(true)),
        enabled: enabled.unwrap_or(root.default(true)),
        backends: Vec::new(),
        certificates: Vec::new(),
    })
}

fn name(fields: &Fields<'_>, report: &mut Report) -> Option<Placed<String>> {
    let Placed { value, span } = fields.text("name", report)?;
    let sound = is_name(value);
    if !sound {
        report.error("E0608", span, format!("`{value}` cannot be the name of a pool")).help(
            "a name starts with a letter, has letters, digits, `_` and `-`, and is no word of the language",
        );
    }
    sound.then(|| Placed { value: value.to_owned(), span })
}

fn algorithm(fields: &Fields<'_>, report: &mut Report) -> Option<Placed<Algorithm>> {
    let Placed { value, span } = fields.text("algorithm", report)?;
    let known = ALGORITHMS.iter().find(|(word, _)| *word == value);
    if known.is_none() {
        report
            .error("E0608", span, format!("`{value}` is no algorithm"))
            .help(suggestion(value, ALGORITHMS.iter().map(|(word, _)| *word)));
    }
    known.map(|&(_, value)| Placed { value, span })
}

fn backend(node: &Node, ids: &mut Ids, report: &mut Report) -> Option<Backend> {
    const KNOWN: &[&str] = &["id", "ip", "port", "enabled", "weight", "max_connections"];
    let fields = Fields::of(node, "`[[backends]]`", KNOWN, report)?;
    let largest = u64::from(u32::MAX);
    let id = fields.needed("id", "it names the backend in counters", "id = 0", report, |report| {
        fields.whole("id", 0, largest, report)
    });
    ids.take(id, report);
    let why = "packets are sent there";
    let address =
        fields.needed("ip", why, "ip = \"192.0.2.1\"", report, |report| fields.address("ip", report));
    let port =
        fields.needed("port", why, "port = 8080", report, |report| fields.whole("port", 1, 65_535, report));
    let enabled = fields.flag("enabled", report).unwrap_or(fields.default(true));
    let weight = fields.whole("weight", 0, LARGEST_WEIGHT, report).unwrap_or(fields.default(100));
    let max_connections = fields.whole("max_connections", 1, MOST_CONNECTIONS, report);
    Some(Backend {
        span: fields.span,
        id: id?,
        address: address?,
        port: port?,
        enabled,
        weight,
        max_connections,
    })
}

fn certificate(node: &Node, ids: &mut Ids, report: &mut Report) -> Option<Certificate> {
    const KNOWN: &[&str] = &["id", "name", "generate_on_startup", "public_key_hex", "valid_until_days"];
    let fields = Fields::of(node, "`[[certificates]]`", KNOWN, report)?;
    let why = "packets say by it which key has signed them";
    let id = fields.needed("id", why, "id = 0", report, |report| fields.whole("id", 0, 255, report));
    ids.take(id, report);
    let name =
        fields.text("name", report).map(|name| Placed { value: name.value.to_owned(), span: name.span });
    let days = fields.whole("valid_until_days", 1, LONGEST_DAYS, report);
    let generate = fields.flag("generate_on_startup", report);
    let public = key(&fields, report);
    let key = match generate {
        Some(Placed { value: true, span }) => {
            if let Some(other) = fields.get("public_key_hex") {
                report
                    .error("E0606", other.span, "the certificate has two keys")
                    .also(span, "one is generated")
                    .help("keep `public_key_hex`, and take `generate_on_startup` away");
            }
            Some(Placed { value: Key::Generated, span })
        }
        _ if fields.get("public_key_hex").is_none() => {
            let why = "a signature is checked with the certificate's key";
            let form = "public_key_hex = \"04…\"` or `generate_on_startup = true";
            fields.missing("public_key_hex", why, form, report);
            None
        }
        _ => public,
    };
    Some(Certificate { span: fields.span, id: id?, name, key: key?, days })
}

fn key(fields: &Fields<'_>, report: &mut Report) -> Option<Placed<Key>> {
    const DIGITS: usize = 130;
    let Placed { value, span } = fields.text("public_key_hex", report)?;
    let why = match () {
        () if !value.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            "it has other signs than hexadecimal digits".to_owned()
        }
        () if value.len() != DIGITS => format!("it has {} digits, and {DIGITS} are due", value.len()),
        () if !value.starts_with("04") => {
            "it does not start with 04, as a point that is not compressed does".to_owned()
        }
        () => return Some(Placed { value: Key::Public(value.to_ascii_lowercase()), span }),
    };
    report
        .error("E0609", span, "this is no public key")
        .because(why)
        .help("write the 65 bytes of an uncompressed P-256 point: 04, x and y");
    None
}

/// The ids that are taken, also by what is wrong elsewhere.
struct Ids {
    what: &'static str,
    seen: BTreeMap<u64, Span>,
}

impl Ids {
    fn of(what: &'static str) -> Ids {
        Ids { what, seen: BTreeMap::new() }
    }

    /// Says of an id that it is there already.
    fn take(&mut self, id: Option<Placed<u64>>, report: &mut Report) {
        let Some(Placed { value, span }) = id else { return };
        if let Some(&first) = self.seen.get(&value) {
            report
                .error("E0606", span, format!("there are two {}s with the id {value}", self.what))
                .label("given again")
                .also(first, "given first")
                .help("each has an id of its own");
        } else {
            self.seen.insert(value, span);
        }
    }
}

impl Balancer {
    /// Whether weights say how much a backend gets.
    pub fn weighs(&self) -> bool {
        self.algorithm.value == Algorithm::Weighted
    }

    /// What the file asks for and a policy that includes it decides by itself; and what `warn` says.
    pub(super) fn warn_included(&self, report: &mut Report) {
        if !self.enabled.value {
            report
                .warning("W0602", self.enabled.span, "`enabled = false` does not switch a policy off")
                .because("the file is included, and the policy decides what is done with packets")
                .help("lead them to `pass` in the policy, or disable the backends");
        }
        let days = self.certificates.iter().find_map(|certificate| certificate.days);
        if let Some(days) = days {
            report
                .warning("W0604", days.span, "`valid_until_days` does not end a certificate here")
                .because("the days count from the start of a balancer, and an included file is read anew at each apply")
                .help("declare the authority in the policy, with `key ID HEX until DATE`, or import the file");
        }
        self.warn(report);
    }

    /// What is read as it stands and is hardly meant.
    pub fn warn(&self, report: &mut Report) {
        if !self.require_certificates.value {
            report
                .warning("W0601", self.require_certificates.span, "clients need no certificate")
                .because("`require_cert_auth = false` lets everyone in, and knows a client by its addresses and ports")
                .help("write `require_cert_auth = true`");
        }
        let mut weights = self.backends.iter().map(|backend| backend.weight);
        let first = weights.next();
        let other = first.and_then(|first| weights.find(|other| other.value != first.value));
        if let Some(other) = other.filter(|_| !self.weighs()) {
            report
                .warning("W0603", other.span, "weights differ, and are not looked at")
                .also(self.algorithm.span, "this algorithm gives all backends the same")
                .help("write `algorithm = \"weighted\"` if they are to count");
        }
    }
}
