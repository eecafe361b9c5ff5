//! Owns what `lbctl fmt` does to files, and what it leaves alone. Never what the one form is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lb_tests::cli::Desk;
use lb_tests::policy_text::policy_text;
use policy_lang::format::format;

const UGLY: &str = "lbp 1\npolicy p{default drop}=match{\nto nowhere->drop # no such vip\nelse->pass;\n}\n";
const FINE: &str = "\
lbp 1
policy p { default drop } = match {
  to nowhere -> drop  # no such vip
  else       -> pass
}
";

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_is_rewritten_where_it_changes_and_keeps_its_mode() {
    let desk = Desk::new(&[("ugly.lbp", UGLY), ("fine.lbp", FINE)]);
    let (ugly, fine) = (desk.path("ugly.lbp"), desk.path("fine.lbp"));
    fs::set_permissions(&ugly, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("ugly.lbp", desk.path("link.lbp")).unwrap();
    let before = fs::metadata(&fine).unwrap().modified().unwrap();
    insta::assert_snapshot!(desk.lbctl(&["fmt", "link.lbp", "fine.lbp"]), @r"
    exit 0
    --- out
    link.lbp: formatted
    ");
    assert_eq!(text(&ugly), FINE);
    assert_eq!(fs::metadata(&ugly).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(desk.path("link.lbp")).unwrap().is_symlink());
    assert_eq!(fs::metadata(&fine).unwrap().modified().unwrap(), before, "what is fine is not touched");
    assert_eq!(fs::read_dir(ugly.parent().unwrap()).unwrap().count(), 3, "nothing is left behind");
}

#[test]
fn check_names_the_files_that_would_change_and_changes_none() {
    let desk = Desk::new(&[("ugly.lbp", UGLY), ("fine.lbp", FINE)]);
    insta::assert_snapshot!(desk.lbctl(&["fmt", "--check", "ugly.lbp", "fine.lbp"]), @r"
    exit 1
    --- out
    ugly.lbp
    ");
    assert_eq!(text(&desk.path("ugly.lbp")), UGLY);
    insta::assert_snapshot!(desk.lbctl(&["fmt", "--check", "fine.lbp"]), @"exit 0");
}

#[test]
fn standard_input_goes_to_standard_output() {
    let desk = Desk::new(&[]);
    let ran = desk.lbctl_with(&["fmt", "-"], UGLY.as_bytes());
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), FINE, ""));
    let ran = desk.lbctl_with(&["fmt", "--check", "-"], UGLY.as_bytes());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), "<stdin>\n"));
}

#[test]
fn what_does_not_parse_is_told_and_the_other_files_are_formatted() {
    let desk = Desk::new(&[("broken.lbp", "lbp 1\ntree t = match {\n"), ("ugly.lbp", UGLY)]);
    insta::assert_snapshot!(desk.lbctl(&["fmt", "broken.lbp", "missing.lbp", "ugly.lbp"]), @r#"
    exit 2
    --- out
    ugly.lbp: formatted
    --- err
    error[E0104]: `{` is never closed
     --> broken.lbp:2:16
      |
    2 | tree t = match {
      |                ^ opened here
      |
      = note: the item ends at the next keyword in column 1, or with the file
      = help: close it, or indent the line that starts the next item by mistake

    lbctl: error: missing.lbp: no such file
    "#);
    assert_eq!(text(&desk.path("ugly.lbp")), FINE);
    assert_eq!(text(&desk.path("broken.lbp")), "lbp 1\ntree t = match {\n");
}

#[test]
fn programs_get_json() {
    let desk =
        Desk::new(&[("broken.lbp", "lbp 1\ntree t = match {\n"), ("ugly.lbp", UGLY), ("fine.lbp", FINE)]);
    let json = |out: &str| serde_json::from_str::<serde_json::Value>(out).expect("one document");
    let files = ["fmt", "--json", "--check", "ugly.lbp", "fine.lbp", "broken.lbp", "missing.lbp"];
    let ran = desk.lbctl(&files);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), ""));
    let told = json(&ran.out);
    assert_eq!([0, 1, 2, 3].map(|at| told["files"][at]["changed"] == true), [true, false, false, false]);
    assert_eq!(told["files"][2]["findings"][0]["code"], "E0104");
    assert_eq!(told["files"][3]["error"], "missing.lbp: no such file");
    assert_eq!(text(&desk.path("ugly.lbp")), UGLY);
    let written = json(&desk.lbctl(&["fmt", "--json", "ugly.lbp"]).out);
    assert_eq!(written["files"][0]["changed"], true);
    assert_eq!(text(&desk.path("ugly.lbp")), FINE);
    let stdin = json(&desk.lbctl_with(&["fmt", "--json", "-"], UGLY.as_bytes()).out);
    assert_eq!(stdin["files"][0]["text"], FINE);
}

#[test]
fn generated_policies_are_formatted_once_and_compile_to_the_same_image() {
    struct Nothing;
    impl policy_lang::source::Loader for Nothing {
        fn load(&self, _: &Path) -> Result<String, String> {
            Err("no such file".into())
        }
    }
    let image = |text: &str| {
        let checked = policy_lang::check("p.lbp", text.to_owned(), &Nothing);
        let policy = checked.policy?;
        let image = compiler::compile(&policy, &checked.sources).ok()?;
        Some(compiler::image::id(&image))
    };
    let mut compiled = 0;
    for seed in 0..80 {
        let text = policy_text(seed);
        let once = format("p.lbp", &text).expect("a generated policy parses");
        assert_eq!(format("p.lbp", &once).expect("it still parses"), once, "seed {seed}");
        let id = image(&text);
        compiled += usize::from(id.is_some());
        assert_eq!(image(&once), id, "seed {seed}");
    }
    assert!(compiled > 10, "{compiled} of 80 compile");
}
