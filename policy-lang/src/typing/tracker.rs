//! Owns trackers: `track NAME { idle …; half_open …; max … }`. Never the flows themselves.

use std::time::Duration;

use super::Typing;
use super::settings::written;
use crate::ast::{Block, Setting, Word};
use crate::policy::{TrackKey, Tracker};
use crate::report::suggestion;

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
        // What only flows have.
        let mut by_protocol = None;
        for setting in self.settings(block, &owner, &["idle", "half_open", "max", "key"], &[]) {
            match setting.name.text.as_str() {
                "idle" => {
                    self.idle(&mut tracker, setting);
                    by_protocol = (setting.groups.len() > 1).then_some(setting.span).or(by_protocol);
                }
                "half_open" => {
                    tracker.half_open = self.time_setting(setting).unwrap_or(tracker.half_open);
                    by_protocol = by_protocol.or(Some(setting.span));
                }
                "max" => tracker.max = self.table_max(setting).unwrap_or(tracker.max),
                _ => self.track_key(&mut tracker, setting),
            }
        }
        if let Some(place) = by_protocol.filter(|_| tracker.key == TrackKey::Certificate) {
            self.report
                .error("E0310", place, format!("{owner} has one time for its certificates"))
                .because(
                    "the entry of a certificate stands for all its packets, whatever their protocol or state",
                )
                .help("write `idle 300s` alone");
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

    /// `key flow` or `key cert`.
    fn track_key(&mut self, tracker: &mut Tracker, setting: &Setting) {
        let Some(word) = self.one_word(setting) else { return };
        match word.text.as_str() {
            "flow" => tracker.key = TrackKey::Flow,
            "cert" => tracker.key = TrackKey::Certificate,
            other => {
                self.report
                    .error("E0310", word.span, format!("a tracker has no key `{other}`"))
                    .help(suggestion(other, ["flow", "cert"]));
            }
        }
    }
}
