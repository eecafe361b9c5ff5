//! Owns the page of each code: what it means, why it is so, an example that earns it, and the same example mended.
//! Never decides what earns a code.

use std::path::Path;

use crate::diagnostic::NAMES;
use crate::report::nearest;
use crate::source::Loader;

/// What `lbctl explain-code` shows of a code.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub code: &'static str,
    /// `docs/codes/CODE.md`.
    text: &'static str,
    /// None for what takes a file of many thousand lines, or cannot be written in the language at all.
    pub example: Option<Example>,
}

/// 2027-01-15, in seconds since 1970: the day on which examples are looked at, as certificates are valid by the day.
pub const EXAMPLES_AT: i64 = 1_799_971_200;

/// A policy that earns the code, with others or alone: those below `not-yet` when compiled, those below `reach` and
/// `bounds` when `compiler::analyse` sees them, those below `claims` when they are proved, the others when checked.
/// Its includes and lists come from `Files`.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Below `tests/cases/bad`.
    pub path: &'static str,
    pub text: &'static str,
}

macro_rules! page {
    ($code:literal) => {
        Page { code: $code, text: include_str!(concat!("../../docs/codes/", $code, ".md")), example: None }
    };
    ($code:literal, $path:literal) => {
        Page {
            example: Some(Example {
                path: concat!($path, ".lbp"),
                text: include_str!(concat!("../../tests/cases/bad/", $path, ".lbp")),
            }),
            ..page!($code)
        }
    };
}

