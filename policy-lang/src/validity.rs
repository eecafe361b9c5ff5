//! Owns what is said of certificates at a given time: expired, not valid yet, soon to expire. Never reads a clock, and
//! never decides whether a packet's certificate is accepted.

use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::report::Report;
use crate::value::date;

/// Certificates that expire within this many days are told.
const SOON: i64 = 30;
const DAY: i64 = 86_400;

/// Warnings about the certificates of a policy's authorities at a time in seconds since 1970, in the order of the text;
/// revoked ones are left out.
pub fn validity(policy: &Policy, now: i64) -> Vec<Diagnostic> {
    let mut report = Report::default();
    for authority in &policy.authorities {
        let accepted = authority.certificates.iter().filter(|one| !authority.revoked.contains(&one.hash));
        for certificate in accepted {
            let Some((from, until)) = certificate.valid else { continue };
            let what = format!("certificate {} of `{}`", certificate.id, authority.name);
            let finding = if now > until {
                let message = format!("{what} has expired on {}", date::written(until));
                let finding = report.warning("W0437", certificate.span, message);
                finding.because("`verify` sends what it has signed out by the exit `expired`")
            } else if now < from {
                let message = format!("{what} is not valid before {}", date::written(from));
                let finding = report.warning("W0438", certificate.span, message);
                finding.because("until then `verify` sends what it has signed out by the exit `expired`")
            } else if until - now < SOON * DAY {
                let left = match (until - now) / DAY {
                    0 => "today".to_owned(),
                    1 => "in a day".to_owned(),
                    days => format!("in {days} days"),
                };
                let message = format!("{what} expires {left}, on {}", date::written(until));
                report.warning("W0439", certificate.span, message)
            } else {
                continue;
            };
            finding.help("renew it, or take it out");
        }
    }
    report.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Files;

    /// Codes at a date, of a certificate that is valid from 2025-01-01 to 2027-02-01T12:00:00Z.
    fn at(now: &str, settings: &str) -> Vec<String> {
        let text = format!(
            "lbp 1\nauthority a {{ certificate 3 file \"files/late.pem\"{settings} }}\n\
             policy p {{ default drop }} = verify a -> pass\n"
        );
        let checked = crate::check("p.lbp", text, &Files);
        let policy = checked.policy.expect("the policy is sound");
        let told = validity(&policy, date::date(now).unwrap());
        told.into_iter().map(|finding| format!("{} {}", finding.code, finding.message)).collect()
    }

    #[test]
    fn a_certificate_is_told_when_it_is_not_valid_or_not_for_long() {
        assert_eq!(
            at("2024-12-31T23:59:59Z", ""),
            ["W0438 certificate 3 of `a` is not valid before 2025-01-01"]
        );
        assert_eq!(at("2027-01-31", ""), ["W0439 certificate 3 of `a` expires in a day, on 2027-02-01"]);
        assert_eq!(
            at("2027-02-01T12:00:00Z", ""),
            ["W0439 certificate 3 of `a` expires today, on 2027-02-01"]
        );
        assert_eq!(at("2027-02-01T12:00:01Z", ""), ["W0437 certificate 3 of `a` has expired on 2027-02-01"]);
    }

    #[test]
    fn nothing_is_told_of_one_that_is_valid_for_a_month_or_is_revoked() {
        let none: [&str; 0] = [];
        assert_eq!(at("2025-01-01", ""), none);
        assert_eq!(at("2027-01-02T12:00:00Z", ""), none);
        let text = "lbp 1\nauthority a { certificate 3 file \"files/late.pem\" }\npolicy p { default drop } = verify a -> pass\n";
        let policy = crate::check("p.lbp", text.to_owned(), &Files).policy.expect("the policy is sound");
        let hash = policy.authorities[0].certificates[0].hash_text();
        assert_eq!(at("2030-01-01", &format!("; revoked \"{hash}\"")), none);
    }
}
