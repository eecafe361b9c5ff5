//! Owns synguards: `synguard NAME { above 20_000 syn/s; mss 1460 }`. Never the cookies.

use super::Typing;
use super::settings::written;
use crate::ast::Setting;
use crate::policy::{LimitUnit, Rate, Synguard};

impl Typing<'_> {
    pub(super) fn type_synguards(&mut self) {
        for (name, block) in &self.declared.synguards {
            let owner = format!("synguard `{}`", name.text);
            let mut synguard = Synguard {
                name: name.text.clone(),
                span: name.span,
                above: Rate { count: 1, per: std::time::Duration::from_secs(1) },
                mss: 536,
            };
            for setting in self.settings(block, &owner, &["above", "mss"], &[]) {
                if setting.name.text == "above" {
                    synguard.above = self.syn_rate(setting).unwrap_or(synguard.above);
                } else {
                    // RFC 9293 section 3.7.1: 536 is what every host takes; above 9,000 no Ethernet carries it.
                    let mss = self.number_setting(setting, 536, 9_000);
                    synguard.mss = mss.and_then(|mss| u16::try_from(mss).ok()).unwrap_or(synguard.mss);
                }
            }
            if !written(block, "above") {
                let why = "a synguard answers in the server's place while more SYNs come than this";
                self.missing(name, "synguard", "above", why, "`above 20_000 syn/s`");
            }
            if !written(block, "mss") {
                let why = "the answers announce the largest segment that the way to the backends carries";
                self.missing(
                    name,
                    "synguard",
                    "mss",
                    why,
                    "`mss 1460`, or what the MTU less 40 bytes leaves",
                );
            }
            self.synguards.push(synguard);
        }
    }

    fn syn_rate(&mut self, setting: &Setting) -> Option<Rate> {
        let words = self.one_group(setting, "`above 20_000 syn/s`")?;
        let rate = self.rate(words, setting.span)?;
        if rate.unit != LimitUnit::Syns {
            self.report
                .error("E0311", setting.span, "a synguard counts SYNs")
                .help("write `above 20_000 syn/s`");
            return None;
        }
        Some(Rate { count: rate.amount, per: rate.per })
    }
}