/// In the order of their codes.
pub const PAGES: &[Page] = &[
    page!("E0101", "form/e0101-no-edition"),
    page!("E0102", "form/e0102-edition-2"),
    page!("E0103", "form/e0103-unknown-item"),
    page!("E0104", "form/e0104-unclosed-brace"),
    page!("E0105", "form/e0105-stray-bracket"),
    page!("E0106", "form/e0106-open-string"),
    page!("E0107", "form/e0107-too-deep"),
    page!("E0108", "form/e0108-slips"),
    page!("E0109", "form/e0109-assign-for-equals"),
    page!("E0110", "form/e0110-order"),
    page!("E0111", "form/e0111-no-else"),
    page!("E0112", "form/e0112-no-comparison"),
    page!("E0113", "form/e0113-behind-else"),
    page!("E0114", "form/e0114-two-policies"),
    page!("E0115", "form/e0115-included-policy"),
    page!("E0116"),
    page!("E0117", "form/e0117-no-policy"),
    page!("E0118", "form/e0118-arm-leads-nowhere"),
    page!("E0201", "names/e0201-unknown-names"),
    page!("E0202", "names/e0202-declared-twice"),
    page!("E0203", "names/e0203-reserved"),
    page!("E0204", "names/e0204-made-of-itself"),
    page!("E0205", "names/e0205-circle-of-trees"),
    page!("E0206", "names/e0206-circle-of-includes"),
    page!("E0207", "names/e0207-cannot-be-read"),
    page!("E0208", "names/e0208-outside"),
    page!("E0209", "names/e0209-unknown-field"),
    page!("E0210", "names/e0210-unknown-setting"),
    page!("E0211", "names/e0211-unknown-stage"),
    page!("E0212", "names/e0212-unknown-exit"),
    page!("E0213", "names/e0213-wrong-kind"),
    page!("E0214", "names/e0214-unknown-value"),
    page!("E0301", "types/e0301-number"),
    page!("E0302", "types/e0302-out-of-range"),
    page!("E0303", "types/e0303-duration"),
    page!("E0304", "types/e0304-rate"),
    page!("E0305", "types/e0305-address"),
    page!("E0306", "types/e0306-host-bits"),
    page!("E0307", "types/e0307-value-of-another-type"),
    page!("E0308", "types/e0308-missing-setting"),
    page!("E0309", "types/e0309-twice"),
    page!("E0310", "types/e0310-not-written-like-this"),
    page!("E0311", "types/e0311-burst-of-another-dimension"),
    page!("E0312", "types/e0312-families"),
    page!("E0313", "types/e0313-line-of-a-list"),
    page!("E0314", "types/e0314-list-too-long"),
    page!("E0315", "types/e0315-backwards"),
    page!("E0316", "types/e0316-bare-per-second"),
    page!("E0317", "types/e0317-many-for-one"),
    page!("E0318", "types/e0318-turns"),
    page!("E0319", "types/e0319-stage-form"),
    page!("E0320", "types/e0320-step"),
    page!("E0321", "types/e0321-outcome"),
    page!("E0322", "types/e0322-packet"),
    page!("E0323", "types/e0323-claim"),
    page!("E0324", "types/e0324-given-taken-away"),
    page!("E0325", "types/e0325-not-a-certificate"),
    page!("E0326", "types/e0326-another-curve"),
    page!("E0327", "types/e0327-not-in-hex"),
    page!("E0328", "types/e0328-certificate-twice"),
    page!("E0340", "types/e0340-server-name"),
    page!("E0341", "types/e0341-no-such-certificate"),
    page!("E0343", "types/e0343-date"),
    page!("E0344", "types/e0344-payload"),
    page!("E0401", "rules/e0401-no-end"),
    page!("E0402", "rules/e0402-behind-an-end"),
    page!("E0403", "rules/e0403-no-exceed"),
    page!("E0404", "rules/e0404-no-max"),
    page!("E0405", "rules/e0405-no-tracker"),
    page!("E0406", "reach/e0406-no-way-home"),
    page!("E0407", "rules/e0407-no-usable-backend"),
    page!("E0408", "rules/e0408-no-prime"),
    page!("E0409", "rules/e0409-too-few-slots"),
    page!("E0410", "rules/e0410-small-burst"),
    page!("E0411", "rules/e0411-nothing-tracks"),
    page!("E0412", "rules/e0412-sides-overlap"),
    page!("E0413", "rules/e0413-sides-leave-a-gap"),
    page!("E0414", "reach/e0414-shadowed"),
    page!("E0415", "rules/e0415-never-matches"),
    page!("E0416", "rules/e0416-port-of-what"),
    page!("E0417", "rules/e0417-translated-twice"),
    page!("E0418", "rules/e0418-tracked-twice"),
    page!("E0419", "rules/e0419-ban-of-nobody"),
    page!("E0420", "rules/e0420-ban-into-a-list"),
    page!("E0421", "rules/e0421-timeout-beyond-interval"),
    page!("E0422", "rules/e0422-not-rewritten"),
    page!("E0423", "rules/e0423-dynamic-taken-away"),
    page!("E0430", "rules/e0430-not-learned"),
    page!("E0431", "rules/e0431-no-certificate"),
    page!("E0432", "rules/e0432-other-packets"),
    page!("E0433", "rules/e0433-cookie-without-nat"),
    page!("E0434", "rules/e0434-nothing-comes-back"),
    page!("E0435", "rules/e0435-verified-too-late"),
    page!("E0601", "inventory/e0601-not-toml"),
    page!("E0602", "inventory/e0602-unknown-key"),
    page!("E0603", "inventory/e0603-missing-key"),
    page!("E0604", "inventory/e0604-wrong-type"),
    page!("E0605", "inventory/e0605-out-of-range"),
    page!("E0606", "inventory/e0606-twice"),
    page!("E0607", "inventory/e0607-address"),
    page!("E0608", "inventory/e0608-unknown-word"),
    page!("E0609", "inventory/e0609-public-key"),
    page!("E0701", "claims/e0701-false"),
    page!("E0702"),
    page!("E0901"),
    page!("E0902", "bounds/e0902-too-many-steps"),
    page!("E0903"),
    page!("E0904"),
    page!("E0905"),
    page!("E0906"),
    page!("E0907", "bounds/e0907-weights"),
    page!("E0908", "bounds/e0908-spans-too-long"),
    page!("E0909", "bounds/e0909-too-many-trackers"),
    page!("E0910"),
    page!("E0911"),
    page!("N0502", "not-yet/n0502-synguard"),
    page!("N0503", "not-yet/n0503-mapper"),
    page!("N0504", "not-yet/n0504-interface"),
    page!("N0505", "not-yet/n0505-dynamic-set"),
    page!("N0507", "not-yet/n0507-health"),
    page!("N0508", "not-yet/n0508-via"),
    page!("N0510", "not-yet/n0510-map"),
    page!("N0511", "not-yet/n0511-ban"),
    page!("N0512", "not-yet/n0512-log"),
    page!("N0513", "not-yet/n0513-reject"),
    page!("N0514", "not-yet/n0514-reply-rst"),
    page!("N0517", "not-yet/n0517-unwritten-exit"),
    page!("N0518", "not-yet/n0518-iface"),
    page!("N0519", "not-yet/n0519-payload"),
    page!("N0520", "not-yet/n0520-sni"),
    page!("N0522", "not-yet/n0522-synguard-stage"),
    page!("W0401", "warnings/w0401-side-by-source"),
    page!("W0402", "warnings/w0402-no-source"),
    page!("W0403", "warnings/w0403-complement"),
    page!("W0404", "warnings/w0404-unused"),
    page!("W0406", "warnings/w0406-empty-is-not-written"),
    page!("W0407", "warnings/w0407-burst-below-a-packet"),
    page!("W0408", "warnings/w0408-source-without-backend"),
    page!("W0409", "warnings/w0409-no-packet"),
    page!("W0410", "warnings/w0410-nothing-is-kept"),
    page!("W0411", "warnings/w0411-no-session"),
    page!("W0412", "warnings/w0412-empty-file"),
    page!("W0430", "warnings/w0430-tcp-has-no-name"),
    page!("W0431", "warnings/w0431-unproven-source"),
    page!("W0432", "warnings/w0432-twice-in-a-list"),
    page!("W0433", "warnings/w0433-burst-of-days"),
    page!("W0434", "warnings/w0434-no-syns"),
    page!("W0435", "warnings/w0435-no-flows"),
    page!("W0436", "warnings/w0436-never-starts"),
    page!("W0437", "warnings/w0437-expired"),
    page!("W0438", "warnings/w0438-not-yet-valid"),
    page!("W0439", "warnings/w0439-expires-soon"),
    page!("W0440", "warnings/w0440-nobody-asks"),
    page!("W0450", "reach/w0450-vip-taken"),
    page!("W0451", "reach/w0451-more-flows-than-ports"),
    page!("W0452", "reach/w0452-no-room"),
    page!("W0453", "reach/w0453-much-memory"),
    page!("W0601", "inventory/w0601-no-certificate-needed"),
    page!("W0602", "inventory/w0602-switched-off"),
    page!("W0603", "inventory/w0603-weights"),
    page!("W0604", "inventory/w0604-valid-until-days"),
    page!("W0901", "warnings/w0901-implicit-exit"),
    page!("W0902", "reach/w0902-redundant"),
    page!("W0903", "reach/w0903-idle-else"),
];

