//! Owns health checks: `health http { port …; path …; interval …; timeout …; fall …; rise … }` in a pool. Never the
//! checking.

use std::time::Duration;

use super::Typing;
use crate::ast::{Block, Setting};
use crate::policy::{Health, HealthCheck};
use crate::report::suggestion;
use crate::source::Span;
use crate::value::quantity;

const KNOWN: &[&str] = &["port", "interval", "timeout", "fall", "rise"];
const HTTP: &[&str] = &["port", "interval", "timeout", "fall", "rise", "path", "host", "status"];
const ICMP: &[&str] = &["interval", "timeout", "fall", "rise"];
/// What is not written.
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const IN_A_ROW: u32 = 3;

impl Typing<'_> {
    /// `health tcp { … }`, `health http { … }` or `health icmp { … }`.
    pub(super) fn health(&mut self, setting: &Setting) -> Option<Health> {
        const FORM: &str =
            "`health tcp { interval 2s; timeout 1s }`, `health http { path \"/\" }` or `health icmp`";
        let words = match setting.groups.as_slice() {
            [group] => group.as_slice(),
            _ => &[],
        };
        let [word] = words else {
            self.shape(setting, FORM);
            return None;
        };
        let (check, known) = match word.text.as_str() {
            "tcp" => (HealthCheck::Tcp, KNOWN),
            "http" => (HealthCheck::Http { path: "/".to_owned(), host: None, status: (200, 299) }, HTTP),
            "icmp" => (HealthCheck::Icmp, ICMP),
            other => {
                self.report
                    .error("E0310", word.span, format!("health cannot be checked by `{other}`"))
                    .help(suggestion(other, ["tcp", "http", "icmp"]));
                return None;
            }
        };
        let mut health = Health {
            span: setting.span,
            check,
            port: None,
            interval: INTERVAL,
            timeout: TIMEOUT,
            fall: IN_A_ROW,
            rise: IN_A_ROW,
        };
        if let Some(block) = &setting.block {
            self.health_settings(&mut health, block, &format!("health {}", word.text), known);
        }
        Some(health)
    }

    fn health_settings(&mut self, health: &mut Health, block: &Block, owner: &str, known: &[&str]) {
        let before = self.report.errors();
        let mut timed: Option<Span> = None;
        for setting in self.settings(block, owner, known, &[]) {
            match setting.name.text.as_str() {
                "port" => {
                    health.port =
                        self.number_setting(setting, 1, 65_535).and_then(|port| port.try_into().ok())
                }
                "interval" => {
                    health.interval = self.time_setting(setting).unwrap_or(health.interval);
                    timed = timed.or(Some(setting.span));
                }
                "timeout" => {
                    health.timeout = self.time_setting(setting).unwrap_or(health.timeout);
                    timed = Some(setting.span);
                }
                "fall" => health.fall = self.number_setting(setting, 1, 255).unwrap_or(health.fall),
                "rise" => health.rise = self.number_setting(setting, 1, 255).unwrap_or(health.rise),
                _ => self.http_setting(&mut health.check, setting),
            }
        }
        if let Some(place) = timed
            && health.timeout > health.interval
            && self.report.errors() == before
        {
            let (timeout, interval) = (health.timeout, health.interval);
            self.report
                .error("E0421", place, "a check is given up later than the next one begins")
                .because(format!("the timeout is {timeout:?}, the interval {interval:?}"))
                .help("let the timeout be the interval at most");
        }
    }

    fn http_setting(&mut self, check: &mut HealthCheck, setting: &Setting) {
        let HealthCheck::Http { path, host, status } = check else { return };
        let Some(word) = self.one_word(setting) else { return };
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        match setting.name.text.as_str() {
            // RFC 9112 section 3.2.1: absolute-path, and a query if any.
            "path" if word.quoted && word.text.starts_with('/') && plain(&word.text) => {
                path.clone_from(&word.text);
            }
            "path" => self.shape(setting, "`path \"/healthz\"`: a `/` first, and no blanks"),
            "host" if word.quoted && plain(&word.text) => *host = Some(word.text.clone()),
            "host" => self.shape(setting, "`host \"www.example.net\"`"),
            _ => match quantity::range(&word.text, 599) {
                Ok((first, last)) if first >= 100 => *status = (first as u16, last as u16),
                Ok(_) => self.shape(setting, "`status 200` or `status 200-399`: 100 to 599"),
                Err(fault) => self.fault(word, fault),
            },
        }
    }
}
