//! Owns the schema of a flow balancer's YAML: where it listens, and the names that it maps to hosts. Never the policy
//! that it becomes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::fields::{Fields, Placed};
use super::node::Node;
use crate::report::Report;
use crate::source::Span;
use crate::typing::{DEVICE, is_device};
use crate::value::{quantity, server_name};

const KNOWN: &[&str] = &["port", "addr", "interface", "conn_ttl_sec", "debug", "sniMappings"];

pub(crate) struct Flows {
    pub port: Placed<u64>,
    pub address: Placed<IpAddr>,
    pub device: Placed<String>,
    /// Seconds without a packet that end a flow.
    pub idle: Option<Placed<u64>>,
    /// At least one; no name twice.
    pub mappings: Vec<Mapping>,
}

pub(crate) struct Mapping {
    /// In lower case, without a final dot; `*` alone is any other name.
    pub name: Placed<String>,
    pub address: Placed<IpAddr>,
    pub port: Placed<u64>,
}

/// Reads what stands in one file or in several, such as one for the balancer and one for the names; None if anything
/// is wrong with it.
pub(super) fn read(roots: &[Node], report: &mut Report) -> Option<Flows> {
    let before = report.errors();
    let mut files = Vec::new();
    for root in roots {
        files.push(Fields::of(root, "the file", KNOWN, report)?);
    }
    let first = files.first()?;
    let mut of: BTreeMap<&str, &Fields<'_>> = BTreeMap::new();
    for file in &files {
        for &key in KNOWN {
            let Some(node) = file.get(key) else { continue };
            match of.get(key).and_then(|other| other.get(key)) {
                Some(other) => {
                    report
                        .error("E0606", node.span, format!("`{key}` is in two files"))
                        .also(other.span, "given first")
                        .help("keep one of the two");
                }
                None => {
                    of.insert(key, file);
                }
            }
        }
    }
    let own = |key: &str| *of.get(key).unwrap_or(&first);
    let port = own("port").needed("port", "clients send there", "port: 10000", report, |report| {
        own("port").whole("port", 1, 65_535, report)
    });
    let why = "clients send there, and replies leave from it";
    let address = own("addr")
        .needed("addr", why, "addr: \"192.0.2.1\"", report, |report| own("addr").address("addr", report));
    let why = "packets come in by it";
    let device = own("interface")
        .needed("interface", why, "interface: \"eth0\"", report, |report| device(own("interface"), report));
    let idle = own("conn_ttl_sec").whole("conn_ttl_sec", 1, quantity::LONGEST.as_secs(), report);
    own("debug").flag("debug", report);
    let why = "without a name there is nowhere to send anything; they may stand in a file of their own, beside this one";
    own("sniMappings").needed("sniMappings", why, "sniMappings:", report, |_| Some(()));
    let list = own("sniMappings").list("sniMappings", report).unwrap_or_default();
    let listens = address.map(|address| address.value);
    let mut names = BTreeMap::new();
    let mappings: Vec<Mapping> =
        list.iter().filter_map(|node| mapping(node, listens, &mut names, report)).collect();
    if list.is_empty() && own("sniMappings").get("sniMappings").is_some() && report.errors() == before {
        let place = own("sniMappings").get("sniMappings").map_or(first.span, |node| node.span);
        report.error("E0603", place, "no name is mapped").because(why);
    }
    let flows = Flows { port: port?, address: address?, device: device?, idle, mappings };
    (report.errors() == before).then_some(flows)
}

fn device(fields: &Fields<'_>, report: &mut Report) -> Option<Placed<String>> {
    let Placed { value, span } = fields.text("interface", report)?;
    // A string of the language holds no quote.
    let sound = is_device(value) && !value.contains('"');
    if !sound {
        report.error("E0608", span, format!("`{value}` cannot be the name of a device")).help(DEVICE);
    }
    sound.then(|| Placed { value: value.to_owned(), span })
}

/// `names`: those that are mapped so far.
fn mapping(
    node: &Node,
    listens: Option<IpAddr>,
    names: &mut BTreeMap<String, Span>,
    report: &mut Report,
) -> Option<Mapping> {
    let fields = Fields::of(node, "a mapping", &["fqdn", "ipv4", "port"], report)?;
    let why = "clients ask for it";
    let name = fields.needed("fqdn", why, "fqdn: \"a.example\"", report, |report| name(&fields, report));
    if let Some(Placed { value, span }) = &name
        && let Some(first) = names.insert(value.clone(), *span)
    {
        report
            .error("E0606", *span, format!("`{value}` is mapped twice"))
            .also(first, "mapped before")
            .help("keep one of the two");
    }
    let why = "packets are sent there";
    let address =
        fields.needed("ipv4", why, "ipv4: \"192.0.2.1\"", report, |report| fields.address("ipv4", report));
    let port =
        fields.needed("port", why, "port: 10000", report, |report| fields.whole("port", 1, 65_535, report));
    let (name, address, port) = (name?, address?, port?);
    if listens.is_some_and(|listens| listens.is_ipv4() != address.value.is_ipv4()) {
        report
            .error("E0607", address.span, format!("`{}` is of another family than `addr`", address.value))
            .because("packets are sent on from the address they came to");
        return None;
    }
    Some(Mapping { name, address, port })
}

/// `a.example`, `*.example` for all below it, or `*`.
fn name(fields: &Fields<'_>, report: &mut Report) -> Option<Placed<String>> {
    let Placed { value, span } = fields.text("fqdn", report)?;
    if value == "*" {
        return Some(Placed { value: value.to_owned(), span });
    }
    match server_name::pattern(value) {
        Ok(pattern) => Some(Placed { value: pattern.to_string(), span }),
        Err(fault) => {
            let cure = fault
                .help
                .unwrap_or_else(|| "write `a.example`, or `*.example` for all names below it".to_owned());
            report.error(fault.code, span, fault.message).help(cure);
            None
        }
    }
}
