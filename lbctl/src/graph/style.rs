//! Owns the colours of a drawing and what they stand for. Never where something is drawn.

use compiler::figure::Kind;
use policy_lang::policy::End;

/// What a box in a drawing is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Look {
    Start,
    Selector,
    Step(Kind),
    Verdict(Verdict),
    /// The name of a tree that is drawn elsewhere.
    Call,
    /// What is not drawn.
    More,
}

/// An end, as far as it has a colour of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    Drop,
    Reject,
    Pass,
    Forward,
    Reply,
}

/// Of a box: inside, border and letters, as `#rrggbb`.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    pub fill: &'static str,
    pub line: &'static str,
    pub text: &'static str,
}

/// Every look, in the order of a legend.
pub const LOOKS: [Look; 14] = [
    Look::Start,
    Look::Selector,
    Look::Step(Kind::Filter),
    Look::Step(Kind::Scanner),
    Look::Step(Kind::Limiter),
    Look::Step(Kind::Counter),
    Look::Step(Kind::Modifier),
    Look::Verdict(Verdict::Forward),
    Look::Verdict(Verdict::Pass),
    Look::Verdict(Verdict::Reply),
    Look::Verdict(Verdict::Reject),
    Look::Verdict(Verdict::Drop),
    Look::Call,
    Look::More,
];

/// Letters on a light ground, and those that matter less.
pub const DARK: &str = "#0f172a";
pub const QUIET: &str = "#4f5d6f";

/// Of what no packet reaches.
pub const FADED: Paint = Paint { fill: "#f4f5f7", line: "#8b95a3", text: "#5f6b7a" };

pub fn verdict(end: End) -> Verdict {
    match end {
        End::Drop => Verdict::Drop,
        End::Reject => Verdict::Reject,
        End::Pass => Verdict::Pass,
        End::Forward => Verdict::Forward,
        End::ReplyEcho | End::ReplyRst => Verdict::Reply,
    }
}

impl Look {
    /// Letters stand out from their box by 4.5 to 1 at least (WCAG 2.2, 1.4.3).
    pub fn paint(self) -> Paint {
        let light = |fill, line| Paint { fill, line, text: DARK };
        let dark = |fill| Paint { fill, line: fill, text: "#ffffff" };
        match self {
            Look::Start => dark("#334155"),
            Look::Selector => light("#dbeafe", "#1d4ed8"),
            Look::Step(Kind::Filter) => light("#ede9fe", "#6d28d9"),
            Look::Step(Kind::Scanner) => light("#ccfbf1", "#0f766e"),
            Look::Step(Kind::Limiter) => light("#fef3c7", "#b45309"),
            Look::Step(Kind::Counter) => light("#e8ecf1", "#64748b"),
            Look::Step(Kind::Modifier) => light("#fae8ff", "#a21caf"),
            Look::Verdict(Verdict::Forward) => dark("#15803d"),
            Look::Verdict(Verdict::Pass) => dark("#0e7490"),
            Look::Verdict(Verdict::Reply) => dark("#4338ca"),
            Look::Verdict(Verdict::Reject) => dark("#c2410c"),
            Look::Verdict(Verdict::Drop) => dark("#b91c1c"),
            Look::Call => light("#ffffff", "#334155"),
            Look::More => light("#ffffff", "#8b95a3"),
        }
    }

    /// A word for files and programs.
    pub fn name(self) -> &'static str {
        match self {
            Look::Start => "start",
            Look::Selector => "selector",
            Look::Step(Kind::Filter) => "filter",
            Look::Step(Kind::Scanner) => "scanner",
            Look::Step(Kind::Limiter) => "limiter",
            Look::Step(Kind::Counter) => "counter",
            Look::Step(Kind::Modifier) => "translator",
            Look::Verdict(Verdict::Forward) => "forward",
            Look::Verdict(Verdict::Pass) => "pass",
            Look::Verdict(Verdict::Reply) => "reply",
            Look::Verdict(Verdict::Reject) => "reject",
            Look::Verdict(Verdict::Drop) => "drop",
            Look::Call => "tree",
            Look::More => "more",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let part = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn letters_stand_out_and_no_two_looks_are_alike() {
        let paints = LOOKS.map(Look::paint);
        for paint in paints.iter().chain([&FADED]) {
            assert!(contrast(paint.fill, paint.text) >= 4.5, "{paint:?}");
            assert!(paint.text != DARK || contrast(paint.fill, QUIET) >= 4.5, "{paint:?}");
            // Graphical objects: 3 to 1 (WCAG 2.2, 1.4.11), on the white of a frame.
            assert!(contrast(paint.line, "#ffffff") >= 3.0, "{paint:?}");
        }
        for (at, one) in paints.iter().enumerate() {
            assert!(paints[at + 1..].iter().all(|other| (one.fill, one.line) != (other.fill, other.line)));
        }
    }
}
