//! Owns source texts and places in them. Never reads a file: texts come from a `Loader`.

use std::path::Path;

/// Index of a source text in `Sources`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileId(pub u32);

/// Byte range in one source text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

/// One text that took part: the policy, an include, or the list of a set.
#[derive(Clone, Debug)]
pub struct Source {
    /// As shown to the user, relative to where the root policy was named.
    pub name: String,
    pub text: String,
}

/// Every text that took part, in order of loading; the root policy is 0.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub files: Vec<Source>,
}

/// 1-based line and column (in characters) of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl Sources {
    pub fn file(&self, id: FileId) -> &Source {
        &self.files[id.0 as usize]
    }

    pub fn place(&self, span: Span) -> Place {
        let text = &self.file(span.file).text;
        let end = (span.start as usize).min(text.len());
        let end = (0..=end).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = &text[..end];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.bytes().filter(|&byte| byte == b'\n').count() as u32 + 1,
            column: before[start..].chars().count() as u32 + 1,
        }
    }
}

/// Where texts come from. `name` is relative to the root policy's directory, as written in the policy.
/// The message of an error is shown after the name ("no such file", "is a directory", "outside of the root").
pub trait Loader {
    fn load(&self, name: &Path) -> Result<String, String>;
}
