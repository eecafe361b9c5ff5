//! Owns what is said about a text that fits no rule of the grammar. Never lets a message of the parser through.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::Rule;
use crate::report::Report;
use crate::source::{FileId, Span};
use crate::text::Piece;

pub(super) fn report(file: FileId, text: &str, piece: Piece, error: &Error<Rule>, report: &mut Report) {
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => piece.start + at,
    };
    let rest = text.get(at..piece.end).unwrap_or("");
    let (length, found) = token(rest);
    let keyword =
        text.get(piece.start..).and_then(|text| text.split_ascii_whitespace().next()).unwrap_or("item");
    let expected = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => expected(positives),
        ErrorVariant::CustomError { .. } => Vec::new(),
    };
    let place = Span { file, start: at as u32, end: (at + length) as u32 };
    let finding = report.error("E0108", place, format!("{found} does not fit here")).because(format!(
        "this `{keyword}` cannot be read from here on{}",
        match expected.split_last() {
            Some((last, [])) => format!(": {last} is due"),
            Some((last, rest)) => format!(": {} or {last} is due", rest.join(", ")),
            None => String::new(),
        }
    ));
    let before = text.get(piece.start..at).unwrap_or("");
    if let Some(cure) = cure(keyword, before, rest, &expected) {
        finding.help(cure);
    }
}

/// Bytes to underline and a name for them.
fn token(rest: &str) -> (usize, String) {
    let Some(first) = rest.chars().next() else {
        return (0, "the end of the item".to_owned());
    };
    if first == '\n' || first == '\r' || first == '#' {
        return (0, "the end of the line".to_owned());
    }
    let word = |c: char| c.is_alphanumeric() || "_.:/[]%".contains(c);
    let length = if word(first) {
        rest.find(|c| !word(c)).unwrap_or(rest.len())
    } else if let Some(pair) =
        ["->", "=>", "==", "!=", "&&", "||", ":="].iter().find(|p| rest.starts_with(**p))
    {
        pair.len()
    } else {
        first.len_utf8()
    };
    let text: String = rest.get(..length).unwrap_or("").chars().take(40).collect();
    (length, format!("`{}`", text.escape_debug()))
}

/// What the grammar would have taken, in the user's words, without repetition.
fn expected(positives: &[Rule]) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = positives.iter().filter_map(|rule| in_words(*rule)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn in_words(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::arrow => "`->`",
        Rule::assign => "`=`",
        Rule::yields => "`=>`",
        Rule::close => "`}`",
        Rule::atom | Rule::word | Rule::group => "a word or value",
        Rule::name => "a name",
        Rule::string => "a string in quotes",
        Rule::block => "settings in `{ }`",
        Rule::list => "a list in `{ }`",
        Rule::guard | Rule::conj | Rule::unary | Rule::test => "a guard",
        Rule::chain | Rule::stage | Rule::choice | Rule::every => "a stage",
        Rule::arm => "an arm (`guard -> …`)",
        Rule::way => "a turn (`1 -> …`)",
        Rule::exits => "exits in `( )`",
        Rule::exit => "an exit (`name -> …`)",
        Rule::setting => "a setting",
        Rule::step => "a step (`packet`, `given` or `after`)",
        Rule::claim | Rule::kw_claim => "`never` or `always`",
        Rule::kw_goal => "`reaches` or `ends`",
        Rule::kw_and => "`and`",
        Rule::kw_or => "`or`",
        Rule::op | Rule::eq => "a comparison",
        Rule::kw_when => "`when`",
        Rule::set_op => "`union` or `except`",
        Rule::times => "`*`",
        Rule::EOI => "the end of the item",
        _ => return None,
    })
}