impl Page {
    /// A few words, without the code.
    pub fn title(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or("");
        line.split_once(": ").map_or(line, |(_, title)| title)
    }

    /// What the code means and why, in lines of 110 columns at most.
    pub fn meaning(&self) -> &'static str {
        let text = self.text.split_once('\n').map_or("", |(_, rest)| rest);
        text.split("\nMended:").next().unwrap_or(text).trim()
    }

    /// A policy without findings that does what the example was meant to do.
    pub fn mended(&self) -> &'static str {
        self.block("lbp").unwrap_or("")
    }

    /// What that policy includes as `inventory.toml`.
    pub fn mended_inventory(&self) -> Option<&'static str> {
        self.block("toml")
    }

    fn block(&self, language: &str) -> Option<&'static str> {
        let (_, behind) = self.text.split_once(&format!("```{language}\n"))?;
        behind.split("```").next()
    }
}

/// The page of a code, in either case, or of a code's name (`implicit-exit`).
pub fn page(code: &str) -> Option<&'static Page> {
    let named = NAMES.iter().find(|(_, name)| *name == code).map_or(code, |(code, _)| code);
    PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(named))
}

/// The code that was most likely meant.
pub fn near(code: &str) -> Option<&'static str> {
    nearest(&code.to_uppercase(), PAGES.iter().map(|page| page.code))
}

