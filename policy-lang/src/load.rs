//! Owns which texts take part: the root policy and what it includes, each read once and cut into items.
//! Never a file itself (texts come from the `Loader`), and never what an item means.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::ast::{Item, Word};
use crate::report::Report;
use crate::source::{FileId, Loader, Source, Sources, Span};
use crate::{inventory, parse, text};

/// Files may include each other this deep.
const DEPTH: usize = 32;
/// A policy text may have this many bytes: that of 20,000 arms has two million.
const LONGEST: usize = 8 << 20;

pub(crate) struct Loaded {
    pub sources: Sources,
    pub items: Vec<Item>,
    /// Names of items that could not be read: that they are missing is no news.
    pub lost: HashSet<String>,
    /// Directory of each source, relative to the root policy's.
    pub directories: Vec<PathBuf>,
}

impl Loaded {
    /// Makes a text one of the sources; `directory` is relative to the root policy's.
    pub fn add(&mut self, name: String, directory: PathBuf, text: String) -> FileId {
        let id = FileId(u32::try_from(self.sources.files.len()).unwrap_or(u32::MAX));
        self.sources.files.push(Source { name, text });
        self.directories.push(directory);
        id
    }
}

/// Whether a text is short enough to be read; says so where it is not.
pub(crate) fn fits(id: FileId, text: &str, report: &mut Report) -> bool {
    let fits = text.len() <= LONGEST;
    if !fits {
        report
            .error("E0116", Span { file: id, start: 0, end: 0 }, "the file is too large for a policy")
            .because(format!("at most {} MiB are read", LONGEST >> 20))
            .help("keep long lists of prefixes in a file of their own: `set NAME : net from \"FILE\" max N`");
    }
    fits
}

pub(crate) fn load(root_name: &str, text: String, loader: &dyn Loader, report: &mut Report) -> Loaded {
    let sources = Sources::default();
    let loaded = Loaded { sources, items: Vec::new(), lost: HashSet::new(), directories: Vec::new() };
    let mut walk = Walk { loader, report, loaded, seen: HashMap::new(), open: Vec::new() };
    let prefix = Path::new(root_name).parent().map(Path::to_path_buf).unwrap_or_default();
    walk.file(root_name.to_owned(), PathBuf::new(), text, &prefix);
    walk.loaded
}

struct Walk<'a> {
    loader: &'a dyn Loader,
    report: &'a mut Report,
    loaded: Loaded,
    /// Included files by path, with the place of the first `include`.
    seen: HashMap<PathBuf, Span>,
    /// The files that are being read, outermost first.
    open: Vec<(PathBuf, Span)>,
}

impl Walk<'_> {
    fn file(&mut self, name: String, directory: PathBuf, text: String, prefix: &Path) {
        let Some(id) = self.admit(name, &directory, &text) else { return };
        let root = id == FileId(0);
        let mut items = Vec::new();
        for piece in text::split(id, &text, self.report) {
            let item = if piece.sound { parse::item(id, &text, piece, self.report) } else { None };
            match item {
                Some(item) => items.push(item),
                None => self.loaded.lost.extend(piece.name(&text).map(str::to_owned)),
            }
        }
        for item in items {
            match item {
                Item::Include { path } => self.include(&path, &directory, prefix),
                Item::Policy(policy) if !root => {
                    self.report
                        .error("E0115", policy.name.span, "an included file holds a policy")
                        .because("the root file alone decides what is done with a packet")
                        .help("include the file with what both share, and keep the policy out of it");
                }
                item => self.loaded.items.push(item),
            }
        }
    }

    /// Makes the text one of the sources; None if it is too large to be read, which is told.
    fn admit(&mut self, name: String, directory: &Path, text: &str) -> Option<FileId> {
        let id = self.loaded.add(name, directory.to_path_buf(), text.to_owned());
        fits(id, text, self.report).then_some(id)
    }

    fn inventory(&mut self, name: String, directory: &Path, text: &str) {
        let Some(id) = self.admit(name, directory, text) else { return };
        match inventory::included(id, text, self.report) {
            Some(items) => self.loaded.items.extend(items),
            None => self.loaded.lost.extend(inventory::NAMES.map(str::to_owned)),
        }
    }

    fn include(&mut self, path: &Word, directory: &Path, prefix: &Path) {
        let place = path.span;
        let Some(full) = below(directory, &path.text) else {
            self.report
                .error("E0208", place, format!("`{}` is outside of the policy's directory", path.text))
                .because("includes stay below the directory of the root policy")
                .help("name a file below it, relative to the file that includes it");
            return;
        };
        if let Some(at) = self.open.iter().position(|(open, _)| *open == full) {
            let names: Vec<String> =
                self.open.iter().skip(at).map(|(path, _)| path.display().to_string()).collect();
            let finding = self
                .report
                .error("E0206", place, format!("`{}` includes itself", full.display()))
                .because(format!("the way round is {} → {}", names.join(" → "), full.display()))
                .help("move what both need into a third file");
            if let Some((_, first)) = self.open.get(at) {
                finding.also(*first, "included here first");
            }
            return;
        }
        if self.seen.contains_key(&full) {
            // Twice the same file is no fault: its items are there already.
            return;
        }
        if self.open.len() == DEPTH {
            self.report
                .error("E0206", place, "includes nest too deep")
                .because(format!("at most {DEPTH} levels are read"));
            return;
        }
        self.seen.insert(full.clone(), place);
        match self.loader.load(&full) {
            Ok(text) => {
                let inner = full.parent().map(Path::to_path_buf).unwrap_or_default();
                let name = prefix.join(&full).display().to_string();
                if path.text.ends_with(".toml") {
                    self.inventory(name, &inner, &text);
                } else {
                    self.open.push((full.clone(), place));
                    self.file(name, inner, text, prefix);
                    self.open.pop();
                }
            }
            Err(why) => {
                self.report
                    .error("E0207", place, format!("`{}` cannot be read: {why}", full.display()))
                    .help("paths are relative to the file that names them");
            }
        }
    }
}

/// `path` as seen from `directory`, without `.` and `..`; None if it leaves the root.
pub(crate) fn below(directory: &Path, path: &str) -> Option<PathBuf> {
    let mut full = directory.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => full.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !full.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(full)
}
