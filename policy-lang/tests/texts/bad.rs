//! One bad example for each code, by stage, in `tests/cases/bad`; snapshots hold what is said about it.

use crate::common;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Codes that no file of a sensible size earns, with the test that holds them.
const ELSEWHERE: &[&str] = &["E0414", "W0902", "W0903", "E0116"];

/// Told by the compiler: `tests/tests/bad.rs` holds what is said about these.
pub fn is_compilers(path: &Path) -> bool {
    let stages = ["not-yet", "reach", "claims", "bounds"];
    path.components().any(|part| stages.iter().any(|stage| part.as_os_str() == *stage))
}

pub fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("the directory can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "files") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_bad_example_is_told_as_its_snapshot_says() {
    let root = common::repository("tests/cases/bad");
    for path in files(&root, "lbp").into_iter().filter(|path| !is_compilers(path)) {
        let checked = common::check(&path);
        let case = path.strip_prefix(&root).expect("below the root").with_extension("");
        let name = case.to_string_lossy().replace('/', "__");
        let errs = checked
            .diagnostics
            .iter()
            .any(|finding| finding.severity == policy_lang::diagnostic::Severity::Error);
        assert_eq!(
            checked.policy.is_none(),
            errs,
            "{name}: a policy comes out if and only if there is no error"
        );
        // Unwritten exits are told only where they are the point.
        let shown = common::render(&checked, |finding| finding.code != "W0901" || name.contains("w0901"));
        insta::assert_snapshot!(name, shown);
    }
}

/// Every code that is quoted in the sources below a directory of the repository, the list of pages left out.
pub fn codes_written_in(directory: &str) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    for path in files(&common::repository(directory), "rs") {
        if path.ends_with("policy-lang/src/codes.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the source can be read");
        for quoted in text.split('"') {
            let (kind, digits) = quoted.split_at_checked(1).unwrap_or(("", ""));
            if ["E", "W", "N"].contains(&kind)
                && digits.len() == 4
                && digits.bytes().all(|byte| byte.is_ascii_digit())
            {
                written.insert(quoted.to_owned());
            }
        }
    }
    written
}

#[test]
fn every_code_has_a_bad_example() {
    let written = codes_written_in("policy-lang/src");
    assert!(written.len() > 80, "the codes are found in the sources");
    let mut earned: BTreeSet<String> = ELSEWHERE.iter().map(|&code| code.to_owned()).collect();
    earned.extend(written.iter().filter(|code| code.starts_with('N')).cloned());
    let cases = files(&common::repository("tests/cases/bad"), "lbp").into_iter();
    for path in cases.filter(|path| !is_compilers(path)) {
        let name = path.file_name().expect("a file").to_string_lossy().to_uppercase();
        let codes: BTreeSet<&str> =
            common::check(&path).diagnostics.iter().map(|finding| finding.code).collect();
        let own = name.get(..5).unwrap_or("");
        assert!(codes.contains(own), "{name} earns the code it is named for, not only {codes:?}");
        earned.extend(codes.into_iter().map(str::to_owned));
    }
    let missing: Vec<&String> = written.difference(&earned).collect();
    assert!(missing.is_empty(), "codes without a bad example: {missing:?}");
}
