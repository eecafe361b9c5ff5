//! Owns how the demo of certificates looks on a terminal, at most 100 columns wide. Never what it means.

use std::process::Child;

use ebpf_runtime::apply::Applied;
use ebpf_runtime::sessions::Session;

use super::cast::{Cast, ClientReport};
use super::statistics::Statistics;
use crate::commands::sessions;
use crate::console::{Console, Failure};
use crate::demo::page;
use crate::table::{bytes, columns, thousands};

pub struct Page<'a>(page::Page<'a>);

type Written = Result<(), Failure>;

impl<'a> Page<'a> {
    pub fn new(console: &'a mut Console) -> Page<'a> {
        Page(page::Page::new(console))
    }

    pub fn start(&mut self, file: &str, applied: &Applied, agent: &Child, cast: &Cast) -> Written {
        let head = self.0.bold("lbctl demo certificates");
        self.0.line(&format!(
            "{head}: three clients, a balancer, three backends, in namespaces of their own"
        ))?;
        self.0.line(&format!("  {file} on {}; agent {}", applied.devices.join(" "), agent.id()))?;
        let rows: Vec<Vec<String>> = cast
            .clients
            .iter()
            .map(|client| vec![client.name.to_owned(), client.address.to_string(), client.what.to_owned()])
            .collect();
        self.0.line(columns(&rows, &[], "  ").trim_end_matches('\n'))
    }

    pub fn statistics(&mut self, now: &Statistics) -> Written {
        let head = self.0.bold(&format!("after {} s", (now.after_millis + 500) / 1_000));
        let named = now.named().map(|(name, count)| [name.to_owned(), thousands(count)]);
        let rows: Vec<Vec<String>> = named.chunks(3).map(<[_]>::concat).collect();
        self.0.line(&format!("\n{head}\n{}", columns(&rows, &[1, 3, 5], "  ").trim_end_matches('\n')))?;
        let mut rows = vec![["backend", "connections", "requests", "bytes"].map(str::to_owned).to_vec()];
        rows.extend(now.backends.iter().map(|backend| {
            vec![
                backend.name.clone(),
                thousands(backend.connections),
                thousands(backend.requests),
                bytes(backend.bytes),
            ]
        }));
        self.0.line(columns(&rows, &[1, 2, 3], "  ").trim_end_matches('\n'))
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
        self.0.line(&format!("\n{}", columns(&rows, &[2, 3, 5, 6], "  ").trim_end_matches('\n')))
    }

    pub fn sessions(&mut self, all: &[Session]) -> Written {
        self.0.line(&format!("\n{}", sessions::page(all).trim_end_matches('\n')))
    }

    pub fn end(&mut self, wrong: &[String], sent: u64) -> Written {
        if wrong.is_empty() {
            let well = self.0.coloured("1;32", "All went as the policy says");
            return self.0.line(&format!(
                "\n{well}: {} packets, one certificate in session, nobody else let in.",
                thousands(sent)
            ));
        }
        self.0.line("")?;
        for wrong in wrong {
            self.0.line(&format!("  {}", self.0.coloured("31", wrong)))?;
        }
        let not = self.0.coloured("1;31", "Not all went as the policy says");
        self.0.line(&format!("\n{not}: {} differences.", wrong.len()))
    }
}
