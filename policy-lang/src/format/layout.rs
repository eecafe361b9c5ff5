//! Owns lines: which starts a statement and which goes on with one, how deep each is indented, and the blanks
//! between its words. Never columns that stand below each other (`columns`).

use super::tokens::{self, Comment, Token};
use crate::text::KEYWORDS;

/// Settings on one line that would be longer are put on a line each.
const WIDEST: usize = 110;
const STEP: usize = 2;

/// What the innermost open bracket around a line holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Inside {
    /// No bracket: the line is an item, or goes on with one.
    Nothing,
    Arms,
    Steps,
    Claims,
    Settings,
    List,
    Parens,
}

#[derive(Debug)]
pub(super) struct Line<'t> {
    pub tokens: Vec<Token<'t>>,
    pub comment: Option<Comment<'t>>,
    /// As written, it starts in column 1.
    pub flush: bool,
    pub blank_before: bool,
    pub indent: usize,
    pub inside: Inside,
    /// A whole statement: it starts here and ends here.
    pub whole: bool,
    /// Tokens from which a cell starts that is padded, with the column it is padded to; in the order of the line.
    pub stops: Vec<(usize, usize)>,
}

struct Open {
    inside: Inside,
    /// Of the line that it was opened in.
    indent: usize,
    /// The statement before it goes on behind its end with this indentation.
    base: usize,
}

/// The lines of a text that parses, indented, with single blanks between their words.
pub(super) fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut blank = false;
    for written in tokens::lines(text) {
        if written.tokens.is_empty() && written.comment.is_none() {
            blank = true;
            continue;
        }
        let line = Line {
            tokens: without_idle_ends(&written.tokens),
            comment: written.comment,
            flush: written.flush,
            blank_before: blank && !lines.is_empty(),
            indent: 0,
            inside: Inside::Nothing,
            whole: false,
            stops: Vec::new(),
        };
        blank = false;
        // A line of nothing but `;` says nothing.
        if !line.tokens.is_empty() || line.comment.is_some() {
            open_up(line, &mut lines);
        }
    }
    indent(&mut lines);
    trim_blocks(&mut lines);
    lines
}

/// Without each `;` that has nothing in front or behind on its line.
fn without_idle_ends<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    let mut kept: Vec<Token<'t>> = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let before = kept.last().map_or("{", |last| last.text);
        let after = tokens.get(at + 1).map_or("}", |next| next.text);
        let idle = matches!(before, "{" | ";") || matches!(after, "}" | ";");
        if token.text != ";" || !idle {
            kept.push(*token);
        }
    }
    kept
}

/// Pushes the line; a declaration on one line that is too wide becomes one line for each setting.
fn open_up<'t>(line: Line<'t>, lines: &mut Vec<Line<'t>>) {
    let word = |at: usize| line.tokens.get(at).map(|token| token.text);
    let whole = word(0)
        .is_some_and(|first| KEYWORDS.contains(&first) && first != "policy" && first != "tree")
        && word(2) == Some("{")
        && line.tokens.last().is_some_and(|last| last.text == "}");
    if !whole || code(&line).chars().count() <= WIDEST {
        lines.push(line);
        return;
    }
    let mut depth = 0;
    let mut comment = line.comment;
    let mut tokens = Vec::new();
    let mut blank_before = line.blank_before;
    let mut flush = line.flush;
    let mut cut = |tokens: &mut Vec<Token<'t>>, lines: &mut Vec<Line<'t>>| {
        if !tokens.is_empty() {
            let tokens = std::mem::take(tokens);
            let comment = comment.take();
            lines.push(Line {
                tokens,
                comment,
                flush,
                blank_before,
                indent: 0,
                inside: Inside::Nothing,
                whole: false,
                stops: Vec::new(),
            });
            (blank_before, flush) = (false, false);
        }
    };
    for token in line.tokens {
        match token.text {
            "}" if depth == 1 => {
                cut(&mut tokens, lines);
                depth = 0;
                tokens.push(token);
            }
            ";" if depth == 1 => cut(&mut tokens, lines),
            text => {
                tokens.push(token);
                match text {
                    "{" | "(" => depth += 1,
                    "}" | ")" => depth -= 1,
                    _ => {}
                }
                if depth == 1 && text == "{" {
                    cut(&mut tokens, lines);
                }
            }
        }
    }
    cut(&mut tokens, lines);
}

