//! Owns what `lbctl import` makes of other balancers' files, and what it says of bad ones.
//! Never the checks of what is made.

use std::path::Path;

use lb_tests::cli::{Desk, Ran};

fn case(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/import").join(name);
    std::fs::read_to_string(path).expect("the case can be read")
}

fn desk(names: &[&str]) -> Desk {
    let desk = Desk::new(&[]);
    for name in names {
        desk.write(name, case(name));
    }
    desk
}

/// Imports on a day that does not move.
fn import(desk: &Desk, args: &[&str]) -> Ran {
    desk.lbctl(&[&["import", "--start", "2026-11-21"], args].concat())
}

#[test]
fn a_certificate_balancer_becomes_a_policy() {
    let desk = desk(&["lb_config.toml"]);
    let ran = import(&desk, &["lb_config.toml"]);
    insta::assert_snapshot!(ran);
    // What is told beside it is no part of it.
    let formatted = desk.lbctl_with(&["fmt", "-"], ran.out.as_bytes());
    assert_eq!(formatted.out, ran.out);
    let tested = desk.lbctl_with(&["test", "-"], ran.out.as_bytes());
    assert!(tested.out.contains("proved  no session without a certificate"), "{tested}");
}

#[test]
fn names_and_settings_of_a_flow_balancer_become_a_policy() {
    let desk = desk(&["conf.yaml", "mappings.yaml"]);
    let ran = import(&desk, &["conf.yaml", "mappings.yaml", "--name", "flows"]);
    insta::assert_snapshot!(ran);
    let tested = desk.lbctl_with(&["test", "-"], ran.out.as_bytes());
    assert!(tested.out.contains("proved  nobody comes to a host without its name"), "{tested}");
}

#[test]
fn exact_names_go_before_stars_and_one_name_is_for_all_others() {
    let desk = desk(&["balancer.yaml"]);
    let ran = import(&desk, &["balancer.yaml"]);
    let tree: String = ran
        .out
        .lines()
        .skip_while(|line| !line.starts_with("tree"))
        .map(|line| format!("{line}\n"))
        .collect();
    insta::assert_snapshot!(tree);
}

/// An import runs the tests that it writes, and gives nothing where one fails.
#[test]
fn imported_policies_pass_their_own_tests() {
    let backend = |ip: &str, more: &str| {
        format!("[[backends]]\nid = {}\nip = \"{ip}\"\nport = 9\n{more}", ip.len() + more.len())
    };
    let open = "[load_balancer]\nrequire_cert_auth = false\n";
    let sources = "source = [\"fd00::254\", \"10.9.9.9\"]\nports = \"10000-10001\"\n";
    let taken: String = (1..=254)
        .map(|host| format!("[[backends]]\nid = {host}\nip = \"198.51.100.{host}\"\nport = 9\n"))
        .collect();
    let weighted = "algorithm = \"weighted\"\n";
    for (text, tests) in [
        (format!("{open}{}", backend("198.51.100.1", "")), 1),
        (format!("{open}{}", backend("2001:db8::1", "")), 1),
        (
            format!(
                "{open}{sources}{}{}",
                backend("10.0.0.1", ""),
                backend("fd00::11", "max_connections = 1\n")
            ),
            1,
        ),
        (format!("{open}{weighted}{}{}", backend("10.0.0.1", "weight = 0\n"), backend("fd00::1", "")), 1),
        (format!("{open}{taken}"), 0),
    ] {
        let desk = Desk::new(&[("any.toml", &text)]);
        for port in ["8080", "53", "54"] {
            let ran = import(&desk, &["any.toml", "--port", port]);
            assert_eq!((ran.code, ran.out.matches("\nexpect ").count()), (Some(0), tests), "{text}\n{ran}");
        }
    }
    let flows = "port: 53\naddr: \"2001:db8::1\"\ninterface: eth0\nsniMappings:\n";
    for (name, host) in [("*", "2001:db8::2"), ("*.a", "2001:db8::2"), ("a", "fd00::1")] {
        let text = format!("{flows}- {{fqdn: \"{name}\", ipv4: \"{host}\", port: 5}}\n");
        let desk = Desk::new(&[("any.yml", &text)]);
        let ran = import(&desk, &["any.yml"]);
        assert_eq!((ran.code, ran.out.matches("\nexpect ").count()), (Some(0), 1), "{text}\n{ran}");
    }
}

