//! Owns what `lbctl check` says of the files that a policy is read from and names: what they are, where they lie, and what
//! does not belong into them. Never what it says of the policy's own text.

use std::fmt::Write;
use std::os::unix::fs::symlink;

use lb_tests::cli::{Desk, SOUND};

#[test]
fn what_is_no_policy_is_refused_in_one_sentence() {
    let desk = Desk::new(&[("empty.lbp", ""), ("locked.lbp", SOUND)]);
    desk.write("binary.lbp", b"\x7fELF\x02\x01\x01\0\xf0\x9f");
    std::fs::create_dir(desk.path("dir.lbp")).unwrap();
    nix::unistd::mkfifo(&desk.path("fifo.lbp"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let files =
        ["missing.lbp", "dir.lbp", "fifo.lbp", "binary.lbp", "empty.lbp", "/dev/null", "dir.lbp/x.lbp"];
    let told: Vec<String> =
        files.iter().map(|file| desk.lbctl(&["check", "--format", "short", file]).to_string()).collect();
    insta::assert_snapshot!(told.join(""), @r#"
    exit 2
    --- err
    lbctl: error: missing.lbp: no such file
    exit 2
    --- err
    lbctl: error: dir.lbp: is a directory
    exit 2
    --- err
    lbctl: error: fifo.lbp: is a FIFO; for standard input, write -
    exit 2
    --- err
    lbctl: error: binary.lbp: is no text: byte 0xf0 in line 1, column 9 is not UTF-8
    exit 1
    --- err
    empty.lbp:1:1: error[E0101]: the file is empty
    empty.lbp: 1 error
    exit 2
    --- err
    lbctl: error: /dev/null: is a device
    exit 2
    --- err
    lbctl: error: dir.lbp/x.lbp: no such file
    "#);
}

/// A list can't be standard input: the cure for the policy is none for it.
#[test]
fn a_list_that_is_a_fifo_is_refused_and_not_waited_for() {
    let text = "lbp 1\nset s : net from \"list\" max 10\npolicy p { default drop } = match { src in s -> drop\n else -> pass }\n";
    let desk = Desk::new(&[("p.lbp", text)]);
    nix::unistd::mkfifo(&desk.path("list"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ran = desk.lbctl(&["check", "p.lbp", "--format", "short"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("`list` cannot be read: is a FIFO\n"), "{ran}");
}

#[test]
fn an_include_that_cannot_be_read_is_told_at_its_place() {
    let desk = Desk::new(&[
        ("secret.lbp", "lbp 1\n"),
        ("p/round.lbp", "lbp 1\ninclude \"again.lbp\"\n"),
        ("p/again.lbp", "lbp 1\n\ninclude \"round.lbp\"\n"),
    ]);
    desk.write("p/latin.lbp", b"lbp 1\n# caf\xe9\n");
    nix::unistd::mkfifo(&desk.path("p/fifo.lbp"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("../secret.lbp", desk.path("p/out.lbp")).unwrap();
    symlink("/dev/zero", desk.path("p/zero.lbp")).unwrap();
    symlink("self.lbp", desk.path("p/self.lbp")).unwrap();
    let names = ["latin", "fifo", "out", "zero", "self", "round", "../secret", "p.lbp/x"];
    let includes: String = names.iter().map(|name| format!("include \"{name}.lbp\"\n")).collect();
    desk.write("p/p.lbp", format!("lbp 1\n{includes}policy p {{ default drop }} = drop\n"));
    insta::assert_snapshot!(desk.lbctl(&["check", "--format", "short", "p/p.lbp"]), @r"
    exit 1
    --- err
    p/p.lbp:2:9: error[E0207]: `latin.lbp` cannot be read: is no text: byte 0xe9 in line 2, column 6 is not UTF-8
    p/p.lbp:3:9: error[E0207]: `fifo.lbp` cannot be read: is a FIFO
    p/p.lbp:4:9: error[E0207]: `out.lbp` cannot be read: is a symbolic link that leaves the policy's directory
    p/p.lbp:5:9: error[E0207]: `zero.lbp` cannot be read: is a symbolic link that leaves the policy's directory
    p/p.lbp:6:9: error[E0207]: `self.lbp` cannot be read: too many levels of symbolic links
    p/p.lbp:8:9: error[E0208]: `../secret.lbp` is outside of the policy's directory
    p/p.lbp:9:9: error[E0207]: `p.lbp/x.lbp` cannot be read: not a directory
    p/again.lbp:3:9: error[E0206]: `round.lbp` includes itself
    p/p.lbp: 8 errors
    ");
}

#[test]
fn nothing_outside_of_the_policys_directory_is_read() {
    let desk = Desk::new(&[("secret.txt", "192.0.2.1\n")]);
    std::fs::create_dir(desk.path("etc")).unwrap();
    symlink("../secret.txt", desk.path("etc/link.txt")).unwrap();
    for (n, name) in ["../secret.txt", "link.txt", "/etc/passwd", "missing.txt", "."].iter().enumerate() {
        desk.write(
            &format!("etc/p{n}.lbp"),
            format!("lbp 1\nset s : net from \"{name}\" max 10\npolicy p {{ default drop }} = match {{ src in s -> drop\n else -> pass }}\n"),
        );
    }
    let told: Vec<String> = (0..5)
        .map(|n| desk.lbctl(&["check", "--format", "short", &format!("etc/p{n}.lbp")]).to_string())
        .collect();
    insta::assert_snapshot!(told.join(""), @r#"
    exit 1
    --- err
    etc/p0.lbp:2:18: error[E0208]: `../secret.txt` is outside of the policy's directory
    etc/p0.lbp: 1 error
    exit 1
    --- err
    etc/p1.lbp:2:18: error[E0207]: `link.txt` cannot be read: is a symbolic link that leaves the policy's directory
    etc/p1.lbp: 1 error
    exit 1
    --- err
    etc/p2.lbp:2:18: error[E0208]: `/etc/passwd` is outside of the policy's directory
    etc/p2.lbp: 1 error
    exit 1
    --- err
    etc/p3.lbp:2:18: error[E0207]: `missing.txt` cannot be read: no such file
    etc/p3.lbp: 1 error
    exit 1
    --- err
    etc/p4.lbp:2:18: error[E0207]: `` cannot be read: is a directory
    etc/p4.lbp: 1 error
    "#);
}

fn prefixes(count: u32) -> String {
    let mut text = String::new();
    for n in 0..count {
        let _ = writeln!(text, "{}.{}.{}.0/25", 1 + (n >> 16), n >> 8 & 255, n & 255);
    }
    text
}

fn with_list(max: u32) -> String {
    format!(
        "lbp 1\nset blocked : net from \"blocked.txt\" max {max}\npolicy p {{ default drop }} = match {{ src in blocked -> drop\n else -> pass }}\n"
    )
}

#[test]
fn a_bad_line_in_a_long_list_is_shown_with_its_number() {
    let mut lines: Vec<String> = prefixes(100_000).lines().map(str::to_owned).collect();
    lines[69_999] = "10.0.300.1".to_owned();
    let desk = Desk::new(&[("p.lbp", &with_list(1_000_000)), ("blocked.txt", &lines.join("\n"))]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp"]), @r#"
    exit 1
    --- err
    error[E0313]: `10.0.300.1` is not an address
         --> blocked.txt:70000:1
          |
    70000 | 10.0.300.1
          | ^^^^^^^^^^
          |
         ::: p.lbp:2:24
          |
        2 | set blocked : net from "blocked.txt" max 1000000
          |                        ------------- the list is named here
          |
          = help: write an address (`192.0.2.1`, `2001:db8::1`), a prefix (`192.0.2.0/24`) or a range (`192.0.2.1-192.0.2.9`)

    p.lbp: 1 error
    what a code means: lbctl explain-code E0313
    "#);
}

#[test]
fn a_million_prefixes_are_checked() {
    let desk = Desk::new(&[("p.lbp", &with_list(1_000_000)), ("blocked.txt", &prefixes(1_000_000))]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp"]), @r#"
    exit 0
    --- out
    p.lbp: policy p is well (1 tree, 1 set)
    "#);
}

#[test]
fn more_prefixes_than_the_set_may_hold_are_an_error() {
    let desk = Desk::new(&[("p.lbp", &with_list(10)), ("blocked.txt", &prefixes(11))]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "short"]), @r#"
    exit 1
    --- err
    p.lbp:2:24: error[E0314]: the list has 11 entries, and `max` is 10
    p.lbp: 1 error
    "#);
}

#[test]
fn certificates_are_looked_at_on_a_day() {
    let policy = "\
lbp 1
authority devices { certificate 0 file \"late.pem\" }
policy p { default drop } =
  match {
    udp.dport == 8080 -> verify devices -> pass
    else              -> drop
  }
";
    let certificate = include_str!("../cases/bad/warnings/files/late.pem");
    let desk = Desk::new(&[("p.lbp", policy), ("late.pem", certificate)]);
    let at = |date: &str, more: &[&str]| {
        desk.lbctl(&[&["check", "p.lbp", "--format", "short", "--at", date], more].concat())
    };
    assert_eq!(at("2026-01-31", &[]).err, "");
    insta::assert_snapshot!(at("2027-01-31", &[]).err, @"p.lbp:2:21: warning[W0439]: certificate 0 of `devices` expires in a day, on 2027-02-01");
    insta::assert_snapshot!(at("2027-03-01", &["--deny", "W0437"]), @r#"
    exit 1
    --- err
    p.lbp:2:21: error[W0437]: certificate 0 of `devices` has expired on 2027-02-01
    p.lbp: 1 error
    "#);
    insta::assert_snapshot!(at("tomorrow", &[]), @r#"
    exit 2
    --- err
    error: invalid value 'tomorrow' for '--at <DATE>': write 2027-01-31, or 2027-01-31T12:00:00Z
    
    For more information, try '--help'.
    "#);
}

/// Whatever is wrong with a file, it is told at the place that names it, and no policy comes of it.
#[test]
fn files_that_hold_no_certificate_or_key_are_told_where_they_are_named() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/bad/types/files");
    let names = ["device-0.pem", "device-0.pub", "broken.pem", "two.pem", "p384.pem", "private.pem"];
    let desk = Desk::new(&[("empty.pem", ""), ("list.txt", "junk\n"), ("directory/.keep", "")]);
    for name in names {
        desk.write(name, std::fs::read(format!("{files}/{name}")).expect("a file of the examples"));
    }
    nix::unistd::mkfifo(&desk.path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let cases = [
        "certificate 0 file \"missing.pem\"",
        "certificate 0 file \"directory\"",
        "certificate 0 file \"fifo\"",
        "certificate 0 file \"../device-0.pem\"",
        "certificate 0 file \"empty.pem\"",
        "certificate 0 file \"broken.pem\"",
        "certificate 0 file \"two.pem\"",
        "certificate 0 file \"p384.pem\"",
        "certificate 0 file \"private.pem\"",
        "certificate 0 file \"device-0.pub\"",
        "key 0 file \"device-0.pem\"",
        "key 0 file \"directory\"",
        "certificate 0 file \"device-0.pem\"; key 0 generate",
        "certificate 0 file \"device-0.pem\"; key 1 file \"device-0.pub\"",
        "certificate 0 file \"device-0.pem\"; revoked file \"list.txt\"",
        "certificate 0 file \"device-0.pem\"; revoked file \"directory\"",
        "certificate 256 file \"device-0.pem\"",
    ];
    let mut told = String::new();
    for case in cases {
        desk.write(
            "p.lbp",
            format!("lbp 1\nauthority a {{ {case} }}\npolicy p {{ default drop }} = match {{ proto == udp -> verify a -> pass; else -> drop }}\n"),
        );
        let ran = desk.lbctl(&["check", "p.lbp", "--format", "short"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{case}: {ran}");
        told += &format!("{case}\n{}\n", ran.err);
        // Nothing of it is used.
        let listed = desk.lbctl(&["cert", "list", "p.lbp"]);
        assert_eq!((listed.code, listed.out.as_str()), (Some(1), ""), "{case}: {listed}");
    }
    insta::assert_snapshot!(told);
}
