//! Owns the image of every policy that compiles, as text: what `tests/snapshots` holds is what goes to the kernel.
//! Never runs one.

use std::path::Path;

use compiler::image::{from_bytes, to_bytes, to_text};
use lb_tests::accepted::{Accepted, written};

/// Policies of the project that language and compiler accept, by file name.
fn accepted() -> Vec<(String, Accepted)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let entries = std::fs::read_dir(&directory).expect("the project has policies");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".lbp"))
        .collect();
    names.sort();
    names.into_iter().filter_map(|name| Some((name.clone(), Accepted::new(&written(&name)).ok()?))).collect()
}

#[test]
fn images_are_as_recorded() {
    let accepted = accepted();
    assert!(accepted.len() >= 3, "the demo, nat and firewall compile");
    for (name, accepted) in accepted {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.trim_end_matches(".lbp"), to_text(&accepted.image));
        });
    }
}

#[test]
fn images_come_back_from_their_bytes() {
    for (name, accepted) in accepted() {
        assert_eq!(from_bytes(&to_bytes(&accepted.image)).as_ref(), Ok(&accepted.image), "{name}");
    }
}

#[test]
fn the_same_policy_gives_the_same_bytes() {
    for (name, first) in accepted() {
        let second = Accepted::new(&written(&name)).expect("accepted before");
        assert!(to_bytes(&first.image) == to_bytes(&second.image), "{name}");
    }
}
