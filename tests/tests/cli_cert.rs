//! Owns what `lbctl cert` makes, shows, lists and revokes, and what it refuses. Never packets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use lb_tests::cli::Desk;
use serde_json::Value;

const POLICY: &str = "lbp 1
authority devices {
  certificate 7 file \"certs/device-7.pem\"
  key 8 file \"bare.pub\"
  key 9 generate
  revoked file \"revoked.txt\"
}
track sessions { key cert; idle 60s; max 100 }
pool app { pick round-robin; via nat; backend a1 10.0.0.1:80 }
side B when src in app
side A otherwise
policy p { default drop } =
  match {
    from B             -> translate back -> forward
    udp.dport == 8_080 -> verify devices -> track sessions -> translate app -> forward
    else               -> drop
  }
";

fn document(desk: &Desk, args: &[&str]) -> Value {
    let ran = desk.lbctl(args);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn mode(desk: &Desk, name: &str) -> u32 {
    fs::metadata(desk.path(name)).expect("the file is there").permissions().mode() & 0o777
}

/// A desk with a certificate, a bare key and a policy that names them.
fn desk() -> Desk {
    let desk = Desk::new(&[("policy.lbp", POLICY), ("revoked.txt", "# nobody\n"), ("certs/.keep", "")]);
    document(&desk, &["cert", "new", "certs/device-7", "--id", "7", "--json"]);
    document(&desk, &["cert", "new", "bare", "--bare", "--id", "8", "--json"]);
    desk
}

#[test]
fn a_new_key_is_for_its_owner_alone_and_never_printed() {
    let desk = Desk::new(&[]);
    for (args, public) in [
        (vec!["cert", "new", "device-7", "--id", "7"], "device-7.pem"),
        (vec!["cert", "new", "bare", "--bare"], "bare.pub"),
    ] {
        let ran = desk.lbctl(&args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
        let private = public.replace(".pem", ".key").replace(".pub", ".key");
        assert_eq!((mode(&desk, &private), mode(&desk, public)), (0o600, 0o644), "{ran}");
        let key = fs::read_to_string(desk.path(&private)).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{key}");
        for line in key.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!ran.out.contains(line), "{ran}");
        }
        let shown = document(&desk, &["cert", "show", public, "--json"]);
        assert!(ran.out.contains(shown["hash"].as_str().unwrap()), "{ran}");
        // Both halves are of one key.
        assert_eq!(shown["point"], document(&desk, &["cert", "show", &private, "--json"])["point"]);
    }
    let ran = desk.lbctl(&["cert", "new", "device-7"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    --- err
    lbctl: error: device-7.pem: is there already, and is not overwritten
    ");
    fs::remove_file(desk.path("device-7.pem")).unwrap();
    let before = fs::read(desk.path("device-7.key")).unwrap();
    let ran = desk.lbctl(&["cert", "new", "device-7"]);
    assert_eq!(ran.err, "lbctl: error: device-7.key: is there already, and is not overwritten\n");
    assert_eq!(fs::read(desk.path("device-7.key")).unwrap(), before);
    assert!(!desk.path("device-7.pem").exists(), "a certificate without its key was left");
}

#[test]
fn the_line_it_prints_belongs_into_a_policy() {
    let desk = Desk::new(&[("certs/.keep", "")]);
    for (stem, more) in [("certs/device-7", "--days=3"), ("bare", "--bare")] {
        let made = document(&desk, &["cert", "new", stem, "--id", "5", more, "--json"]);
        let line = made["policy"].as_str().unwrap();
        let policy =
            POLICY
                .lines()
                .filter(|line| !line.starts_with("  key") && !line.starts_with("  revoked"))
                .map(|each| {
                    if each.starts_with("  certificate") {
                        format!("  {line}\n")
                    } else {
                        format!("{each}\n")
                    }
                })
                .collect::<String>();
        desk.write("policy.lbp", policy);
        let listed = document(&desk, &["cert", "list", "policy.lbp", "--json"]);
        let listed = &listed["authorities"][0]["certificates"][0];
        for name in ["id", "hash", "subject", "valid_until"] {
            assert_eq!(listed[name], made[name], "{name}");
        }
    }
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let desk = desk();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(desk.path("bare.key"), Permissions::from_mode(mode)).unwrap();
        for args in
            [vec!["cert", "show", "bare.key"], vec!["send", "--key", "bare.key", "--to", "127.0.0.1:9"]]
        {
            let ran = desk.lbctl(&args);
            let said = format!(
                "lbctl: error: bare.key: others than its owner may use this private key (mode {mode:03o}): chmod 600 bare.key\n"
            );
            assert_eq!((ran.code, ran.out.as_str(), ran.err), (Some(2), "", said));
        }
    }
    fs::set_permissions(desk.path("bare.key"), Permissions::from_mode(0o400)).unwrap();
    document(&desk, &["cert", "show", "bare.key", "--json"]);
}

#[test]
fn what_is_no_key_is_said_to_be_none() {
    let desk = desk();
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/bad/types/files");
    for name in ["broken.pem", "p384.pem", "two.pem", "private.pem"] {
        desk.write(name, fs::read(format!("{files}/{name}")).unwrap());
        fs::set_permissions(desk.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let key = fs::read_to_string(desk.path("bare.key")).unwrap();
    desk.write("half.pem", key.replacen("MIG", "MIB", 1));
    desk.write("keys.pem", key.repeat(2));
    desk.write("empty", "");
    for name in ["half.pem", "keys.pem", "empty"] {
        fs::set_permissions(desk.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let mut told = String::new();
    for name in ["broken.pem", "p384.pem", "two.pem", "half.pem", "keys.pem", "empty", "certs", "missing"] {
        told += &desk.lbctl(&["cert", "show", name]).to_string();
    }
    for name in ["bare.pub", "certs", "half.pem"] {
        told += &desk.lbctl(&["send", "--key", name, "--to", "127.0.0.1:9"]).to_string();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_list_has_every_certificate_and_what_became_of_it() {
    let desk = desk();
    let ran = desk.lbctl(&["cert", "list", "policy.lbp"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    assert!(ran.out.starts_with("authority devices\n  id  hash"), "{ran}");
    assert!(ran.out.contains("generated when the agent starts"), "{ran}");
    let hash = document(&desk, &["cert", "show", "bare.pub", "--json"])["hash"].as_str().unwrap().to_owned();
    let line = format!("   8  {hash}");
    assert!(
        ran.out.lines().any(|one| one.starts_with(&line)
            && one.ends_with("always                                        valid")),
        "{ran}"
    );

    let ran = desk.lbctl(&["cert", "revoke", "bare.pub", "--list", "revoked.txt", "--run-dir", "run"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    let list = fs::read_to_string(desk.path("revoked.txt")).unwrap();
    assert!(list.starts_with(&format!("# nobody\n{hash}    # revoked ")), "{list}");
    let listed = document(&desk, &["cert", "list", "policy.lbp", "--json"]);
    let revoked: Vec<bool> = listed["authorities"][0]["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["revoked"].as_bool().unwrap())
        .collect();
    assert_eq!(revoked, [false, true, false]);
    // Again, by the hash in openssl's form: nothing is written twice.
    let colons: Vec<&str> = (0..32).map(|at| &hash[2 * at..2 * at + 2]).collect();
    let fingerprint = colons.join(":").to_uppercase();
    let ran = desk.lbctl(&["cert", "revoke", &fingerprint, "--list", "revoked.txt", "--run-dir", "run"]);
    assert!(ran.out.starts_with(&format!("revoked.txt: {hash} stands there already\n")), "{ran}");
    assert!(ran.out.contains("the next apply goes by the list"), "{ran}");
    assert_eq!(fs::read_to_string(desk.path("revoked.txt")).unwrap(), list);
}

#[test]
fn a_list_that_is_none_is_left_alone() {
    let desk = desk();
    desk.write("revoked.txt", "nothing else\n");
    let mut told = String::new();
    for which in ["bare.pub", "bare.key", "abc", "missing.pem"] {
        told += &desk.lbctl(&["cert", "revoke", which, "--list", "revoked.txt"]).to_string();
    }
    told += &desk.lbctl(&["cert", "revoke", "bare.pub", "--list", "certs"]).to_string();
    assert_eq!(fs::read_to_string(desk.path("revoked.txt")).unwrap(), "nothing else\n");
    insta::assert_snapshot!(told);
    // A list that was not there is made.
    assert_eq!(
        desk.lbctl(&["cert", "revoke", "bare.pub", "--list", "new.txt", "--run-dir", "run"]).code,
        Some(0)
    );
}
