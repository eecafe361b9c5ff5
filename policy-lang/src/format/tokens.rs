//! Owns the cutting of a text into lines, words and comments as the grammar has them.
//! Never what a word means, nor where it will stand.

/// A word, a string with its quotes, or a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'t> {
    pub text: &'t str,
    /// Blanks in front of it; 0 for the first of a line.
    pub gap: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Comment<'t> {
    /// From the `#` on, without white space at its end.
    pub text: &'t str,
    /// Blanks between the code and the `#`.
    pub gap: usize,
}

/// One line of the text as it was written.
#[derive(Debug, Default)]
pub(super) struct Written<'t> {
    pub tokens: Vec<Token<'t>>,
    pub comment: Option<Comment<'t>>,
    /// It starts in column 1, where items start.
    pub flush: bool,
}

const SIGNS: &[&str] =
    &["->", "=>", "==", "!=", "<=", ">=", "<", ">", "=", "{", "}", "(", ")", ",", ";", "*", ":"];

pub(super) fn lines(text: &str) -> Vec<Written<'_>> {
    text.trim_start_matches('\u{feff}').split('\n').map(line).collect()
}

pub(super) fn line(text: &str) -> Written<'_> {
    let mut line =
        Written { flush: text.starts_with(|first: char| first.is_ascii_alphabetic()), ..Written::default() };
    let mut rest = text;
    loop {
        let start = rest.trim_start();
        let gap = rest.get(..rest.len() - start.len()).map_or(0, |blanks| blanks.chars().count());
        let gap = if line.tokens.is_empty() { 0 } else { gap };
        if start.is_empty() {
            break;
        }
        if start.starts_with('#') {
            line.comment = Some(Comment { text: start.trim_end(), gap });
            break;
        }
        let (token, left) =
            start.split_at_checked(length(start, line.tokens.len(), &line)).unwrap_or((start, ""));
        line.tokens.push(Token { text: token, gap });
        rest = left;
    }
    line
}

/// Bytes of the token that `text` starts with. The `:` behind the name of a set is a sign, any other part of a word.
fn length(text: &str, index: usize, line: &Written<'_>) -> usize {
    if let Some(inside) = text.strip_prefix('"') {
        return inside.find('"').map_or(text.len(), |end| end + 2);
    }
    let set = line.flush && line.tokens.first().is_some_and(|first| first.text == "set");
    let whole_name = line.tokens.get(1).is_none_or(|name| !name.text.contains(':'));
    let colon = set && index < 3 && whole_name;
    // As in the grammar, the kind of the set stands behind it.
    let is_sign = |at: usize| {
        let (name, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let behind = rest.trim_start_matches(':').trim_start_matches([' ', '\t', '\r']);
        let is_first = !name.contains(':') && !rest.starts_with("::") && (index == 1 || at == 0);
        colon && is_first && behind.starts_with(|first: char| first.is_ascii_alphabetic())
    };
    let of_a_word = |at: usize, c: char| match c {
        ':' => !is_sign(at),
        '-' => text.get(at + 1..).is_none_or(|after| !after.starts_with('>')),
        _ => c.is_ascii_alphanumeric() || "_./[]%".contains(c),
    };
    match text.char_indices().find(|&(at, c)| !of_a_word(at, c)) {
        None => text.len(),
        Some((0, first)) => {
            SIGNS.iter().find(|sign| text.starts_with(**sign)).map_or(first.len_utf8(), |sign| sign.len())
        }
        Some((at, _)) => at,
    }
}
