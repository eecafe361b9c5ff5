//! Owns server names as a policy writes them: letters, digits and dashes between dots, and a wildcard in front.
//! Never the names that packets carry.

use super::Fault;
use crate::policy::NamePattern;

/// RFC 1035 section 2.3.4, without the root's own byte and length.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// `a.example` or `*.a.example`; letters become small, a final dot goes. Underscores are taken, as clients send them.
pub(crate) fn pattern(text: &str) -> Result<NamePattern, Fault> {
    let bad = |why: String| Fault::new("E0340", why);
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (below, name) = match name.strip_prefix("*.") {
        Some(name) => (true, name.to_owned()),
        None => (false, name),
    };
    if name == "*" {
        let fault = bad(format!("`{text}` is every name"));
        return Err(fault.help("leave the comparison out, or write `*.` and a name"));
    }
    if name.contains('*') {
        let fault = bad(format!("`{text}` has a wildcard that is not its first label"));
        return Err(fault.help("write `*.` in front of a whole name: `*.a.example`"));
    }
    if !name.is_ascii() {
        let fault = bad(format!("`{text}` is not written as clients ask for it"));
        return Err(fault.help("write its ASCII form, whose labels start with `xn--` (RFC 5891)"));
    }
    // RFC 6066 section 3: clients do not ask for addresses.
    if name.parse::<std::net::IpAddr>().is_ok() {
        let fault = bad(format!("`{text}` is an address, and clients ask for names"));
        return Err(fault.help("match on `dst`"));
    }
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > LONGEST || !name.split('.').all(is_label) {
        let fault = bad(format!("`{text}` is no server name"));
        return Err(fault.help(format!(
            "write labels of letters, digits and `-`, {LONGEST_LABEL} at most each and {LONGEST} in all, with dots between them"
        )));
    }
    Ok(NamePattern { name, below })
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl NamePattern {
    /// Whether a name, in lower case and without a final dot, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match name.strip_suffix(self.name.as_str()) {
            Some(front) if self.below => front.len() > 1 && front.ends_with('.'),
            Some(front) => front.is_empty(),
            None => false,
        }
    }

    /// Whether every name that `other` means is meant.
    pub(crate) fn covers(&self, other: &NamePattern) -> bool {
        self == other || (self.below && self.matches(&other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> NamePattern {
        pattern(text).unwrap()
    }

    #[test]
    fn names_are_brought_into_one_form() {
        assert_eq!(of("A.Example."), NamePattern { name: "a.example".to_owned(), below: false });
        assert_eq!(of("*.a.example"), NamePattern { name: "a.example".to_owned(), below: true });
        assert_eq!(of("localhost").name, "localhost");
        let long = vec!["a".repeat(63); 3].join(".") + "." + &"a".repeat(61);
        assert!(pattern(&long).is_ok() && pattern(&format!("{long}a")).is_err());
    }

    #[test]
    fn what_no_client_asks_for_is_refused() {
        let label = "a".repeat(64);
        for bad in [
            "",
            ".",
            "*",
            "*.",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a.*.b",
            "*a.b",
            "bücher.example",
            "10.0.0.1",
            "::1",
            &label,
        ] {
            assert_eq!(pattern(bad).unwrap_err().code, "E0340", "{bad}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label_or_more() {
        let below = of("*.a.example");
        assert!(below.matches("x.a.example") && below.matches("y.x.a.example"));
        assert!(!below.matches("a.example") && !below.matches("xa.example") && !below.matches(".a.example"));
        assert!(of("a.example").matches("a.example") && !of("a.example").matches("x.a.example"));
        assert!(
            below.covers(&of("x.a.example")) && below.covers(&of("*.x.a.example")) && below.covers(&below)
        );
        assert!(!below.covers(&of("a.example")) && !of("a.example").covers(&below));
    }
}
