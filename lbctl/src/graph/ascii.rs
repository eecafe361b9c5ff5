//! Owns the drawing as indented lines for a terminal: arms below their match, exits below their stage. Never wider than
//! it is told, unless the nesting alone is.

use compiler::figure::{Chain, Exit, Figure, Kind, Select, Step, Tail, end_label};
use unicode_width::UnicodeWidthStr;

use super::style::{Look, Verdict, verdict};
use super::way_label;
use crate::table::{columns, thousands, without_middle};

/// How lines may look.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    pub colours: bool,
    /// Else every sign is ASCII, but for what the policy itself writes.
    pub unicode: bool,
}

/// What is left of the width at least for words, however deep they stand.
const LEAST: usize = 24;

/// Words of one colour.
#[derive(Clone, Debug)]
struct Piece {
    text: String,
    paint: Option<Paint>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Paint {
    Look(Look),
    Quiet,
}

type Line = Vec<Piece>;

pub fn document(figure: &Figure, source: &str, terminal: Terminal) -> String {
    let mut author = Author { terminal, figure, out: String::new() };
    author.line("", vec![plain(format!("policy {} ({source})", figure.policy))]);
    author.line("", vec![quiet(format!("packet: {}", figure.settings.join(", ")))]);
    author.lines("", &figure.root);
    for tree in &figure.trees {
        author.out.push('\n');
        let mut heading = vec![plain(format!("tree {}", tree.name))];
        heading.extend((!tree.reached).then(unreachable));
        author.line("", heading);
        author.lines("  ", &tree.chain);
    }
    for pool in &figure.pools {
        author.out.push('\n');
        author.line("", vec![plain(&pool.title)]);
        author.settings("  ", &pool.settings);
        author.rows(&pool.rows);
    }
    if figure.more_pools > 0 {
        author.line("", vec![quiet(format!("… {} more pools", thousands(figure.more_pools as u64)))]);
    }
    for names in &figure.names {
        author.out.push('\n');
        author.line("", vec![plain(&names.title)]);
        author.rows(&names.rows);
    }
    author.out
}

struct Author<'f> {
    terminal: Terminal,
    figure: &'f Figure,
    out: String,
}

