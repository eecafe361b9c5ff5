//! Owns mappers: `mapper NAME { reads dtls; max N; idle T; wait T }`. Never the reading of a hello.

use std::time::Duration;

use super::Typing;
use super::settings::written;
use crate::policy::{Mapper, MapperProtocol};
use crate::report::suggestion;

/// As a tracker's for UDP.
const IDLE: Duration = Duration::from_secs(30);
/// A client sends a lost hello again after 1 s, and after 2 s more (RFC 9147 section 5.8.2).
const WAIT: Duration = Duration::from_secs(3);

impl Typing<'_> {
    pub(super) fn type_mappers(&mut self) {
        for (name, block) in &self.declared.mappers {
            let owner = format!("mapper `{}`", name.text);
            let mut mapper = Mapper {
                name: name.text.clone(),
                span: name.span,
                protocol: MapperProtocol::Dtls,
                max: 1,
                idle: IDLE,
                wait: WAIT,
            };
            for setting in self.settings(block, &owner, &["reads", "max", "idle", "wait"], &[]) {
                match setting.name.text.as_str() {
                    "reads" => match self.one_word(setting).map(|word| (word.text.as_str(), word.span)) {
                        Some(("dtls", _)) => mapper.protocol = MapperProtocol::Dtls,
                        Some(("quic", _)) => mapper.protocol = MapperProtocol::Quic,
                        Some((other, place)) => {
                            let finding =
                                self.report.error("E0310", place, format!("a mapper cannot read `{other}`"));
                            let why =
                                "in TCP the name comes after the SYN, when the backend is chosen already";
                            let finding = if ["tls", "http", "tcp"].contains(&other) {
                                finding.because(why)
                            } else {
                                finding
                            };
                            finding.help(suggestion(other, ["dtls", "quic"]));
                        }
                        None => {}
                    },
                    "max" => mapper.max = self.table_max(setting).unwrap_or(mapper.max),
                    "idle" => mapper.idle = self.time_setting(setting).unwrap_or(mapper.idle),
                    _ => mapper.wait = self.time_setting(setting).unwrap_or(mapper.wait),
                }
            }
            if !written(block, "reads") {
                let why = "a mapper learns the name in the client's first packet";
                self.missing(name, "mapper", "reads", why, "`reads dtls` or `reads quic`");
            }
            if !written(block, "max") {
                self.report
                    .error("E0404", name.span, format!("{owner} does not state `max`"))
                    .because("every table has a size, and `full` is what happens beyond it")
                    .help("add `max 65_536`");
            }
            self.mappers.push(mapper);
        }
    }
}
