//! Owns interfaces: `interface NAME { device …; mtu … }`. Never whether such a device is there.

use super::Typing;
use super::settings::written;
use crate::ast::Word;
use crate::policy::Interface;
use crate::source::Span;

/// Bytes of a device's name (IFNAMSIZ less the zero at its end, `include/uapi/linux/if.h`).
const LONGEST: usize = 15;

/// What the name of a device is, for one that is none.
pub(crate) const DEVICE: &str = "a device has a name of at most 15 bytes without `/`, `:` and blanks";

/// Whether the kernel takes a name for a device (dev_valid_name, `net/core/dev.c`).
pub(crate) fn is_device(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

impl Typing<'_> {
    pub(super) fn type_interfaces(&mut self) {
        let mut taken: Vec<(String, Span)> = Vec::new();
        for (name, block) in &self.declared.interfaces {
            let mut interface =
                Interface { name: name.text.clone(), span: name.span, devices: Vec::new(), mtu: None };
            let owner = format!("interface `{}`", name.text);
            for setting in self.settings(block, &owner, &["device", "mtu"], &[]) {
                if setting.name.text == "device" {
                    for word in self.word_list(setting).unwrap_or_default() {
                        for word in self.expanded(word) {
                            self.device(&mut interface, &word, &mut taken);
                        }
                    }
                } else {
                    // RFC 791: every host takes 68 bytes; the total length has 16 bits.
                    interface.mtu = self.number_setting(setting, 68, 65_535);
                }
            }
            if !written(block, "device") {
                let why = "an interface is one device or several under a name of the policy's own";
                self.missing(name, "interface", "device", why, "`device eth0`");
            }
            self.interfaces.push(interface);
        }
    }

    fn device(&mut self, interface: &mut Interface, word: &Word, taken: &mut Vec<(String, Span)>) {
        let name = word.text.as_str();
        if !is_device(name) {
            let message = format!("`{name}` cannot be the name of a device");
            self.report.error("E0310", word.span, message).help(DEVICE);
            return;
        }
        if let Some((_, first)) = taken.iter().find(|(other, _)| other == name) {
            self.report
                .error("E0202", word.span, format!("device `{name}` is named twice"))
                .also(*first, "named first")
                .because("a packet comes in by one interface")
                .help("remove one of the two");
            return;
        }
        taken.push((name.to_owned(), word.span));
        interface.devices.push(name.to_owned());
    }
}
