//! Owns guards: fields, comparisons and their values, with every name resolved. Never which arm wins.

use std::sync::Arc;

use super::Typing;
use crate::ast::{Guard as Written, Op, Test as WrittenTest, Word};
use crate::names::Kind;
use crate::policy::{Field, Guard, SetId, SideId, Test, TrackerId, Values, VipId};
use crate::report::{listed, nearest, suggestion};
use crate::value::{addr, named, quantity};

/// Every field by its name, with the largest value it can have (0 where values are no numbers).
const FIELDS: &[(&str, Field, u64)] = &[
    ("src", Field::Src, 0),
    ("dst", Field::Dst, 0),
    ("proto", Field::Proto, 255),
    ("len", Field::Len, 65_535),
    ("ttl", Field::Ttl, 255),
    ("dscp", Field::Dscp, 63),
    ("vlan", Field::Vlan, 4_095),
    ("frag", Field::Frag, 2),
    ("tcp.sport", Field::TcpSport, 65_535),
    ("tcp.dport", Field::TcpDport, 65_535),
    ("tcp.flags", Field::TcpFlags, 0),
    ("udp.sport", Field::UdpSport, 65_535),
    ("udp.dport", Field::UdpDport, 65_535),
    ("sport", Field::Sport, 65_535),
    ("dport", Field::Dport, 65_535),
    ("icmp.type", Field::IcmpType, 255),
    ("icmp.code", Field::IcmpCode, 255),
    ("icmp6.type", Field::Icmp6Type, 255),
    ("icmp6.code", Field::Icmp6Code, 255),
    ("flow", Field::Flow, 0),
    ("iface", Field::Iface, 0),
    ("payload", Field::Payload, 0),
    ("sni", Field::Sni, 0),
    ("cert.id", Field::Cert, 255),
    ("cert.hash", Field::Cert, 0),
    ("cert.subject", Field::Cert, 0),
];

/// Whether guards can ask for it.
pub(crate) fn is_field(word: &str) -> bool {
    FIELDS.iter().any(|(known, ..)| *known == word)
}

impl Field {
    /// The field as a policy writes it.
    pub fn word(self) -> &'static str {
        FIELDS.iter().find(|(_, field, _)| *field == self).map_or("", |&(word, ..)| word)
    }
}

