//! Owns columns that line up, lines that are not too long, and numbers as people read them.
//! Never where they are written.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of cells in columns two blanks apart; those of `right` (by index) are flush right. Each line starts with
/// `indent` and has no blanks at its end.
pub fn columns(rows: &[Vec<String>], right: &[usize], indent: &str) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            let gap = if column > 0 { "  " } else { "" };
            let _ = match right.contains(&column) {
                true => write!(line, "{gap}{blanks}{cell}"),
                false => write!(line, "{gap}{cell}{blanks}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit of which there is at least one: `63.4 MiB`.
pub fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = number as f64;
    let mut unit = None;
    for name in units {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = Some(name);
    }
    match unit {
        None => format!("{number} B"),
        Some(unit) => format!("{scaled:.1} {unit}"),
    }
}

/// A long guard, cut to `longest` characters and an ellipsis.
pub fn short(label: &str, longest: usize) -> String {
    match label.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", label.get(..at).unwrap_or(label)),
        None => label.to_owned(),
    }
}

/// A long text cut in its middle to `longest` columns with an ellipsis: where it starts and where it ends both matter.
pub fn without_middle(text: &str, longest: usize) -> String {
    if text.width() <= longest {
        return text.to_owned();
    }
    let room = longest.saturating_sub(1);
    let (mut head, mut tail) = (String::new(), Vec::new());
    for letter in text.chars() {
        if head.width() + letter.width().unwrap_or(0) > room - room / 3 {
            break;
        }
        head.push(letter);
    }
    let mut left = room.saturating_sub(head.width());
    for letter in text.chars().rev() {
        let width = letter.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        tail.push(letter);
    }
    let tail: String = tail.into_iter().rev().collect();
    format!("{}…{}", head.trim_end(), tail.trim_start())
}

/// Lines of whole words, at most `width` characters each where words allow it.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1_000, 1_234_567].map(thousands).each_ref().map(|s| &s[..])
        );
        assert_eq!(
            ["0 B", "1023 B", "1.0 KiB", "63.4 MiB"],
            [0, 1023, 1024, 66_479_718].map(bytes).each_ref().map(|s| &s[..])
        );
    }

    #[test]
    fn columns_line_up_whatever_the_width_of_a_character() {
        let rows =
            [vec!["a".into(), "1".into(), "x".into()], vec!["日本".into(), "1,000".into(), String::new()]];
        assert_eq!(columns(&rows, &[1], "  "), "  a         1  x\n  日本  1,000\n");
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(without_middle("src in office", 13), "src in office");
        assert_eq!(without_middle("src in office and tcp.dport == 22", 16), "src in off…== 22");
        assert_eq!(without_middle("日本日本日本", 5), "日…本");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("a policy tracks flows", 8), ["a policy", "tracks", "flows"]);
        assert_eq!(wrapped("unbreakable word", 4), ["unbreakable", "word"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
