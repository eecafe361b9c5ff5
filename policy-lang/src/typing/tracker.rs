//! Owns trackers: `track NAME { idle …; half_open …; max … }`. Never the flows themselves.

use std::time::Duration;

use super::Typing;
use super::settings::written;
use crate::ast::{Block, Setting, Word};
use crate::policy::{TrackKey, Tracker};
use crate::value::quantity;

const IDLE_TCP: Duration = Duration::from_secs(300);
const IDLE_UDP: Duration = Duration::from_secs(30);
const HALF_OPEN: Duration = Duration::from_secs(5);

impl Typing<'_> {
    pub(super) fn type_trackers(&mut self) {
        for (name, block) in &self.declared.trackers {
            let tracker = self.tracker(name, block);
            self.trackers.push(tracker);
        }
    }

    fn tracker(&mut self, name: &Word, block: &Block) -> Tracker {
        let owner = format!("track `{}`", name.text);
        let mut tracker = Tracker {
            name: name.text.clone(),
            span: name.span,
            idle_tcp: IDLE_TCP,
            idle_udp: IDLE_UDP,
            half_open: HALF_OPEN,
            max: 1,
            key: TrackKey::Flow,
        };
        for setting in self.settings(block, &owner, &["idle", "half_open", "max", "key"], &[]) {
            match setting.name.text.as_str() {
                "idle" => self.idle(&mut tracker, setting),
                "half_open" => {
                    if let Some(word) = self.one_word(setting) {
                        tracker.half_open = self.time(word).unwrap_or(tracker.half_open);
                    }
                }
                "max" => tracker.max = self.table_max(setting).unwrap_or(tracker.max),
                _ => {
                    let what = "tracking by certificate (`key`)";
                    self.not_yet("N0516", setting.span, what, "track flows for now: remove `key`");
                }
            }
        }
        if !written(block, "max") {
            self.report
                .error("E0404", name.span, format!("{owner} does not state `max`"))
                .because("every table has a size, and `full` is what happens beyond it")
                .help("add `max 65_536`");
        }
        tracker
    }

    /// `idle 30s`, or `idle tcp 5m, udp 30s`.
    fn idle(&mut self, tracker: &mut Tracker, setting: &Setting) {
        for group in &setting.groups {
            let (udp, tcp, word) = match group.as_slice() {
                [word] if setting.groups.len() == 1 => (true, true, word),
                [proto, word] if proto.text == "tcp" => (false, true, word),
                [proto, word] if proto.text == "udp" => (true, false, word),
                _ => return self.shape(setting, "`idle 30s`, or `idle tcp 5m, udp 30s`"),
            };
            let Some(time) = self.time(word) else { return };
            if tcp {
                tracker.idle_tcp = time;
            }
            if udp {
                tracker.idle_udp = time;
            }
        }
        if setting.groups.is_empty() {
            self.shape(setting, "`idle 30s`, or `idle tcp 5m, udp 30s`");
        }
    }

    fn time(&mut self, word: &Word) -> Option<Duration> {
        match quantity::duration(&word.text) {
            Ok(time) if time.is_zero() => {
                self.report.error("E0302", word.span, "a flow cannot be idle for no time at all");
                None
            }
            Ok(time) => Some(time),
            Err(fault) => {
                self.fault(word, fault);
                None
            }
        }
    }
}