impl Author<'_> {
    /// A chain below what leads to it, its steps one below the other.
    fn lines(&mut self, indent: &str, chain: &Chain) {
        if let Some(line) = self.in_one(chain).filter(|line| self.fits(indent, line)) {
            return self.line(indent, line);
        }
        for step in &chain.steps {
            let mut line = vec![plain("→ "), self.step(step)];
            if !step.settings.is_empty() {
                line.push(quiet(format!("  {}", step.settings.join("; "))));
            }
            self.line(indent, line);
            for exit in &step.exits {
                self.exit(&format!("{indent}  "), exit);
            }
        }
        match &chain.tail {
            Tail::Select(select) => {
                self.line(indent, vec![plain("→ "), piece(&select.title, Look::Selector)]);
                self.ways(&format!("{indent}  "), select, chain.reached);
            }
            tail => {
                let end = self.end(tail);
                self.line(indent, vec![plain("→ "), end]);
            }
        }
    }

    fn rows(&mut self, rows: &[[String; 3]]) {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
        for row in columns(&rows, &[], "  ").lines() {
            self.line("", vec![plain(row)]);
        }
    }

    /// Settings side by side, as many as a line holds.
    fn settings(&mut self, indent: &str, settings: &[String]) {
        let mut line = String::new();
        for setting in settings {
            if !line.is_empty() && indent.width() + line.width() + 2 + setting.width() > self.terminal.width {
                self.line(indent, vec![quiet(std::mem::take(&mut line))]);
            }
            line.push_str(if line.is_empty() { "" } else { "; " });
            line.push_str(setting);
        }
        self.line(indent, vec![quiet(line)]);
    }

    fn exit(&mut self, indent: &str, exit: &Exit) {
        let default = if exit.written { "" } else { " (default)" };
        let mut line = vec![quiet(format!("┄ {}{default} ", exit.names.join(", ")))];
        match self.in_one(&exit.chain) {
            Some(mut rest) => {
                line.append(&mut rest);
                self.line(indent, line);
            }
            None => {
                self.line(indent, line);
                self.lines(&format!("{indent}  "), &exit.chain);
            }
        }
    }

    fn ways(&mut self, indent: &str, select: &Select, reached: bool) {
        for (at, way) in (1..).zip(&select.ways) {
            let is_last = at == select.ways.len();
            let (branch, below) = if is_last { ("└─ ", "     ") } else { ("├─ ", "│    ") };
            let mut line = vec![plain(way_label(&way.label, select))];
            line.extend((reached && !way.chain.reached).then(unreachable));
            let on_one = self.in_one(&way.chain).map(|rest| [line.clone(), vec![plain(" ")], rest].concat());
            let (branch, below) = (format!("{indent}{branch}"), format!("{indent}{below}"));
            match on_one.filter(|line| self.fits(&branch, line)) {
                Some(line) => self.line(&branch, line),
                None => {
                    self.line(&branch, line);
                    self.lines(&below, &way.chain);
                }
            }
        }
    }

    /// The chain in one line, if nothing in it leads off it.
    fn in_one(&self, chain: &Chain) -> Option<Line> {
        if matches!(chain.tail, Tail::Select(_)) || chain.steps.iter().any(|step| !step.exits.is_empty()) {
            return None;
        }
        let steps = chain.steps.iter().map(|step| self.step(step));
        let words = steps.chain([self.end(&chain.tail)]);
        let mut line: Line = words.flat_map(|word| [plain("→ "), word, plain(" ")]).collect();
        line.pop();
        Some(line)
    }

    fn step(&self, step: &Step) -> Piece {
        let word = if step.kind == Kind::Filter { "filter " } else { "" };
        piece(&format!("{word}{}", step.title), Look::Step(step.kind))
    }

    fn end(&self, tail: &Tail) -> Piece {
        match tail {
            Tail::End(end) => piece(end_label(*end), Look::Verdict(verdict(*end))),
            Tail::Tree(tree) => {
                let name = self.figure.trees.get(*tree).map_or("", |tree| &tree.name);
                piece(&format!("tree {name}"), Look::Call)
            }
            Tail::Select(_) | Tail::More => quiet("…"),
        }
    }

    fn fits(&self, indent: &str, line: &Line) -> bool {
        let words: usize = line.iter().map(|piece| piece.text.width()).sum();
        indent.width() + words <= self.terminal.width
    }

    /// Writes a line; the longest of its pieces lose their middle until it fits.
    fn line(&mut self, indent: &str, mut line: Line) {
        let room = self.terminal.width.saturating_sub(indent.width()).max(LEAST);
        loop {
            let taken: usize = line.iter().map(|piece| piece.text.width()).sum();
            let Some(over) = taken.checked_sub(room).filter(|over| *over > 0) else { break };
            let Some(longest) = line.iter_mut().max_by_key(|piece| piece.text.width()) else { break };
            let width = longest.text.width();
            if width <= 1 {
                break;
            }
            longest.text = without_middle(&longest.text, width.saturating_sub(over).max(1));
        }
        let mut text = self.signs(indent);
        for piece in &line {
            let words = self.signs(&piece.text);
            match piece.paint.and_then(colour).filter(|_| self.terminal.colours) {
                Some(code) => text.push_str(&format!("\x1b[{code}m{words}\x1b[0m")),
                None => text.push_str(&words),
            }
        }
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// Of the same width in ASCII.
    fn signs(&self, text: &str) -> String {
        if self.terminal.unicode {
            return text.to_owned();
        }
        let sign = |letter| match letter {
            '├' | '│' => '|',
            '└' => '`',
            '─' => '-',
            '→' => '>',
            '┄' => '.',
            '…' => '~',
            other => other,
        };
        text.chars().map(sign).collect()
    }
}

fn plain(text: impl Into<String>) -> Piece {
    Piece { text: text.into(), paint: None }
}

fn quiet(text: impl Into<String>) -> Piece {
    Piece { text: text.into(), paint: Some(Paint::Quiet) }
}

fn piece(text: &str, look: Look) -> Piece {
    Piece { text: text.to_owned(), paint: Some(Paint::Look(look)) }
}

fn unreachable() -> Piece {
    quiet(" (unreachable)")
}

/// Of ECMA-48, section 8.3.117.
fn colour(paint: Paint) -> Option<&'static str> {
    Some(match paint {
        Paint::Quiet => "2",
        Paint::Look(look) => match look {
            Look::Selector | Look::Start => "1",
            Look::Step(Kind::Filter | Kind::Scanner) => "36",
            Look::Step(Kind::Limiter) => "33",
            Look::Step(Kind::Modifier) => "35",
            Look::Verdict(Verdict::Drop | Verdict::Reject) => "31",
            Look::Verdict(Verdict::Forward | Verdict::Pass) => "32",
            Look::Verdict(Verdict::Reply) => "34",
            Look::Step(Kind::Counter) | Look::Call | Look::More => return None,
        },
    })
}