#[test]
fn options_say_what_the_file_does_not() {
    let desk = desk(&["lb_config.toml"]);
    let ran = import(&desk, &["lb_config.toml", "--port", "9000", "--name", "edge"]);
    assert!(ran.out.contains("policy edge {") && ran.out.contains("udp.dport == 9000"), "{ran}");
    let piped = desk.lbctl_with(
        &["import", "-", "--format", "toml", "--start", "2026-11-21"],
        case("lb_config.toml").as_bytes(),
    );
    assert_eq!(piped.out.replace("<stdin>", "lb_config.toml"), import(&desk, &["lb_config.toml"]).out);
    for args in [
        &["-"][..],
        &["lb_config.conf"],
        &["lb_config.toml", "--port", "0"],
        &["lb_config.toml", "--name", "no name"],
        &["lb_config.toml", "--start", "tomorrow"],
        &["lb_config.toml", "lb_config.toml"],
        &["lb_config.toml", "conf.yaml"],
        &["missing.toml"],
    ] {
        let ran = import(&desk, args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran}");
    }
}

#[test]
fn a_configuration_is_no_policy_and_the_way_to_one_is_said() {
    let desk = desk(&["lb_config.toml"]);
    let ran = desk.lbctl(&["check", "lb_config.toml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("lbctl import lb_config.toml"), "{ran}");
}

#[test]
fn programs_get_json() {
    let desk = Desk::new(&[
        ("bad.toml", "[[backends]]\nid = 0\nip = \"10.0.0.1\"\n"),
        ("good.toml", &case("lb_config.toml")),
    ]);
    let bad = import(&desk, &["bad.toml", "--json"]);
    insta::assert_snapshot!(bad);
    let good = import(&desk, &["good.toml", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&good.out).expect("a document");
    assert_eq!((good.code, good.err.as_str(), document["errors"].as_u64()), (Some(0), "", Some(0)));
    assert_eq!(document["policy"].as_str(), Some(import(&desk, &["good.toml"]).out.as_str()));
}

#[test]
fn a_balancer_that_is_switched_off_passes_everything() {
    let text = case("lb_config.toml").replacen("enabled = true", "enabled = false", 1);
    let desk = Desk::new(&[("off.toml", &text)]);
    let ran = import(&desk, &["off.toml"]);
    assert!(ran.err.contains("W0602"), "{ran}");
    insta::assert_snapshot!(ran.out);
}

#[test]
fn clients_without_certificates_are_let_in_where_the_file_says_so() {
    let text = case("lb_config.toml").replace("require_cert_auth = true", "require_cert_auth = false");
    let desk = Desk::new(&[("open.toml", &text)]);
    let ran = import(&desk, &["open.toml"]);
    assert!(ran.err.contains("W0601"), "{ran}");
    assert!(!ran.out.contains("verify") && !ran.out.contains("authority"), "{ran}");
    insta::assert_snapshot!(ran.out);
    // Without what the packet path does not carry yet, it can be put to work.
    let uncapped: String = ran
        .out
        .lines()
        .map(|line| line.split(" max_conn").next().unwrap_or(line).to_owned() + "\n")
        .collect();
    let compiled = desk.lbctl_with(&["compile", "-"], uncapped.as_bytes());
    assert_eq!(compiled.code, Some(0), "{compiled}");
}

#[test]
fn mistakes_of_a_file_are_placed_in_it() {
    let desk = Desk::new(&[
        (
            "drained.toml",
            "[load_balancer]\nrequire_cert_auth = false\n[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\nenabled = false\n",
        ),
        (
            "nobody.toml",
            "[load_balancer]\nrequire_cert_auth = true\n[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\n",
        ),
        (
            "taken.toml",
            "[load_balancer]\nname = \"B\"\nrequire_cert_auth = false\n[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\n",
        ),
        (
            "off-curve.toml",
            &format!(
                "[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\n[[certificates]]\nid = 0\npublic_key_hex = \"04{}\"\n",
                "1".repeat(128)
            ),
        ),
        ("slip.toml", "[[backends]\n"),
    ]);
    for name in ["drained.toml", "nobody.toml", "taken.toml", "off-curve.toml", "slip.toml"] {
        insta::assert_snapshot!(name, import(&desk, &[name]));
    }
}

#[test]
fn mistakes_of_yaml_are_placed_in_it() {
    let desk = Desk::new(&[
        ("slip.yaml", "port: 10000\naddr: [\n"),
        ("documents.yaml", "port: 1\n---\nport: 2\n"),
        ("keys.yaml", "port: 10000\nports: 1\nadr: 10.0.0.1\ninterface: \"eth 0\"\ndebug: 3\nport: 4\n"),
        (
            "values.yaml",
            "port: 70000\naddr: a.example\ninterface: \"eth 0\"\ndebug: 3\nconn_ttl_sec: 010\nsniMappings: none\n",
        ),
        (
            "names.yaml",
            "port: 10000\naddr: 10.0.0.1\ninterface: eth0\nsniMappings:\n\
             - {fqdn: a.example, ipv4: 10.0.0.2, port: 1}\n\
             - {fqdn: A.example., ipv4: 10.0.0.3, port: 1}\n\
             - {fqdn: \"a..b\", ipv4: \"10.0.0.4:5\", port: 1}\n\
             - {fqdn: é.example, ipv6: \"::1\", port: 1}\n\
             - {fqdn: b.example, ipv4: \"::1\", port: 1}\n\
             - just a text\n",
        ),
        ("half.yaml", "port: 10000\naddr: 10.0.0.1\ninterface: eth0\n"),
        ("twice.yaml", "port: 10000\nsniMappings: []\n"),
    ]);
    for name in ["slip.yaml", "documents.yaml", "keys.yaml", "values.yaml", "names.yaml", "half.yaml"] {
        insta::assert_snapshot!(name, import(&desk, &[name]));
    }
    insta::assert_snapshot!("two-files", import(&desk, &["half.yaml", "twice.yaml"]));
}

#[test]
fn an_included_inventory_is_a_pool_an_authority_and_a_tracker() {
    let policy = "\
lbp 1
include \"game.toml\"
include \"pools.toml\"
side B when src in { game, backends }
side A otherwise
policy p { default drop } =
  match {
    from B -> translate back -> forward
    udp.dport == 8080
      -> verify game_certificates (missing -> drop, invalid -> drop, expired -> drop)
      -> track game_sessions (full -> drop)
      -> translate game (empty -> drop)
      -> forward
    udp.dport == 53 -> track sessions (full -> drop) -> translate backends (empty -> drop) -> forward
    else -> drop
  }
expect \"who has signed is served, by who is up\" {
  packet udp src 198.51.100.7:4000 dst 192.0.2.1:8080 payload \"x\" signed game_certificates 3 => forward b0
  packet udp src 198.51.100.8:4000 dst 192.0.2.1:8080 payload \"x\" signed game_certificates 3 => forward b0
  packet udp src 198.51.100.7:4000 dst 192.0.2.1:8080 payload \"x\" => drop
  packet udp src 198.51.100.7:4000 dst 192.0.2.1:53 => forward 10.9.0.2:5353
}
assert \"no session without a certificate\" {
  never udp.dport == 8080 reaches game without game_certificates
}
";
    let game = case("lb_config.toml").replace("[load_balancer]\n", "[load_balancer]\nname = \"game\"\n");
    let pools = "\
[load_balancer]
algorithm = \"weighted\"
require_cert_auth = false
source = [\"10.9.0.254\", \"fd00::254\"]
ports = \"10000-60000\"
[[backends]]
id = 1
ip = \"10.9.0.1\"
port = 5353
weight = 0
[[backends]]
id = 2
ip = \"10.9.0.2\"
port = 5353
";
    let desk = Desk::new(&[("p.lbp", policy), ("game.toml", &game), ("pools.toml", pools)]);
    insta::assert_snapshot!("included-checked", desk.lbctl(&["check", "p.lbp", "--format", "short"]));
    let tested = desk.lbctl(&["test", "p.lbp"]);
    assert_eq!(tested.code, Some(0), "{tested}");
}

#[test]
fn an_inventory_is_included_and_stays_below_the_root() {
    let policy = "lbp 1\ninclude \"inventory/pools.toml\"\npolicy p { default drop } =\n  match {\n    src in backends -> pass\n    else -> drop\n  }\n";
    let desk = Desk::new(&[
        ("p.lbp", policy),
        (
            "inventory/pools.toml",
            "[load_balancer]\nrequire_cert_auth = false\n[[backends]]\nid = 0\nip = \"10.0.0.1\"\nport = 1\nwieght = 2\n",
        ),
        ("out.lbp", "lbp 1\ninclude \"../pools.toml\"\npolicy p { default drop } = drop\n"),
        ("fifo.lbp", "lbp 1\ninclude \"fifo.toml\"\npolicy p { default drop } = drop\n"),
        ("bytes.lbp", "lbp 1\ninclude \"bytes.toml\"\npolicy p { default drop } = drop\n"),
    ]);
    desk.write("bytes.toml", b"[load_balancer]\n\xff\n");
    nix::unistd::mkfifo(&desk.path("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    for name in ["p.lbp", "out.lbp", "fifo.lbp", "bytes.lbp"] {
        insta::assert_snapshot!(name, desk.lbctl(&["check", name, "--format", "short"]));
    }
    let link = "lbp 1\ninclude \"link.toml\"\npolicy p { default drop } = drop\n";
    desk.write("link.lbp", link);
    std::os::unix::fs::symlink("/etc/hostname", desk.path("link.toml")).expect("a link");
    let ran = desk.lbctl(&["check", "link.lbp", "--format", "short"]);
    assert!(ran.err.contains("E0207") && ran.err.contains("symbolic link"), "{ran}");
}
