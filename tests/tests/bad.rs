//! Owns the bad examples of `tests/cases/bad` that the compiler speaks about: `not-yet` what is to come, `reach` what no packet
//! gets to, `claims` what is claimed and false, `bounds` what does not fit. Each earns the code that it is named for. Never
//! those that the language speaks about, nor what takes a file of many thousand lines (`bounds.rs`).

use std::fmt::Write;

use policy_lang::codes::{Example, Files, PAGES, Page};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::source::Sources;

fn told(page: &Page, text: &str) -> (Vec<Diagnostic>, Sources) {
    let checked = policy_lang::check("p.lbp", text.to_owned(), page);
    let mut told = checked.diagnostics;
    if let Some(policy) = &checked.policy {
        told.extend(compiler::analyse(policy));
        // Some bounds are told by both.
        let refused = compiler::compile(policy, &checked.sources).err().unwrap_or_default();
        told.extend(refused.into_iter().filter(|one| !told.contains(one)).collect::<Vec<_>>());
        told.extend(compiler::prove::run(policy).diagnostics());
    }
    (told, checked.sources)
}

const STAGES: [&str; 4] = ["not-yet/", "reach/", "claims/", "bounds/"];

#[test]
fn each_example_earns_its_code() {
    for page in PAGES {
        let Some(example) = page.example else { continue };
        if !STAGES.iter().any(|directory| example.path.starts_with(directory)) {
            continue;
        }
        let checked = policy_lang::check(example.path, example.text.to_owned(), &Files);
        assert!(checked.policy.is_some(), "{}: {:?}", example.path, checked.diagnostics);
        let codes: Vec<&str> = told(page, example.text).0.iter().map(|one| one.code).collect();
        assert!(codes.contains(&page.code), "{}: {codes:?}", example.path);
    }
}

#[test]
fn what_is_mended_is_reached() {
    for page in PAGES {
        let (told, _) = told(page, page.mended());
        let codes: Vec<&str> = told.iter().map(|one| one.code).collect();
        assert!(
            ["E0414", "E0415", page.code].iter().all(|code| !codes.contains(code)),
            "{}: {codes:?}",
            page.code
        );
    }
}

#[test]
fn what_no_packet_gets_to_is_told_with_what_keeps_it_away() {
    let mut text = String::new();
    for page in PAGES {
        let is_told = |example: &Example| STAGES[1..].iter().any(|stage| example.path.starts_with(stage));
        let Some(example) = page.example.filter(is_told) else { continue };
        let (told, sources) = told(page, example.text);
        for one in told.iter().filter(|one| one.code == page.code) {
            let place = |span| {
                let place = sources.place(span);
                format!("{}:{}", place.line, place.column)
            };
            let _ = writeln!(text, "{} {} {}", one.code, place(one.primary.0), one.message);
            for (span, words) in &one.secondary {
                let _ = writeln!(text, "  {}", format!("{} {words}", place(*span)).trim_end());
            }
            let _ = writeln!(text, "  why: {}", one.reason.as_deref().unwrap_or_default());
        }
    }
    insta::assert_snapshot!(text, @r#"
    E0406 10:39 replies of `app` cannot get to `translate back`, such as `tcp ack src 10.0.1.1:50000 dst 10.0.0.5:1000`
      3:76 a packet from `a1` never gets there
      8:5 takes it
      why: a reply has to be translated back before it can reach the client
    E0414 6:5 this arm is never taken
      4:5 shadowed by this arm
      why: an earlier arm takes every packet that it would match
    E0414 7:5 this arm is never taken
      4:5 takes a part of it
      5:5 takes a part of it
      why: the arms above, taken together, take every packet that it would match
    E0414 9:5 this arm is never taken
      8:5 shadowed by this arm
      why: an earlier arm takes every packet that it would match
    E0701 11:3 the claim in "only staff, and everybody the web" is false for `packet tcp syn src 198.51.100.7:50000 dst 203.0.113.1:80`
      5:5 taken
      5:24 ends here
      why: the packet goes this way as the first one, with nothing known before it
    E0902 35:28 a packet can take 33 steps to its end, 32 are allowed
      why: each region of guards, each stage and each end is a step, and the time of a packet is bounded by them
    E0907 2:6 the weights of pool `app` take more than 65536 turns
      why: each backend takes turns as often as its weight, in lowest terms, and a round of turns must end
    E0908 2:7 limit `calm` spans more than two years
      why: the burst divided by the rate is the time that the limit has to remember
    E0909 65:7 64 trackers, 63 are allowed
      why: whose flow a packet belongs to is one of few classes
    W0450 6:5 no packet to `web` (203.0.113.10 tcp 80) gets to this arm
      5:5 takes its packets
      why: an earlier arm takes all of them
    W0451 2:7 `t` may know 1001 flows, and there are ports for 1000
      3:6 its sources, ports and backends
      why: each backend can have as many flows as there are sources times ports
    W0452 4:6 `app` adds 20 bytes to each packet, and no interface takes more than 1500
      2:11
      3:11
      why: a packet that fills the interface it comes by does not fit out again
    W0453 2:7 the tables of this policy take up to 6.2 GiB of kernel memory
      3:7 1000000 flows: 762 MiB
      why: a flow has 4 entries of 200 bytes, a key of a limit one of 96, and tables have a power of two of them
    W0902 5:5 this arm could as well not be there
      6:5 its packets go the same way from here on
      why: the arms behind it lead its packets to the same end
    W0903 6:5 no packet comes to this `else`
      why: the arms above take every packet that gets here
    "#);
}
