//! Owns columns: which words of lines that follow each other stand below each other.
//! Never the words themselves, nor the order of lines.

use super::layout::{Inside, Line, code};
use super::tokens::Token;

/// Lines that are aligned together if they follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    Arm,
    Step,
    Claim,
    Set,
    Const,
    Side,
    /// A declaration on one line; the width of its keyword.
    Declaration(usize),
}

pub(super) fn align(lines: &mut [Line<'_>]) {
    let mut run: Vec<usize> = Vec::new();
    let mut kind = None;
    for at in 0..=lines.len() {
        let line = lines.get(at);
        if line.is_some_and(|line| passes(line, kind)) {
            continue;
        }
        let row = line.and_then(row);
        let goes_on = line.is_some_and(|line| !line.blank_before) && row == kind;
        if !goes_on {
            if let Some(kind) = kind {
                align_run(lines, kind, &run);
            }
            run.clear();
        }
        kind = row;
        if row.is_some() {
            run.push(at);
        }
    }
}

/// Comments among the rows, and what an expectation is given, are no end of a run.
fn passes(line: &Line<'_>, kind: Option<Row>) -> bool {
    let comment = line.tokens.is_empty();
    let given = kind == Some(Row::Step) && line.inside == Inside::Steps && line.whole && row(line).is_none();
    !line.blank_before && (comment || given)
}

fn row(line: &Line<'_>) -> Option<Row> {
    if !line.whole {
        return None;
    }
    let one = || top(line, ";").is_none();
    match line.inside {
        Inside::Arms => (one() && top(line, "->").is_some()).then_some(Row::Arm),
        Inside::Steps => (one() && top(line, "=>").is_some()).then_some(Row::Step),
        Inside::Claims => one().then_some(Row::Claim),
        Inside::Nothing => match line.tokens.first()?.text {
            "set" => Some(Row::Set),
            "const" => Some(Row::Const),
            "side" => Some(Row::Side),
            "expect" | "assert" | "tree" | "policy" | "include" | "lbp" => None,
            keyword => (line.tokens.get(2)?.text == "{").then_some(Row::Declaration(keyword.len())),
        },
        Inside::Settings | Inside::List | Inside::Parens => None,
    }
}

/// The first such sign outside of brackets.
fn top(line: &Line<'_>, sign: &str) -> Option<usize> {
    let mut depth = 0;
    line.tokens.iter().position(|token| {
        match token.text {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == sign
    })
}

fn align_run(lines: &mut [Line<'_>], kind: Row, run: &[usize]) {
    match kind {
        Row::Arm => {
            let chosen = written_column(lines, run);
            level_from(lines, run, chosen, |line| top(line, "->"));
        }
        Row::Claim => level(lines, run, |_| Some(1)),
        Row::Side => level(lines, run, |_| Some(2)),
        Row::Const => level(lines, run, |_| Some(2)),
        Row::Set => {
            level(lines, run, |_| Some(2));
            for group in alike(lines, run, words_of_a_set) {
                columns(lines, &group, words_of_a_set);
            }
        }
        Row::Declaration(_) => {
            level(lines, run, |_| Some(2));
            for group in alike(lines, run, settings) {
                columns(lines, &group, settings);
            }
        }
        Row::Step => {
            if padded(lines, run, packet) {
                for cell in 0..PACKET_CELLS {
                    level(lines, run, |line| packet(line).get(cell).copied().flatten());
                }
            }
            level(lines, run, |line| top(line, "=>"));
        }
    }
}

/// Where the author padded one cell of a group, all of its cells are columns.
fn columns(lines: &mut [Line<'_>], group: &[usize], cells: impl Fn(&Line<'_>) -> Vec<Option<usize>>) {
    if !padded(lines, group, &cells) {
        return;
    }
    let count = group.iter().filter_map(|&at| lines.get(at)).map(|line| cells(line).len()).max().unwrap_or(0);
    for cell in 0..count {
        level(lines, group, |line| cells(line).get(cell).copied().flatten());
    }
}

fn padded(lines: &[Line<'_>], rows: &[usize], cells: impl Fn(&Line<'_>) -> Vec<Option<usize>>) -> bool {
    let wide = |line: &Line<'_>| {
        cells(line).into_iter().flatten().any(|at| line.tokens.get(at).is_some_and(|token| token.gap > 1))
    };
    rows.iter().filter_map(|&at| lines.get(at)).any(wide)
}

/// Rows by the first words of their cells.
fn alike(
    lines: &[Line<'_>],
    run: &[usize],
    cells: impl Fn(&Line<'_>) -> Vec<Option<usize>>,
) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
    for &at in run {
        let Some(line) = lines.get(at) else { continue };
        let first = |at: usize| line.tokens.get(at).map(|token| token.text.to_owned());
        let names: Vec<String> = cells(line).into_iter().flatten().filter_map(first).collect();
        match groups.iter_mut().find(|(known, _)| *known == names) {
            Some((_, rows)) => rows.push(at),
            None => groups.push((names, vec![at])),
        }
    }
    groups.into_iter().map(|(_, rows)| rows).collect()
}

/// The column in which all arrows of a run stand already, which may be further right than they need.
fn written_column(lines: &[Line<'_>], run: &[usize]) -> usize {
    let written = |line: &Line<'_>| {
        let arrow = top(line, "->")?;
        let before = line.tokens.iter().take(arrow).map(|token| token.gap + token.text.chars().count());
        Some(before.sum::<usize>() + line.tokens.get(arrow)?.gap)
    };
    let mut columns = run.iter().filter_map(|&at| lines.get(at)).filter_map(written);
    let first = columns.next().unwrap_or(0);
    if run.len() > 1 && columns.all(|column| column == first) { first } else { 0 }
}

/// Puts the token that `stop` names into one column in all rows that have it.
fn level(lines: &mut [Line<'_>], rows: &[usize], stop: impl Fn(&Line<'_>) -> Option<usize>) {
    level_from(lines, rows, 0, stop);
}

/// As `level`, not further left than `least`.
fn level_from(
    lines: &mut [Line<'_>],
    rows: &[usize],
    least: usize,
    stop: impl Fn(&Line<'_>) -> Option<usize>,
) {
    let mut found = Vec::new();
    for &at in rows {
        let Some(line) = lines.get(at) else { continue };
        if let Some(token) = stop(line) {
            found.push((at, token, start(line, token)));
        }
    }
    let column = found.iter().map(|&(.., start)| start).max().unwrap_or(0).max(least);
    for (at, token, _) in found {
        if let Some(line) = lines.get_mut(at) {
            line.stops.push((token, column));
        }
    }
}

/// The column in which a token stands as far as the line is laid out, its indentation left out.
fn start(line: &Line<'_>, token: usize) -> usize {
    let before = Line {
        tokens: line.tokens.iter().take(token + 1).copied().collect(),
        flush: false,
        comment: None,
        blank_before: false,
        indent: 0,
        inside: line.inside,
        whole: line.whole,
        stops: line.stops.clone(),
    };
    let width = line.tokens.get(token).map_or(0, |token| token.text.chars().count());
    code(&before).chars().count() - width
}

fn find(line: &Line<'_>, word: &str) -> Option<usize> {
    line.tokens.iter().position(|token| token.text == word)
}

/// `from`, `dynamic`, `max` and `ttl` of a set that is no expression.
fn words_of_a_set(line: &Line<'_>) -> Vec<Option<usize>> {
    if find(line, "=").is_some() {
        return Vec::new();
    }
    ["from", "dynamic", "max", "ttl"].iter().map(|word| find(line, word)).filter(Option::is_some).collect()
}

/// The first word of each setting of a declaration on one line, the first setting left out: it stands level anyhow.
fn settings(line: &Line<'_>) -> Vec<Option<usize>> {
    let mut depth = 0;
    let mut found = vec![Some(3)];
    for (at, token) in line.tokens.iter().enumerate() {
        match token.text {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            ";" if depth == 1 => found.push(Some(at + 1)),
            _ => {}
        }
    }
    found
}

const PACKET_CELLS: usize = 4;

/// Of `packet PROTO KIND src A dst B REST`: where the kind, `src`, `dst` and the rest start.
fn packet(line: &Line<'_>) -> Vec<Option<usize>> {
    let end = top(line, "=>").unwrap_or(line.tokens.len());
    let within = |at: usize| (at < end).then_some(at);
    if line.tokens.first().is_none_or(|first: &Token<'_>| first.text != "packet") {
        return Vec::new();
    }
    let source = find(line, "src").and_then(within);
    let target = find(line, "dst").and_then(within);
    let kind = within(2).filter(|at| [source, target].iter().flatten().all(|other| at < other));
    // A line in another order has fewer cells: columns are laid out from left to right.
    let target = target.filter(|at| source.is_none_or(|source| source < *at));
    vec![kind, source, target, target.and_then(|at| within(at + 2))]
}
