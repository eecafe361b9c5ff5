//! Owns virtual addresses: `vip NAME { address …; ports … }`. Never what is sent to them.

use std::net::IpAddr;

use super::Typing;
use crate::ast::{Setting, Word};
use crate::policy::{Vip, VipPorts};
use crate::value::{Fault, addr, quantity};

impl Typing<'_> {
    pub(super) fn type_vips(&mut self) {
        for (name, block) in &self.declared.vips {
            let mut vip =
                Vip { name: name.text.clone(), span: name.span, v4: None, v6: None, ports: Vec::new() };
            let owner = format!("vip `{}`", name.text);
            let mut addressed = false;
            for setting in self.settings(block, &owner, &["address", "ports"], &[]) {
                if setting.name.text == "address" {
                    addressed = true;
                    for word in self.word_list(setting).unwrap_or_default() {
                        self.vip_address(&mut vip, word);
                    }
                } else {
                    vip.ports = self.vip_ports(setting);
                }
            }
            if !addressed {
                let why = "a vip is an address that packets are sent to";
                self.missing(name, "vip", "address", why, "`address 192.0.2.1`, one of each family at most");
            }
            self.vips.push(vip);
        }
    }

    fn vip_address(&mut self, vip: &mut Vip, word: &Word) {
        for (word, address) in self.literal_addresses(word) {
            let taken = match address {
                IpAddr::V4(address) => vip.v4.replace(address).is_some(),
                IpAddr::V6(address) => vip.v6.replace(address).is_some(),
            };
            if taken {
                self.report
                    .error("E0312", word.span, format!("vip `{}` has two addresses of one family", vip.name))
                    .because("a vip has one address of each family at most")
                    .help("declare a second vip");
            }
        }
    }

    /// Single addresses that a word stands for, itself or by consts.
    pub(super) fn literal_addresses(&mut self, word: &Word) -> Vec<(Word, IpAddr)> {
        let mut out = Vec::new();
        for word in self.expanded(word) {
            let named =
                self.names.look_up(&word.text).filter(|symbol| symbol.kind == crate::names::Kind::Vip);
            if let Some(vip) = named.and_then(|symbol| self.vips.get(symbol.index as usize)) {
                out.extend(vip.v4.map(|address| (word.clone(), IpAddr::V4(address))));
                out.extend(vip.v6.map(|address| (word.clone(), IpAddr::V6(address))));
                continue;
            }
            if !word.quoted
                && !addr::looks_like(&word.text)
                && word.text.starts_with(|c: char| c.is_ascii_alphabetic())
            {
                use crate::names::Kind;
                match self.names.look_up(&word.text) {
                    Some(symbol) => {
                        let kind = symbol.kind.noun();
                        self.report
                            .error("E0213", word.span, format!("`{}` is {kind}, not an address", word.text))
                            .also(symbol.span, "declared here");
                    }
                    None => self.names.unknown(&[Kind::Const, Kind::Vip], &word, self.report),
                }
                continue;
            }
            match addr::address(&word.text) {
                Ok(address) => out.push((word, address)),
                Err(fault) if word.text.contains(['/', '-']) => {
                    let fault = Fault::new(fault.code, format!("`{}` is not one address", word.text));
                    self.fault(&word, fault.help("write one address, such as 192.0.2.1 or 2001:db8::1"));
                }
                Err(fault) => self.fault(&word, fault),
            }
        }
        out
    }

    /// `ports tcp 80, 443, udp 53, tcp 8000-8010`: a protocol holds until the next one.
    fn vip_ports(&mut self, setting: &Setting) -> Vec<VipPorts> {
        let mut out: Vec<VipPorts> = Vec::new();
        let mut proto = None;
        for group in &setting.groups {
            let (name, value) = match group.as_slice() {
                [value] => (None, value),
                [name, value] => (Some(name), value),
                _ => {
                    self.shape(setting, "`ports tcp 80, 443, udp 53`");
                    return out;
                }
            };
            if let Some(name) = name {
                proto = match name.text.as_str() {
                    "tcp" => Some(6),
                    "udp" => Some(17),
                    _ => {
                        self.report
                            .error(
                                "E0307",
                                name.span,
                                format!("`{}` has no ports that a vip could have", name.text),
                            )
                            .help("write `tcp` or `udp`");
                        return out;
                    }
                };
            }
            let Some(proto) = proto else {
                self.report
                    .error("E0310", value.span, "the protocol of these ports is not written")
                    .help(format!("write `ports tcp {}` or `ports udp {}`", value.text, value.text));
                return out;
            };
            for value in self.expanded(value) {
                match quantity::range(&value.text, 65_535) {
                    Ok((first, last)) => out.push(VipPorts { proto, first: first as u16, last: last as u16 }),
                    Err(fault) => self.fault(&value, fault),
                }
            }
        }
        out
    }
}