impl Typing<'_> {
    /// The typed guard; None if any part of it is wrong (all parts are looked at).
    pub(super) fn guard(&mut self, guard: &Written) -> Option<Guard> {
        match guard {
            Written::Or(parts) => self.guards(parts).map(Guard::Or),
            Written::And(parts) => self.guards(parts).map(Guard::And),
            Written::Not(inner, span) => {
                let inner = self.guard(inner)?;
                self.lint_complement(&inner, *span);
                Some(Guard::Not(Box::new(inner)))
            }
            Written::From(name, span) => {
                let index = self.names.expect(Kind::Side, name, self.report)?;
                Some(Guard::From(SideId(index), *span))
            }
            Written::To(name, span) => {
                let index = self.names.expect(Kind::Vip, name, self.report)?;
                Some(Guard::To(VipId(index), *span))
            }
            Written::Test(test) => self.test(test).map(Guard::Test),
        }
    }

    fn guards(&mut self, parts: &[Written]) -> Option<Vec<Guard>> {
        let typed: Vec<Option<Guard>> = parts.iter().map(|part| self.guard(part)).collect();
        typed.into_iter().collect()
    }

    /// Rule 3: the complement of a test on a field also holds for every packet that lacks the field.
    fn lint_complement(&mut self, inner: &Guard, span: crate::source::Span) {
        let Guard::Test(test) = inner else { return };
        let protocol = match test.field {
            Field::TcpSport | Field::TcpDport | Field::TcpFlags => "TCP",
            Field::UdpSport | Field::UdpDport => "UDP",
            Field::IcmpType | Field::IcmpCode => "ICMP",
            Field::Icmp6Type | Field::Icmp6Code => "ICMPv6",
            Field::Payload => "TCP or UDP",
            _ => return,
        };
        let text = &test.text;
        let direct = match text.split_once("==") {
            Some((field, value)) => format!("{} != {}", field.trim(), value.trim()),
            None => text.replacen(" in ", " not in ", 1),
        };
        self.report
            .warning("W0403", span, format!("this also matches every packet that is not {protocol}"))
            .because("a field that a packet lacks never matches, and `not` turns that round")
            .help(format!("write `{direct}` if only {protocol} is meant"));
    }

    fn test(&mut self, test: &WrittenTest) -> Option<Test> {
        let field = self.field(&test.field)?;
        let Some((op, place)) = test.op else {
            let name = &test.field.text;
            self.report
                .error("E0112", test.span, format!("`{name}` is compared with nothing"))
                .help(format!("write `{name} == VALUE` or `{name} in {{ A, B }}`"));
            return None;
        };
        match op {
            Op::Assign => {
                let direct = test.text.replacen('=', "==", 1);
                self.report
                    .error("E0109", place, "`=` does not compare")
                    .label("`==` compares")
                    .help(format!("write `{direct}`"));
                return None;
            }
            Op::Order => {
                let name = &test.field.text;
                self.report
                    .error("E0110", place, "there is no comparison by order")
                    .because("values are compared with `==`, `!=`, `in` and `not in`")
                    .help(format!("write a range: `{name} in {}`", meant_range(field, test)));
                return None;
            }
            Op::Eq | Op::Ne | Op::In | Op::NotIn => {}
        }
        if test.values.is_empty() {
            self.report
                .error("E0415", test.span, "an empty list never matches")
                .help("name at least one value");
            return None;
        }
        let negated = matches!(op, Op::Ne | Op::NotIn);
        let equals = matches!(op, Op::Eq | Op::Ne);
        let (values, sets) = match field {
            Field::Flow => self.flow_values(test, equals)?,
            Field::Src | Field::Dst => self.address_values(test, equals)?,
            Field::Iface => (self.interface_values(test)?, Vec::new()),
            Field::Payload => (self.payload_values(test)?, Vec::new()),
            Field::Sni => (self.name_values(test, equals)?, Vec::new()),
            Field::Cert => (self.certificate_values(test, equals)?, Vec::new()),
            _ => (self.number_values(field, test, equals)?, Vec::new()),
        };
        Some(Test { field, negated, values, sets, text: test.text.clone(), span: test.span })
    }

    fn field(&mut self, word: &Word) -> Option<Field> {
        let name = word.text.as_str();
        if let Some(&(_, field, _)) = FIELDS.iter().find(|(known, ..)| *known == name) {
            return Some(field);
        }
        let known = FIELDS.iter().map(|(known, ..)| *known);
        let cure = match self.names.look_up(name) {
            Some(symbol) if symbol.kind == Kind::Vip => format!("did you mean `to {name}`?"),
            Some(symbol) if symbol.kind == Kind::Side => format!("did you mean `from {name}`?"),
            Some(symbol) if symbol.kind == Kind::Set => format!("did you mean `src in {name}`?"),
            _ if ["any", "all", "default", "otherwise", "true", "_"].contains(&name) => {
                "the arm that takes what is left is `else -> …`".to_owned()
            }
            _ if named::PROTOCOLS.iter().any(|(known, _)| *known == name) => {
                format!("write `proto == {name}`")
            }
            _ => match nearest(name, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the fields are {}", listed(&known.collect::<Vec<_>>())),
            },
        };
        self.report.error("E0209", word.span, format!("unknown field `{name}`")).help(cure);
        None
    }

    fn flow_values(&mut self, test: &WrittenTest, equals: bool) -> Option<(Values, Vec<SetId>)> {
        let [word] = test.values.as_slice() else {
            self.report.error("E0307", test.span, "`flow in` asks one tracker").help("join two with `or`");
            return None;
        };
        if equals {
            self.report
                .error("E0307", test.span, "a flow is in a tracker, not equal to it")
                .help(format!("write `flow in {}`", word.text));
            return None;
        }
        let index = self.names.expect(Kind::Track, word, self.report)?;
        Some((Values::Tracker(TrackerId(index)), Vec::new()))
    }

    fn address_values(&mut self, test: &WrittenTest, equals: bool) -> Option<(Values, Vec<SetId>)> {
        if equals {
            for word in test.values.iter().flat_map(|word| self.expanded(word)).collect::<Vec<_>>() {
                let many = match self.names.look_up(&word.text).map(|symbol| symbol.kind) {
                    Some(Kind::Set | Kind::Pool) => true,
                    _ => addr::range(&word.text).is_ok_and(|range| range.single().is_none()),
                };
                if many {
                    self.many_for_one(test, &word);
                    return None;
                }
            }
        }
        // One set alone is shared, not copied: a guard on a million prefixes costs nothing here.
        if let [word] = test.values.as_slice()
            && let Some(symbol) = self.names.look_up(&word.text).filter(|symbol| symbol.kind == Kind::Set)
        {
            let index = symbol.index as usize;
            let set = self.sets.get(index)?;
            let addrs = Arc::clone(&set.addrs);
            return Some((Values::Addrs(addrs), self.set_origins.get(index)?.clone()));
        }
        let (addrs, sets) = self.addresses(&test.values)?;
        Some((Values::Addrs(Arc::new(addrs)), sets))
    }

    pub(super) fn many_for_one(&mut self, test: &WrittenTest, word: &Word) {
        let direct = match test.op {
            Some((Op::Ne, _)) => "not in",
            _ => "in",
        };
        let written = word.written();
        self.report
            .error("E0317", word.span, format!("`{written}` is more than one value"))
            .because("`==` and `!=` compare with one value")
            .help(format!("write `{} {direct} {written}`", test.field.text));
    }

    fn number_values(&mut self, field: Field, test: &WrittenTest, equals: bool) -> Option<Values> {
        let high = FIELDS.iter().find(|(_, known, _)| *known == field).map_or(0, |&(.., high)| high);
        let mut ranges = Vec::new();
        let mut sound = true;
        for word in test.values.iter().flat_map(|word| self.expanded(word)).collect::<Vec<_>>() {
            match self.number(field, high, &test.field.text, &word) {
                Some((first, last)) if equals && first != last => {
                    self.many_for_one(test, &word);
                    sound = false;
                }
                Some(range) => ranges.push(range),
                None => sound = false,
            }
        }
        self.lint_numbers(field, high, &test.values);
        sound.then(|| Values::Ranges(addr::merge(&mut ranges)))
    }

    fn number(&mut self, field: Field, high: u64, name: &str, word: &Word) -> Option<(u32, u32)> {
        let text = word.text.as_str();
        let known = named::names(field);
        if field == Field::TcpFlags {
            let flags = named::flags(text);
            if flags.is_none() {
                self.report
                    .error("E0214", word.span, format!("`{text}` is no combination of flags"))
                    .help("join `syn`, `ack`, `fin` and `rst` with `-`: `syn-ack`; `none` is none of them");
            }
            return flags.map(|flags| (flags, flags));
        }
        if !word.quoted && !addr::looks_like(text) {
            if let Some(value) = named::lookup(known, text) {
                return Some((value, value));
            }
            if text.starts_with(|c: char| c.is_ascii_digit()) {
                return match quantity::range(text, high) {
                    Ok(range) => Some(range),
                    Err(fault) => {
                        self.fault(word, fault);
                        None
                    }
                };
            }
            if let Some(symbol) = self.names.look_up(text) {
                let kind = symbol.kind.noun();
                self.report
                    .error("E0307", word.span, format!("`{name}` cannot be {kind}"))
                    .also(symbol.span, "declared here");
                return None;
            }
            let finding = self.report.error("E0214", word.span, format!("`{text}` is no value of `{name}`"));
            finding.help(match known.is_empty() {
                true => format!("write a number from 0 to {high}, or a range"),
                false => suggestion(text, known.iter().map(|(name, _)| *name)),
            });
            return None;
        }
        self.report
            .error("E0307", word.span, format!("`{text}` is no value of `{name}`"))
            .help(format!("write a number from 0 to {high}, or a range"));
        None
    }
}

/// The range that a comparison by order asks for; an example where its value is no number of the field's.
fn meant_range(field: Field, test: &WrittenTest) -> String {
    let high = FIELDS.iter().find(|(_, known, _)| *known == field).map_or(0, |&(.., high)| high);
    let value = test.values.first().and_then(|word| quantity::count_in(&word.text, 0, high).ok());
    let after = |sign: &str| test.text.contains(sign);
    let (first, last) = match value {
        Some(value) if after("<=") => (0, value),
        Some(value) if after(">=") => (value, high),
        Some(value) if after("<") && value > 0 => (0, value - 1),
        Some(value) if after(">") && value < high => (value + 1, high),
        _ => (1, 100),
    };
    format!("{first}-{last}")
}
