//! The bad examples of what is to come, `tests/cases/bad/not-yet`: each is refused with the code that it is named for.

use policy_lang::codes::{Files, PAGES};

#[test]
fn each_example_is_refused_with_its_code() {
    for page in PAGES.iter().filter(|page| page.code.starts_with('N')) {
        let Some(example) = page.example else { continue };
        let checked = policy_lang::check(example.path, example.text.to_owned(), &Files);
        let refused = checked
            .policy
            .map(|policy| compiler::compile(&policy, &checked.sources).err().unwrap_or_default());
        let told = checked.diagnostics.iter().chain(refused.iter().flatten());
        let codes: Vec<&str> = told.map(|one| one.code).collect();
        assert!(codes.contains(&page.code), "{}: {codes:?}", example.path);
    }
}
