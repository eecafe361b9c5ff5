//! Owns standard output and standard error: buffering, closed pipes, colours, exit codes, the form of a failure.
//! Never what is said.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

/// The exit code of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Everything is as it should be.
    Well = 0,
    /// The command ran and found something: errors in a policy, a failed expectation.
    Findings = 1,
    /// The command could not run: usage, files, privileges, the kernel.
    Failed = 2,
}

/// Why a command could not run, as one sentence for the user; it ends the run with `Exit::Failed`.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Failure {
        Failure(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(format!("can't write the output: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure(format!("can't write the output: {error}"))
    }
}

/// What every command returns.
pub type Outcome = Result<Exit, Failure>;

/// Standard output (through `Write`) and standard error of one run.
///
/// A reader that goes away early (`| head`) is no error: the rest of the output is dropped and the exit code stays
/// what the command found.
pub struct Console {
    out: BufWriter<io::Stdout>,
    closed: bool,
    out_colours: bool,
    err_colours: bool,
}

impl Console {
    pub fn new() -> Console {
        // https://no-color.org: set and not empty.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Console {
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            closed: false,
            out_colours: wanted && io::stdout().is_terminal(),
            err_colours: wanted && io::stderr().is_terminal(),
        }
    }

    /// Whether the reader of standard output has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether standard output shows colours.
    pub fn colours(&self) -> bool {
        self.out_colours
    }

    /// Whether standard error shows colours.
    pub fn err_colours(&self) -> bool {
        self.err_colours
    }

    /// Writes text to standard error as it is.
    pub fn say(&mut self, text: &str) {
        // What was said before on standard output comes first on a terminal. Nobody is left to be told of a closed
        // standard error.
        let _ = self.flush_out();
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// `lbctl: error: …` on standard error.
    pub fn error(&mut self, sentence: &str) {
        self.labelled("error", "\x1b[1;91m", sentence);
    }

    /// `lbctl: warning: …` on standard error.
    pub fn warning(&mut self, sentence: &str) {
        self.labelled("warning", "\x1b[1;93m", sentence);
    }

    fn labelled(&mut self, label: &str, colour: &str, sentence: &str) {
        let text = if self.err_colours {
            format!("lbctl: {colour}{label}\x1b[0m: {sentence}\n")
        } else {
            format!("lbctl: {label}: {sentence}\n")
        };
        self.say(&text);
    }

    /// One line of JSON on standard output.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)?;
        Ok(writeln!(self, "{text}")?)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.flush_out()?)
    }

    fn flush_out(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.unless_closed(result)
    }

    fn unless_closed(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.closed {
            let result = self.out.write_all(bytes);
            self.unless_closed(result)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed { Ok(()) } else { self.flush_out() }
    }
}
