//! Owns how the demo of certificates looks on a terminal, at most 100 columns wide. Never what it means.

use std::io::Write;
use std::process::Child;

use ebpf_runtime::apply::Applied;
use ebpf_runtime::sessions::Session;

use super::cast::{Cast, ClientReport};
use super::statistics::Statistics;
use crate::commands::sessions;
use crate::console::{Console, Failure};
use crate::table::{bytes, columns, thousands};

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

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&mut self, text: &str) -> Written {
        writeln!(self.console, "{text}")?;
        // What is told is seen when it is told.
        self.console.flush()
    }

    pub fn start(&mut self, file: &str, applied: &Applied, agent: &Child, cast: &Cast) -> Written {
        let head = self.coloured("1", "lbctl demo certificates");
        self.line(&format!("{head}: three clients, a balancer, three backends, in namespaces of their own"))?;
        self.line(&format!("  {file} on {}; agent {}", applied.devices.join(" "), agent.id()))?;
        let rows: Vec<Vec<String>> = cast
            .clients
            .iter()
            .map(|client| vec![client.name.to_owned(), client.address.to_string(), client.what.to_owned()])
            .collect();
        self.line(columns(&rows, &[], "  ").trim_end_matches('\n'))
    }

    pub fn statistics(&mut self, now: &Statistics) -> Written {
        let head = self.coloured("1", &format!("after {} s", (now.after_millis + 500) / 1_000));
        let named = now.named().map(|(name, count)| [name.to_owned(), thousands(count)]);
        let rows: Vec<Vec<String>> = named.chunks(3).map(<[_]>::concat).collect();
        self.line(&format!("\n{head}\n{}", columns(&rows, &[1, 3, 5], "  ").trim_end_matches('\n')))?;
        let mut rows = vec![["backend", "connections", "requests", "bytes"].map(str::to_owned).to_vec()];
        rows.extend(now.backends.iter().map(|backend| {
            vec![
                backend.name.clone(),
                thousands(backend.connections),
                thousands(backend.requests),
                bytes(backend.bytes),
            ]
        }));
        self.line(columns(&rows, &[1, 2, 3], "  ").trim_end_matches('\n'))
    }

    pub fn clients(&mut self, clients: &[ClientReport]) -> Written {
        let millis = |micros: Option<u64>| {
            micros.map_or(String::new(), |micros| format!("{:.2} ms", micros as f64 / 1e3))
        };
        let head = ["client", "from", "sent", "answered", "by", "first in", "others in"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(clients.iter().map(|client| {
            let backends: Vec<&str> = client.backends.iter().map(String::as_str).collect();
            vec![
                client.name.to_owned(),
                client.address.to_string(),
                thousands(client.sent),
                thousands(client.answered),
                backends.join(" "),
                millis(client.first_micros),
                millis(client.median_micros),
            ]
        }));
        self.line(&format!("\n{}", columns(&rows, &[2, 3, 5, 6], "  ").trim_end_matches('\n')))
    }

    pub fn sessions(&mut self, all: &[Session]) -> Written {
        self.line(&format!("\n{}", sessions::page(all).trim_end_matches('\n')))
    }

    pub fn end(&mut self, wrong: &[String], sent: u64) -> Written {
        if wrong.is_empty() {
            let well = self.coloured("1;32", "All went as the policy says");
            return self.line(&format!(
                "\n{well}: {} packets, one certificate in session, nobody else let in.",
                thousands(sent)
            ));
        }
        self.line("")?;
        for wrong in wrong {
            self.line(&format!("  {}", self.coloured("31", wrong)))?;
        }
        let not = self.coloured("1;31", "Not all went as the policy says");
        self.line(&format!("\n{not}: {} differences.", wrong.len()))
    }
}
