//! Owns that the README's policy is one that runs: it checks, and does what its own expect block says.
//! Never its prose.

use lb_tests::cli::Desk;

const README: &str = include_str!("../../README.md");

#[test]
fn the_policy_in_the_readme_does_what_it_says() {
    let blocks: Vec<&str> = README.split("```\n").filter(|block| block.starts_with("lbp 1\n")).collect();
    assert_eq!(blocks.len(), 1);
    let desk = Desk::new(&[("readme.lbp", blocks[0])]);
    let ran = desk.lbctl(&["test", "readme.lbp"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.out.contains("1 test passed (3 packets"), "{ran}");
}
