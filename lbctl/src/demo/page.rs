//! Owns how the demo looks on a terminal, at most 100 columns wide. Never what it means.

use std::io::Write;

use ebpf_runtime::lab::{Host, Lab};

use super::attempt::Answer;
use super::report::{Report, RoundReport, SceneReport, StepReport};
use crate::console::{Console, Failure};
use crate::table::{columns, short, thousands, wrapped};

const WIDTH: usize = 100;
/// Where the way of a packet starts.
const INDENT: usize = 29;
/// Characters of a guard in a way, and in a table.
const LONGEST_WORD: usize = 36;
const LONGEST_LABEL: usize = 60;
/// Differences that the last page lists.
const WRONGS: usize = 12;

pub struct Page<'a> {
    console: &'a mut Console,
    colours: bool,
}

type Written = Result<(), Failure>;

impl<'a> Page<'a> {
    pub fn new(console: &'a mut Console) -> Page<'a> {
        let colours = console.colours();
        Page { console, colours }
    }

    pub fn bold(&self, text: &str) -> String {
        self.coloured("1", text)
    }

    pub fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn line(&mut self, text: &str) -> Written {
        writeln!(self.console, "{text}")?;
        // Each step is seen when it happens.
        self.console.flush()
    }

    pub fn start(&mut self, lab: &Lab) -> Written {
        let hosts = |hosts: &[Host]| {
            let each = hosts.iter().map(|host| {
                let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
                format!("  {:<9} on {}: {}", host.namespace.name(), host.by, addresses.join(" "))
            });
            each.collect::<Vec<_>>().join("\n")
        };
        let head = self.bold("lbctl demo");
        self.line(&format!(
            "{head}: a client, a balancer and its backends in network namespaces of their own"
        ))?;
        self.line(&hosts(&lab.clients))?;
        self.line(&hosts(&lab.backends))
    }

    pub fn scene(&mut self, number: usize, scene: &SceneReport) -> Written {
        let head = self.bold(&format!("{}. {}", number + 1, scene.file));
        self.line(&format!(
            "\n{head}: policy {}, generation {}, on {} ({} ms)\n",
            scene.policy,
            scene.generation,
            scene.devices.join(" "),
            scene.apply_micros / 1_000
        ))
    }

    pub fn step(&mut self, step: &StepReport) -> Written {
        let mark = self.mark(step.wrong.is_none());
        let path: Vec<String> = step.path.iter().map(|word| short(word, LONGEST_WORD)).collect();
        let mut lines = wrapped(&path.join(" → "), WIDTH - INDENT);
        let answer = shown(&step.answer);
        match lines.last_mut() {
            Some(last) if last.chars().count() + 3 + answer.chars().count() <= WIDTH - INDENT => {
                last.push_str("   ");
                last.push_str(&self.coloured("2", &answer));
            }
            _ => lines.push(self.coloured("2", &answer)),
        }
        for (number, line) in lines.iter().enumerate() {
            match number {
                0 => self.line(&format!("  {mark} {:<width$}{line}", step.what, width = INDENT - 5))?,
                _ => self.line(&format!("{:INDENT$}{line}", ""))?,
            }
        }
        self.wrong(step.wrong.as_deref())
    }

    pub fn round(&mut self, round: &RoundReport) -> Written {
        let mark = self.mark(round.wrong.is_empty());
        let right = round.attempts - round.wrong.len();
        self.line(&format!(
            "  {mark} {:<width$}{} more, {right} as the policy says, in {} ms",
            round.what,
            round.attempts,
            round.micros / 1_000,
            width = INDENT - 5
        ))?;
        // One is enough to see what is amiss; all are in the JSON.
        self.wrong(round.wrong.first().map(String::as_str))
    }

    pub fn counts(&mut self, scene: &SceneReport) -> Written {
        let mut rows = vec![["packets", "arm, way or exit", "of", "line"].map(str::to_owned).to_vec()];
        rows.extend(scene.arms.iter().filter(|arm| arm.packets > 0).map(|arm| {
            vec![
                thousands(arm.packets),
                short(&arm.label, LONGEST_LABEL),
                arm.tree.clone(),
                arm.line.to_string(),
            ]
        }));
        rows.extend(
            scene
                .reasons
                .iter()
                .map(|(reason, packets)| vec![thousands(*packets), reason.clone(), "(reason)".into()]),
        );
        self.line("")?;
        write!(self.console, "{}", columns(&rows, &[0], "  "))?;
        let mut rows =
            vec![["flows", "served", "foretold", "backend", "address"].map(str::to_owned).to_vec()];
        rows.extend(scene.backends.iter().map(|backend| {
            let foretold = backend.foretold.map_or("random".to_owned(), thousands);
            let name = format!("{} {}", backend.pool, backend.name);
            vec![
                thousands(backend.flows),
                thousands(backend.served),
                foretold,
                name,
                backend.addresses.join(" "),
            ]
        }));
        self.line("")?;
        write!(self.console, "{}", columns(&rows, &[0, 1, 2], "  "))?;
        for backend in &scene.backends {
            self.wrong(backend.wrong.as_deref())?;
        }
        Ok(())
    }

    pub fn end(&mut self, report: &Report) -> Written {
        let attempts = thousands(report.attempts() as u64);
        if report.well {
            let well = self.coloured("1;32", "All went as the policies say");
            return self
                .line(&format!("\n{well}: {attempts} attempts, the program and the evaluator agree."));
        }
        self.line("")?;
        for wrong in report.wrong.iter().take(WRONGS) {
            self.line(&format!("  {wrong}"))?;
        }
        if let Some(more @ 1..) = report.wrong.len().checked_sub(WRONGS) {
            self.line(&format!("  and {more} more: lbctl demo --json"))?;
        }
        let not = self.coloured("1;31", "Not all went as the policies say");
        self.line(&format!("\n{not}: {} differences in {attempts} attempts.", report.wrong.len()))
    }

    fn mark(&self, right: bool) -> String {
        if right { self.coloured("32", "ok") } else { self.coloured("1;31", "NO") }
    }

    fn wrong(&mut self, wrong: Option<&str>) -> Written {
        let Some(wrong) = wrong else { return Ok(()) };
        for line in wrapped(wrong, WIDTH - INDENT) {
            let line = self.coloured("31", &line);
            self.line(&format!("{:INDENT$}{line}", ""))?;
        }
        Ok(())
    }
}

fn shown(answer: &Answer) -> String {
    let time = |micros: &u64| match micros {
        0..1_000 => format!("{micros} µs"),
        _ => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
    };
    match answer {
        Answer::Nothing => "no answer".to_owned(),
        Answer::Echo { micros } => format!("answered in {}", time(micros)),
        Answer::Server { name, sees, micros } => format!("{name} answers {sees} in {}", time(micros)),
        Answer::Other(what) => what.clone(),
    }
}
