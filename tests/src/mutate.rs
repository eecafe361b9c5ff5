//! Owns ways to damage a policy's text: bytes flipped, words dropped, repeated, swapped or borrowed, numbers made huge,
//! brackets nested deep. Never asks whether the result is still a policy; sometimes it is.

use fastrand::Rng;

/// A text with one to four damages, mostly one: what is still a policy gets further than the parser. Words that are put in come from `others`.
pub fn mutant(rng: &mut Rng, text: &str, others: &[&str]) -> String {
    let mut text = text.to_owned();
    for _ in 0..[1, 1, 1, 2, 3, 4][rng.usize(0..6)] {
        text = once(rng, &text, others);
    }
    text
}

/// Numbers at the borders of what fields, ports, counts and the parser's own integers hold.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "63",
    "64",
    "65",
    "255",
    "256",
    "257",
    "65535",
    "65536",
    "65537",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "99999999999999999999999999999999999999999999999999",
    "1_000_000_000",
    "0x",
    "0xffffffffffffffffff",
    "1__0",
    "-1",
    "1.5",
    "00000000000000000000000000000000000000000000001",
];

/// Text that is hard to read: other encodings' spaces and marks, control bytes, unfinished words.
const ODD: &[&str] = &[
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "\u{202e}",
    "é",
    "日本",
    "🦀",
    "e\u{301}",
    "\0",
    "\r",
    "\t",
    "\u{7f}",
    "\"",
    "\\",
    "#",
    "->",
    "=>",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    "=",
    "==",
    "!",
    "..",
    "/",
    ":",
    "::",
    "\n",
    "lbp 1\n",
    "lbp 2\n",
    "\ninclude \"p.lbp\"\n",
    "\ninclude \"../p.lbp\"\n",
    "\ninclude \"/dev/zero\"\n",
];

fn once(rng: &mut Rng, text: &str, others: &[&str]) -> String {
    let words = words(text);
    if words.is_empty() {
        return ODD[rng.usize(0..ODD.len())].to_owned();
    }
    let at = rng.usize(0..words.len());
    let word = words[at];
    let replaced = |with: &str| {
        let mut new: Vec<&str> = words.clone();
        new[at] = with;
        new.concat()
    };
    match rng.u32(0..18) {
        0 => flipped(rng, text),
        1 => replaced(""),
        2 => replaced(&word.repeat(2)),
        // Up to twice the nesting limit.
        3 => replaced(&word.repeat(rng.usize(3..130))),
        4 | 5 => {
            let mut new = words.clone();
            // Words that stand apart by blanks alone are worth more than any two.
            let other = if rng.bool() { rng.usize(0..words.len()) } else { (at + 2).min(words.len() - 1) };
            new.swap(at, other);
            new.concat()
        }
        6 | 7 => replaced(borrowed(rng, text, others)),
        8 => replaced(&format!("{word}{}", borrowed(rng, text, others))),
        9 => match numbers(&words) {
            numbers if numbers.is_empty() => flipped(rng, text),
            numbers => {
                let mut new = words.clone();
                new[numbers[rng.usize(0..numbers.len())]] = NUMBERS[rng.usize(0..NUMBERS.len())];
                new.concat()
            }
        },
        // A number that stands elsewhere in the text: the one damage that is often none.
        14..18 => match numbers(&words) {
            numbers if numbers.is_empty() => flipped(rng, text),
            numbers => {
                let mut new = words.clone();
                let any = |rng: &mut Rng| numbers[rng.usize(0..numbers.len())];
                new[any(rng)] = words[any(rng)];
                new.concat()
            }
        },
        10 => replaced(&format!("{word}{}", ODD[rng.usize(0..ODD.len())])),
        11 => nested(rng, &words),
        12 => lines(rng, text),
        _ => {
            // Cut short, at either end.
            let place = text.floor_char_boundary(rng.usize(0..text.len() + 1));
            if rng.u32(0..4) == 0 { text[place..].to_owned() } else { text[..place].to_owned() }
        }
    }
}

/// A bit of one byte; what is no UTF-8 then becomes the replacement character, as the language is given text.
fn flipped(rng: &mut Rng, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.u32(1..4) {
        if !bytes.is_empty() {
            let at = rng.usize(0..bytes.len());
            bytes[at] ^= 1 << rng.u32(0..8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A word of this text or another one.
fn borrowed<'a>(rng: &mut Rng, text: &'a str, others: &[&'a str]) -> &'a str {
    let from = if others.is_empty() || rng.bool() { text } else { others[rng.usize(0..others.len())] };
    let words = words(from);
    if words.is_empty() { "" } else { words[rng.usize(0..words.len())] }
}

fn numbers(words: &[&str]) -> Vec<usize> {
    let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    (0..words.len()).filter(|&at| is_number(words[at])).collect()
}

/// A word within brackets, around the nesting limit of 64.
fn nested(rng: &mut Rng, words: &[&str]) -> String {
    let depth = [1, 8, 62, 63, 64, 65, 200, 2_000][rng.usize(0..8)];
    let (open, close) = [
        ("match { src in 10.0.0.0/8 -> drop; else -> ", " }"),
        ("every 2 { 1 -> drop; 2 -> ", " }"),
        ("(", ")"),
        ("not ", ""),
        ("not (", ")"),
        ("{", "}"),
    ][rng.usize(0..6)];
    let mut new: Vec<&str> = words.to_vec();
    let at = rng.usize(0..words.len());
    let inner = format!("{}{}{}", open.repeat(depth), words[at], close.repeat(depth));
    new[at] = &inner;
    new.concat()
}

/// A line dropped, repeated, moved, or turned into a comment.
fn lines(rng: &mut Rng, text: &str) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let at = rng.usize(0..lines.len());
    let line = lines[at];
    let comment = format!("# {line}");
    match rng.u32(0..4) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, line),
        2 => {
            lines.remove(at);
            lines.insert(rng.usize(0..lines.len() + 1), line);
        }
        _ => lines[at] = &comment,
    }
    lines.join("\n")
}

/// The text in pieces: words and numbers, runs of blanks, and every other character by itself.
fn words(text: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        _ if c.is_alphanumeric() || c == '_' => 0,
        ' ' | '\t' => 1,
        _ => 2,
    };
    let mut words = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (at, c) in text.char_indices() {
        let now = kind(c);
        if before.is_some_and(|before| before != now || now == 2) {
            words.push(&text[start..at]);
            start = at;
        }
        before = Some(now);
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}