fn cure(keyword: &str, before: &str, rest: &str, expected: &[&str]) -> Option<String> {
    let word = before.split_ascii_whitespace().next_back().unwrap_or("");
    // A comparison, with what was written in its place.
    if expected.contains(&"a comparison") {
        let (length, _) = token(rest);
        let value = rest.get(..length).unwrap_or("");
        let is_field = crate::typing::is_field(word);
        return Some(match () {
            () if word == "if" || word == "when" => {
                "a guard stands alone: `tcp.dport == 80 -> drop`".to_owned()
            }
            () if word == "in" => format!("say of what: `src in {value}`"),
            () if is_field && ["is", "eq", "equals", "equal"].contains(&value) => {
                "values are compared with `==`, `!=`, `in` and `not in`".to_owned()
            }
            () if is_field && rest.starts_with('{') => format!("write `{word} in {{ … }}`"),
            () if is_field && !value.is_empty() && rest.starts_with(|c: char| c.is_alphanumeric()) => {
                let operator = if value.contains('/') || value.contains('-') { "in" } else { "==" };
                format!("write `{word} {operator} {value}`")
            }
            () => return known_cure(keyword, word, rest, expected).map(str::to_owned),
        });
    }
    let line = before.rsplit('\n').next().unwrap_or("");
    if rest.starts_with(',') && expected.contains(&"`and`") && !line.contains('{') {
        let in_braces = if line.contains(" in ") {
            "in { 80, 443 }"
        } else {
            "in { 80, 443 }`, and `==` with one: `== 80"
        };
        return Some(format!("several values stand in braces: `{in_braces}`"));
    }
    known_cure(keyword, word, rest, expected).map(str::to_owned)
}

fn known_cure(keyword: &str, word: &str, rest: &str, expected: &[&str]) -> Option<&'static str> {
    Some(match () {
        () if rest.starts_with('{') && word.eq_ignore_ascii_case("match") => {
            "words are written small: `match`"
        }
        () if word == "if" || word == "when" => "a guard stands alone: `tcp.dport == 80 -> drop`",
        () if rest.starts_with(',') && expected.contains(&"`union` or `except`") => {
            "several prefixes stand in braces: `{ 10.0.0.0/8, 192.0.2.0/24 }`"
        }
        () if rest.starts_with(',') => {
            "a newline or `;` ends an arm or a setting; commas stand between values and exits"
        }
        () if rest.starts_with("&&") => "write `and`",
        () if rest.starts_with("||") => "write `or`",
        () if rest.starts_with('!') && !rest.starts_with("!=") => "write `not`",
        () if rest.starts_with("//") => "a comment starts with `#`",
        () if rest.starts_with('\'') => "strings stand in double quotes",
        () if rest.starts_with("=>") => "chains and arms are written with `->`; `=>` is for expectations",
        () if rest.starts_with("->") && expected.contains(&"`=>`") => {
            "an expectation is written `packet … => end`"
        }
        () if rest.starts_with('{') && expected.contains(&"exits in `( )`") => {
            "exits stand in round brackets: `limit NAME (exceed -> drop)`"
        }
        () if word.ends_with(':') && expected.contains(&"`->`") => "write `->` instead of the colon",
        () if expected.contains(&"`->`") && !rest.starts_with(['\n', '#']) => {
            "did you forget a `->` in front?"
        }
        () if rest.starts_with('*') && expected.contains(&"an arm (`guard -> …`)") => {
            "the arm that takes what is left is `else -> …`"
        }
        () if rest.starts_with('*') && !expected.contains(&"`*`") => {
            "`*` repeats a packet and stands before `=>`"
        }
        () if expected.contains(&"an arm (`guard -> …`)") && rest.starts_with("->") => {
            "a guard is due in front of the `->`; the arm that takes what is left is `else -> …`"
        }
        () if expected.contains(&"`=`") || expected.contains(&"`when`") => form(keyword)?,
        () if keyword == "set" => form(keyword)?,
        () => return None,
    })
}

/// How an item is written whose head cannot be read.
fn form(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "set" => {
            "write `set NAME : net = { … }`, `set NAME : net from \"FILE\" max N` or `set NAME : addr dynamic max N ttl 10m`"
        }
        "side" => "write `side NAME when GUARD`, or `side NAME otherwise`",
        "policy" => "write `policy NAME { default drop } = …`",
        "tree" => "write `tree NAME = …`",
        "const" => "write `const NAME = VALUE, …`",
        _ => return None,
    })
}
