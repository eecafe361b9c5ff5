//! Owns what the schemas share: that a table has only known keys, and that each value is of its type and within its
//! range. Never which keys there are.

use std::net::IpAddr;

use super::node::{Node, Value};
use crate::ast::Word;
use crate::report::{Report, suggestion};
use crate::source::Span;

/// A value and the place that gave it; for a default, the place of what has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<T> {
    pub value: T,
    pub span: Span,
}

/// A table whose keys are known.
pub(super) struct Fields<'n> {
    entries: &'n [(Word, Node)],
    /// As messages name it.
    owner: &'static str,
    pub span: Span,
}

impl<'n> Fields<'n> {
    /// None where the node is no table; unknown keys are told and passed over.
    pub fn of(
        node: &'n Node,
        owner: &'static str,
        known: &[&str],
        report: &mut Report,
    ) -> Option<Fields<'n>> {
        let Value::Table(entries) = &node.value else {
            let kind = node.value.kind();
            report.error("E0604", node.span, format!("{owner} is {kind}, and a table is due"));
            return None;
        };
        for (name, _) in entries.iter().filter(|(name, _)| !known.contains(&name.text.as_str())) {
            report
                .error("E0602", name.span, format!("unknown key `{}` in {owner}", name.text))
                .label("unknown key")
                .help(suggestion(&name.text, known.iter().copied()));
        }
        Some(Fields { entries, owner, span: node.span })
    }

    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// What the value of a key is if it is not there.
    pub fn default<T>(&self, value: T) -> Placed<T> {
        Placed { value, span: self.span }
    }

    pub fn missing(&self, key: &str, why: &str, form: &str, report: &mut Report) {
        report
            .error("E0603", self.span, format!("{} has no `{key}`", self.owner))
            .because(why)
            .help(format!("add `{form}`"));
    }

    fn unfit(&self, key: &str, node: &Node, due: &str, report: &mut Report) {
        let kind = node.value.kind();
        let finding = report
            .error("E0604", node.span, format!("`{key}` is {kind}, and {due} is due"))
            .label(format!("{due} is due here"));
        let unquoted = match &node.value {
            Value::Text(text) if due == "a whole number" => text.parse::<u64>().is_ok(),
            Value::Text(text) if due == "`true` or `false`" => matches!(text.as_str(), "true" | "false"),
            _ => false,
        };
        match &node.value {
            Value::Text(text) if unquoted => {
                finding.help(format!("write {text} without quotes"));
            }
            Value::Whole(Some(number)) if due == "a text" => {
                finding.help(format!("write \"{number}\" in quotes"));
            }
            _ => {}
        }
    }

    /// A whole number from `low` to `high`, ends included; None where there is none or it is wrong.
    pub fn whole(&self, key: &str, low: u64, high: u64, report: &mut Report) -> Option<Placed<u64>> {
        let node = self.get(key)?;
        let Value::Whole(number) = node.value else {
            self.unfit(key, node, "a whole number", report);
            return None;
        };
        let value = number.and_then(|number| u64::try_from(number).ok());
        let value = value.filter(|value| (low..=high).contains(value));
        if value.is_none() {
            let told = number.map_or_else(|| "too large".to_owned(), |number| number.to_string());
            report
                .error("E0605", node.span, format!("`{key}` is {told}, which is not within {low} to {high}"))
                .label(format!("{low} to {high}"));
        }
        Some(Placed { value: value?, span: node.span })
    }

    pub fn flag(&self, key: &str, report: &mut Report) -> Option<Placed<bool>> {
        let node = self.get(key)?;
        let Value::Flag(value) = node.value else {
            self.unfit(key, node, "`true` or `false`", report);
            return None;
        };
        Some(Placed { value, span: node.span })
    }

    pub fn text(&self, key: &str, report: &mut Report) -> Option<Placed<&'n str>> {
        let node = self.get(key)?;
        let Value::Text(value) = &node.value else {
            self.unfit(key, node, "a text", report);
            return None;
        };
        Some(Placed { value, span: node.span })
    }

    pub fn list(&self, key: &str, report: &mut Report) -> Option<&'n [Node]> {
        let node = self.get(key)?;
        let Value::List(list) = &node.value else {
            self.unfit(key, node, "a list", report);
            return None;
        };
        Some(list)
    }

    /// An address that a packet can be sent to.
    pub fn address(&self, key: &str, report: &mut Report) -> Option<Placed<IpAddr>> {
        let text = self.text(key, report)?;
        host(text, report)
    }

    /// One such address, or a list of them.
    pub fn addresses(&self, key: &str, report: &mut Report) -> Vec<Placed<IpAddr>> {
        let Some(Node { value: Value::List(list), .. }) = self.get(key) else {
            return self.address(key, report).into_iter().collect();
        };
        let mut found = Vec::new();
        for node in list {
            match &node.value {
                Value::Text(text) => found.extend(host(Placed { value: text, span: node.span }, report)),
                _ => self.unfit(key, node, "a text", report),
            }
        }
        found
    }

    /// `10000-60000`, ends included.
    pub fn ports(&self, key: &str, report: &mut Report) -> Option<Placed<(u16, u16)>> {
        let Placed { value, span } = self.text(key, report)?;
        let ends = value.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
        if let Some((Ok(first), Ok(last))) = ends
            && 0 < first
            && first <= last
        {
            return Some(Placed { value: (first, last), span });
        }
        report
            .error("E0605", span, format!("`{value}` is no range of ports"))
            .help("write the first and the last port: \"10000-60000\"");
        None
    }

    /// A key that the table cannot do without, which `read` takes.
    pub fn needed<T>(
        &self,
        key: &str,
        why: &str,
        form: &str,
        report: &mut Report,
        read: impl FnOnce(&mut Report) -> Option<T>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            self.missing(key, why, form, report);
            return None;
        }
        read(report)
    }
}

fn host(text: Placed<&str>, report: &mut Report) -> Option<Placed<IpAddr>> {
    let Placed { value, span } = text;
    let bad = match value.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => "is no address of a host",
        Ok(address) if address.is_multicast() => "is a multicast address",
        Ok(IpAddr::V4(address)) if address.is_broadcast() => "is the broadcast address",
        Ok(address) => return Some(Placed { value: address, span }),
        Err(_) => "is not an address",
    };
    let host = value.rsplit_once(':').filter(|(host, _)| host.parse::<std::net::Ipv4Addr>().is_ok());
    let cure = match host {
        Some((host, port)) => format!("write {host} here, and {port} as `port`"),
        None => "write one address, such as 192.0.2.1 or 2001:db8::1".to_owned(),
    };
    report.error("E0607", span, format!("`{value}` {bad}")).help(cure);
    None
}
