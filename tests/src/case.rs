//! Owns cases: a policy, and frames and times that are run against it, with their form as a pair of files
//! (`NAME.lbp`, `NAME.frames`) that is replayed for ever. Never runs one.
//!
//! A `.frames` file has one step a line: `key HEX HEX` and `seed N` at most once and first, then `clock NS`, `frame HEX`,
//! `gone N` or `back N` for backend N, and `apply half` or `apply program` in any order. `#` starts a comment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use lb_abi::hash::Key;

use crate::traffic::{START, Step};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Text of the policy.
    pub policy: String,
    pub key: Key,
    pub seed: u64,
    /// The clock stands at `traffic::START` until the first step that sets it.
    pub steps: Vec<Step>,
}

/// What is wrong with a `.frames` file, and in which line (1-based).
#[derive(Debug)]
pub struct BadLine {
    pub line: usize,
    pub why: String,
}

impl Case {
    pub fn new(policy: String, seed: u64) -> Case {
        Case { policy, key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908], seed, steps: Vec::new() }
    }

    /// Every case below `dir`, in order of name.
    pub fn read_all(dir: &Path) -> io::Result<Vec<(String, Case)>> {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "frames"));
        paths.sort();
        paths.into_iter().map(|path| Ok((path.display().to_string(), Case::read(&path)?))).collect()
    }

    /// Reads a `.frames` file and the `.lbp` file beside it.
    pub fn read(frames: &Path) -> io::Result<Case> {
        let policy = fs::read_to_string(frames.with_extension("lbp"))?;
        let mut case = Case::new(policy, 0);
        case.parse(&fs::read_to_string(frames)?)
            .map_err(|bad| io::Error::other(format!("{}:{}: {}", frames.display(), bad.line, bad.why)))?;
        Ok(case)
    }

    /// Writes `dir/NAME.lbp` and `dir/NAME.frames`, with `why` as a comment.
    pub fn write(&self, dir: &Path, name: &str, why: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(name).with_extension("frames");
        fs::write(path.with_extension("lbp"), &self.policy)?;
        fs::write(&path, self.text(why))?;
        Ok(path)
    }

    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Frame(_))).count()
    }

    fn text(&self, why: &str) -> String {
        let mut text = String::new();
        for line in why.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "key {:016x} {:016x}\nseed {}", self.key[0], self.key[1], self.seed);
        for step in &self.steps {
            match step {
                Step::Clock(ns) => {
                    let _ = writeln!(text, "clock {ns}");
                }
                Step::Frame(frame) => {
                    let _ = writeln!(text, "frame {}", hex(frame));
                }
                Step::Backend { ordinal, there } => {
                    let _ = writeln!(text, "{} {ordinal}", if *there { "back" } else { "gone" });
                }
                Step::Apply { program } => {
                    let _ = writeln!(text, "apply {}", if *program { "program" } else { "half" });
                }
            }
        }
        text
    }

    fn parse(&mut self, text: &str) -> Result<(), BadLine> {
        for (place, line) in text.lines().enumerate() {
            let bad = |why: &str| BadLine { line: place + 1, why: format!("{why}: {line}") };
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                ["key", high, low] => {
                    let word = |text| u64::from_str_radix(text, 16).map_err(|_| bad("not a key"));
                    self.key = [word(high)?, word(low)?];
                }
                ["seed", seed] => self.seed = seed.parse().map_err(|_| bad("not a seed"))?,
                ["clock", ns] => {
                    self.steps.push(Step::Clock(ns.parse().map_err(|_| bad("not a time"))?));
                }
                ["frame", bytes] => {
                    self.steps.push(Step::Frame(unhex(bytes).ok_or_else(|| bad("not a frame"))?));
                }
                [word @ ("gone" | "back"), number] => {
                    let ordinal = number.parse().map_err(|_| bad("not a backend"))?;
                    self.steps.push(Step::Backend { ordinal, there: word == "back" });
                }
                ["apply", way @ ("half" | "program")] => {
                    self.steps.push(Step::Apply { program: way == "program" });
                }
                _ => return Err(bad("not a step")),
            }
        }
        let times = std::iter::once(&Step::Clock(START)).chain(&self.steps).filter_map(|step| match step {
            Step::Clock(ns) => Some(*ns),
            _ => None,
        });
        if !times.is_sorted() {
            return Err(BadLine { line: 0, why: "the clock runs backwards".to_owned() });
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits of the bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut case = Case::new("lbp 1\n".to_owned(), 7);
        case.steps = vec![
            Step::Frame(vec![0x02, 0xff]),
            Step::Clock(START + 5),
            Step::Backend { ordinal: 3, there: false },
            Step::Apply { program: true },
        ];
        let path = case.write(dir.path(), "one", "two\nlines").unwrap();
        assert_eq!(Case::read(&path).unwrap(), case);
        assert_eq!(Case::read_all(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = Case::new(String::new(), 0).write(dir.path(), "bad", "").unwrap();
        for (text, line) in [("frame 0g\n", 1), ("seed 1\n\nfly 3\n", 3), ("clock 5\n", 0)] {
            fs::write(&path, text).unwrap();
            let error = Case::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("bad.frames:{line}: ")), "{error}");
        }
    }
}