/// Decides for each line whether it starts a statement, and how deep it stands.
fn indent(lines: &mut [Line<'_>]) {
    let mut open: Vec<Open> = Vec::new();
    // Of the statement that is being read.
    let mut base = 0;
    let mut item = "";
    let mut last = "";
    let mut before: Option<usize> = None;
    for at in 0..lines.len() {
        let Some(line) = lines.get_mut(at) else { break };
        let Some(first) = line.tokens.first().map(|token| token.text) else { continue };
        line.inside = open.last().map_or(Inside::Nothing, |open| open.inside);
        let edition = first == "lbp" && before.is_none();
        let starts_item = open.is_empty() && (edition || line.flush && KEYWORDS.contains(&first));
        let mut continues = false;
        if matches!(first, "}" | ")") {
            line.indent = open.last().map_or(0, |open| open.indent);
        } else if starts_item {
            (item, base, line.indent) = (first, 0, 0);
        } else if open.is_empty() {
            // A chain on lines of its own is a statement one step in.
            if last == "=" && base == 0 {
                (base, line.indent) = (STEP, STEP);
            } else {
                line.indent = base + STEP;
            }
        } else {
            continues = goes_on(first, last, line.inside);
            let inner = open.last().map_or(0, |open| open.indent) + STEP;
            if !continues {
                base = inner;
            }
            line.indent = if continues { base + STEP } else { inner };
        }
        let depth = open.len();
        let indent = line.indent;
        let mut shallowest = depth;
        let tokens: Vec<&str> = line.tokens.iter().map(|token| token.text).collect();
        for (index, &token) in tokens.iter().enumerate() {
            match token {
                "{" | "(" => {
                    let inside = inside(item, token, tokens.get(..index).unwrap_or(&[]), last, open.len());
                    open.push(Open { inside, indent, base });
                }
                "}" | ")" => {
                    if let Some(closed) = open.pop() {
                        base = closed.base;
                    }
                    shallowest = shallowest.min(open.len());
                }
                _ => {}
            }
        }
        line.whole = !continues && open.len() == depth && shallowest == depth && (starts_item || depth > 0);
        last = tokens.last().copied().unwrap_or("");
        // What goes on with the line before shows that this one was not whole.
        if (continues || (open.is_empty() && depth == 0 && !starts_item))
            && let Some(before) = before.and_then(|before| lines.get_mut(before))
        {
            before.whole = false;
        }
        before = Some(at);
    }
    indent_comments(lines);
}

/// Whether a line that starts with `first` goes on with the statement that `last` ended the line before of.
fn goes_on(first: &str, last: &str, inside: Inside) -> bool {
    let open_end = match last {
        "," => !matches!(inside, Inside::List | Inside::Parens),
        "->" | "=>" | "=" | "==" | "!=" | "in" | "and" | "or" | "union" | "except" | "when" | "not" => true,
        _ => false,
    };
    let open_start = matches!(first, "->" | "=>" | "and" | "or" | "union" | "except" | "," | "=" | "{");
    (open_end || open_start) && inside != Inside::List
}

/// What the bracket holds that opens behind `before`, in an item with the keyword `item`.
fn inside(item: &str, bracket: &str, before: &[&str], line_before: &str, depth: usize) -> Inside {
    let last = before.last().copied().unwrap_or(line_before);
    match (bracket, item, last) {
        ("(", ..) => Inside::Parens,
        (_, _, "=" | "==" | "!=" | "in" | "union" | "except") => Inside::List,
        (_, "expect", _) if depth == 0 => Inside::Steps,
        (_, "assert", _) if depth == 0 => Inside::Claims,
        (_, _, "match") => Inside::Arms,
        _ => {
            let link = before.iter().rposition(|token| matches!(*token, "->" | "=" | "(" | ";" | "{"));
            let verb = before.get(link.map_or(0, |at| at + 1)).copied();
            if verb == Some("every") { Inside::Arms } else { Inside::Settings }
        }
    }
}

/// A comment on a line of its own stands above what comes next.
fn indent_comments(lines: &mut [Line<'_>]) {
    let mut next = (0, Inside::Nothing);
    for line in lines.iter_mut().rev() {
        match line.tokens.first().map(|token| token.text) {
            None => (line.indent, line.inside) = next,
            Some("}" | ")") => next = (line.indent + STEP, line.inside),
            Some(_) => next = (line.indent, line.inside),
        }
    }
}

/// No blank line at the start or the end of a block.
fn trim_blocks(lines: &mut [Line<'_>]) {
    let mut opened = false;
    for line in lines {
        let closes = line.tokens.first().is_some_and(|first| matches!(first.text, "}" | ")"));
        line.blank_before &= !opened && !closes;
        opened = line.tokens.last().is_some_and(|last| matches!(last.text, "{" | "("));
    }
}

/// Whether a word follows the last one, if any, without a blank.
fn is_tight(last: Option<&str>, word: &str) -> bool {
    matches!(word, "," | ";" | ")") || matches!(last, None | Some("("))
}

/// A text without its comments on one line, as the formatter spaces it: equal for texts that are formatted alike.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last = None;
    for token in text.split('\n').flat_map(|line| tokens::line(line).tokens) {
        if !is_tight(last, token.text) {
            out.push(' ');
        }
        out.push_str(token.text);
        last = Some(token.text);
    }
    out
}

/// The words of a line with what stands between them.
pub(super) fn code(line: &Line<'_>) -> String {
    let mut out = String::new();
    let mut width = 0;
    let mut stops = line.stops.iter().peekable();
    let mut last = None;
    for (at, token) in line.tokens.iter().enumerate() {
        if !is_tight(last, token.text) {
            out.push(' ');
            width += 1;
        }
        if let Some(&(_, column)) = stops.next_if(|(stop, _)| *stop == at) {
            while width < column {
                out.push(' ');
                width += 1;
            }
        }
        out.push_str(token.text);
        width += token.text.chars().count();
        last = Some(token.text);
    }
    out
}

/// The text of the lines, trailing comments of lines that follow each other in one column.
pub(super) fn print(lines: &[Line<'_>]) -> String {
    let codes: Vec<String> =
        lines.iter().map(|line| format!("{:indent$}{}", "", code(line), indent = line.indent)).collect();
    let width = |at: usize| codes.get(at).map_or(0, |code| code.chars().count());
    let trailing = |at: usize| {
        let line = lines.get(at)?;
        line.comment.filter(|_| !line.tokens.is_empty())
    };
    let mut out = String::new();
    let mut column = 0;
    for (at, (line, code)) in lines.iter().zip(&codes).enumerate() {
        if line.blank_before {
            out.push('\n');
        }
        if trailing(at).is_some() && (at == 0 || line.blank_before || trailing(at - 1).is_none()) {
            let goes_on = |next: usize| next == at || lines.get(next).is_some_and(|line| !line.blank_before);
            let run = (at..lines.len()).take_while(|&next| trailing(next).is_some() && goes_on(next));
            // The widest line keeps its distance.
            let widest =
                run.map(|at| (width(at), trailing(at).map_or(0, |comment| comment.gap.max(2)))).max();
            column = widest.map_or(0, |(width, gap)| width + gap);
        }
        match line.comment {
            Some(comment) if line.tokens.is_empty() => {
                out.extend(std::iter::repeat_n(' ', line.indent));
                out.push_str(comment.text);
            }
            Some(comment) => {
                out.push_str(code);
                out.extend(std::iter::repeat_n(' ', column.saturating_sub(width(at))));
                out.push_str(comment.text);
            }
            None => out.push_str(code),
        }
        out.push('\n');
    }
    out
}