/// The files that the mended policy of a page names.
impl Loader for Page {
    fn load(&self, name: &Path) -> Result<String, String> {
        let inventory = self.mended_inventory().filter(|_| name == Path::new("inventory.toml"));
        inventory.map_or_else(|| Files.load(name), |text| Ok(text.to_owned()))
    }
}

/// The files that examples and mended policies name.
#[derive(Clone, Copy, Debug)]
pub struct Files;

const FILES: &[(&str, &str)] = &[
    ("files/broken.pem", include_str!("../../tests/cases/bad/types/files/broken.pem")),
    ("files/device-0.pem", include_str!("../../tests/cases/bad/types/files/device-0.pem")),
    ("files/device-0.pub", include_str!("../../tests/cases/bad/types/files/device-0.pub")),
    ("files/device-1.pem", include_str!("../../tests/cases/bad/types/files/device-1.pem")),
    ("files/early.pem", include_str!("../../tests/cases/bad/warnings/files/early.pem")),
    ("files/expired.pem", include_str!("../../tests/cases/bad/warnings/files/expired.pem")),
    ("files/late.pem", include_str!("../../tests/cases/bad/warnings/files/late.pem")),
    ("files/empty.txt", include_str!("../../tests/cases/bad/warnings/files/empty.txt")),
    ("files/five.txt", include_str!("../../tests/cases/bad/types/files/five.txt")),
    ("files/list.txt", include_str!("../../tests/cases/bad/types/files/list.txt")),
    ("files/p384.pem", include_str!("../../tests/cases/bad/types/files/p384.pem")),
    ("files/policy.lbp", include_str!("../../tests/cases/bad/form/files/policy.lbp")),
    ("files/private.pem", include_str!("../../tests/cases/bad/types/files/private.pem")),
    ("files/ring-a.lbp", include_str!("../../tests/cases/bad/names/files/ring-a.lbp")),
    ("files/ring-b.lbp", include_str!("../../tests/cases/bad/names/files/ring-b.lbp")),
    ("files/two.pem", include_str!("../../tests/cases/bad/types/files/two.pem")),
    ("files/address.toml", include_str!("../../tests/cases/bad/inventory/files/address.toml")),
    ("files/missing-key.toml", include_str!("../../tests/cases/bad/inventory/files/missing-key.toml")),
    (
        "files/no-certificate-needed.toml",
        include_str!("../../tests/cases/bad/inventory/files/no-certificate-needed.toml"),
    ),
    ("files/not-toml.toml", include_str!("../../tests/cases/bad/inventory/files/not-toml.toml")),
    ("files/out-of-range.toml", include_str!("../../tests/cases/bad/inventory/files/out-of-range.toml")),
    ("files/public-key.toml", include_str!("../../tests/cases/bad/inventory/files/public-key.toml")),
    ("files/switched-off.toml", include_str!("../../tests/cases/bad/inventory/files/switched-off.toml")),
    ("files/twice.toml", include_str!("../../tests/cases/bad/inventory/files/twice.toml")),
    ("files/unknown-key.toml", include_str!("../../tests/cases/bad/inventory/files/unknown-key.toml")),
    ("files/unknown-word.toml", include_str!("../../tests/cases/bad/inventory/files/unknown-word.toml")),
    (
        "files/valid-until-days.toml",
        include_str!("../../tests/cases/bad/inventory/files/valid-until-days.toml"),
    ),
    ("files/weights.toml", include_str!("../../tests/cases/bad/inventory/files/weights.toml")),
    ("files/wrong-type.toml", include_str!("../../tests/cases/bad/inventory/files/wrong-type.toml")),
];

impl Loader for Files {
    fn load(&self, name: &Path) -> Result<String, String> {
        let file = FILES.iter().find(|(path, _)| Path::new(path) == name);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    }
}
