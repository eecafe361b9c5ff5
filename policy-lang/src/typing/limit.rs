//! Owns limits: `limit NAME { per …; rate …; burst …; max … }`. Never where a limit stands.

use super::Typing;
use super::settings::written;
use crate::ast::{Block, Setting, Word};
use crate::policy::{Limit, LimitKey, LimitUnit};
use crate::value::quantity::{self, Rate};

/// A burst that takes longer to come back is hardly meant.
const LONGEST_REFILL: std::time::Duration = std::time::Duration::from_secs(86_400);

impl Typing<'_> {
    pub(super) fn type_limits(&mut self) {
        for (name, block) in &self.declared.limits {
            let limit = self.limit(name, block);
            self.limits.push(limit);
        }
    }

    fn limit(&mut self, name: &Word, block: &Block) -> Limit {
        let owner = format!("limit `{}`", name.text);
        let mut limit = Limit {
            name: name.text.clone(),
            span: name.span,
            key: None,
            unit: LimitUnit::Packets,
            rate: 1,
            per: std::time::Duration::from_secs(1),
            burst: 1,
            max: None,
        };
        let settings = self.settings(block, &owner, &["per", "rate", "burst", "max"], &[]);
        let find = |name: &str| settings.iter().copied().find(|setting| setting.name.text == name);
        // A setting that is there and wrong has been told; only what is not written is missing.
        let written = |name: &str| written(block, name);
        let (per, max) = (written("per"), written("max"));
        if let Some(setting) = find("per") {
            limit.key = self.limit_key(setting);
        }
        if let Some(setting) = find("max") {
            limit.max = self.table_max(setting);
        }
        if per && !max {
            self.report
                .error("E0404", name.span, format!("{owner} does not state `max`"))
                .because("a limit with a key has a table of keys, and every table has a size")
                .help("add `max 65_536`");
        }
        if max && !per {
            self.report
                .error("E0310", name.span, format!("{owner} has `max` but no `per`"))
                .because("without a key there is one bucket for all packets, and no table")
                .help("remove `max`, or add `per src v4 /32 v6 /64`");
        }
        if !written("rate") {
            self.missing(name, "limit", "rate", "a limit is a rate", "`rate 50 conn/s`");
        }
        if !written("burst") {
            let why = "the burst says how many may come at once";
            self.missing(name, "limit", "burst", why, "`burst 100`, in the rate's unit");
        }
        let Some(setting) = find("rate") else { return limit };
        let Some(words) = self.one_group(setting, "`rate 50 conn/s`") else { return limit };
        let Some(rate) = self.rate(words, setting.span) else { return limit };
        (limit.rate, limit.unit, limit.per) = (rate.amount, rate.unit, rate.per);
        if let Some(setting) = find("burst")
            && let Some(words) = self.one_group(setting, "`burst 100`")
            && let Some(burst) = self.burst(words, rate, setting.span)
        {
            limit.burst = burst;
            self.burst_is_enough(setting, rate, burst);
        }
        limit
    }

    /// The coarse clock steps by 4 ms (CONFIG_HZ=250): a smaller burst would be refilled only in part.
    fn burst_is_enough(&mut self, setting: &Setting, rate: Rate, burst: u64) {
        let least = u128::from(rate.amount).div_ceil(250).div_ceil(u128::from(rate.per.as_secs()).max(1));
        // A burst of bits below one full packet never lets that packet pass.
        let packet = if rate.unit == LimitUnit::Bits { 1_500 * 8 } else { 1 };
        if u128::from(burst) < least {
            self.report
                .error("E0410", setting.span, "the burst is less than what the rate brings in 4 ms")
                .because("the clock of the packet path steps by 4 ms: a smaller bucket cannot hold the rate")
                .help(match rate.unit {
                    LimitUnit::Bits => format!("let the burst be {}KiB at least", least.div_ceil(8 << 10)),
                    _ => format!("let the burst be {least} at least"),
                });
        } else if burst < packet {
            self.report
                .warning("W0407", setting.span, "the burst is smaller than a full packet of 1,500 bytes")
                .because("a packet larger than the burst never passes")
                .help("let the burst be 2KiB at least");
        }
        let refill = u128::from(burst) * rate.per.as_millis() / u128::from(rate.amount).max(1);
        if refill > LONGEST_REFILL.as_millis() {
            self.report
                .warning("W0433", setting.span, "the burst is more than the rate brings in a day")
                .because(format!(
                    "who has used it up has it again after {} days; until then only the rate is let through",
                    refill.div_ceil(86_400_000)
                ))
                .help("lower the burst, or raise the rate");
        }
    }

    /// `per src v4 /32 v6 /64`.
    fn limit_key(&mut self, setting: &Setting) -> Option<LimitKey> {
        const FORM: &str = "`per src v4 /32 v6 /64` (or `dst`)";
        let words = self.one_group(setting, FORM)?;
        let mut words = words.iter();
        let source = match words.next().map(|word| word.text.as_str()) {
            Some("src") => true,
            Some("dst") => false,
            _ => {
                self.shape(setting, FORM);
                return None;
            }
        };
        let mut key = LimitKey { source, v4: 32, v6: 64 };
        while let Some(family) = words.next() {
            let high = match family.text.as_str() {
                "v4" => 32,
                "v6" => 128,
                _ => {
                    self.shape(setting, FORM);
                    return None;
                }
            };
            let length = words.next().and_then(|word| word.text.strip_prefix('/'));
            let length = length.and_then(|text| quantity::count_in(text, 0, high).ok());
            let Some(length) = length.and_then(|length| u8::try_from(length).ok()) else {
                self.shape(setting, FORM);
                return None;
            };
            if high == 32 { key.v4 = length } else { key.v6 = length }
        }
        Some(key)
    }
}
