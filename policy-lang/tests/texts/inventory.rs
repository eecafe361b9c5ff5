//! Inventories of TOML and YAML: whatever the bytes, there are findings with places or a policy, and what is well
//! imports to a policy that checks.

use std::path::Path;
use std::time::{Duration, Instant};

use policy_lang::Checked;
use policy_lang::inventory::{Form, Imported, Options, import};
use policy_lang::source::{Loader, Source};
use proptest::prelude::*;

use crate::common;

fn options() -> Options {
    Options { port: 8080, name: "balancer".to_owned(), start: 1_795_219_200 }
}

fn imported(form: Form, text: &str) -> Imported {
    import(vec![Source { name: "any".to_owned(), text: text.to_owned() }], form, &options())
}

/// The findings, with every span sliced out of its text.
fn told(imported: Imported) -> String {
    let Imported { policy, sources, diagnostics, broken, .. } = imported;
    let checked = Checked { policy, partly_reached: None, sources, diagnostics };
    let told = common::render(&checked, |_| true);
    assert!(!broken, "a policy that does not check was made: {told}");
    assert_eq!(checked.policy.is_none(), told.contains("error "), "{told}");
    told
}

struct One(String);

impl Loader for One {
    fn load(&self, _: &Path) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

fn included(text: &str) -> Checked {
    let root = "lbp 1\ninclude \"any.toml\"\npolicy p { default drop } = drop\n";
    let checked = policy_lang::check("p.lbp", root.to_owned(), &One(text.to_owned()));
    let told = common::render(&checked, |_| true);
    assert_eq!(checked.policy.is_none(), told.contains("error "), "{told}");
    checked
}

const TOML_WORDS: &[&str] = &[
    "[load_balancer]\n",
    "[[backends]]\n",
    "[[certificates]]\n",
    "[certificates]\n",
    "id = ",
    "ip = ",
    "port = ",
    "weight = ",
    "enabled = ",
    "algorithm = ",
    "require_cert_auth = ",
    "session_timeout_sec = ",
    "source = ",
    "ports = ",
    "name = ",
    "public_key_hex = ",
    "generate_on_startup = ",
    "valid_until_days = ",
    "0",
    "1",
    "-1",
    "70000",
    "99999999999999999999999999999999999999999",
    "0x1f",
    "1.5",
    "true",
    "false",
    "nan",
    "1979-05-27",
    "\"10.0.0.1\"",
    "\"::1\"",
    "\"weighted\"",
    "\"10000-60000\"",
    "\"drop\"",
    "\"B\"",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "=",
    ",",
    ".",
    "\n",
    "\"é\"",
    "# é\n",
    "\r\n",
    "\u{0}",
];

const YAML_WORDS: &[&str] = &[
    "port: ",
    "addr: ",
    "interface: ",
    "conn_ttl_sec: ",
    "debug: ",
    "sniMappings:",
    "\n",
    "  - ",
    "- ",
    "  ",
    "fqdn: ",
    "ipv4: ",
    "10000",
    "0",
    "70000",
    "010",
    "0x10",
    "1.5",
    "true",
    "null",
    "~",
    "10.0.0.1",
    "\"10.0.0.1\"",
    "::1",
    "eth0",
    "a.example",
    "\"*.example\"",
    "\"*\"",
    "*a",
    "&a ",
    "<<: ",
    "!!str ",
    "!x ",
    "{",
    "}",
    "[",
    "]",
    ",",
    ": ",
    "? ",
    "| ",
    "> ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\"",
    "'",
    "#",
    "é",
    "\t",
    "\r\n",
    "\u{0}",
];

fn soup(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(words), 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_toml_is_told_or_imported(text in soup(TOML_WORDS)) {
        told(imported(Form::Toml, &text));
        included(&text);
    }

    #[test]
    fn any_yaml_is_told_or_imported(text in soup(YAML_WORDS)) {
        told(imported(Form::Yaml, &text));
    }

    #[test]
    fn any_text_is_told(text in "\\PC{0,200}") {
        told(imported(Form::Toml, &text));
        told(imported(Form::Yaml, &text));
        included(&text);
    }

    #[test]
    fn a_damaged_file_is_told_or_imported(at in 0usize..2_000, length in 0usize..40, put in "\\PC{0,5}") {
        for (form, name) in [(Form::Toml, "lb_config.toml"), (Form::Yaml, "balancer.yaml")] {
            let path = common::repository("tests/cases/import").join(name);
            let text = std::fs::read_to_string(path).unwrap();
            let at = (0..=at % (text.len() + 1)).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
            let end = (at + length).min(text.len());
            let end = (end..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
            let damaged = format!("{}{put}{}", &text[..at], &text[end..]);
            told(imported(form, &damaged));
        }
    }
}

/// A file of the schema, with every key or without those that have a default.
fn balancer() -> impl Strategy<Value = String> {
    let backend =
        (any::<[u8; 3]>(), 1u16.., any::<Option<bool>>(), 1u32..1_000, proptest::option::of(1u32..=1 << 26));
    let certificate = (proptest::option::of(1u32..4_000), "[ -~é\n]{0,12}");
    let settings = (
        proptest::option::of(1u32..1_000_000),
        proptest::option::of(proptest::sample::select(&["round-robin", "least-connections", "weighted"][..])),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
    );
    (
        settings,
        proptest::collection::vec(backend, 1..20),
        proptest::collection::vec(certificate, 0..6),
        any::<bool>(),
    )
        .prop_map(|((timeout, algorithm, require, enabled), backends, certificates, source)| {
            let mut text = String::from("[load_balancer]\n");
            let mut key = |key: &str, value: Option<String>| {
                text.extend(value.map(|value| format!("{key} = {value}\n")));
            };
            key("session_timeout_sec", timeout.map(|value| value.to_string()));
            key("algorithm", algorithm.map(|value| format!("{value:?}")));
            // Nobody could be let in without certificates.
            let require = if certificates.is_empty() { Some(false) } else { require };
            key("require_cert_auth", require.map(|value| value.to_string()));
            key("enabled", enabled.map(|value| value.to_string()));
            key("source", source.then(|| "\"192.0.2.1\"".to_owned()));
            key("ports", source.then(|| "\"10000-60000\"".to_owned()));
            for (id, ([a, b, c], port, enabled, weight, most)) in backends.iter().enumerate() {
                text += &format!(
                    "[[backends]]\nid = {id}\nip = \"10.{a}.{b}.{c}\"\nport = {port}\nweight = {weight}\n"
                );
                // One of them at least takes new sessions.
                text.extend(enabled.filter(|_| id > 0).map(|enabled| format!("enabled = {enabled}\n")));
                text.extend(most.map(|most| format!("max_connections = {most}\n")));
            }
            for (id, (days, name)) in certificates.iter().enumerate() {
                text +=
                    &format!("[[certificates]]\nid = {id}\nname = {name:?}\ngenerate_on_startup = true\n");
                text.extend(days.map(|days| format!("valid_until_days = {days}\n")));
            }
            text
        })
}

fn flows() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(&["", "*."][..]).prop_flat_map(|star| {
        "[a-z]([a-z0-9_-]{0,6}[a-z0-9])?(\\.[A-Z0-9]{1,4}){0,3}".prop_map(move |name| format!("{star}{name}"))
    });
    let mapping = (name, any::<[u8; 2]>(), 1u16..);
    let listens = (1u16.., "[a-z][!#-&(-.0-9;-~]{0,14}");
    (listens, proptest::option::of(1u32..1_000_000), proptest::collection::vec(mapping, 1..20), any::<bool>())
        .prop_map(|((port, device), idle, mappings, other)| {
            let mut text = format!("port: {port}\naddr: 172.31.0.20\ninterface: '{device}'\n");
            text.extend(idle.map(|idle| format!("conn_ttl_sec: {idle}\n")));
            text.push_str("sniMappings:\n");
            let mut seen = std::collections::BTreeSet::new();
            for (name, [a, b], port) in mappings {
                if seen.insert(name.to_lowercase()) {
                    text += &format!("- {{fqdn: \"{name}\", ipv4: 10.0.{a}.{b}, port: {port}}}\n");
                }
            }
            if other {
                text.push_str("- {fqdn: \"*\", ipv4: 10.1.0.1, port: 1}\n");
            }
            text
        })
}

fn sound(form: Form, text: &str) -> Result<(), TestCaseError> {
    let made = imported(form, text);
    let policy = made.text.clone();
    let told = told(made);
    prop_assert!(policy.is_some(), "{text}\n{told}");
    let policy = policy.unwrap_or_default();
    prop_assert_eq!(policy_lang::format::format("again.lbp", &policy).ok(), Some(policy), "a fixed point");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sound_balancer_imports_to_a_policy_that_checks(text in balancer()) {
        sound(Form::Toml, &text)?;
        prop_assert!(included(&text).policy.is_some());
    }

    #[test]
    fn sound_flows_import_to_a_policy_that_checks(text in flows()) {
        sound(Form::Yaml, &text)?;
    }
}

/// Each of them was once made into a policy that did not check.
#[test]
fn names_and_numbers_at_the_edge_import_or_are_told() -> Result<(), TestCaseError> {
    for name in ["xm-___6", "*.x", "*", "1.2", "a-b", "match"] {
        sound(
            Form::Yaml,
            &format!(
                "port: 1\naddr: 10.0.0.1\ninterface: eth0\nsniMappings: [{{fqdn: \"{name}\", ipv4: 10.0.0.2, port: 1}}]\n"
            ),
        )?;
    }
    let balancer = |most: &str, name: &str| {
        format!(
            "[load_balancer]\nrequire_cert_auth = false\nname = \"{name}\"\n[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\nmax_connections = {most}\n"
        )
    };
    sound(Form::Toml, &balancer("67108864", "web"))?;
    assert!(told(imported(Form::Toml, &balancer("67108865", "web"))).contains("E0605"));
    for taken in ["A", "drop", "b0", "balancer", "x-"] {
        let told = told(imported(Form::Toml, &balancer("1", taken)));
        assert!(told.contains("E0608") || told.contains("E0202"), "{taken}: {told}");
    }
    Ok(())
}

#[test]
fn what_nests_deep_or_grows_is_told_in_little_time() {
    let many = 100_000;
    let bomb: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let texts = [
        (Form::Toml, format!("a = {}", "[".repeat(many))),
        (Form::Toml, format!("a = {}", "{a=".repeat(many))),
        (Form::Toml, format!("{}a = 1", "a.".repeat(many))),
        (Form::Toml, format!("[{}a]", "a.".repeat(many))),
        (Form::Toml, "[[backends]]\n".repeat(200)),
        (Form::Toml, "= = =\n".repeat(many)),
        (Form::Toml, format!("a = \"{}", "\\".repeat(many))),
        (Form::Yaml, "[".repeat(many)),
        (Form::Yaml, "{a: ".repeat(many)),
        (Form::Yaml, "- ".repeat(many)),
        (Form::Yaml, "? ".repeat(many)),
        (Form::Yaml, (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        (Form::Yaml, format!("a0: &a0 x\n{bomb}")),
        (Form::Yaml, "- &a b\n".repeat(many)),
        (Form::Yaml, "a: &a [*a]".to_owned()),
        (Form::Yaml, format!("\"{}", "x ".repeat(many))),
    ];
    for (form, text) in texts {
        let start = Instant::now();
        let told = told(imported(form, &text));
        let head: String = text.chars().take(20).collect();
        assert!(told.contains("E060"), "{head}: {told}");
        assert!(start.elapsed() < Duration::from_secs(10), "{head}");
    }
}

/// Codes that are told, in order.
fn codes(form: Form, text: &str) -> Vec<&'static str> {
    imported(form, text).diagnostics.iter().map(|one| one.code).collect()
}

#[test]
fn an_id_that_is_taken_is_told_whatever_else_is_wrong() {
    let backend = |id: &str, ip: &str| format!("[[backends]]\nid = {id}\nip = \"{ip}\"\nport = 80\n");
    let both = |first: &str, second: &str| backend("7", first) + &backend("7", second);
    assert!(codes(Form::Toml, &both("10.0.0.1", "10.0.0.2")).contains(&"E0606"));
    assert_eq!(codes(Form::Toml, &both("10.0.0.300", "10.0.0.2")), ["E0607", "E0606"]);
    assert_eq!(codes(Form::Toml, &both("10.0.0.1", "10.0.0.300")), ["E0606", "E0607"]);
    let other = backend("7", "10.0.0.1") + &backend("8", "10.0.0.1");
    assert!(!codes(Form::Toml, &other).contains(&"E0606"));
    let keys = "[[certificates]]\nid = 3\n[[certificates]]\nid = 3\ngenerate_on_startup = true\n";
    assert_eq!(codes(Form::Toml, &(backend("7", "10.0.0.1") + keys)), ["E0603", "E0606"]);
    let mapped = |first: &str| {
        format!(
            "port: 1\naddr: 10.0.0.9\ninterface: eth0\nsniMappings:\n  - {{ fqdn: a.b, ipv4: {first}, port: 1 }}\n  - {{ fqdn: A.b, ipv4: 10.0.0.2, port: 1 }}\n"
        )
    };
    assert_eq!(codes(Form::Yaml, &mapped("10.0.0.1")), ["E0606"]);
    assert_eq!(codes(Form::Yaml, &mapped("10.0.0.300")), ["E0607", "E0606"]);
}

#[test]
fn the_beginning_of_a_key_is_enough_to_be_meant() {
    let told =
        imported(Form::Yaml, "port: 1\naddr: 10.0.0.9\ninterface: eth0\nconn_ttl: 5\nsniMappings: []\n");
    let help = told.diagnostics.iter().find(|one| one.code == "E0602").and_then(|one| one.help.clone());
    assert_eq!(help.as_deref(), Some("did you mean `conn_ttl_sec`?"));
}
