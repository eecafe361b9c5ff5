use lb_tests::policy_text::policy_text;
use lb_tests::*;
struct NoFiles;
impl policy_lang::source::Loader for NoFiles {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no".into())
    }
}
fn main() {
    let mut why = std::collections::BTreeMap::<String, (u32, u64)>::new();
    let n: u64 = std::env::args().nth(1).map_or(300, |n| n.parse().unwrap());
    let mut ok = 0;
    for seed in 1..=n {
        let text = policy_text(seed);
        let checked = policy_lang::check("random.lbp", text.clone(), &NoFiles);
        match checked.policy {
            None => {
                for d in checked
                    .diagnostics
                    .iter()
                    .filter(|d| d.severity == policy_lang::diagnostic::Severity::Error)
                {
                    let span = d.primary.0;
                    let key = format!(
                        "{} {} | {}",
                        d.code,
                        d.message,
                        &text[span.start as usize..span.end as usize]
                    );
                    let e = why.entry(key).or_insert((0, seed));
                    e.0 += 1;
                }
            }
            Some(policy) => match compiler::compile(&policy, &checked.sources) {
                Err(d) => {
                    for d in d {
                        let e = why.entry(format!("compile {} {}", d.code, d.message)).or_insert((0, seed));
                        e.0 += 1;
                    }
                }
                Ok(image) => {
                    ok += 1;
                    let mut case = case::Case::new(text, seed % 2 * seed);
                    let right =
                        oracle::explore(&mut case, &policy, &checked.sources, seed, 300).identified(&image);
                    if let Err(d) = differential::compare(&right, "tables", &walker::play(&case, &image)) {
                        println!("seed {seed}: {d}");
                    }
                }
            },
        }
    }
    println!("{ok} of {n}");
    let mut v: Vec<_> = why.into_iter().collect();
    v.sort_by_key(|x| std::cmp::Reverse(x.1.0));
    for (k, (n, s)) in v.into_iter().take(60) {
        println!("{n:5} (seed {s}) {k}");
    }
}
