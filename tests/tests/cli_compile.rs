//! Owns what `lbctl compile` writes, in its three forms. Never what the words of an image do.

use compiler::image;
use lb_tests::cli::Desk;
use serde_json::Value;

const POLICY: &str = "\
lbp 1
set office : net = { 198.51.100.0/24 }
limit calm { rate 100 pkt/s; burst 200 }
policy small { default drop } =
  match {
    src in office -> limit calm (exceed -> drop) -> pass
    else          -> drop
  }
";

fn id(desk: &Desk, file: &str) -> String {
    let ran = desk.lbctl(&["compile", file, "--json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let document: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(document["version"], 1);
    document["id"].as_str().expect("an id").to_owned()
}

#[test]
fn the_text_ends_with_the_memory_that_is_needed() {
    let desk = Desk::new(&[("p.lbp", POLICY)]);
    let ran = desk.lbctl(&["compile", "p.lbp"]);
    assert!(ran.out.starts_with("image small\n"), "{ran}");
    assert!(ran.out.contains("\nmap "), "{ran}");
    assert!(ran.out.lines().last().is_some_and(|line| line.starts_with("in all ")), "{ran}");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn the_id_is_that_of_the_meaning() {
    let comments = POLICY.replace("lbp 1\n", "lbp 1\n# a comment\n\n");
    let other = POLICY.replace("198.51.100.0/24", "198.51.101.0/24");
    let desk = Desk::new(&[("p.lbp", POLICY), ("q.lbp", &comments), ("r.lbp", &other)]);
    assert_eq!(id(&desk, "p.lbp"), id(&desk, "q.lbp"));
    assert_ne!(id(&desk, "p.lbp"), id(&desk, "r.lbp"));
}

#[test]
fn the_binary_form_is_the_same_image() {
    let desk = Desk::new(&[("p.lbp", POLICY)]);
    let ran = desk.lbctl(&["compile", "p.lbp", "--format", "bin", "-o", "p.image"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let bytes = std::fs::read(desk.path("p.image")).unwrap();
    let image = image::from_bytes(&bytes).unwrap();
    let hex: String = image::id(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, id(&desk, "p.lbp"));
    assert!(ran.out.starts_with(&format!("policy small\nid {hex}\n")), "{ran}");
    assert_eq!(desk.command(&["compile", "p.lbp", "--format", "bin"]).output().unwrap().stdout, bytes);
}

/// In the form in which `check` prints them.
#[test]
fn what_refuses_a_policy_is_told_as_json_too() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = reject\n")]);
    let ran = desk.lbctl(&["compile", "p.lbp", "--json"]);
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!((ran.code, document["findings"][0]["code"].as_str()), (Some(1), Some("N0513")), "{ran}");
}

#[test]
fn nothing_is_written_where_there_are_errors() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = drp\n")]);
    let ran = desk.lbctl(&["compile", "p.lbp", "-o", "p.image"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran}");
    assert!(!desk.path("p.image").exists());
    let desk = Desk::new(&[("p.lbp", POLICY)]);
    insta::assert_snapshot!(desk.lbctl(&["compile", "p.lbp", "-o", "no/such/dir"]), @r#"
    exit 2
    --- err
    lbctl: error: no/such/dir: no such file
    "#);
}
